"""``rwcore stimuli``: what excites single neurons."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Corpus,
    Device,
    Dtype,
    MaxLength,
    Tokens,
    chosen_corpus,
    clipped,
)
from rwcore.cli.options import Force, Model, Out, Palette, Processing, refuse_idle

if TYPE_CHECKING:
    from rwcore.studies.stimuli_export import StimulusExport

HELP = """What excites single neurons of MODEL on CORPUS: tokens, and the tokens before them.

For each neuron: the words at which it is highest on average; words at which it is sometimes high and often
not, with the one, two and three tokens before that make the difference; how rarely it is active; and how many
different tokens hold its highest percent: few for a neuron with one feature, many for one with several.
--pairs also correlates each two of the neurons over tokens, with intervals over documents; with --label
inside and outside of the documents that have a label.

Neurons are a list (5.100,7.3 or 5.100-103), or @FILE with such a list. CORPUS is a name from `rwcore
corpora`, or a file or folder of text, JSONL or Parquet. Writes tables (CSV, LaTeX, Markdown), a figure for
each neuron (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. What was interrupted goes on where it stopped.

Examples:
  rwcore stimuli smollm2-135m-instruct-q4_1 python-topics --tokens 8000 --neurons 1.30,1.400 --out out/stimuli
  rwcore stimuli ./my-model notes.jsonl --neurons @best_neurons.txt --quantity post --above 0.5 --out out/best
  rwcore stimuli ./my-model handmade --neurons 3.5,4.6 --pairs --label language=it --out out/italian
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stimuli", help=paragraphs(HELP), no_args_is_help=True)(stimuli)


def stimuli(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    neurons: Annotated[
        str, typer.Option("--neurons", metavar="LIST", help="Neurons: 5.100,7.3 or @FILE; both from 0.")
    ],
    out: Out,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    quantity: Annotated[
        Literal["pre", "post"],
        typer.Option(
            "--quantity", help="Before the activation function (the gate), or what scales the output vector."
        ),
    ] = "pre",
    above: Annotated[
        float, typer.Option("--above", metavar="X", help="Threshold of the share of tokens above it.")
    ] = 2.0,
    seen: Annotated[
        int, typer.Option("--seen", metavar="N", help="Only words that occur more than N times.")
    ] = 10,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Words with the largest mean.")] = 25,
    pairs: Annotated[bool, typer.Option("--pairs", help="Also correlations of each two neurons.")] = False,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Also inside and outside of these documents."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Find what excites neurons, write it and print a summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    if not pairs:
        refuse_idle({"--label": label}, "without pairs nothing is compared inside and outside", "add --pairs")
    spec = chosen_corpus(corpus, tokens, max_length)
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.neurons import parse_neurons
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.stimuli import StimulusOptions, StimulusStudy, text_side
    from rwcore.studies.stimuli_export import export_stimuli
    from rwcore.studies.weights import weight_study
    from rwcore.weights.shape import read_shape

    check_target(out, force=force)
    shape = read_shape(local)
    chosen = parse_neurons(neurons, shape.n_layers, shape.d_mlp)
    options = StimulusOptions(quantity, above, seen, top)
    forward = ForwardOptions(token_budget=batch_tokens, dtype=dtype, device=device)
    rows = prepare(spec, read_encoder(local))
    export = export_stimuli(
        StimulusStudy(weight_study(local, processing=processing), rows, options, forward),
        chosen,
        out,
        pairs=pairs,
        side=None if label is None else text_side(rows, label),
        plots=plots,
        palette=palette,
        force=force,
        command=shlex.join(["rwcore", *context.obj]),
    )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _summarise(export: StimulusExport) -> None:
    from rwcore.studies.stimuli_export import neuron_table

    facts = export.manifest
    text = facts["corpus"]
    say(
        f"{facts['model']['model']} on {text['id']}: {text['tokens']:,} tokens in {text['documents']:,} "
        f"documents; {facts['measure']['quantity']} of {len(export.tables.neurons)} neurons"
    )
    shown = neuron_table(export.tables)
    headers: list[str | Column] = [
        str(shown.index.name),
        *map(right, shown.columns[:-1]),
        str(shown.columns[-1]),
    ]
    rows = [(name, *cells) for name, cells in zip(shown.index, shown.to_numpy(), strict=True)]
    show(table("tokens: different ones at the highest percent (by chance)", headers, rows))
    if len(export.tables.pairs):
        show(_pairs(export))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _pairs(export: StimulusExport) -> Table:
    rows = [
        (
            f"{row['layer']}.{row['neuron']}",
            f"{row['other_layer']}.{row['other_neuron']}",
            row["where"],
            f"{row['r']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['tokens']:,}",
            row["documents"],
        )
        for row in export.tables.pairs.to_dict("records")
    ]
    headers: list[str | Column] = [
        "neuron", "other", "where", right("r [95 %]"), right("tokens"), right("documents"),
    ]  # fmt: skip
    return table("correlations over tokens, intervals over documents", headers, rows)
