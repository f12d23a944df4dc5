"""``rwcore pages``: neurons as web pages, with the texts they fire on, and an index of all neurons."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rwcore.cli.console import paragraphs, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Device,
    Dtype,
    MaxLength,
    Scheduler,
    Tokens,
    Workers,
    check_engine,
    chosen_corpus,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.options import Force, Model, Out, Processing, refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.studies.activations import PassOptions, PassStudy
    from rwcore.studies.neuron_cards import Neuron
    from rwcore.studies.roles import RoleStudy
    from rwcore.studies.site import SiteExport
    from rwcore.studies.weights import WeightStudy

HELP = """Pages of single neurons of MODEL: where they fire, what they read and write; and an index of all.

The texts come from a pass over a corpus: a folder that `rwcore activations` has written (--activations), or
a corpus (--corpus), whose pass is made first if the cache does not have it. The rows that the chosen neurons
need are run once more, for all of them together.

Choose neurons by name (LAYER.NEURON, both from 0), with --class (those farthest inside a class; `all` for
every class), or with --from-claims (the neurons that papers publish of this model, and its clearest
prediction and suppression neurons). Without any of these only the index is written.

DIR is a site that works from disk, without server or network: index.html, a page per neuron, and the data of
the index. Pages are added to an older site of the same pass; other files in DIR stay as they are. See
OUTPUTS.md.

Examples:
  rwcore pages smollm2-135m-instruct-q4_1 28.100 28.777 --corpus handmade --out site
  rwcore pages smollm2-135m-instruct-q4_1 --activations out/frequencies --class all --top 5 --out site
  rwcore pages allenai/OLMo-7B-0424-hf --activations out/olmo --from-claims --device cuda --out site
