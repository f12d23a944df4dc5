"""``rwcore trace``: where the effect of an ablation on one prediction comes from, as files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.ablation_options import (
    SETS_HELP,
    Bos,
    Gate,
    Means,
    MeansTokens,
    Mode,
    Neurons,
    Parameter,
    Positions,
    Post,
    asked_interventions,
    chosen_sets,
    no_means,
    words,
)
from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.forward import BatchTokens, ClipQkv, Device, Dtype, MaxLength, Tokens, chosen_corpus, clipped
from rwcore.cli.options import Force, Model, Out, Palette, Processing, refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.ablation.interventions import Intervention
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.studies.trace_export import TraceExport
    from rwcore.studies.traces import Question, TraceStudy

HELP = f"""Where the effect of an ablation on one prediction of MODEL comes from.

The prediction is that after a text (--prompt), or at a position of a row of a corpus (--corpus, --row,
--position). It is made again with only a part of the ablation: the neurons of one layer, of it and all
before or after it, all neurons at one position, each neuron alone, the strongest 1, 2, 4, … together, all
but one; and with only the direct contribution of the neurons to the final stream missing. Differences are
clean − ablated: a negative one of the entropy means that the intact neurons lower it. Effects of parts need
not add up. Writes a table (CSV), a summary (Markdown), figures (PDF, PNG), the neurons and a manifest into
DIR; see OUTPUTS.md.

A prompt begins with the model's BOS token, which is put there unless it is in the prompt already (--bos);
names of special tokens in a prompt are these tokens. --target is the token whose logit is followed: a text
that is one token (with the space before a word, if it belongs to it), or '#1234' for its number; if not
given, the one that the clean model finds most probable.

{SETS_HELP} Several are taken together.

Mean ablation takes its values from `rwcore activations` on the corpus that --means names (if not given,
that of the row), which is run first if need be. Traces are kept (`rwcore cache`).

Examples:
  rwcore trace smollm2-135m-instruct-q4_1 --prompt "Once upon a" --neurons weakening --out out/trace
  rwcore trace ./my-model --prompt "Once upon a" --neurons weakening --gate - --layers 10,29 --out out/two
  rwcore trace ./my-model --corpus notes.jsonl --row 3 --position 25 --neurons weakening --out out/row

The case of the paper, a nearly certain "mic" after " O", is row 31118, position 25 of dolma-small for
allenai/OLMo-7B-0424-hf, with --gate - --post +.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace", help=paragraphs(HELP), no_args_is_help=True)(trace)


def trace(
    context: typer.Context,
    model: Model,
    out: Out,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="The prediction after this text.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="CORPUS", help="Name of a corpus, or a file or folder.")
    ] = None,
    row: Annotated[int | None, typer.Option("--row", metavar="R", help="Row of the corpus, from 0.")] = None,
    position: Annotated[
        int | None,
        typer.Option("--position", metavar="P", help="The prediction at this position of the row, from 0."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="TOKEN", help="Token whose logit is followed.")
    ] = None,
    neurons: Neurons = None,
    mode: Mode = "zero",
    gate: Gate = "",
    post: Post = "",
    parameter: Parameter = None,
    positions: Positions = "",
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers", metavar="LIST", help="Also these layers together: 10,29 or 29-31; as often as needed."
        ),
    ] = None,
    parts: Annotated[
        str,
        typer.Option("--parts", metavar="LIST", help="Of layers, positions, direct, neurons; with commas."),
    ] = "layers,positions,direct,neurons",
    strength: Annotated[
        Literal["entropy", "target_logit"], typer.Option("--strength", help="What a strong neuron moves.")
    ] = "entropy",
    left_out: Annotated[
        int, typer.Option("--left-out", metavar="N", help="Leave out each of the N strongest neurons.")
    ] = 20,
    bos: Bos = "model",
    means: Means = None,
    means_tokens: MeansTokens = None,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Trace an ablation, write what was found and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    _check(prompt, corpus, row, position, neurons)
    groups = tuple(_layers(text) for text in layers or ())
    spec = _row_spec(corpus, tokens, max_length)
    means_spec = _means_spec(mode, means, means_tokens, spec)
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.neurons import NeuronSet
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.activations import PassOptions, activation_study
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.trace_export import export_trace
    from rwcore.studies.traces import TraceOptions, TraceStudy
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    weights = weight_study(local, processing=processing)
    intervention = _one(asked_interventions(mode, gate, post, parameter, positions))
    sets = chosen_sets(neurons or (), weights)
    chosen = NeuronSet.union(" + ".join(one.name for one in sets), [one.neurons for one in sets])
    encoder = read_encoder(local)
    options = ForwardOptions(token_budget=batch_tokens, dtype=dtype, device=device)
    frequencies = None
    if means_spec is not None:
        given = PassOptions(dtype=dtype, device=device)
        frequencies = activation_study(weights, prepare(means_spec, encoder), given)
    study = TraceStudy(weights, encoder, frequencies, options)
    rows = None if spec is None else prepare(spec, encoder)
    export = export_trace(
        study,
        _question(study, prompt, rows, row, position, target, bos),
        chosen,
        intervention,
        out,
        options=TraceOptions(tuple(words(parts)), groups, strength, left_out),
        plots=plots,
        palette=palette,
        force=force,
        command=shlex.join(["rwcore", *context.obj]),
    )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _check(
    prompt: str | None, corpus: str | None, row: int | None, position: int | None, neurons: list[str] | None
) -> None:
    """Refuse a command that names no prediction, or two, or no neurons.

    Raises:
        OptionError: It does.
    """
    if prompt is None and (corpus is None or row is None or position is None):
        raise OptionError(
            "no prediction is named",
            where="--prompt, or --corpus, --row and --position",
            remedy="give a text, or all three of the others",
        )
    if prompt is not None and any(one is not None for one in (corpus, row, position)):
        raise OptionError(
            "two predictions are named",
            where="--prompt; --corpus, --row, --position",
            remedy="give a text, or a place in a corpus (the text for mean ablation is --means)",
        )
    if not neurons:
        raise OptionError(
            "no neurons are named",
            where="--neurons",
            remedy="give --neurons weakening, or a list such as 28.4737,31.9634",
        )


