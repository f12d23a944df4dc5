"""Single neurons against random directions, rank by rank: is a neuron better than any direction?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import CONTROL_LINES, cycle, score_label
from rwcore.plots.probe_panels import legend_below, probe_grid, score_axis
from rwcore.plots.style import Look, style

if TYPE_CHECKING:
    import pandas as pd

NEURONS = "neurons"
FOOTNOTE = "mean over trials; bands: the lowest and the highest of them"


def probe_ranks_figure(
    curves: pd.DataFrame,
    *,
    score: str = "test_f1",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per feature: the scores of the best neurons, of the best directions, of shuffled labels.

    Args:
        curves: Rows of `rwcore.probing.superposition.rank_curves`.
        score: Which score they are of.
        title: Usually the model's name, and the layer.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Lines have the ``gid`` ``neurons``, ``random directions``, ``shuffled labels``; bands
        ``band:`` and that.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), superposition of compound words.
    """
    features = list(dict.fromkeys(curves["feature"]))
    kinds = [kind for kind in (NEURONS, *CONTROL_LINES) if kind in {*curves["control"]}]
    plain: dict[str, Any] = {"color": cycle(palette_name)[0], "linewidth": 1.5}
    lines = {kind: CONTROL_LINES.get(kind, plain) for kind in kinds}
    with style(look):
        grid = probe_grid(features, entries=len(kinds), title=title, width=width)
        longest = int(curves["rank"].max())
        for axes, feature in zip(grid.panels, features, strict=True):
            for kind in kinds:
                chosen = (curves["feature"] == feature) & (curves["control"] == kind)
                _draw(axes, curves[chosen].sort_values("rank"), kind, lines[kind])
        for axes in grid.panels:
            axes.set_xlim(0.5, longest + 0.5)
            axes.set_xticks(sorted({1, *range(10, longest + 1, 10)}))
            score_axis(axes, float(np.nanmin(curves["low"].to_numpy(float))))
        grid.label("rank", f"{score_label(score)}, k = 1", title)
        legend_below(grid, [Line2D([], [], label=kind, **line) for kind, line in lines.items()], FOOTNOTE)
    return grid.figure


def _draw(axes: Axes, rows: pd.DataFrame, kind: str, line: dict[str, Any]) -> None:
    """The line and band of one control."""
    rank, mean, low, high = (rows[name].to_numpy(float) for name in ("rank", "mean", "low", "high"))
    if (rows["trials"] > 1).any():
        axes.fill_between(rank, low, high, color=line["color"], alpha=0.18, linewidth=0, zorder=2,
                          gid=f"band:{kind}")  # fmt: skip
    axes.plot(rank, mean, zorder=4 if kind == NEURONS else 3, gid=kind, **line)
