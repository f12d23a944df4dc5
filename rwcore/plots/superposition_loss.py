"""Random directions against neurons, k at a time: by how much is the log loss of the directions larger?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import METHOD_LABELS, method_lines
from rwcore.plots.probe_panels import legend_below, probe_grid
from rwcore.plots.sparsity_curves import size_axis
from rwcore.plots.style import FAINT, INK, Look, style

if TYPE_CHECKING:
    import pandas as pd

FOOTNOTE = "over 0 % neurons are better; grey: the lowest and the highest random basis"
_ROOM = 0.06


def superposition_loss_figure(
    loss: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per feature: by how many percent k random directions are worse than k neurons, over k.

    Args:
        loss: Rows of `rwcore.probing.superposition.log_loss_increase` with columns ``feature`` and
            ``method``, panels in the order in which features come.
        title: Usually the model's name, and the layer.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Lines have the ``gid`` of their method, ranges of the bases ``range:`` and the method, the
        line at no difference ``zero``.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), superposition of compound words.
    """
    features = list(dict.fromkeys(loss["feature"]))
    lines = method_lines(list(dict.fromkeys(loss["method"])), palette_name)
    largest = int(loss["k"].max())
    low, high = min(0.0, float(np.nanmin(loss["low"]))), max(0.0, float(np.nanmax(loss["high"])))
    room = _ROOM * (high - low or 1.0)
    with style(look):
        grid = probe_grid(features, entries=len(lines), title=title, width=width)
        for axes, feature in zip(grid.panels, features, strict=True):
            size_axis(axes, largest, grid.side)
            axes.set_ylim(low - room, high + room)
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.grid(axis="y", color=FAINT, linewidth=0.4, zorder=0)
            axes.axhline(0, color=INK, linewidth=0.8, zorder=2.5, gid="zero")
            for method, line in lines.items():
                chosen = (loss["feature"] == feature) & (loss["method"] == method)
                _draw(axes, loss[chosen].sort_values("k"), method, line)
        grid.label("directions or neurons k", "increase of the test log loss (%)", title)
        handles = [
            Line2D([], [], label=METHOD_LABELS.get(name, name), **line) for name, line in lines.items()
        ]
        legend_below(grid, handles, FOOTNOTE)
    return grid.figure


def _draw(axes: Axes, rows: pd.DataFrame, method: str, line: dict[str, Any]) -> None:
    """The line and the range of one method."""
    k, percent, low, high = (rows[name].to_numpy(float) for name in ("k", "percent", "low", "high"))
    axes.fill_between(k, low, high, color=INK, alpha=0.14, linewidth=0, zorder=2, gid=f"range:{method}")
    axes.plot(k, percent, zorder=4, gid=method, **line)
