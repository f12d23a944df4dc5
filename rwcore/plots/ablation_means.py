"""What ablating each set does on average: mean differences with their intervals, all metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.ablation.compare import RunLabel
from rwcore.plots.ablation_names import (
    BASELINE_NAME,
    SHORT_LABELS,
    UNITS,
    class_colour,
    mode_text,
    run_text,
    signed_log_axis,
)
from rwcore.plots.counts import Colour, PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, over_white, style

if TYPE_CHECKING:
    import pandas as pd

MARKERS = {"zero": "o", "mean": "s", "fixed": "^", "threshold": "v", "relu": "P", "multiply": "X"}
LINE, GAP = 0.135, 0.1
"""Height of a run and of the space between two sets, in inches."""
DECADES = 3
"""Powers of ten below that of the largest mean, where the axis turns linear."""
FOOTNOTE = "left of 0 (tinted): the intact neurons lower the metric; right of 0: they raise it"


@dataclass(frozen=True)
class MeanRow:
    """A line of dots: a set under one condition and one mode.

    Attributes:
        label: The run.
        place: Where the line is, in lines from the top.
        group: Number of its set and condition, from the top.
    """

    label: RunLabel
    place: float
    group: int


def mean_rows(table: pd.DataFrame) -> list[MeanRow]:
    """Which line each run is drawn on; a baseline shares the line of its set.

    Args:
        table: Rows of ``ablation.csv``.

    Returns:
        Lines from the top, sets and conditions in the order of the table, modes below each other.
    """
    columns = ["set", "gate", "post", "mode"]
    runs = list(dict.fromkeys(map(tuple, table[columns].astype(str).to_numpy())))
    groups = list(dict.fromkeys(run[:3] for run in runs))
    rows, place = [], 0.0
    for number, group in enumerate(groups):
        for name, gate, post, mode in runs:
            if (name, gate, post) == group:
                rows.append(MeanRow(RunLabel(name, mode, False, gate, post), place, number))
                place += 1
        place += GAP / LINE
    return rows


def threshold_of(values: np.ndarray) -> float:
    """Where the axis of some means turns linear: three powers of ten below the largest.

    Args:
        values: Means and ends of intervals; NaN is left out.
    """
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return 10.0 ** (math.floor(math.log10(largest)) - DECADES) if largest else 1e-3


def ablation_means_figure(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("loss", "entropy", "rank", "log_scale"),
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One column per metric, one line per set and mode: the mean difference as a dot, its baseline hollow.

    The shape of a dot is the mode. Bars across it are the 95 % interval of the mean over documents. Axes are
    logarithmic on both sides of 0: sets differ by powers of ten. A run without predictions has no dot.

    Args:
        table: Rows of ``ablation.csv`` (`rwcore.ablation.compare.COLUMNS`; used are set, baseline, mode,
            gate, post, metric, mean, low, high). No condition is an empty text or NaN.
        metrics: Which are drawn, from the left; those that the table does not have are left out.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, one axes per metric. Its lines have the ``gid`` ``true:`` or ``baseline:`` and the run
        (``weakening gate− post+, zero``), likewise ``interval:true:``, ``interval:baseline:`` and ``gap:``.

    Source: RW functionalities, tables of ablations; section 3.4 of the specification.
    """
    table = table.assign(**{name: table[name].fillna("").astype(str) for name in ("gate", "post")})
    present = [metric for metric in metrics if (table["metric"] == metric).any()]
    rows = mean_rows(table)
    lines = rows[-1].place + 1 if rows else 1.0
    with style(look):
        figure = new_figure(width, LINE * lines + 1.35 + (0.2 if title else 0.0))
        grid = figure.add_gridspec(1, max(1, len(present)))
        for column, metric in enumerate(present):
            axes = figure.add_subplot(grid[0, column])
            wide = width / len(present) > 2.5
            _column(axes, table[table["metric"] == metric], rows, metric, palette_name, most=9 if wide else 4)
            _names(axes, rows, lines, first=column == 0)
        if title:
            figure.suptitle(title, fontsize="medium")
        _legend(figure, table, rows, palette_name)
    return figure


