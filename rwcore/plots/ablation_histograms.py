"""How ablating neurons changes single predictions: signed-log histograms of sets against their baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from rwcore.ablation.signed_log import SignedLogCounts
from rwcore.plots.ablation_names import (
    BASELINE_NAME,
    OUTLINE,
    UNCHANGED,
    PairedCounts,
    RunCounts,
    class_colour,
    difference_label,
    directions,
    pair_runs,
    percent,
    run_text,
    signed_log_axis,
    tick_text,
)
from rwcore.plots.counts import PaletteName
from rwcore.plots.frequency_histograms import DASHED
from rwcore.plots.panels import TICKS, WIDTH, Floats, linear_ticks, log_ticks
from rwcore.plots.style import MUTED, Look, style

SHARE_LABEL = "share of predictions per bin"
LEFT, RIGHT, BOTTOM, COLUMN_GAP, ROW_GAP, PANEL = 0.55, 0.1, 0.78, 0.45, 0.3, 0.92
BASELINE: dict[str, Any] = {"edgecolor": OUTLINE, "linewidth": 0.9}
BASELINE_MEAN: dict[str, Any] = {"color": OUTLINE, "linewidth": 0.9, "linestyle": DASHED}
CLASS_MEAN: dict[str, Any] = {"color": "black", "linewidth": 1.0}
FEWEST = 3e-7
"""Lower end of a logarithmic axis at most: six of 20 million predictions."""


def bin_shares(counts: SignedLogCounts) -> tuple[Floats, Floats]:
    """Edges and heights of a signed-log histogram.

    Args:
        counts: The distribution.

    Returns:
        Edges, ascending, from the last negative to the last positive one, with one bin around 0 between the
        first of both sides; and the share of the differences in each bin. Shares add up to 1, or are all 0.
    """
    edges = counts.scale.edges()
    steps = np.concatenate([counts.below[::-1], [counts.middle], counts.above]).astype(np.float64)
    return np.concatenate([-edges[::-1], edges]), steps / max(1, counts.n)


def ablation_histograms_figure(
    runs: Sequence[RunCounts],
    metric: str,
    *,
    log_y: bool = False,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per run, two in a row: its differences in the colour of its class, the baseline outlined.

    Left of 0, on a tinted ground, lie the predictions whose metric the intact neurons lower. Bins are even in
    log |Δ|; one bin around 0, in grey, holds what is too small to draw and what did not change. The numbers
    over the three parts are their shares. Lines mark the means. The horizontal axis is that of all panels.

    Args:
        runs: Runs with their baselines, of one metric.
        metric: ``loss``, ``entropy``, ``rank`` or ``log_scale``.
        log_y: Logarithmic shares, the same axis in all panels: rare large changes show, as in the paper.
            Otherwise each panel is as high as its highest bar; the grey one ends below its number.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure: ``figure.axes[k]`` is the panel of the k-th run that is no baseline. Its patches have the
        ``gid`` ``true``, ``middle``, ``baseline`` and ``lowered`` (the tint), its lines ``mean:true``,
        ``mean:baseline`` and ``zero``, its texts ``share:below``, ``share:middle`` and ``share:above``.

    Source: RW functionalities, figures of ablations; section 3.4 of the specification (there with ten equal
    bins).
    """
    panels = pair_runs(runs, metric)
    rows = max(1, math.ceil(len(panels) / 2))
    columns = min(2, max(1, len(panels)))
    top = 0.66 if title else 0.44
    height = BOTTOM + top + rows * PANEL + (rows - 1) * ROW_GAP
    side = (width - LEFT - RIGHT - COLUMN_GAP) / 2 if columns == 2 else width - LEFT - RIGHT
    low, high, fewest = _limits(panels)
    lowest = fewest if log_y else None
    with style(look):
        figure = Figure(figsize=(width, height))
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            x, y = LEFT + column * (side + COLUMN_GAP), BOTTOM + (rows - 1 - row) * (PANEL + ROW_GAP)
            axes = figure.add_axes((x / width, y / height, side / width, PANEL / height))
            signed_log_axis(axes, panel.true.scale.edges()[0], low, high)
            _share_axis(axes, panel, lowest)
            _draw(axes, panel, lowest, palette_name)
            axes.tick_params(labelbottom=place + columns >= len(panels), labelleft=column == 0 or not log_y)
        for column in range(columns if panels else 0):
            _write_directions(
                figure, metric, (LEFT + column * (side + COLUMN_GAP)) / width, side / width, top
            )
        middle = (LEFT + (columns * side + (columns - 1) * COLUMN_GAP) / 2) / width
        look_of: dict[str, Any] = {"ha": "center", "va": "center"}
        figure.text(middle, 0.46 / height, difference_label(metric), fontsize=9, gid="xlabel", **look_of)
        centre = (BOTTOM + height - top) / 2 / height
        figure.text(
            0.1 / width, centre, SHARE_LABEL, rotation="vertical", fontsize=9, gid="ylabel", **look_of
        )
        if title:
            figure.text(middle, 1 - 0.13 / height, title, fontsize="medium", gid="title", **look_of)
        _legend(figure, panels, palette_name, middle)
    return figure


