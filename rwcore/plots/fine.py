"""Where the neurons of each layer lie: cos(gate, out), cos(in, out) and, as colour, cos(gate, in)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rwcore.plots.counts import PaletteName
from rwcore.plots.histograms import colour_scale
from rwcore.plots.panels import (
    COSINE_LABELS,
    FOOTER,
    TICKS,
    WIDTH,
    Floats,
    Grid,
    Margins,
    cell_numbers,
    density_colours,
    draw_cells,
    layer_titles,
    marker_colour,
    panel_grid,
    scale_axis,
    title_panels,
)
from rwcore.plots.style import MUTED, Look, style

if TYPE_CHECKING:
    import pandas as pd

Region = tuple[float, float]

CELLS_PER_INCH, MOST_CELLS = 90, 160
"""A cell is at least 0.8 points wide: a neuron on its own can be seen in print."""
BINS = 100
BAR = (0.06, 0.13)
"""Where the colour bar of a panel begins and ends, in inches to its right."""
LINE: dict[str, Any] = {"linewidth": 0.4}
BETA: Literal["dotted"] = "dotted"
MISMATCHED: Literal["dashed"] = "dashed"
BETA_LABEL = "95 % of random directions"
MISMATCHED_LABEL = "95 % of mismatched pairs in the layer"


def fine_figure(
    gatelin: Floats,
    gateout: Floats,
    linout: Floats,
    *,
    layers: Sequence[int] | None = None,
    beta: Region | None = None,
    regions: pd.DataFrame | None = None,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per layer: cos(gate, out) against cos(in, out), coloured by cos(gate, in).

    Neurons that share a cell are shown in the colour of their mean, so that the figure is as quick and small
    with 350,000 neurons as with a thousand. Dotted lines enclose 95 % of the cosines of random directions,
    dashed ones 95 % of the cosines of mismatched pairs of the layer; on the colour bar a dot and a line are
    the upper ends of the same two regions for |cos(gate, in)|.

    Args:
        gatelin: cos(gate, in) [layer neuron], NaN where undefined; folded (≥ 0) as a rule, then the colours
            run from 0 to 1, otherwise from −1.
        gateout: cos(gate, out) [layer neuron].
        linout: cos(in, out) [layer neuron].
        layers: Which layers are drawn, in this order; all if None.
        beta: Lower and upper end of the analytic region.
        regions: Mismatched-pair regions: columns layer, cosine, low, high.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis and red lines) or ``accessible`` (cividis and black lines).
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; panel k is ``figure.axes[k]``, its lines have the ``gid`` ``beta:gateout``,
        ``mismatched:linout``, …, the marks on the colour bar ``beta:gatelin`` and ``mismatched:gatelin``.

    Source: RW functionalities, fine plots; section 4.2 of the specification.
    """
    shown = range(len(linout)) if layers is None else layers
    low = -1.0 if bool((gatelin < 0).any()) else 0.0
    colours, norm = density_colours(palette_name), Normalize(low, 1)
    with style(look):
        lines = (beta is not None) + (regions is not None)
        footer = FOOTER * (lines if len(shown) == 1 else min(lines, 1))
        margins = Margins(right=0.62, column_gap=0.24, top=0.2 if title else 0.05, footer=footer)
        grid = panel_grid(len(shown), width=width, margins=margins)
        cells = min(round(CELLS_PER_INCH * grid.side), MOST_CELLS)
        for number, (axes, layer) in enumerate(zip(grid.panels, shown, strict=True)):
            scale_axis(axes, "x", (-1.0, 1.0))
            scale_axis(axes, "y", (-1.0, 1.0))
            draw_cells(axes, mean_cells(gateout[layer], linout[layer], gatelin[layer], cells), colours, norm)
            measured = {} if regions is None else regions_of(regions, layer)
            _draw_regions(axes, beta, measured, palette_name)
            bar = (1 + BAR[0] / grid.side, 1 + BAR[1] / grid.side)
            _colour_bar(axes, bar, colours, norm, labelled=grid.last_of_row(number))
            _mark_bar(axes, bar, norm, beta, measured, palette_name)
        title_panels(grid, layer_titles(shown))
        grid.label(COSINE_LABELS["gateout"], COSINE_LABELS["linout"], title)
        _name_bars(grid, COSINE_LABELS["gatelin"])
        _legend(grid, beta is not None, regions is not None, palette_name, bars=True)
    return grid.figure


