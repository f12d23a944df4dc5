"""What the classes are, as pictures: the papers' prototypes, and all eleven classes in three slices."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from rwcore.plots.counts import PaletteName, palette
from rwcore.plots.style import Look, new_figure, style
from rwcore.stats.classes import THRESHOLD
from rwcore.stats.cosines import RWCosines
from rwcore.stats.prototypes import DEFINITION, class_of_cosines

MARKERS = {
    "strengthening": "P",
    "conditional strengthening": "X",
    "weakening": "s",
    "conditional weakening": "D",
    "proportional change": "*",
    "orthogonal output": "o",
}
"""matplotlib's markers of the six typical classes, as in the papers' figure."""

AREA = 100
MATHS = "dejavuserif"
BAND_LIMITS = (-1.0, -THRESHOLD, THRESHOLD, 1.0)
GATELIN_BANDS = {"below": (-1.0, -THRESHOLD), "small": (-THRESHOLD, THRESHOLD), "above": (THRESHOLD, 1.0)}
SAMPLES = 121  # per side of the plane, to find the middle of what is possible in a cell
CURVE = 49

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """A rectangle of the plane of cos(gate, out) and cos(in, out) in which the class is the same.

    Attributes:
        left: Smallest cos(gate, out).
        right: Largest.
        bottom: Smallest cos(in, out).
        top: Largest.
        name: The class.
        middle: Where its name stands: the middle of its possible points; None if no vectors are there.
    """

    left: float
    right: float
    bottom: float
    top: float
    name: str
    middle: tuple[float, float] | None


@dataclass(frozen=True)
class Slice:
    """The plane for one range of cos(gate, in).

    Attributes:
        name: ``below``, ``small`` or ``above``.
        low: Smallest cos(gate, in).
        high: Largest.
        cells: The nine cells, rows from the top.
        impossible: Polygons [point, 2] of the plane that no three vectors reach.
    """

    name: str
    low: float
    high: float
    cells: tuple[Cell, ...]
    impossible: tuple[Points, ...]


def possible(gatelin_low: float, gatelin_high: float, gateout: Points, linout: Points) -> NDArray[np.bool_]:
    """Which pairs of cosines three vectors can have, if their cos(gate, in) lies in a range.

    Given the angles α of gate and out and β of in and out, cos(gate, in) takes every value from cos(α + β)
    to cos(α − β) and no other (in a plane only the two ends, in three and more dimensions all of them).

    Args:
        gatelin_low: Smallest cos(gate, in).
        gatelin_high: Largest cos(gate, in).
        gateout: cos(gate, out), any shape.
        linout: cos(in, out), the same shape.
    """
    product, reach = gateout * linout, np.sqrt((1 - gateout**2) * (1 - linout**2))
    return (product + reach >= gatelin_low) & (product - reach <= gatelin_high)


def slices() -> tuple[Slice, ...]:
    """The eleven classes as rectangles, for small cos(gate, in) and for both kinds of large ones.

    The classes are asked of the rule itself, at the middle of each cell.
    """
    return tuple(
        Slice(name, low, high, tuple(_cells(low, high)), _impossible(name))
        for name, (low, high) in GATELIN_BANDS.items()
    )


def _cells(low: float, high: float) -> list[Cell]:
    axis = np.linspace(-1, 1, SAMPLES)
    gateout, linout = np.meshgrid(axis, axis)
    reachable = possible(low, high, gateout, linout)
    cells = []
    bands = list(itertools.pairwise(BAND_LIMITS))
    for bottom, top in reversed(bands):
        for left, right in bands:
            centre = ((low + high) / 2, (left + right) / 2, (bottom + top) / 2)
            cosines = RWCosines(*(torch.tensor([[value]]) for value in centre))
            inside = reachable & (left < gateout) & (gateout < right) & (bottom < linout) & (linout < top)
            middle = (float(gateout[inside].mean()), float(linout[inside].mean())) if inside.any() else None
            cells.append(Cell(left, right, bottom, top, class_of_cosines(cosines), middle))
    return cells


def _impossible(name: str) -> tuple[Points, ...]:
    """Corners beyond the curves on which the three vectors are in one plane and gatelin on its border.

    Below −0.5, α + β lies between 120° and 240°; above 0.5, |α − β| < 60°; in between neither leaves out
    more than what is left of the corners.
    """
    if name == "small":
        corner = _corner(math.pi / 3)
        found = [corner, -corner, corner * (-1, 1), corner * (1, -1)]
    elif name == "below":
        corner = _corner(2 * math.pi / 3)
        found = [corner, -corner]
    else:
        corner = _corner(2 * math.pi / 3) * (-1, 1)
        found = [corner, -corner]
    return tuple(np.asarray(polygon) for polygon in found)


def _corner(total: float) -> Points:
    """The corner (1, 1) up to the curve of the angles that add up to ``total``."""
    angles = np.linspace(0, total, CURVE)
    return np.vstack([np.stack([np.cos(angles), np.cos(total - angles)], axis=1), [[1.0, 1.0]]])


def definition_figure(*, look: Look = "paper") -> Figure:
    """The papers' definition figure: prototypes of six classes, coloured by cos(gate, in).

    To the right cos(gate, out), upwards cos(in, out); lines at the borders ±0.5.

    Args:
        look: ``paper`` or ``screen``.

    Source: RW functionalities, figure of the prototypes; section 8.2 of the specification.
    """
    with style(look):
        figure = _square_figure(4.4, 2.2)
        axes = figure.add_subplot()
        _plane(axes)
        norm = Normalize(-1, 1)
        for point in DEFINITION:
            drawn = axes.scatter(
                [point.gateout],
                [point.linout],
                c=[point.gatelin],
                marker=MARKERS[point.name],
                s=AREA,
                cmap="viridis",
                norm=norm,
                edgecolors="black",
                linewidths=0.4,
                clip_on=False,
                zorder=3,
            )
        bar = figure.colorbar(drawn, ax=axes, ticks=[-1, 0, 1], format=FuncFormatter(_tick))
        bar.ax.tick_params(labelsize="small")
        bar.set_label(_cosine("gate", "in"), math_fontfamily=MATHS)
        keys = [
            Line2D([], [], color="black", marker=marker, linestyle="none", markersize=7, label=name)
            for name, marker in MARKERS.items()
        ]
        figure.legend(handles=keys, loc="outside right center", frameon=False, fontsize=8, handletextpad=0.3)
    return figure


def class_map_figure(*, palette_name: PaletteName = "paper", look: Look = "paper") -> Figure:
    """All eleven classes: the plane of the definition figure for three ranges of cos(gate, in).

    What no three vectors can have is dotted.

    Args:
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
    """
    between = _cosine("gate", "in")
    titles = {"below": f"{between} < −0.5", "small": f"|{between}| ≤ 0.5", "above": f"{between} > 0.5"}
    with style(look):
        figure = _square_figure(7.6, 2.9)
        row = figure.subplots(1, 3, sharey=True)
        for number, (axes, part) in enumerate(zip(row, slices(), strict=True)):
            _draw_slice(axes, part, palette_name)
            _plane(axes, ylabel=number == 0)
            axes.set_title(titles[part.name], fontsize="medium", math_fontfamily=MATHS)
            axes.spines[:].set_visible(False)
    return figure


def _square_figure(width: float, height: float) -> Figure:
    figure = new_figure(width, height)
    figure.set_layout_engine("compressed")  # room is given to squares, not to the boxes around them
    return figure


def _cosine(a: str, b: str) -> str:
    return rf"cos($w_\mathrm{{{a}}}$, $w_\mathrm{{{b}}}$)"


def _tick(value: float, _: int = 0) -> str:
    return f"{value:g}".replace("-", "−")


def _plane(axes: Axes, *, ylabel: bool = True) -> None:
    axes.set_xlim(-1, 1)
    axes.set_ylim(-1, 1)
    axes.set_aspect("equal")
    ticks = [-1, -THRESHOLD, 0, THRESHOLD, 1]
    labels = [_tick(tick) for tick in ticks]
    axes.set_xticks(ticks, labels, fontsize="small")
    axes.set_yticks(ticks, labels, fontsize="small")
    axes.set_xlabel(_cosine("gate", "out"), math_fontfamily=MATHS)
    if ylabel:
        axes.set_ylabel(_cosine("in", "out"), math_fontfamily=MATHS)
    for border in (-THRESHOLD, THRESHOLD):
        axes.axvline(border, color="0.45", linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        axes.axhline(border, color="0.45", linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)


def _draw_slice(axes: Axes, part: Slice, palette_name: PaletteName) -> None:
    axes.set_facecolor("white")
    colours = palette(palette_name)
    for cell in part.cells:
        colour = colours.colours[cell.name]
        box = Rectangle(
            (cell.left, cell.bottom),
            cell.right - cell.left,
            cell.top - cell.bottom,
            facecolor=colour,
            hatch=colours.hatches.get(cell.name),
            edgecolor="white",
            linewidth=0,
            zorder=0,
        )
        box.set_label(cell.name)
        axes.add_patch(box)
        if cell.middle is not None:
            hatched = cell.name in colours.hatches
            axes.text(
                *cell.middle,
                "\n".join(cell.name.split()),
                ha="center",
                va="center",
                fontsize=5.2,
                linespacing=1.05,
                color=ink_on(colour),
                zorder=4,
                path_effects=[withStroke(linewidth=1.8, foreground=to_rgb(colour))] if hatched else [],
            )
    for polygon in part.impossible:
        axes.add_patch(Polygon(polygon, facecolor="white", edgecolor="0.75", hatch="....", lw=0, zorder=1.5))


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever is read better on a colour over white."""
    red, green, blue = (part * colour[3] + 1 - colour[3] for part in colour[:3])
    return "#ffffff" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "#111114"