def _layers(text: str) -> tuple[int, ...]:
    """``10,29`` or ``29-31``, or both with commas."""
    found: list[int] = []
    for word in words(text):
        first, dash, last = word.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise OptionError(
                f"{word!r} is no layer and no range of layers",
                where="--layers",
                remedy="give whole numbers from 0: 10,29 or 29-31",
            )
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _row_spec(corpus: str | None, tokens: int | None, max_length: int | None) -> CorpusSpec | None:
    """The corpus of the row, if there is one.

    Raises:
        OptionError: Options of a corpus are given without one.
        CorpusError: There is no such corpus.
    """
    if corpus is not None:
        return chosen_corpus(corpus, tokens, max_length)
    _without("--corpus, --row and --position", {"--tokens": tokens, "--max-length": max_length})
    return None


def _means_spec(
    mode: str, means: str | None, means_tokens: int | None, row: CorpusSpec | None
) -> CorpusSpec | None:
    """The corpus that means are taken from, that of the row if no other is named; None if none are needed.

    Raises:
        OptionError: They are needed and no corpus is named, or the other way round.
        CorpusError: There is no such corpus.
    """
    if "mean" not in words(mode):
        _without("--mode mean", {"--means": means, "--means-tokens": means_tokens})
        return None
    if means is not None:
        return chosen_corpus(means, means_tokens, None)
    _without("--means", {"--means-tokens": means_tokens})
    if row is None:
        raise no_means()
    return row


def _without(needed: str, options: Mapping[str, object]) -> None:
    refuse_idle(options, f"without {needed} this has no effect", f"add {needed}")


def _one(asked: list[Intervention]) -> Intervention:
    if len(asked) > 1:
        raise OptionError(
            f"{len(asked)} ablations are asked for, and one is traced",
            where="--mode, --gate, --post",
            remedy="give one mode and at most one sign of each",
        )
    return asked[0]


def _question(
    study: TraceStudy,
    prompt: str | None,
    rows: TokenCorpus | None,
    row: int | None,
    position: int | None,
    target: str | None,
    bos: str,
) -> Question:
    if prompt is not None:
        return study.of_text(prompt, target=target, bos=bos)
    assert rows is not None  # checked before anything was read
    assert row is not None
    assert position is not None
    return study.of_row(rows, row, position, target=target)


def _summarise(export: TraceExport) -> None:
    facts, found = export.manifest, export.traced.table
    ablation = facts["ablation"]
    say(
        f"{facts['model']['model']}: {ablation['set']} ({ablation['neurons']:,} neurons), "
        f"{export.traced.intervention.label}; the prediction after {len(facts['prompt']['ids'])} tokens"
    )
    show(_numbers(export))
    for part, what in (("layer", "layer"), ("position", "position"), ("neuron", "neuron")):
        rows = found[found["part"] == part].to_dict("records")
        if rows:
            top = max(rows, key=lambda row: abs(row["delta_entropy"]))
            name = {
                "layer": f"{top['layer']}",
                "position": f"{top['position']} ({top['token']})",
                "neuron": f"{top['layer']}.{top['neuron']} ({top['class']})",
            }[part]
            say(f"largest alone: {what} {name}, Δ entropy {top['delta_entropy']:+.4f}")
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _numbers(export: TraceExport) -> Table:
    """The clean prediction, the ablated one, and those of chosen groups and of the direct effect."""
    found = export.traced.table
    names = {
        "clean": "clean",
        "ablated": "ablated",
        "direct_frozen": "direct contribution taken away",
        "direct_recomputed": "the same, norm recomputed",
    }
    headers: list[str | Column] = [
        "",
        right("entropy"),
        right("Δ entropy"),
        right("logit"),
        right("probability"),
        right("rank"),
        "most probable",
    ]
    rows = [
        (
            names.get(line["part"], f"layers {line['layers']}"),
            f"{line['entropy']:.4f}",
            f"{line['delta_entropy']:+.4f}",
            f"{line['target_logit']:.3f}",
            f"{line['target_probability']:.4f}",
            f"{line['target_rank']:,}",
            line["argmax_token"],
        )
        for line in found[found["part"].isin([*names, "group"])].to_dict("records")
    ]
    return table(f"logit, probability and rank of {export.manifest['target']['token']}", headers, rows)