def mean_cells(x: Floats, y: Floats, values: Floats, cells: int) -> Floats:
    """Mean of the values of the points in each of cells × cells cells of the square −1 … 1.

    Args:
        x: Coordinates; points with a NaN in any of the three are left out.
        y: Coordinates.
        values: What is averaged, in float64.
        cells: Cells in each direction.

    Returns:
        [row column], the lowest row first; NaN where there is no point.
    """
    with_value = np.where(np.isfinite(values), x, np.nan)
    numbers, inside = cell_numbers(with_value, y, (-1.0, 1.0), (-1.0, 1.0), cells)
    sums = np.bincount(numbers, values[inside], minlength=cells * cells)
    counts = np.bincount(numbers, minlength=cells * cells)
    means: Floats = np.divide(sums, counts, out=np.full(cells * cells, np.nan), where=counts > 0)
    return means.reshape(cells, cells)


def regions_of(regions: pd.DataFrame, layer: int) -> dict[str, Region]:
    """Regions of one layer by cosine."""
    rows = regions[regions["layer"] == layer]
    return {
        str(cosine): (float(low), float(high))
        for cosine, low, high in zip(rows["cosine"], rows["low"], rows["high"], strict=True)
    }


def _draw_regions(
    axes: Axes, beta: Region | None, measured: dict[str, Region], palette_name: PaletteName
) -> None:
    look: dict[str, Any] = {**LINE, "color": marker_colour(palette_name)}
    draw = {"gateout": axes.axvline, "linout": axes.axhline}
    for cosine, line in draw.items():
        for end in beta or ():
            line(end, linestyle=BETA, gid=f"beta:{cosine}", **look)
        for end in measured.get(cosine, ()):
            line(end, linestyle=MISMATCHED, gid=f"mismatched:{cosine}", **look)


def _colour_bar(
    axes: Axes, place: tuple[float, float], colours: Colormap, norm: Normalize, *, labelled: bool
) -> None:
    """A thin colour bar as part of the panel: axes of its own would take most of the time of the figure."""
    left, right = place
    bar = AxesImage(axes, cmap=colours, norm=norm, extent=(left, right, 0, 1), origin="lower")
    low, high = float(norm.vmin or 0), float(norm.vmax or 1)
    bar.set_data(np.linspace(low, high, 64)[:, None])
    bar.set_transform(axes.transAxes)
    bar.set_clip_on(False)
    axes.add_image(bar)
    frame = Rectangle((left, 0), right - left, 1, transform=axes.transAxes, clip_on=False, fill=False)
    frame.set_linewidth(0.5)
    axes.add_patch(frame)
    if labelled:
        for tick in (low, (low + high) / 2, high):
            height = (tick - low) / (high - low)
            axes.annotate(
                f"{tick:g}".replace("-", "−"),
                (right, height),
                (3, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                va="center",
                fontsize=TICKS["labelsize"],
                annotation_clip=False,
            )


def _mark_bar(
    axes: Axes,
    place: tuple[float, float],
    norm: Normalize,
    beta: Region | None,
    measured: dict[str, Region],
    palette_name: PaletteName,
) -> None:
    left, right = place
    colour = marker_colour(palette_name)
    if beta is not None:
        axes.plot(
            (left + right) / 2,
            norm(beta[1]),
            marker="o",
            markersize=1.6,
            markeredgewidth=0,
            transform=axes.transAxes,
            clip_on=False,
            gid="beta:gatelin",
            color=colour,
        )
    if "gatelin" in measured:
        height = norm(measured["gatelin"][1])
        axes.plot(
            [left, right],
            [height, height],
            linewidth=0.8,
            transform=axes.transAxes,
            clip_on=False,
            gid="mismatched:gatelin",
            color=colour,
        )


def _name_bars(grid: Grid, label: str) -> None:
    width = grid.figure.get_size_inches()[0]
    first, last = grid.panels[grid.columns - 1].get_position(), grid.panels[-1].get_position()
    grid.figure.text(
        first.x1 + (grid.margins.right - 0.1) / width,
        (first.y1 + last.y0) / 2,
        label,
        rotation="vertical",
        ha="center",
        va="center",
        fontsize=9,
        gid="colour label",
    )


def _legend(grid: Grid, beta: bool, measured: bool, palette_name: PaletteName, *, bars: bool) -> None:
    look: dict[str, Any] = {"linewidth": 0.8, "color": marker_colour(palette_name)}
    handles = []
    if beta:
        label = f"{BETA_LABEL} (on colour bars: dot)" if bars else BETA_LABEL
        handles.append(Line2D([], [], linestyle=BETA, label=label, **look))
    if measured:
        label = f"{MISMATCHED_LABEL} (on colour bars: line)" if bars else MISMATCHED_LABEL
        handles.append(Line2D([], [], linestyle=MISMATCHED, label=label, **look))
    if handles:
        grid.figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, grid.margins.footer / 2 / grid.figure.get_size_inches()[1]),
            borderpad=0,
            labelspacing=0.3,
            ncols=1 if grid.margins.footer > FOOTER else 2,
            frameon=False,
            fontsize=7,
            handlelength=2.2,
            columnspacing=1.5,
        )


