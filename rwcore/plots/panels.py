"""Grids of equal panels, usually one per layer, and the small pictures and labels in them.

Everything is placed in inches, which takes no solving (a grid of 32 panels is laid out at once) and makes
panels equally large in every figure. Pictures fill their axes whatever the scale: their cells are even in
the scaled coordinates, so a picture of log-spaced cells is an evenly spaced one on a log axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rwcore.plots.counts import PaletteName
from rwcore.plots.style import CYCLE, MUTED

Floats = NDArray[np.floating[Any]]

WIDTH = 6.75
MAX_HEIGHT = 9.0
"""Of a page of text, in inches: with more layers the panels become smaller, not the figure larger."""
MAX_PANEL = 3.0
FEWEST_COLUMNS = 4
TICKS: dict[str, Any] = {"labelsize": 7, "length": 2.0, "width": 0.5, "pad": 1.5}
SMALL = 7.5
VERMILION = CYCLE[1]
FOOTER = 0.2

COSINE_LABELS = {
    "gatelin": r"cos($w_\mathrm{gate}$, $w_\mathrm{in}$)",
    "gateout": r"cos($w_\mathrm{gate}$, $w_\mathrm{out}$)",
    "linout": r"cos($w_\mathrm{in}$, $w_\mathrm{out}$)",
}
NORM_LABELS = {
    "norm_gate": r"$\|w_\mathrm{gate}\|$",
    "norm_in": r"$\|w_\mathrm{in}\|$",
    "norm_out": r"$\|w_\mathrm{out}\|$",
    "norm_in_out": r"$\|w_\mathrm{in}\|\,\|w_\mathrm{out}\|$",
}


@dataclass(frozen=True)
class Margins:
    """Space around and between panels, in inches."""

    left: float = 0.5
    right: float = 0.1
    bottom: float = 0.4
    top: float = 0.05
    column_gap: float = 0.1
    row_gap: float = 0.2  # above each row: room for the titles of its panels
    footer: float = 0.0  # below the names of the axes: room for a legend or a note


@dataclass(frozen=True)
class Grid:
    """A figure with its panels, row by row, as many as were asked for and no empty ones.

    Attributes:
        figure: The figure.
        panels: The panels; those in the left column and the lowest of each column have tick labels.
        columns: Panels in a row.
        side: Width and height of a panel, in inches.
        margins: As given.
    """

    figure: Figure
    panels: list[Axes]
    columns: int
    side: float
    margins: Margins

    def last_of_row(self, number: int) -> bool:
        """Whether no panel stands to the right of this one."""
        return number % self.columns == self.columns - 1 or number == len(self.panels) - 1

    def label(self, xlabel: str, ylabel: str, title: str | None = None) -> None:
        """Name the axes once for all panels, and the figure."""
        first, last = self.panels[0].get_position(), self.panels[-1].get_position()
        right = max(panel.get_position().x1 for panel in self.panels[: self.columns])
        width, height = self.figure.get_size_inches()
        middle = (first.x0 + right) / 2
        below = last.y0 - (self.margins.bottom - 0.08) / height
        beside = first.x0 - (self.margins.left - 0.08) / width
        self.figure.text(middle, below, xlabel, ha="center", va="center", fontsize=9, gid="xlabel")
        self.figure.text(
            beside,
            (first.y1 + last.y0) / 2,
            ylabel,
            ha="center",
            va="center",
            rotation="vertical",
            fontsize=9,
            gid="ylabel",
        )
        if title:
            above = first.y1 + (self.margins.row_gap + 0.09) / height
            self.figure.text(middle, above, title, ha="center", va="center", fontsize="medium", gid="title")

    def note(self, text: str) -> None:
        """Write a remark into the footer."""
        x = self.panels[0].get_position().x0
        middle = self.margins.footer / 2 / self.figure.get_size_inches()[1]
        self.figure.text(x, middle, text, va="center", color=MUTED, fontsize=SMALL, gid="note")


def panel_grid(n: int, *, width: float = WIDTH, margins: Margins | None = None, titled: bool = True) -> Grid:
    """Square panels that share their axes: at least four in a row, more where the page gets too high.

    Args:
        n: Number of panels, at least 1.
        width: Of the figure, in inches, that the panels use if they do not become larger than `MAX_PANEL`.
        margins: Space around and between panels.
        titled: Whether panels have titles; without, no room is left for them.
    """
    margins = margins or Margins()
    if not titled:
        margins = Margins(**{**vars(margins), "row_gap": 0.08})
    columns = min(n, FEWEST_COLUMNS)
    while _height(n, columns, width, margins) > MAX_HEIGHT and columns < n:
        columns += 1
    side = _side(columns, width, margins)
    rows = math.ceil(n / columns)
    full_width = margins.left + margins.right + columns * side + (columns - 1) * margins.column_gap
    height = _height(n, columns, width, margins)
    figure = Figure(figsize=(full_width, height))
    panels: list[Axes] = []
    for number in range(n):
        row, column = divmod(number, columns)
        x = margins.left + column * (side + margins.column_gap)
        y = margins.footer + margins.bottom + (rows - 1 - row) * (side + margins.row_gap)
        axes = figure.add_axes((x / full_width, y / height, side / full_width, side / height))
        axes.tick_params(**TICKS, labelleft=column == 0, labelbottom=number + columns >= n, which="major")
        axes.minorticks_off()
        for spine in axes.spines.values():
            spine.set_linewidth(0.5)
        panels.append(axes)
    return Grid(figure, panels, columns, side, margins)


def _side(columns: int, width: float, margins: Margins) -> float:
    free = width - margins.left - margins.right - (columns - 1) * margins.column_gap
    return min(free / columns, MAX_PANEL)


def _height(n: int, columns: int, width: float, margins: Margins) -> float:
    rows = math.ceil(n / columns)
    around = margins.footer + margins.bottom + margins.top
    return around + rows * (_side(columns, width, margins) + margins.row_gap)


def draw_cells(axes: Axes, cells: Floats, colours: Colormap, norm: Normalize) -> AxesImage:
    """Fill the axes with a picture, cells even in the axes' own scale; NaN and masked cells stay empty.

    In a PDF every cell is stored once, however large it is printed.

    Args:
        axes: The axes; their scale and limits are left alone.
        cells: Values [row column], the lowest row first.
        colours: Colour map.
        norm: From values to the colour map.
    """
    picture = AxesImage(
        axes, cmap=colours, norm=norm, extent=(0, 1, 0, 1), origin="lower", interpolation="none"
    )
    picture.set_data(np.ma.masked_invalid(cells))
    picture.set_transform(axes.transAxes)
    picture.set_clip_path(axes.patch)
    picture.set_zorder(1)
    axes.add_image(picture)
    return picture


def cell_numbers(
    x: Floats, y: Floats, xlim: tuple[float, float], ylim: tuple[float, float], cells: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """In which of cells × cells cells points lie, as ``row · cells + column``, and which points lie in any.

    Cells are half-open, the last ones closed.

    Args:
        x: Coordinates in the axes' scale (logarithms on a log axis).
        y: Likewise.
        xlim: Left and right border.
        ylim: Lower and upper border.
        cells: Cells in each direction.

    Returns:
        Numbers of the points inside, and a mask over all points.
    """
    with np.errstate(invalid="ignore"):
        column = (x - xlim[0]) * (cells / (xlim[1] - xlim[0]))
        row = (y - ylim[0]) * (cells / (ylim[1] - ylim[0]))
        inside = (column >= 0) & (column <= cells) & (row >= 0) & (row <= cells)
    last = cells - 1
    columns = np.minimum(column[inside].astype(np.int64), last)
    rows = np.minimum(row[inside].astype(np.int64), last)
    return rows * cells + columns, inside


def density_colours(palette_name: PaletteName) -> Colormap:
    """Colour map of both counts and cosines: viridis, or cividis, made for colour-blind eyes."""
    return mpl.colormaps["viridis" if palette_name == "paper" else "cividis"]


def marker_colour(palette_name: PaletteName) -> str:
    """Colour of lines over pictures: red as in the papers, or vermilion, which anybody sees."""
    return "red" if palette_name == "paper" else VERMILION


def scale_axis(axes: Axes, which: str, limits: tuple[float, float], *, log: bool = False) -> None:
    """Limits and a few round ticks; labels at the ends of a horizontal axis keep inside the panel.

    Args:
        axes: The axes.
        which: ``x`` or ``y``.
        limits: Ends of the axis.
        log: Whether it is logarithmic.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(*limits)
    ticks = log_ticks(*limits) if log else linear_ticks(*limits)
    axis.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.minorticks_off()
    if which == "x":
        # Otherwise "1" of one panel and "−1" of the next run into each other.
        low, high = (math.log(limits[0]), math.log(limits[1])) if log else limits
        for tick, drawn in zip(ticks, axis.get_major_ticks(len(ticks)), strict=True):
            place = ((math.log(tick) if log else tick) - low) / (high - low)
            drawn.label1.set_horizontalalignment(
                "left" if place < 0.05 else "right" if place > 0.95 else "center"
            )


def linear_ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers inside a range."""
    if (low, high) == (-1.0, 1.0):
        return [-1.0, 0.0, 1.0]
    steps = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)
    room = 1e-9 * (high - low)
    return [min(max(float(tick), low), high) for tick in steps if low - room <= tick <= high + room]


def log_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers inside a range: powers of ten if there are two, otherwise finer steps."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 2:
            return ticks[:: math.ceil(len(ticks) / 4)]
    return linear_ticks(low, high)


def layer_titles(layers: Sequence[int]) -> list[str]:
    """Titles of the panels of layers."""
    return [f"Layer {layer}" for layer in layers]


def title_panels(grid: Grid, titles: Sequence[str]) -> None:
    """Write a title over each panel."""
    for axes, title in zip(grid.panels, titles, strict=True):
        axes.set_title(title, fontsize=8, pad=2.5)
