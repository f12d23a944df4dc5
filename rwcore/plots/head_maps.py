"""A quantity for every head of a model: layers from top to bottom, heads from left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, density_colours, draw_cells
from rwcore.plots.style import Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

CELL = 0.17
"""Height of a layer, in inches."""
_WIDEST = 0.32
_WRITABLE = 0.42
"""Width of a head whose hundredths are written into its cell, in inches."""

Cells = Float[np.ndarray, "layer head"]


def signed_colours(palette_name: PaletteName) -> Colormap:
    """Red below 0 and blue above it, white between; or brown and green, for colour-blind eyes."""
    return mpl.colormaps["RdBu" if palette_name == "paper" else "BrBG"]


def head_map_figure(
    table: pd.DataFrame,
    value: str,
    label: str,
    *,
    end: float | None = None,
    written: float | None = None,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """A share for every head from the first layer on that has any; shares below 0 have the colour of 0.

    Args:
        table: ``layer``, ``head`` and the share; other heads are empty.
        value: Name of the share.
        label: What is shared.
        end: Where the scale ends; None for the largest share.
        written: Shares from this on are also written, as hundredths, where there is room; None for none.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis).
        look: ``paper`` or ``screen``.
        width: In inches; narrower if there are few heads.

    Returns:
        The figure; the picture's axes have the ``gid`` ``heads``, whose row for layer ℓ is centred at y = ℓ.
    """
    first, cells = _cells(table, value)
    largest = float(np.nanmax(cells)) if np.isfinite(cells).any() else 0.0
    norm, colours = Normalize(0, end or largest or 1.0), density_colours(palette_name)
    room = _WIDEST if written is None else _WRITABLE
    figure = _map(cells, first, norm, colours, label, title=title, look=look, width=width, room=room)
    if written is not None and room * cells.shape[1] <= width:
        for row, head in np.argwhere(np.nan_to_num(cells) >= written):
            share = cells[row, head]
            figure.axes[0].text(head, first + row, f"{100 * share:.0f}", ha="center", va="center_baseline",
                                fontsize=6, color="white" if norm(share) < 0.6 else "black")  # fmt: skip
    return figure


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
    """A quantity with a sign for every head, white at 0; cells beyond the scale have its last colour.

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
    first, cells = _cells(table, value)
    known = cells[np.isfinite(cells)]
    sizes = np.abs(known if known.size else np.zeros(1))
    end = float(np.quantile(sizes, 0.98)) or float(sizes.max()) or 1.0
    full = f"{label}\n(from {known.min():.2g} to {known.max():.2g})" if known.size else label
    norm, colours = Normalize(-end, end), signed_colours(palette_name)
    return _map(cells, first, norm, colours, full, title=title, look=look, width=width)


def _cells(table: pd.DataFrame, value: str) -> tuple[int, Cells]:
    """The first layer, and a row for it and each later one."""
    layer, head = (table[name].to_numpy(dtype=int) for name in ("layer", "head"))
    first = int(layer.min())
    cells = np.full((int(layer.max()) + 1 - first, int(head.max()) + 1), np.nan)
    cells[layer - first, head] = table[value]
    return first, cells


def _map(
    cells: Cells,
    first: int,
    norm: Normalize,
    colours: Colormap,
    label: str,
    *,
    title: str | None,
    look: Look,
    width: float,
    room: float = _WIDEST,
) -> Figure:
    """The cells of the layers from the first on, and their scale beside them."""
    layers, heads = cells.shape
    low, high = norm.vmin or 0.0, norm.vmax or 0.0
    with style(look):
        wide = min(width, max(2.8, room * heads + 1.6))
        figure = new_figure(wide, max(1.8, CELL * layers + 0.9))
        axes, scale = figure.subplots(1, 2, width_ratios=(1, 0.05))
        axes.set_gid("heads")
        axes.set_xlim(-0.5, heads - 0.5)
        axes.set_ylim(first + layers - 0.5, first - 0.5)
        # The lowest row of a picture comes first, and the first layer stands at the top.
        draw_cells(axes, cells[::-1], colours, norm)
        for ticks, start, count in ((axes.set_xticks, 0, heads), (axes.set_yticks, first, layers)):
            step = 1 if count <= 16 else 2 if count <= 32 else 5
            ticks(range(start, start + count, step))
        axes.tick_params(labelsize=7, length=2, pad=1.5)
        axes.set_xlabel("head", fontsize=8.5)
        axes.set_ylabel("layer", fontsize=8.5)
        if title:
            figure.suptitle(title, fontsize=9, parse_math=False)
        scale.set_xlim(0, 1)
        scale.set_ylim(low, high)
        draw_cells(scale, np.linspace(low, high, 256)[:, None], colours, norm)
        scale.set_xticks([])
        scale.yaxis.set_major_locator(MaxNLocator(5))
        scale.yaxis.tick_right()
        scale.yaxis.set_label_position("right")
        scale.tick_params(labelsize=7, length=2, pad=1.5)
        scale.set_ylabel(label, fontsize=8)
    return figure
