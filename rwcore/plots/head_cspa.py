"""How much of each head's effect is copy suppression: a cell per head, layers from below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from rwcore.heads.cspa import NAMES
from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, density_colours, draw_cells
from rwcore.plots.style import Look, style

if TYPE_CHECKING:
    import pandas as pd

ROW, CELL = 0.2, 0.42
"""Height of a layer and largest width of a head, in inches."""
_LEFT, _RIGHT, _BOTTOM, _TOP, _BAR, _BAR_GAP = 0.5, 0.75, 0.42, 0.28, 0.12, 0.12
_LEGIBLE = 0.24
"""Width of a cell from which shares are written into it."""
_WRITTEN = 0.05
"""Shares below this are not written: most heads have none."""


def cspa_heads_figure(
    table: pd.DataFrame,
    *,
    variant: str,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The share of the effect of each head that is explained.

    Shares below 0 have the colour of 0; heads that were not measured or have no effect are empty. Shares from
    0.05 on are written as hundredths where cells are wide enough.

    Args:
        table: Rows of `rwcore.heads.cspa_scores.explained_table`.
        variant: Which of them are drawn.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis).
        look: ``paper`` or ``screen``.
        width: In inches; the figure is narrower if there are few heads.

    Returns:
        The figure: an axes with the cells, and the scale at the right with the ``gid`` ``scale``.
    """
    rows = table[table["variant"] == variant]
    layers = np.arange(int(rows["layer"].min()), int(rows["layer"].max()) + 1)
    heads = np.arange(int(rows["head"].max()) + 1)
    cells = np.full((len(layers), len(heads)), np.nan)
    cells[rows["layer"] - layers[0], rows["head"]] = rows["explained"]
    cell = min((width - _LEFT - _RIGHT) / len(heads), CELL)
    full = _LEFT + cell * len(heads) + _RIGHT
    body = ROW * len(layers)
    height = _BOTTOM + body + _TOP
    norm, colours = Normalize(0, 1), density_colours(palette_name)

    def place(left: float, breadth: float) -> Any:
        return left / full, _BOTTOM / height, breadth / full, body / height

    with style(look):
        figure = Figure(figsize=(full, height))
        axes = figure.add_axes(place(_LEFT, cell * len(heads)))
        axes.set_xlim(-0.5, len(heads) - 0.5)
        axes.set_ylim(layers[0] - 0.5, layers[-1] + 0.5)
        draw_cells(axes, cells, colours, norm)
        if cell >= _LEGIBLE:
            for row, column in np.argwhere(cells >= _WRITTEN):
                value = cells[row, column]
                axes.text(column, layers[row], f"{100 * value:.0f}", ha="center", va="center_baseline",
                          fontsize=6, color="white" if value < 0.6 else "black")  # fmt: skip
        every = 1 if cell >= 0.17 else 4
        axes.set_xticks(heads[::every].tolist())
        axes.set_yticks(layers.tolist())
        axes.tick_params(labelsize=7, length=2, pad=1.5)
        axes.set_xlabel("head", fontsize=8.5, labelpad=2)
        axes.set_ylabel("layer", fontsize=8.5, labelpad=2)
        bar = figure.add_axes(place(_LEFT + cell * len(heads) + _BAR_GAP, _BAR), gid="scale")
        bar.set_xlim(0, 1)
        bar.set_ylim(0, 1)
        draw_cells(bar, np.linspace(0, 1, 256)[:, None], colours, norm)
        bar.set_xticks([])
        bar.yaxis.tick_right()
        bar.yaxis.set_label_position("right")
        bar.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        bar.tick_params(labelsize=7, length=2, pad=1.5)
        bar.set_ylabel("effect explained", fontsize=7.5, labelpad=2)
        text = NAMES[variant] if title is None else f"{title}: {NAMES[variant]}"
        figure.text((_LEFT - 0.3) / full, 1 - 0.15 / height, text, ha="left", va="center", fontsize=8.5,
                    gid="title", parse_math=False)  # fmt: skip
    return figure
