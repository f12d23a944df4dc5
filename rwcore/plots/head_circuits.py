"""Which heads write against, or attend to, the token itself: a cell per head, and ranks of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, density_colours, draw_cells
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

CELL = 0.17
"""Height of a layer, in inches."""
_WIDEST = 0.32


def head_map_figure(
    shares: pd.DataFrame,
    label: str,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """A share for every head: layers from top to bottom, heads from left to right; others are empty.

    Args:
        shares: ``layer``, ``head``, ``share``.
        label: What is shared.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis).
        look: ``paper`` or ``screen``.
        width: In inches; narrower if there are few heads.

    Returns:
        The figure; the picture's axes have the ``gid`` ``heads``, whose row for layer ℓ is centred at y = ℓ.
    """
    layers, heads = (int(shares[name].max()) + 1 for name in ("layer", "head"))
    cells = np.full((layers, heads), np.nan)
    cells[shares["layer"], shares["head"]] = shares["share"]
    largest = float(np.nanmax(cells)) if np.isfinite(cells).any() else 0.0
    norm, colours = Normalize(0, largest or 1.0), density_colours(palette_name)
    wide = min(width, max(2.8, _WIDEST * heads + 1.5))
    with style(look):
        figure = new_figure(wide, max(1.6, CELL * layers + 0.9))
        axes, scale = figure.subplots(1, 2, width_ratios=(1, 0.05))
        axes.set_gid("heads")
        axes.set_xlim(-0.5, heads - 0.5)
        axes.set_ylim(layers - 0.5, -0.5)
        # The lowest row of a picture comes first, and layer 0 stands at the top.
        draw_cells(axes, cells[::-1], colours, norm)
        for which, count in (("x", heads), ("y", layers)):
            step = 1 if count <= 16 else 2 if count <= 32 else 5
            (axes.set_xticks if which == "x" else axes.set_yticks)(range(0, count, step))
        axes.tick_params(labelsize=7, length=2, pad=1.5)
        axes.set_xlabel("head", fontsize=8.5)
        axes.set_ylabel("layer", fontsize=8.5)
        if title:
            axes.set_title(title, fontsize=9)
        scale.set_xlim(0, 1)
        scale.set_ylim(0, norm.vmax or 1)
        draw_cells(scale, np.linspace(0, norm.vmax or 1, 256)[:, None], colours, norm)
        scale.set_xticks([])
        scale.yaxis.tick_right()
        scale.yaxis.set_label_position("right")
        scale.tick_params(labelsize=7, length=2, pad=1.5)
        scale.set_ylabel(label, fontsize=8)
    return figure


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
