"""Trends of probes over models as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.plots.probe_trends import trend_scores_figure, trend_strips_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_tables import MINUS, NONE
from rwcore.studies.compare import short_names
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.probe_runs import read_probe_run
from rwcore.studies.probe_texts import interval_text, score_text
from rwcore.studies.probe_trends import (
    CHANGE_COLUMNS,
    MISSING_COLUMNS,
    SUMMARY_COLUMNS,
    TREND_COLUMNS,
    ProbeTrends,
    probe_trends,
)
from rwcore.studies.tables import latex_escape, text_latex, text_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-probe-trends/1"
DEFINITION = "probe_trends/1"
COLUMNS = {
    "trends.csv": TREND_COLUMNS,
    "summary.csv": SUMMARY_COLUMNS,
    "changes.csv": CHANGE_COLUMNS,
    "missing.csv": MISSING_COLUMNS,
}
CAPTION = (
    "The best single neurons of {features} features in {models} models: mean test MCC (95 % interval over "
    "features), its difference from the smallest model, features with an MCC of at least 0.9 and 0.8, median "
    "relative depth of the best neurons, median number of neurons that reach 95 % of the best score"
)


@dataclass(frozen=True, eq=False)
class TrendExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        found: The tables.
        names: What models are called in figures, by id.
    """

    folder: Path
    manifest: dict[str, Any]
    found: ProbeTrends
    names: dict[str, str]


def export_trends(
    folders: Sequence[Path],
    out: Path,
    *,
    method: str | None = None,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> TrendExport:
    """Compare finished probes of several models and write what was found, whole or not at all.

    Args:
        folders: What ``rwcore probe --out`` has written, one of each model.
        out: See `rwcore.studies.folder.check_target`.
        method: See `rwcore.studies.probe_trends.probe_trends`.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused, the disk is full, or a folder holds no whole probes.
        OptionError: The probes cannot be compared, see `rwcore.studies.probe_trends.probe_trends`, or there
            is no such palette.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    found = probe_trends([read_probe_run(one) for one in folders], method=method)
    ids = [run.model for run in found.runs]
    names = dict(zip(ids, short_names(ids), strict=True))
    texts = summary_texts(found.summary, names)
    caption = CAPTION.format(features=len(found.changes), models=len(ids))
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, getattr(found, Path(name).stem), columns)
        write_text(new / "summary.md", text_markdown(texts, caption))
        write_text(new / "summary.tex", _latex(texts, caption))
        if plots:
            for name, figure in draw(found, names, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "models": [
                {
                    **run.manifest["model"],
                    "folder": str(run.folder),
                    "neurons": run.neurons,
                    "datasets": run.manifest["datasets"],
                }
                for run in found.runs
            ],
            "convention": found.runs[0].convention,
            "seed": found.runs[0].seed,
            "features": len(found.changes),
            "warnings": list(found.warnings),
            "options": {"method": found.method, "plots": plots, "palette": palette},
            "definitions": {"trends": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": {
                "probes": [run.manifest["provenance"] for run in found.runs],
                "trends": collect(stopwatch),
            },
        }
        write_json(new / MANIFEST, manifest)
    return TrendExport(folder, manifest, found, names)


def summary_texts(summary: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The summary as texts, models as rows.

    Args:
        summary: Of `rwcore.studies.probe_trends.probe_trends`.
        names: What models are called, by id.
    """
    rows = summary.to_dict("records")
    cells = {
        "neurons": [f"{row['neurons']:,}" for row in rows],
        "mean MCC": [
            interval_text(*(row[f"mean_mcc{end}"] for end in ("", "_low", "_high"))) for row in rows
        ],
        "difference": [NONE]
        + [interval_text(*(row[f"change{end}"] for end in ("", "_low", "_high"))) for row in rows[1:]],
        "≥ 0.9": [str(row["features_90"]) for row in rows],
        "≥ 0.8": [str(row["features_80"]) for row in rows],
        "depth": [score_text(row["median_depth"]) for row in rows],
        "neurons needed": [
            NONE if pd.isna(row["median_needed_k"]) else f"{row['median_needed_k']:g}" for row in rows
        ],
    }
    return pd.DataFrame(cells, index=pd.Index([names[row["model"]] for row in rows], name="Model"))


def _latex(texts: pd.DataFrame, caption: str) -> str:
    shown = texts.map(lambda text: latex_escape(text).replace(MINUS, "$-$"))
    # Names of columns are escaped by `text_latex`, which knows no mathematics: words say the same.
    shown = shown.rename(columns={"≥ 0.9": "at least 0.9", "≥ 0.8": "at least 0.8"})
    return text_latex(shown, caption.replace("%", r"\%"), "tab:probe_trends")


def draw(found: ProbeTrends, names: dict[str, str], palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures, one at a time: file name without suffix, and figure."""
    yield "scores", trend_scores_figure(found.trends, found.changes, names, palette_name=palette)
    yield "depth", trend_strips_figure(found.trends, names, palette_name=palette)
    if found.trends["needed_k"].notna().any():
        yield "needed_k", trend_strips_figure(found.trends, names, quantity="needed_k", palette_name=palette)
