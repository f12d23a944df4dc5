"""``rwcore attributes``: how much of what is written about a subject its tokens bring up, with ablations."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.ablation_options import (
    SETS_HELP,
    Baselines,
    Bos,
    Gate,
    Means,
    MeansTokens,
    Mode,
    Neurons,
    Parameter,
    Post,
    asked_interventions,
    chosen_sets,
    means_corpus,
)
from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Device,
    Dtype,
    MaxLength,
    Scheduler,
    Workers,
    check_engine,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.options import Force, Model, Out, Palette, Processing, refuse_idle

if TYPE_CHECKING:
    from rwcore.studies.attribute_export import AttributeExport

HELP = f"""How much of what is written about a subject MODEL has in mind at the end of its name.

Facts (--knowns) are prompts with a subject and an answer; those count that MODEL goes on with by itself. At
the last token of the subject the residual stream of every layer is projected onto the vocabulary, and the
attributes rate is the share of the 50 likeliest tokens that occur in passages about the subject
(--passages). Then neurons are ablated, and the rate is compared with the clean one, layer by layer.
Differences are clean − ablated: positive means that the intact neurons raise the rate. Runs without
conditions come with as many random neurons of the same layers. Intervals are over subjects. Writes tables
(CSV, LaTeX, Markdown), figures (PDF, PNG), the neurons of every set and a manifest into DIR; see OUTPUTS.md.

