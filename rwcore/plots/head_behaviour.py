"""Anti-induction against copy suppression: a point for each head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, density_colours
from rwcore.plots.style import FAINT, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 3.2
LABELLED = 5
"""Heads that may have a name at either end of each score."""
FAR = 0.05
"""How far from the middle of the others, as a share of the panel."""
X, Y = "copy_suppression", "anti_induction"
_NAMES = {X: "copy suppression (IOI prompts)", Y: "anti-induction (random tokens)"}
_SIDES = (
    (4, -3, "left"), (-4, -3, "right"), (3, 3, "left"), (-3, 3, "right"), (3, -9, "left"),
    (-3, -9, "right"),
)  # fmt: skip
"""Where names may stand beside their points: points to the right, points up, alignment."""


def head_scores_figure(
    table: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Both scores of every head (left), and of those that are positive in both, on logarithmic axes (right).

    The heads at the ends of each score have names, where there is room: on the left at both ends. The right
    panel is left out if there are fewer than two.

    Args:
        table: Rows of ``scores.csv`` (`rwcore.studies.head_behaviour_tables.score_table`).
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis): colours go with the depth of the layer.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; points have the ``gid`` ``heads``.

    Source: Copy Suppression, figure of anti-induction; section 13 of the specification.
    """
    positive = table[(table[X] > 0) & (table[Y] > 0)]
    parts = [table, positive] if len(positive) > 1 else [table]
    colours, depth = density_colours(palette_name), Normalize(0, 1)
    with style(look):
        figure = new_figure(width, HEIGHT)
        panels = figure.subplots(1, len(parts), squeeze=False)[0]
        for axes, rows, log in zip(panels, parts, (False, True), strict=False):
            if log:
                axes.set_xscale("log")
                axes.set_yscale("log")
            else:
                for line in (axes.axhline, axes.axvline):
                    line(0, color=FAINT, linewidth=0.7, zorder=0)
            axes.scatter(
                rows[X], rows[Y], c=colours(depth(rows["depth"])), s=11, linewidths=0.3, edgecolors="white",
                gid="heads",
            )  # fmt: skip
            axes.margins(0.16)
            axes.set_xlabel(_NAMES[X], fontsize=9)
            axes.tick_params(labelsize=8)
            axes.set_title("positive in both" if log else "all heads", fontsize=9)
        panels[0].set_ylabel(_NAMES[Y], fontsize=9)
        scale = figure.colorbar(ScalarMappable(depth, colours), ax=[*panels], fraction=0.03, pad=0.01)
        scale.set_label("depth (0: first layer, 1: last)", fontsize=8)
        scale.ax.tick_params(labelsize=8)
        if title is not None:
            figure.suptitle(title, fontsize=10, parse_math=False)
        figure.draw_without_rendering()  # positions are those of the final axes
        for axes, rows in zip(panels, parts, strict=True):
            _label(axes, rows, both_ends=axes is panels[0])
    return figure


def _label(axes: Axes, rows: pd.DataFrame, *, both_ends: bool) -> None:
    """Names of the heads at the upper end, or at either, beside their points, where they cover nothing else.

    A head in the thick of the others, or without room beside it, has no name.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    unit = figure.dpi / 72
    points = axes.transData.transform(rows[[X, Y]].to_numpy(dtype=float))
    frame = axes.get_window_extent()
    size = np.array([frame.width, frame.height])
    apart = np.abs((points - np.median(points, axis=0)) / size).max(axis=1)
    order = points.argsort(axis=0)
    ends = np.concatenate([order[-LABELLED:], order[: LABELLED if both_ends else 0]])
    radius = 1.5 * unit
    taken = [(x - radius, y - radius, x + radius, y + radius) for x, y in points.tolist()]
    for number in sorted({*ends.ravel().tolist()}, key=lambda one: -apart[one]):
        if apart[number] < FAR:
            break
        row, (x, y) = rows.iloc[number], points[number]
        text = f"{int(row['layer'])}.{int(row['head'])}"
        breadth, height = 4.6 * len(text) * unit, 7.5 * unit
        for right, up, side in _SIDES:
            left, bottom = x + right * unit - (breadth if side == "right" else 0), y + up * unit
            box = (left, bottom, left + breadth, bottom + height)
            inside = left > frame.x0 and box[2] < frame.x1 and bottom > frame.y0 and box[3] < frame.y1
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                axes.annotate(text, (row[X], row[Y]), (right, up), textcoords="offset points", ha=side,
                              fontsize=7.5, parse_math=False)  # fmt: skip
                break


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, bottom, right, top) overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