def layer_histogram_figure(
    linout: Floats,
    *,
    layers: Sequence[int] | None = None,
    beta: Region | None = None,
    regions: pd.DataFrame | None = None,
    bins: int = BINS,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    size: tuple[float, float] = (WIDTH, 4.0),
) -> Figure:
    """Neurons without a gate: how many of each layer have which cos(in, out), colours logarithmic.

    Args:
        linout: cos(in, out) [layer neuron], NaN where undefined.
        layers: Which layers are drawn, in this order; all if None.
        beta: Lower and upper end of the analytic region.
        regions: Mismatched-pair regions: columns layer, cosine, low, high.
        bins: Bins between −1 and 1.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        size: Width and height in inches.

    Returns:
        The figure; ``figure.axes[0].images[0]`` holds the counts [bin layer], empty cells masked.

    Source: RW functionalities, fine plots of models without a gate; section 4.2 of the specification.
    """
    shown = list(range(len(linout)) if layers is None else layers)
    n_columns = len(shown)
    edges = np.linspace(-1, 1, bins + 1)
    columns = (linout[layer][np.isfinite(linout[layer])].clip(-1, 1) for layer in shown)
    counts = np.stack([np.histogram(column, edges)[0] for column in columns], axis=1)
    colours, norm = density_colours(palette_name), LogNorm(1, max(2, int(counts.max(initial=0))))
    width, height = size
    with style(look):
        figure = Figure(figsize=size)
        left, bottom, right, top = 0.6, 0.45 + FOOTER, 0.75, 0.3 if title else 0.1
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
        )
        axes.set_xlim(-0.5, n_columns - 0.5)
        axes.set_ylim(-1, 1)
        axes.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
        if layers is None:
            axes.locator_params(axis="x", integer=True)
        else:
            axes.set_xticks(range(n_columns), [str(layer) for layer in shown])
        axes.set_xlabel("Layer")
        axes.set_ylabel(COSINE_LABELS["linout"])
        draw_cells(axes, np.ma.masked_equal(counts, 0), colours, norm)
        for threshold in (-0.5, 0.5):
            axes.axhline(threshold, color=MUTED, linewidth=0.5, gid="threshold")
        look_of_lines: dict[str, Any] = {"linewidth": 0.8, "color": marker_colour(palette_name)}
        for end in beta or ():
            axes.axhline(end, linestyle=BETA, gid="beta:linout", **look_of_lines)
        if regions is not None:
            measured = [regions_of(regions, layer).get("linout", (np.nan, np.nan)) for layer in shown]
            for ends in zip(*measured, strict=True):
                axes.stairs(
                    ends,
                    np.arange(n_columns + 1) - 0.5,
                    baseline=None,
                    linestyle=MISMATCHED,
                    gid="mismatched:linout",
                    **look_of_lines,
                )
        if title:
            axes.set_title(title, fontsize="medium")
        grid = Grid(figure, [axes], 1, width - left - right, Margins(footer=FOOTER))
        colour_scale(grid, ScalarMappable(norm, colours), "neurons")
        _legend(grid, beta is not None, regions is not None, palette_name, bars=False)
    return figure