def _column(
    axes: Axes,
    table: pd.DataFrame,
    rows: Sequence[MeanRow],
    metric: str,
    palette_name: PaletteName,
    *,
    most: int,
) -> None:
    numbers = table[["mean", "low", "high"]].to_numpy(float)
    threshold = threshold_of(numbers)
    low = min(float(np.nanmin(numbers, initial=0.0)) * 1.6, -threshold)
    high = max(float(np.nanmax(numbers, initial=0.0)) * 1.6, threshold)
    signed_log_axis(axes, threshold, low, high, first=10 * threshold, most=most)
    axes.set_facecolor("white")
    places = {row.label: row.place for row in rows}
    for label, ends in _gaps(table).items():
        axes.plot(ends, [places[label]] * 2, color=FAINT, linewidth=2.2, zorder=2, gid=f"gap:{_name(label)}")
    fields = ["set", "mode", "baseline", "gate", "post", "mean", "low", "high"]
    for name, mode, baseline, gate, post, *values in table[fields].itertuples(index=False, name=None):
        label = RunLabel(str(name), str(mode), False, str(gate), str(post))
        if math.isfinite(values[0]):
            colour = class_colour(label, palette_name)[0]
            _dot(axes, label, places[label], [float(value) for value in values], colour, bool(baseline))
    unit = f"Δ ({UNITS[metric]})" if UNITS[metric] else "Δ"
    axes.set_title(SHORT_LABELS[metric], fontsize=8.5, pad=3)
    axes.set_xlabel(f"mean {unit}", fontsize=8)


def _gaps(table: pd.DataFrame) -> dict[RunLabel, list[float]]:
    """From the mean of a baseline to that of its set, where there are both."""
    ends: dict[RunLabel, list[float]] = {}
    fields = ["set", "mode", "gate", "post", "mean"]
    for name, mode, gate, post, mean in table[fields].itertuples(index=False, name=None):
        if math.isfinite(mean):
            label = RunLabel(str(name), str(mode), False, str(gate), str(post))
            ends.setdefault(label, []).append(float(mean))
    return {label: both for label, both in ends.items() if len(both) == 2}


def _name(label: RunLabel) -> str:
    return f"{run_text(label)}, {label.mode}"


def _dot(
    axes: Axes, label: RunLabel, place: float, values: list[float], colour: Colour, baseline: bool
) -> None:
    mean, low, high = values
    kind = "baseline" if baseline else "true"
    name = f"{kind}:{_name(label)}"
    if math.isfinite(low) and math.isfinite(high):
        axes.plot(
            [low, high],
            [place, place],
            color=INK,
            linewidth=0.9,
            marker="|",
            markersize=5,
            markeredgewidth=0.8,
            zorder=3 if baseline else 4,
            gid=f"interval:{name}",
        )
    axes.plot(
        mean,
        place,
        MARKERS.get(label.mode, "D"),
        markersize=4.2 if baseline else 5.2,
        markerfacecolor="white" if baseline else over_white(colour),
        markeredgecolor=INK,
        markeredgewidth=0.8 if baseline else 0.6,
        zorder=3.5 if baseline else 4.5,
        gid=name,
    )


def _names(axes: Axes, rows: Sequence[MeanRow], lines: float, *, first: bool) -> None:
    """Names of sets at the left of the first column, and a line between two sets."""
    axes.set_ylim(lines - 0.5 + 0.2, -0.7)
    groups: dict[int, list[MeanRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    middles = [sum(row.place for row in group) / len(group) for group in groups.values()]
    axes.set_yticks(middles, [run_text(group[0].label) for group in groups.values()] if first else [])
    axes.tick_params(axis="y", length=0, labelsize=8, labelleft=first)
    axes.tick_params(axis="x", labelsize=7, width=0.5, length=2.5)
    for group in list(groups.values())[1:]:
        axes.axhline(group[0].place - 0.5 - GAP / LINE / 2, color=FAINT, linewidth=0.4, zorder=1)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side == "bottom")


def _legend(figure: Figure, table: pd.DataFrame, rows: Sequence[MeanRow], palette_name: PaletteName) -> None:
    dot: dict[str, Any] = {"linestyle": "none", "markeredgecolor": INK, "markersize": 5.2}
    modes = dict.fromkeys(row.label.mode for row in rows)
    entries = {
        mode_text(mode): Line2D(
            [], [], marker=MARKERS.get(mode, "D"), markerfacecolor=MUTED, markeredgewidth=0.6, **dot
        )
        for mode in modes
    }
    if table["baseline"].astype(bool).any():
        entries[f"{BASELINE_NAME} (hollow)"] = Line2D(
            [], [], marker=MARKERS.get(next(iter(modes)), "D"), markerfacecolor="white", **dot
        )
    if table["low"].notna().any():
        entries["95 % interval over documents"] = Line2D(
            [], [], marker="|", markersize=7, markeredgewidth=0.8, color=INK, linewidth=0.9
        )
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=4,
            frameon=False,
            fontsize=7.5,
            columnspacing=1.2,
            title=f"Δ = clean − ablated; {FOOTNOTE}",
            title_fontsize=7.5,
        )