def _limits(panels: Sequence[PairedCounts]) -> tuple[float, float, float]:
    """Left and right end of what is there, and where a logarithmic axis of shares begins."""
    end, n = 0.0, 1
    for counts in (one for panel in panels for one in (panel.true, panel.baseline) if one is not None):
        edges = counts.scale.edges()
        used = np.flatnonzero(counts.below + counts.above)
        end = max(end, float(edges[used[-1] + 1] if len(used) else 10 * edges[0]))
        n = max(n, counts.n)
    return -(end or 1.0), end or 1.0, max(FEWEST, 0.5 / n)  # with 0 in the middle of every panel


def part_shares(counts: SignedLogCounts) -> tuple[float, float, float]:
    """Shares of the differences in the bins below 0, in the one around 0, and in those above; NaN of none."""
    n = counts.n or math.nan
    return int(counts.below.sum()) / n, counts.middle / n, int(counts.above.sum()) / n


def _share_axis(axes: Axes, panel: PairedCounts, lowest: float | None) -> None:
    room = 0.8  # of the height; above are the numbers
    if lowest is None:
        both = [counts for counts in (panel.true, panel.baseline) if counts is not None]
        bins = panel.true.scale.bins
        highest = max(float(np.delete(bin_shares(counts)[1], bins).max()) for counts in both) or 1.0
        axes.set_ylim(0.0, highest / room)
        ticks = linear_ticks(0.0, highest)
        labels = [f"{100 * tick:g} %" for tick in ticks]
    else:
        axes.set_yscale("log")
        axes.set_ylim(lowest, lowest ** (1 - 1 / room))
        ticks = log_ticks(lowest, 1.0)
        labels = [tick_text(tick) for tick in ticks]
    axes.set_yticks(ticks, labels)
    axes.minorticks_off()
    axes.tick_params(**TICKS)
    for name, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(name in ("left", "bottom"))


