"""How ablating neurons changes single predictions: distribution functions of several runs over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from rwcore.ablation.signed_log import cumulative
from rwcore.plots.ablation_names import (
    BASELINE_NAME,
    MIDDLE,
    OUTLINE,
    RunCounts,
    curve_colour,
    difference_label,
    directions,
    mode_text,
    run_text,
    signed_log_axis,
)
from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import TICKS, WIDTH, Floats
from rwcore.plots.style import FAINT, MUTED, Look, new_figure, style

SHARE_LABEL = "share of predictions with Δ ≤ x"
TRUE_WIDTH, BASELINE_WIDTH = 1.7, 1.2
BASELINE_DASH: Any = (0, (2.6, 1.3))
# Yellow and light grey are seen on white by their dark borders.
CASING = [Stroke(linewidth=TRUE_WIDTH + 0.9, foreground=OUTLINE), Normal()]
BASELINE_CASING = [Stroke(linewidth=BASELINE_WIDTH + 0.7, foreground=OUTLINE), Normal()]


def ecdf_points(run: RunCounts, metric: str) -> tuple[Floats, Floats]:
    """What the curve of a run goes through.

    Args:
        run: The run.
        metric: Which metric it is of; it says how near to 0 differences are still told apart.

    Returns:
        Differences, ascending, 0 twice (before and after the predictions that did not change), and the share
        of the predictions that are not above each; see `rwcore.ablation.signed_log.cumulative`.
    """
    return cumulative(run.counts.coarser(MIDDLE[metric]))


def ablation_ecdf_figure(
    runs: Sequence[RunCounts],
    metric: str,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per mode, with one curve per run: the share of the predictions whose difference is at most x.

    A curve that is high where it crosses 0 belongs to neurons that lower the metric of most predictions; the
    dot on it is their share. Curves have the colours of the classes, conditional runs colours of their own;
    baselines are dashed in the colour of their set. Left of 0 the ground is tinted.

    Args:
        runs: Runs and baselines of one metric; those without predictions are left out.
        metric: ``loss``, ``entropy``, ``rank`` or ``log_scale``.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, one axes per mode in the order of the runs. Curves have the ``gid`` ``ecdf:`` and the
        text of the run, of baselines ``baseline:`` and that text, dots ``zero:`` and ``zero-baseline:``.

    Source: section 3.4 of the specification; a cumulative view of the paper's histograms.
    """
    modes = list(dict.fromkeys(run.label.mode for run in runs)) or [""]
    shown = [run for run in runs if run.counts.n]
    threshold, low, high = _limits(shown, metric)
    with style(look):
        rows = math.ceil(len(modes) / 2)
        figure = new_figure(width, 2.9 * rows + 0.5 + (0.2 if title else 0.0))
        grid = figure.add_gridspec(rows, min(2, len(modes)))
        for place, mode in enumerate(modes):
            axes = figure.add_subplot(grid[divmod(place, 2)])
            signed_log_axis(axes, threshold, low, high, most=7 if len(modes) > 1 else 11)
            _frame(axes, metric, mode_text(mode))
            # Baselines below; the last class on top, as later classes are the smaller ones.
            for run in sorted(shown, key=lambda run: not run.label.baseline):
                if run.label.mode == mode:
                    _curve(axes, run, metric, palette_name)
            axes.tick_params(labelleft=place % 2 == 0)
            axes.set_xlabel(difference_label(metric), fontsize=9)
        figure.supylabel(SHARE_LABEL, fontsize=9)
        if title:
            figure.suptitle(title, fontsize="medium")
        _legend(figure, shown, palette_name)
    return figure


def _limits(runs: Sequence[RunCounts], metric: str) -> tuple[float, float, float]:
    """Where the linear middle ends, and the ends of the axis: beyond the 1 in 10,000 most extreme ones."""
    threshold, low, high = 0.0, 0.0, 0.0
    for run in runs:
        places, shares = ecdf_points(run, metric)
        threshold = float(run.counts.coarser(MIDDLE[metric]).scale.edges()[0])
        low = min(low, float(places[np.flatnonzero(shares > 1e-4)[0]]))
        high = max(high, float(places[np.flatnonzero(shares < 1 - 1e-4)[-1] + 1]))
    threshold = threshold or 1.0
    return threshold, min(low, -10 * threshold), max(high, 10 * threshold)


def _frame(axes: Axes, metric: str, name: str) -> None:
    axes.set_facecolor("white")
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.tick_params(**TICKS)
    axes.tick_params(axis="x", pad=3.5)  # clear of the 0 of the other axis
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("left", "bottom"))
    axes.set_title(name, fontsize=8.5, pad=14)
    for text, x, align in zip(directions(metric), (0.0, 1.0), ("left", "right"), strict=True):
        axes.annotate(
            text,
            (x, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha=align,
            fontsize=7,
            color=MUTED,
            gid="direction",
        )


def _curve(axes: Axes, run: RunCounts, metric: str, palette_name: PaletteName) -> None:
    places, shares = ecdf_points(run, metric)
    colour, name = curve_colour(run.label, palette_name), run_text(run.label)
    look = _look(colour, run.label.baseline)
    kind, dot = ("baseline", "zero-baseline") if run.label.baseline else ("ecdf", "zero")
    axes.plot(places, shares, gid=f"{kind}:{name}", **look)
    axes.plot(
        0,
        shares[np.flatnonzero(places == 0)[0]],
        "o",
        markersize=3.2 if run.label.baseline else 4.5,
        markerfacecolor="white" if run.label.baseline else colour,
        markeredgecolor=OUTLINE,
        markeredgewidth=0.7,
        zorder=5,
        gid=f"{dot}:{name}",
    )


def _look(colour: Any, baseline: bool) -> dict[str, Any]:
    if baseline:
        return {
            "color": colour,
            "linewidth": BASELINE_WIDTH,
            "linestyle": BASELINE_DASH,
            "path_effects": BASELINE_CASING,
            "dash_capstyle": "butt",
            "zorder": 3,
        }
    return {"color": colour, "linewidth": TRUE_WIDTH, "path_effects": CASING, "zorder": 4}


def _legend(figure: Figure, runs: Sequence[RunCounts], palette_name: PaletteName) -> None:
    entries = {
        run_text(run.label): Line2D([], [], **_look(curve_colour(run.label, palette_name), False))
        for run in runs
        if not run.label.baseline
    }
    if any(run.label.baseline for run in runs):
        entries[f"{BASELINE_NAME} (dashed)"] = Line2D([], [], **_look(FAINT, True))
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=7.5,
            handlelength=2.2,
            columnspacing=1.4,
        )
