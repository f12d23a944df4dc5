"""Two-dimensional histograms of one quantity of the neurons against another, one panel or one per layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import linregress

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import (
    FOOTER,
    TICKS,
    WIDTH,
    Floats,
    Grid,
    Margins,
    cell_numbers,
    density_colours,
    draw_cells,
    marker_colour,
    panel_grid,
    scale_axis,
    title_panels,
)
from rwcore.plots.style import Look, style

BINS = 100
SMALLEST_NORM = 1e-6
"""Where a logarithmic axis begins at the latest, as published."""
Limits = tuple[float, float]


@dataclass(frozen=True)
class Regression:
    """Least-squares line ``y = intercept + slope · x`` and Pearson's correlation.

    Attributes:
        slope: In units of y per unit of x.
        intercept: In units of y.
        r: Correlation, −1 … 1; NaN if one of the two does not vary.
        p: Two-sided probability of an r as large without correlation (normal values); NaN below 3 points.
        n: Number of points.
    """

    slope: float
    intercept: float
    r: float
    p: float
    n: int


def regression(x: Floats, y: Floats) -> Regression:
    """The regression of y on x over the points where both are finite, in float64.

    Slope and intercept are those of x itself: the published figures draw coefficients that belong to x scaled
    to −1 … 1 (section 10, X11 of the specification).
    """
    kept = np.isfinite(x) & np.isfinite(y)
    a, b = x[kept].astype(np.float64), y[kept].astype(np.float64)
    n = len(a)
    if n < 2 or np.ptp(a) == 0:
        return Regression(math.nan, math.nan, math.nan, math.nan, n)
    found = linregress(a, b)
    r = float(found.rvalue) if np.ptp(b) > 0 else math.nan
    p = float(found.pvalue) if n > 2 and np.ptp(b) > 0 else math.nan
    return Regression(float(found.slope), float(found.intercept), r, p, n)


def panels_figure(
    x: Floats,
    y: Floats,
    *,
    xlabel: str,
    ylabel: str,
    titles: Sequence[str] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    xlim: Limits | None = None,
    ylim: Limits | None = None,
    correlation: bool = False,
    log_counts: bool = True,
    bins: int = BINS,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Neurons per cell of bins × bins cells, colours the same in all panels.

    Points that are not finite, not positive on a logarithmic axis, or outside the limits are left out, and
    a note below says how many.

    Args:
        x: One value per neuron [panel neuron].
        y: The other one.
        xlabel: Name of x.
        ylabel: Name of y.
        titles: One per panel; none for a single panel.
        log_x: Logarithmic axis, cells evenly spaced in the logarithm.
        log_y: Likewise.
        xlim: Ends of the axis; if None those of the values of all panels (at least 1e-6 on a log axis).
        ylim: Likewise.
        correlation: Draw the regression line of each panel with r and p; linear axes only.
        log_counts: Whether colours go with the logarithm of the counts, from 1; otherwise from 0.
        bins: Cells in each direction.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. ``figure.axes[k].images[0]`` holds the counts of panel k ([row column], empty cells
        masked); lines have the ``gid`` ``regression``, their texts ``correlation``.

    Raises:
        ValueError: x, y and titles do not fit together, or a correlation is asked for on a log axis.

    Source: RW functionalities, norm plots and checkpoint change; sections 4.6 and 4.7 of the specification.
    """
    if x.shape != y.shape or x.ndim != 2 or (titles is not None and len(titles) != len(x)):
        raise ValueError(f"x {x.shape}, y {y.shape} and {titles and len(titles)} titles do not fit")
    if correlation and (log_x or log_y):
        raise ValueError("a regression line is straight on linear axes only")
    usable = _usable(x, log_x) & _usable(y, log_y)
    xlim, ylim = _limits(x[usable], log_x, xlim), _limits(y[usable], log_y, ylim)
    counts, shown = _counts(x, y, usable, (log_x, log_y), (xlim, ylim), bins)
    most = max(2, int(counts.max(initial=0)))
    colours, norm = density_colours(palette_name), LogNorm(1, most) if log_counts else Normalize(0, most)
    with style(look):
        left_out = x.size - shown
        margins = Margins(
            left=0.55, right=0.7, top=0.2 if title else 0.05, footer=FOOTER if left_out else 0.0
        )
        grid = panel_grid(len(x), width=width, margins=margins, titled=titles is not None)
        for number, axes in enumerate(grid.panels):
            scale_axis(axes, "x", xlim, log=log_x)
            scale_axis(axes, "y", ylim, log=log_y)
            draw_cells(axes, np.ma.masked_equal(counts[number], 0), colours, norm)
            if correlation:
                found = regression(x[number], y[number])
                right = _right_is_free(counts[number], found, xlim, ylim)
                _draw_regression(axes, found, xlim, palette_name, right=right)
        if titles is not None:
            title_panels(grid, titles)
        grid.label(xlabel, ylabel, title)
        colour_scale(grid, ScalarMappable(norm, colours), "neurons")
        if left_out:
            grid.note(f"not shown: {left_out:,} of {x.size:,} neurons, undefined or beyond the axes")
    return grid.figure


