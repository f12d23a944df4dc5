"""A quantity with a sign for every head of a model: layers from top to bottom, heads from left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, draw_cells
from rwcore.plots.style import Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

CELL = 0.17
"""Height of a layer, in inches."""
_WIDEST = 0.32


def signed_colours(palette_name: PaletteName) -> Colormap:
    """Red below 0 and blue above it, white between; or brown and green, for colour-blind eyes."""
    return mpl.colormaps["RdBu" if palette_name == "paper" else "BrBG"]


def signed_head_map_figure(
    table: pd.DataFrame,
    value: str,
    label: str,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """A cell for every head, white at 0; cells beyond the scale have its last colour.

    The scale ends at the 98 % quantile of sizes, so that one large head does not make all others white; the
    label says where the largest are.

    Args:
        table: ``layer``, ``head`` and the quantity; other heads are empty.
        value: Name of the quantity.
        label: What it is, with its unit.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches; narrower if there are few heads.

    Returns:
        The figure; the picture's axes have the ``gid`` ``heads``, whose row for layer ℓ is centred at y = ℓ.
    """
    layers, heads = (int(table[name].max()) + 1 for name in ("layer", "head"))
    cells = np.full((layers, heads), np.nan)
    cells[table["layer"].astype(int), table["head"].astype(int)] = table[value]
    sizes = np.abs(cells[np.isfinite(cells)])
    end = float(np.quantile(sizes, 0.98)) if sizes.size else 0.0
    end = end or float(sizes.max(initial=0.0)) or 1.0
    norm, colours = Normalize(-end, end), signed_colours(palette_name)
    wide = min(width, max(2.8, _WIDEST * heads + 1.6))
    with style(look):
        figure = new_figure(wide, max(1.8, CELL * layers + 0.9))
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
            figure.suptitle(title, fontsize=9, parse_math=False)
        scale.set_xlim(0, 1)
        scale.set_ylim(-end, end)
        draw_cells(scale, np.linspace(-end, end, 256)[:, None], colours, norm)
        scale.set_xticks([])
        scale.yaxis.set_major_locator(MaxNLocator(5))
        scale.yaxis.tick_right()
        scale.yaxis.set_label_position("right")
        scale.tick_params(labelsize=7, length=2, pad=1.5)
        low, high = (float(np.nan_to_num(edge(cells))) for edge in (np.nanmin, np.nanmax))
        scale.set_ylabel(f"{label}\n(from {low:.2g} to {high:.2g})", fontsize=8)
    return figure