"""


@dataclass(frozen=True)
class _Asked:
    """What the command line says about neurons."""

    lists: list[str]
    classes: list[str]
    top: int
    from_claims: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pages", help=paragraphs(HELP), no_args_is_help=True)(pages)


def pages(
    context: typer.Context,
    model: Model,
    out: Out,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[LAYER.NEURON]...", help="Neurons, both numbers from 0.")
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", metavar="DIR", help="What `rwcore activations` has written."),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="CORPUS", help="A corpus instead; see `rwcore corpora`."),
    ] = None,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    neurons: Annotated[
        list[str] | None,
        typer.Option(
            "--neurons", metavar="LIST", help="Neurons as 28.4737,31.9634 or 28.4737-4740, or @FILE."
        ),
    ] = None,
    of_class: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="The clearest neurons of this class, or of `all`."),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", metavar="N", help="How many of a class; 20.")] = None,
    from_claims: Annotated[
        bool, typer.Option("--from-claims", help="The neurons that claims are about; computes the roles.")
    ] = False,
    before: Annotated[
        int, typer.Option("--before", metavar="N", help="Tokens shown before an example's peak.")
    ] = 64,
    after: Annotated[
        int, typer.Option("--after", metavar="N", help="Tokens shown behind an example's peak.")
    ] = 32,
    sample_tokens: Annotated[
        int,
        typer.Option("--sample-tokens", metavar="N", help="Tokens of random rows, for the distributions."),
    ] = 50_000,
    k: Annotated[int, typer.Option("-k", metavar="K", help="Tokens per list of a vector.")] = 10,
    roles: Annotated[
        bool, typer.Option("--roles/--no-roles", help="Functional roles; the first time they take a while.")
    ] = True,
    partition: Annotated[
        int | None,
        typer.Option("--partition", metavar="N", help="Partition neurons of the roles; 1000 as published."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Also the mismatched-pair regions of the cosines.")
    ] = True,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Write pages and index, and print which neurons have a page."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    asked = _Asked(
        [*(names or []), *(neurons or [])], of_class or [], 20 if top is None else top, from_claims
    )
    check_engine(workers, scheduler)
    if top is not None and not of_class:
        raise OptionError("of which class?", where=f"--top {top}", remedy="add --class NAME, or --class all")
    if partition is not None and not (roles or from_claims):
        raise OptionError(
            "--partition decides roles, which are not asked for", where="--partition", remedy="leave it out"
        )
    if (activations is None) == (corpus is None):
        raise OptionError(
            "it is not clear which texts are meant",
            where="--activations, --corpus",
            remedy="give one of them: a folder that `rwcore activations` has written, or a corpus",
        )
    if activations is not None:
        of_pass: dict[str, object] = {
            "--tokens": tokens,
            "--max-length": max_length,
            "--batch-tokens": batch_tokens,
            "--dtype": None if dtype == "float32" else dtype,
        }
        refuse_idle(of_pass, "the pass in the folder was made with its own", "name a corpus with --corpus")
    spec = None if corpus is None else chosen_corpus(corpus, tokens, max_length)
    local = clipped(locate(find(model)), clip_qkv)  # before torch is imported

    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.stats.roles.choose import N_PARTITION
    from rwcore.studies.activations import PassOptions
    from rwcore.studies.folder import check_target
    from rwcore.studies.neuron_examples import ExampleOptions
    from rwcore.studies.roles import role_study
    from rwcore.studies.site import PageOptions, export_site
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        role = role_study(weights, partition=N_PARTITION if partition is None else partition)
        chosen = _chosen(weights, role, asked)
        options = PassOptions(
            token_budget=batch_tokens,
            dtype=dtype,
            device=device,
            shards=workers or 1,
            threads=threads_of(workers),
        )
        export = export_site(
            _pass(weights, activations, spec, options),
            chosen,
            out,
            examples=ExampleOptions(before=before, after=after, sample_tokens=sample_tokens),
            options=PageOptions(k=k, null=null),
            roles=role if roles or from_claims else None,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
            page_command=_page_command(model, out, activations, corpus, tokens, max_length),
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _page_command(
    model: str,
    out: Path,
    activations: Path | None,
    corpus: str | None,
    tokens: int | None,
    length: int | None,
) -> str:
    """The command that adds the page of another neuron."""
    from rwcore.pages.site_index import PLACE

    given = {"--activations": activations, "--corpus": corpus, "--tokens": tokens, "--max-length": length}
    texts = [str(word) for pair in given.items() if pair[1] is not None for word in pair]
    return f"rwcore pages {shlex.quote(model)} {PLACE} {shlex.join([*texts, '--out', str(out)])}"


def _chosen(weights: WeightStudy, roles: RoleStudy, asked: _Asked) -> list[Neuron]:
    from rwcore.studies.page_neurons import clearest_of_class, named_neurons, neurons_of_claims

    found = named_neurons(asked.lists, weights.mlp_weights().shape) if asked.lists else []
    for name in asked.classes:
        found += clearest_of_class(weights, name, asked.top)
    if asked.from_claims:
        found += neurons_of_claims(weights, roles)
    return list(dict.fromkeys(found))


def _pass(
    weights: WeightStudy, folder: Path | None, corpus: CorpusSpec | None, options: PassOptions
) -> PassStudy:
    """The pass in a folder, or the one over a corpus."""
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.studies.exported_pass import exported_pass
    from rwcore.studies.plain_pass import any_activation_study

    if folder is not None:
        return exported_pass(weights, folder, options)
    assert corpus is not None
    return any_activation_study(weights, prepare(corpus, read_encoder(weights.local)), options)


def _summarise(export: SiteExport) -> None:
    rows = [
        (page.name, page.class_name, " ".join(page.promoted), " ".join(page.suppressed))
        for page in export.new
    ]
    if rows:
        show(table(None, ["neuron", "class", "+out", "-out"], rows))
    pages_, neurons = len(export.pages), export.neurons
    older = len(export.pages) - len(export.new)
    there = f", {older} of them from before" if older else ""
    say(f"{pages_} pages{there}, and an index of {neurons:,} neurons: open {export.folder / 'index.html'}")
