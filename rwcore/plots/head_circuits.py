"""Which heads write against, or attend to, the token itself: a cell per head, and ranks of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import Look, new_figure, style

if TYPE_CHECKING:
    pass


def rank_histograms_figure(
    shares: Mapping[str, np.ndarray],
    edges: Sequence[int],
    label: str,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Ranks of own tokens, one line of steps per head; bins are even on the axis, and wider and wider.

    Args:
        shares: Shares of tokens in each bin, by name of the head.
        edges: Borders of the bins (`rwcore.heads.circuit_statistics.rank_edges`).
        label: Of the axis of ranks.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; lines have the ``gid`` ``head:`` and the name.
    """
    bins = [f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}" for low, high in pairwise(edges)]
    places = np.arange(len(bins) + 1)
    with style(look):
        figure = new_figure(width, 3.0)
        axes = figure.subplots()
        colours = cycle(palette_name)
        for number, (name, values) in enumerate(shares.items()):
            line: dict[str, Any] = {"color": colours[number % len(colours)], "linewidth": 1.4}
            axes.stairs(values, places, label=name, gid=f"head:{name}", **line)
        axes.set_xlim(0, len(bins))
        axes.set_ylim(0, None)
        axes.set_xticks(places[:-1] + 0.5, bins, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(labelsize=7, length=2)
        axes.set_xlabel(label, fontsize=8.5)
        axes.set_ylabel("share of tokens", fontsize=8.5)
        axes.legend(title="head", fontsize=7.5, title_fontsize=8, frameon=False)
        if title:
            axes.set_title(title, fontsize=9)
    return figure