def _draw(axes: Axes, panel: PairedCounts, lowest: float | None, palette_name: PaletteName) -> None:
    axes.set_facecolor("white")  # half-transparent colours are defined over white, also on a dark page
    axes.set_title(run_text(panel.label), loc="left", fontsize=8, pad=2.5)
    axes.set_title(f"{panel.label.mode}, n = {panel.true.n:,}", loc="right", fontsize=7, pad=2.5, color=MUTED)
    if not panel.true.n:
        axes.text(0.5, 0.5, "no predictions", transform=axes.transAxes, ha="center", color=MUTED, fontsize=8)
        return
    colour, hatch = class_colour(panel.label, palette_name)
    filled: dict[str, Any] = {
        "facecolor": colour,
        "hatch": hatch,
        "edgecolor": "#ffffff" if hatch else colour,
    }
    _stairs(axes, panel.true, lowest, gid="true", fill=True, linewidth=0, zorder=2, **filled)
    edges, shares = bin_shares(panel.true)
    bins = panel.true.scale.bins
    top = axes.get_ylim()[1] * 0.8 if lowest is None else 1.0
    height, foot = min(shares[bins], top), lowest or 0.0
    if height > foot:
        axes.stairs(
            [height],
            edges[bins : bins + 2],
            baseline=foot,
            fill=True,
            color=UNCHANGED,
            zorder=2,
            gid="middle",
        )
    halo = [withStroke(linewidth=1.9, foreground="white")]
    if panel.baseline is not None and panel.baseline.n:
        look: dict[str, Any] = {"path_effects": halo, "zorder": 3, **BASELINE}
        _stairs(axes, panel.baseline, lowest, gid="baseline", **look)
        axes.axvline(panel.baseline.mean, 0, 0.8, **BASELINE_MEAN, path_effects=halo, gid="mean:baseline")
    axes.axvline(panel.true.mean, 0, 0.8, **CLASS_MEAN, path_effects=halo, zorder=4, gid="mean:true")
    parts = zip(("below", "middle", "above"), part_shares(panel.true), (0.25, 0.5, 0.75), strict=True)
    for name, share, x in parts:
        axes.text(
            x,
            0.98,
            percent(share),
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=8,
            color=MUTED if name == "middle" else "black",
            fontweight="bold" if share >= 0.5 else "normal",
            gid=f"share:{name}",
            zorder=5,
        )


def _stairs(axes: Axes, counts: SignedLogCounts, lowest: float | None, **look: Any) -> None:
    """All bins but that around 0, which a filled histogram draws in grey and an outline not at all."""
    edges, shares = bin_shares(counts)
    heights = np.where(shares > 0, shares, np.nan)  # an outline does not run along the axis
    heights[counts.scale.bins] = np.nan
    axes.stairs(heights, edges, baseline=lowest or 0.0, **look)


def _write_directions(figure: Figure, metric: str, x: float, side: float, top: float) -> None:
    """Over a column of panels, what its left and its right half mean."""
    height = float(figure.get_size_inches()[1])
    y = 1 - (top - 0.3) / height
    for text, place, align in zip(directions(metric), (x, x + side), ("left", "right"), strict=True):
        figure.text(place, y, text, ha=align, va="center", fontsize=7, gid="direction", color=MUTED)


def _legend(figure: Figure, panels: Sequence[PairedCounts], palette_name: PaletteName, middle: float) -> None:
    colours = list(dict.fromkeys(class_colour(panel.label, palette_name)[0] for panel in panels))
    if not colours:
        return
    shown = [colours[0], colours[-1]] if len(colours) > 1 else colours
    threshold = float(panels[0].true.scale.edges()[0])
    nothing = "no change" if threshold >= 1 else f"|Δ| < {tick_text(threshold)}"
    entries: list[tuple[str, Any]] = [
        ("ablated neurons", tuple(Patch(facecolor=colour, edgecolor="none") for colour in shown)),
        ("their mean", Line2D([], [], **CLASS_MEAN)),
        (nothing, Patch(facecolor=UNCHANGED, edgecolor="none")),
    ]
    if any(panel.baseline is not None for panel in panels):
        entries += [
            (BASELINE_NAME, Patch(facecolor="none", **BASELINE)),
            ("their mean", Line2D([], [], **BASELINE_MEAN)),
        ]
    figure.legend(
        [handle for _, handle in entries],
        [text for text, _ in entries],
        loc="center",
        bbox_to_anchor=(middle, 0.17 / figure.get_size_inches()[1]),
        ncols=len(entries),
        frameon=False,
        fontsize=7,
        columnspacing=1.2,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )
