"""Where the neurons of each class went between two checkpoints, as a table with coloured cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from rwcore.plots.counts import PaletteName, palette
from rwcore.plots.style import FAINT, MUTED, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

CELL_INCHES = 0.42
LABEL_INCHES = 2.1
MARK_INCHES = 0.13
CELLS = "cells"


def transitions_figure(
    transitions: pd.DataFrame,
    *,
    first: str,
    last: str,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Table of the shares of each class (row) that are in each class (column) of the later checkpoint.

    Rows add up to 1. Shares on the diagonal (the neurons that stayed) are written in bold on white and take
    no part in the colours, which would show nothing else. Colours go with the square root of the share, so
    that rare transitions show, and are the same in all figures. A share that would be rounded to 0 is written
    ``<.01``, one that would be rounded to 1 ``>.99``, none at all as a dot; a class without neurons has an
    empty row. The number of neurons of each class stands at the right of its row.

    Args:
        transitions: Columns from, to, count, share, every pair of classes; as
            `rwcore.stats.transitions.class_transitions` gives them.
        first: Name of the earlier checkpoint, for the axis.
        last: Name of the later one.
        palette_name: ``paper`` or ``accessible``: colours of the marks beside the class names.
        look: ``paper`` or ``screen``.

    Returns:
        The figure. The image of ``figure.axes[0]`` holds the shares, masked on the diagonal and in empty
        rows.
    """
    names = list(dict.fromkeys(transitions["from"]))
    table = transitions.pivot_table(index="from", columns="to", values="count", aggfunc="sum")
    counts = table.loc[names, names].to_numpy(float)
    totals = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = counts / totals[:, None]
    coloured = np.ma.masked_invalid(np.where(np.eye(len(names), dtype=bool), np.nan, shares))
    with style(look):
        side = CELL_INCHES * len(names)
        figure = new_figure(side + LABEL_INCHES + 0.9, side + LABEL_INCHES + 0.3)
        axes = figure.add_subplot()
        colours, scale = _colours(), PowerNorm(0.5, vmin=0.0, vmax=1.0)
        axes.imshow(coloured, cmap=colours, norm=scale, aspect="equal").set_gid(CELLS)
        axes.set_facecolor("white")  # dark text is written on empty cells, also on a dark page
        for row, column in np.ndindex(*counts.shape):
            if totals[row]:
                stays, share = row == column, float(shares[row, column])
                behind = colours(0.0 if stays else float(scale(share)))
                _write(axes, (row, column), float(counts[row, column]), share, behind, bold=stays)
        _label(figure, axes, names, totals, palette_name)
        axes.set_ylabel(f"from: {first}")
        axes.set_xlabel(f"to: {last}")
        axes.xaxis.set_label_position("top")
    return figure


def _colours() -> Colormap:
    """Light to dark in one hue, and never so dark that it looks like black."""
    return LinearSegmentedColormap.from_list("shares", colormaps["Purples"](np.linspace(0.0, 0.9, 256)))


def _write(axes: Axes, cell: tuple[int, int], count: float, share: float, behind: Any, *, bold: bool) -> None:
    red, green, blue, _ = behind
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
    if count == 0:
        text = "·"
    elif share < 0.005:
        text = "<.01"
    elif 0.995 <= share < 1:
        text = ">.99"
    else:
        text = f"{share:.2f}"
    axes.text(
        cell[1],
        cell[0],
        text,
        ha="center",
        va="center_baseline",
        fontsize=7.5,
        fontweight="bold" if bold else "normal",
        color="white" if dark else MUTED if count == 0 else "black",
    )


def _label(
    figure: Figure, axes: Axes, names: list[str], totals: np.ndarray, palette_name: PaletteName
) -> None:
    n = len(names)
    axes.set_xticks(range(n), names, rotation=45, ha="left", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(n), names, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, pad=12)
    axes.tick_params(axis="y", length=0, pad=17)  # room for the coloured marks
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=FAINT, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    colours, inches = palette(palette_name), figure.dpi_scale_trans
    beside: Any = axes.get_yaxis_transform()
    above: Any = axes.get_xaxis_transform()
    for place, name in enumerate(names):
        for middle, at in (
            ((-0.14, 0.0), ScaledTranslation(0, place, beside)),
            ((0.0, 0.12), ScaledTranslation(place, 1, above)),
        ):
            mark = Rectangle(
                (middle[0] - MARK_INCHES / 2, middle[1] - MARK_INCHES / 2),
                MARK_INCHES,
                MARK_INCHES,
                transform=inches + at,
                facecolor=colours.colours[name],
                hatch=colours.hatches.get(name),
                edgecolor=MUTED,
                linewidth=0.4,
                clip_on=False,
            )
            axes.add_artist(mark)
        axes.annotate(
            f"{totals[place]:,.0f}",
            (n - 0.5, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            annotation_clip=False,
        )
    axes.annotate(
        "neurons",
        (n - 0.5, -0.5),
        xytext=(6, 8),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=MUTED,
        annotation_clip=False,
    )
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