--knowns is handmade (our own facts), a JSON file in the layout of known_1000.json, or one in the hub's cache
(hf://datasets/ORG/NAME/FILE.json). --passages is handmade (our own texts about these subjects), a JSONL file
with title and text, or a multistream dump of Wikipedia beside its index. Without --neurons only the clean
rates are measured.

{SETS_HELP}

What the model knows, passages and runs are kept (`rwcore cache`): what was interrupted goes on where it
stopped. Mean ablation takes its values from `rwcore activations` on the corpus that --means names, which is
run first if need be.

Examples:
  rwcore attributes smollm2-135m-instruct-q4_1 --knowns handmade --passages handmade --out out/clean
  rwcore attributes ./my-model --knowns handmade --passages handmade --neurons weakening --out out/weakening
  rwcore attributes ./my-model --knowns known_1000.json --passages enwiki-multistream.xml.bz2 --out out/wiki
"""

Knowns = Annotated[
    str, typer.Option("--knowns", metavar="FACTS", help="handmade, a JSON file, or one of the hub's cache.")
]
PassageSource = Annotated[
    str,
    typer.Option("--passages", metavar="TEXTS", help="handmade, a JSONL file, or a dump of Wikipedia."),
]
Retrieval = Annotated[
    Literal["title", "bm25"] | None,
    typer.Option(
        "--retrieval",
        help="The article with the subject's title, or the best paragraphs of all; "
        "title, with --as-published bm25.",
    ),
]
At = Annotated[
    Literal["everywhere", "subject"],
    typer.Option("--at", help="Ablate at every token up to the subject's last, or at the subject's only."),
]
TopK = Annotated[int, typer.Option("--top-k", metavar="K", help="How many of the likeliest tokens count.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("attributes", help=paragraphs(HELP), no_args_is_help=True)(attributes)


def attributes(
    context: typer.Context,
    model: Model,
    knowns: Knowns,
    passages: PassageSource,
    out: Out,
    retrieval: Retrieval = None,
    neurons: Neurons = None,
    mode: Mode = "zero",
    gate: Gate = "",
    post: Post = "",
    parameter: Parameter = None,
    at: At = "everywhere",
    baselines: Baselines = True,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="With the original's quirks: no final norm, cut passages …"),
    ] = False,
    top_k: TopK = 50,
    bos: Bos = "model",
    means: Means = None,
    means_tokens: MeansTokens = None,
    max_length: MaxLength = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Measure attributes rates with and without ablations, write them and print a summary."""
    from rwcore.attributes.facts import read_facts
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    if not neurons:
        idle = {
            "--mode": mode != "zero",
            "--gate": bool(gate),
            "--post": bool(post),
            "--parameter": parameter is not None,
            "--at": at != "everywhere",
            "--no-baselines": not baselines,
        }
        refuse_idle(idle, "without neurons nothing is ablated", "add --neurons")
    spec = means_corpus(mode, means, means_tokens, max_length)
    # Before torch is imported: a wrong name must not take seconds.
    local, facts = clipped(locate(find(model)), clip_qkv), tuple(read_facts(knowns))

    from rwcore.ablation.compare import AS_PUBLISHED, FIXED
    from rwcore.ablation.grid import experiments
    from rwcore.attributes.sources import open_source
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.activations import PassOptions, activation_study
    from rwcore.studies.attribute_export import export_attributes
    from rwcore.studies.attribute_rates import AttributeOptions, AttributeStudy
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.passages import (
        DEFINITION,
        PassageOptions,
        passage_folder,
        read_counts,
        read_passages,
    )
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    convention = AS_PUBLISHED if as_published else FIXED
    options = AttributeOptions(bos=bos, convention=convention, where=at, k=top_k)
    wanted = PassageOptions(retrieval or ("bm25" if as_published else "title"), convention)
    source = open_source(passages)
    given = {"dtype": dtype, "device": device, "threads": threads_of(workers)}
    encoder = read_encoder(local)
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        todo = asked_interventions(mode, gate, post, parameter, "", as_published=as_published)
        planned = experiments(chosen_sets(neurons or (), weights), todo, baselines=baselines)
        frequencies = None
        if spec is not None:
            rows = prepare(spec, encoder)
            frequencies = activation_study(weights, rows, PassOptions(**given))  # type: ignore[arg-type]
        forward = ForwardOptions(token_budget=batch_tokens, **given)  # type: ignore[arg-type]
        study = AttributeStudy(weights, encoder, facts, {}, frequencies, options, forward)
        study.clean()  # a model that knows nothing is refused before hours go into a dump
        subjects = {fact.subject for fact in facts}
        found = passage_folder(source, subjects, wanted, store=weights.store, engine=engine)
        described = {"source": passages, "retrieval": wanted.retrieval, "top": wanted.top}
        described |= {"content": source.identity(), "definition": DEFINITION, **asdict(read_counts(found))}
        export = export_attributes(
            replace(study, passages=read_passages(found, subjects)),
            planned,
            out,
            sources={"knowns": knowns, "passages": described},
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _summarise(export: AttributeExport) -> None:
    manifest = export.manifest
    facts, subjects = manifest["facts"], manifest["subjects"]
    say(
        f"{manifest['model']['model']}: {facts['asked']:,} facts, {facts['known']:,} known, "
        f"{facts['measured']:,} measured, about {subjects['measured']:,} subjects"
    )
    say(
        f"{subjects['known']:,} subjects of known facts: {subjects['without_passages']:,} without passages, "
        f"{subjects['without_attributes']:,} without attributes"
    )
    for reason, count in facts["excluded"].items():
        say(f"  {count:,} left out: {reason}")
    show(_means(export))
    for failure in export.findings.failures:
        remark(f"not run: {failure.name}: {failure.error}" + (f" ({failure.where})" if failure.where else ""))
    say(f"{len(manifest['files']) + 1} files in {export.folder}")


def _means(export: AttributeExport) -> Table:
    """Mean rates over layers and their differences, with intervals; a row for each run."""
    from rwcore.studies.attribute_tables import attribute_table

    shown = attribute_table(export.findings.means)
    headers: list[str | Column] = [str(shown.index.name), shown.columns[0], *map(right, shown.columns[1:])]
    rows = [(name, *cells) for name, cells in zip(shown.index, shown.to_numpy(), strict=True)]
    title = "attributes rate (%), mean over layers [95 % interval over subjects]; difference: clean − ablated"
    return table(title, headers, rows)
