"""``rwcore probe-trends``: what becomes of features as models grow."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, remark, right, say, show, table
from rwcore.cli.options import Force, Out, Palette

if TYPE_CHECKING:
    from rwcore.studies.probe_trend_export import TrendExport

HELP = """What becomes of features as models grow: finished folders of `rwcore probe` side by side.

Each DIR holds the probes of one model. Of every feature that all of the models have: the score of its best
neuron, how deep in the model that is, how many neurons together reach 95 % of the best score; and what of
this changes from the smallest model to the largest. Nothing is run again.

The models must have been probed with the same --seed, and all or none of them --as-published. Models with
another tokenizer have other examples; that is allowed, and said. Writes tables (CSV, LaTeX, Markdown),
figures (PDF, PNG) and a manifest; see OUTPUTS.md.

Examples:
  rwcore probe-trends out/pythia-70m out/pythia-160m out/pythia-410m --out out/trends
  rwcore probe-trends out/small out/large --method mean_dif --palette accessible --out out/two
"""
SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("probe-trends", help=paragraphs(HELP), no_args_is_help=True)(probe_trends)


def probe_trends(
    context: typer.Context,
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of `rwcore probe`, one of each model.")
    ],
    out: Out,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="How the k neurons were chosen, as in curves.csv; telescopic where all folders have it.",
        ),
    ] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    force: Force = False,
) -> None:
    """Compare probes of several models, write what was found and print a summary."""
    from rwcore.studies.probe_trend_export import export_trends

    export = export_trends(
        folders,
        out,
        method=method,
        plots=plots,
        palette=palette,
        force=force,
        command=shlex.join(["rwcore", *context.obj]),
    )
    _summarise(export)


def _summarise(export: TrendExport) -> None:
    found = export.found
    how = found.runs[0].chosen_by
    say(f"{len(found.runs)} models, {len(found.changes)} features, chosen on {how}")
    show(_models(export), _changes(export))
    for warning in export.manifest["warnings"]:
        remark(f"note: {warning}")
    for model, rows in found.missing.groupby("missing_in", sort=False):
        remark(
            f"left out, no score in {export.names[str(model)]} ({len(rows)}): {', '.join(rows['feature'])}"
        )
    if found.method is None:
        remark("the folders share no curves, so it is not known how many neurons are needed")
    say(f"{len(export.manifest['files']) + 1} files in {export.folder}")


def _models(export: TrendExport) -> Table:
    from rwcore.studies.probe_trend_export import summary_texts

    shown = summary_texts(export.found.summary, export.names)
    headers: list[str | Column] = [str(shown.index.name), *map(right, shown.columns)]
    rows = [(name, *cells) for name, cells in zip(shown.index, shown.to_numpy(), strict=True)]
    return table("best neurons by model; 95 % intervals over features", headers, rows)


def _changes(export: TrendExport) -> Table:
    """The features that change most, from the smallest model to the largest."""
    changes = export.found.changes
    first, last = (export.names[run.model] for run in (export.found.runs[0], export.found.runs[-1]))
    counts = changes["mcc_trend"].value_counts()
    said = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("gains", "loses", "same"))
    chosen = changes if len(changes) <= 2 * SHOWN else changes.iloc[[*range(SHOWN), *range(-SHOWN, 0)]]
    rows = [
        (
            row["feature"],
            *(f"{row[f'{end}_mcc']:.2f}" for end in ("first", "last")),
            *(f"{row[f'{score}_change']:+.3f}" for score in ("mcc", "f1")),
            "yes" if row["intervals_apart"] is True else "",
        )
        for row in chosen.astype({"intervals_apart": object}).to_dict("records")
    ]
    headers: list[str | Column] = [
        "feature",
        right(first),
        right(last),
        right("MCC"),
        right("F1"),
        "intervals apart",
    ]
    return table(f"changes of the test score by feature ({said})", headers, rows)
