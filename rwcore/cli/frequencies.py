"""``rwcore frequencies``: what a published file of activation statistics says about a model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, remark, right, say, show, table
from rwcore.cli.options import Force, Model, Out, Palette, Processing

if TYPE_CHECKING:
    from rwcore.studies.frequency_export import FrequencyExport

HELP = """How often the neurons of MODEL fire, from a published FILE of activation statistics.

FILE is the summary.pt or summary_refactored.pt of the original system (nothing in it is executed). Tables and
figures are those of `rwcore activations`, without a pass over any text: frequencies by read-write class
against random neurons of the same layers, and how they go with the cosines of the weights. There are no
intervals, because the file says nothing about single texts. MODEL must be the one the file was made from.

Examples:
  rwcore frequencies allenai/OLMo-7B-0424-hf summary_refactored.pt --out out/published
  rwcore frequencies allenai/OLMo-1B-hf summary.pt --plots all --out out/published-1b
"""

FrequencyPlots = Annotated[
    Literal["none", "default", "all"],
    typer.Option("--plots", help="Figures: of gate > 0; or also of the quadrants and norms; or none."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("frequencies", help=paragraphs(HELP), no_args_is_help=True)(frequencies)


def frequencies(
    context: typer.Context,
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="summary.pt or summary_refactored.pt.")],
    out: Out,
    refactored: Annotated[
        bool | None,
        typer.Option(
            "--refactored/--not-refactored",
            help="Whether gate signs are folded in FILE; if not given, its name says it.",
        ),
    ] = None,
    plots: FrequencyPlots = "default",
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Write what a published file says and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find

    local = locate(find(model))  # before torch is imported: a wrong name must not take seconds

    from rwcore.studies.folder import check_target
    from rwcore.studies.frequencies import PublishedFrequencies
    from rwcore.studies.frequency_export import export_published
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    folded = "refactored" in file.name if refactored is None else refactored
    study = PublishedFrequencies(weight_study(local, processing=processing), file, folded)
    command = shlex.join(["rwcore", *context.obj])
    export = export_published(study, out, plots=plots, palette=palette, force=force, command=command)
    say(f"{local.spec.id} by {file.name}, gate signs {'' if folded else 'not '}folded in it")
    show_frequencies(export)


def show_frequencies(export: FrequencyExport) -> None:
    """Print how often each class fires, and how frequency and cosine go together."""
    show(_classes(export), _correlations(export))
    empty = [str(name) for name, n in zip(export.classes["class"], export.classes["n"], strict=True) if not n]
    if empty:
        remark(f"no neuron is of class {', '.join(empty)}")


def _classes(export: FrequencyExport) -> Table:
    """How often each class fires, against its baseline."""
    rows = [
        (row["class"], f"{row['n']:,}", f"{row['true']:.3f}", _interval(row), f"{row['baseline']:.3f}")
        for row in export.classes.to_dict("records")
        if row["n"]
    ]
    headers: list[str | Column] = [
        "class",
        right("neurons"),
        right("gate > 0"),
        right("95 % interval"),
        right("baseline"),
    ]
    return table("share of tokens with gate > 0, mean over neurons", headers, rows)


def _interval(row: Mapping[Any, Any]) -> str:
    return f"{row['low']:.3f} … {row['high']:.3f}" if row["low"] == row["low"] else "–"


def _correlations(export: FrequencyExport) -> Table:
    """Correlation of frequency and cosine over all neurons."""
    pooled = export.correlations[export.correlations["layer"] == "all"]
    wide = pooled.pivot(index="quadrant", columns="cosine", values="r")
    wide = wide.loc[list(dict.fromkeys(pooled["quadrant"])), list(dict.fromkeys(pooled["cosine"]))]
    rows = [
        (name, *(f"{r:+.2f}" for r in values))
        for name, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    names = {"gatelin": "cos(gate, in)", "gateout": "cos(gate, out)", "linout": "cos(in, out)"}
    return table(
        "correlation of frequency and cosine over all neurons",
        ["frequency", *(right(names[str(name)]) for name in wide)],
        rows,
    )