def _usable(values: Floats, log: bool) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values > 0) if log else np.isfinite(values)


def norm_limits(norms: Floats) -> Limits:
    """Ends of a logarithmic axis for these norms, at least 1e-6, with the room of one cell on either side."""
    return _limits(norms[_usable(norms, log=True)], True, None)


def _limits(values: Floats, log: bool, given: Limits | None) -> Limits:
    """The ends of an axis: those given, or those of the values with a little room."""
    if given is not None:
        return given
    if not len(values):
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = max(low, SMALLEST_NORM), max(high, SMALLEST_NORM)
        room = (high / low) ** (1 / BINS) if high > low else 1.1
        return low / room, high * room
    room = (high - low) / BINS if high > low else 0.5
    return low - room, high + room


def _counts(
    x: Floats,
    y: Floats,
    usable: NDArray[np.bool_],
    log: tuple[bool, bool],
    limits: tuple[Limits, Limits],
    bins: int,
) -> tuple[NDArray[np.int64], int]:
    """Neurons per panel and cell [panel row column], and how many there are in all."""
    xlim, ylim = (
        (math.log(low), math.log(high)) if is_log else (low, high)
        for (low, high), is_log in zip(limits, log, strict=True)
    )
    counts = np.empty((len(x), bins, bins), np.int64)
    for number, kept in enumerate(usable):
        a, b = x[number][kept].astype(np.float64), y[number][kept].astype(np.float64)
        a, b = np.log(a) if log[0] else a, np.log(b) if log[1] else b
        cells, _ = cell_numbers(a, b, xlim, ylim, bins)
        counts[number] = np.bincount(cells, minlength=bins * bins).reshape(bins, bins)
    return counts, int(counts.sum())


def _right_is_free(counts: NDArray[np.int64], found: Regression, xlim: Limits, ylim: Limits) -> bool:
    """Whether fewer cells of the upper right corner than of the upper left one hold neurons or the line."""
    bins = len(counts)
    with np.errstate(invalid="ignore"):
        line = found.intercept + found.slope * np.linspace(*xlim, bins)
        depth = (ylim[1] - line) / (ylim[1] - ylim[0])
        crossed = (depth >= 0) & (depth < 0.25)
    # A line through the text disturbs more than dots.
    taken = (counts[-(bins // 4) :] > 0).sum(axis=0) + 3 * crossed
    side = max(1, 2 * bins // 5)
    left, right = int(taken[:side].sum()), int(taken[-side:].sum())
    return right < left if right != left else found.r < 0


def _draw_regression(
    axes: Axes, found: Regression, xlim: Limits, palette_name: PaletteName, *, right: bool
) -> None:
    if math.isfinite(found.slope):
        ends = np.array(xlim)
        axes.plot(
            ends,
            found.intercept + found.slope * ends,
            linewidth=0.8,
            scalex=False,
            scaley=False,
            gid="regression",
            color=marker_colour(palette_name),
        )
    axes.text(
        0.96 if right else 0.04,
        0.96,
        correlation_text(found),
        transform=axes.transAxes,
        ha="right" if right else "left",
        va="top",
        fontsize=6.5,
        linespacing=1.1,
        gid="correlation",
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
        color="black",
    )


def correlation_text(found: Regression) -> str:
    """``r = −0.36`` and ``p < 0.01``, two decimals."""
    if math.isnan(found.r):
        return "r undefined"
    r = f"{found.r:.2f}".replace("-0.00", "0.00").replace("-", "−")
    if math.isnan(found.p):
        return f"r = {r}"
    return f"r = {r}\np < 0.01" if found.p < 0.01 else f"r = {r}\np = {found.p:.2f}"


def colour_scale(grid: Grid, colours: ScalarMappable, label: str) -> None:
    """One colour bar to the right of the upper rows, with round numbers."""
    width, height = grid.figure.get_size_inches()
    top = grid.panels[0].get_position().y1
    right = max(panel.get_position().x1 for panel in grid.panels)
    length = min(top - grid.panels[-1].get_position().y0, 2.4 / height)
    bar = grid.figure.add_axes((right + 0.1 / width, top - length, 0.1 / width, length))
    bar.set_gid("colour bar")
    drawn = grid.figure.colorbar(colours, cax=bar)
    drawn.outline.set_linewidth(0.5)
    if isinstance(colours.norm, LogNorm):
        powers = range(int(math.log10(colours.norm.vmax or 1)) + 1)
        drawn.set_ticks([10.0**power for power in powers], labels=[f"{10**power:,}" for power in powers])
    bar.tick_params(**TICKS)
    bar.minorticks_off()
    bar.set_ylabel(label, fontsize=8, labelpad=3)
