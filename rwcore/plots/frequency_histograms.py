"""How the frequencies of the neurons of each layer are distributed; what all such histograms share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from rwcore.activations.quadrants import SUMMARY
from rwcore.plots.counts import PaletteName
from rwcore.plots.frequency_names import FREQUENCY_LABELS, to_array
from rwcore.plots.panels import (
    FOOTER,
    WIDTH,
    Floats,
    Margins,
    layer_titles,
    linear_ticks,
    log_ticks,
    panel_grid,
    scale_axis,
    title_panels,
)
from rwcore.plots.style import CYCLE, INK, PAPER_CYCLE, Look, power_of_ten, style

BINS = 20
SHARE_LABEL = "proportion of neurons"
LAYER_LABEL, POOLED_LABEL = "neurons of the layer", "all layers"
DASHED: Any = (0, (2, 1.5))


@dataclass(frozen=True)
class Histogram:
    """The distribution of frequencies over some neurons.

    Attributes:
        n: Neurons with a frequency.
        mean: Their mean; NaN without neurons.
        shares: Share of the neurons in each bin between 0 and 1 [bin]; they add up to 1, or are all 0.
    """

    n: int
    mean: float
    shares: Floats


def histogram(frequency: Floats, bins: int = BINS) -> Histogram:
    """Shares of neurons in equal bins from 0 to 1, half-open, the last one closed; NaN is left out.

    Args:
        frequency: One value per neuron, 0 … 1.
        bins: Number of bins.
    """
    # A sum of float32 shares can be larger than 1 by rounding; such a neuron still counts.
    values = frequency[np.isfinite(frequency)].astype(np.float64).clip(0.0, 1.0)
    counts = np.histogram(values, bins, (0.0, 1.0))[0]
    return Histogram(
        len(values), float(values.mean()) if len(values) else math.nan, counts / max(1, len(values))
    )


def layer_histograms_figure(
    frequency: Float[Tensor, "layer neuron"] | Floats,
    *,
    name: str = SUMMARY,
    layers: Sequence[int] | None = None,
    bins: int = BINS,
    log_y: bool = False,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per layer: how the frequencies of its neurons are distributed, and their mean.

    An outline behind shows the distribution over all layers, so that a layer that differs is seen at once.
    All panels have the same axes.

    Args:
        frequency: Share of the tokens, 0 … 1; NaN is left out.
        name: Which frequency it is, a key of `FREQUENCY_LABELS`.
        layers: Which layers are drawn, in this order; all if None. The outline is always that of all.
        bins: Number of equal bins from 0 to 1.
        log_y: Logarithmic proportions, from half a neuron of a layer to 1.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; panel k is ``figure.axes[k]``, its patches have the ``gid`` ``layer`` and ``pooled``, its
        line ``mean``.

    Source: RW functionalities, histograms by layer; section 5.3 of the specification.
    """
    values = to_array(frequency)
    shown = range(len(values)) if layers is None else layers
    pooled = histogram(values.ravel(), bins)
    parts = [histogram(values[layer], bins) for layer in shown]
    lowest = 0.5 / max(1, values.shape[1]) if log_y else None
    highest = max(float(part.shares.max(initial=0)) for part in [pooled, *parts]) or 1.0
    colour = (PAPER_CYCLE if palette_name == "paper" else CYCLE)[0]
    with style(look):
        margins = Margins(left=0.6, top=0.2 if title else 0.05, footer=FOOTER)
        grid = panel_grid(len(shown), width=width, margins=margins)
        for axes, part in zip(grid.panels, parts, strict=True):
            scale_axis(axes, "x", (0.0, 1.0))
            share_axis(axes, lowest, 1.05 * highest)
            draw_stairs(axes, part.shares, lowest, gid="layer", fill=True, facecolor=colour, alpha=0.65)
            draw_stairs(axes, pooled.shares, lowest, gid="pooled", edgecolor=INK, linewidth=0.6)
            if part.n:
                axes.axvline(part.mean, color=INK, linewidth=0.8, linestyle=DASHED, gid="mean")
        title_panels(grid, layer_titles(shown))
        grid.label(FREQUENCY_LABELS[name], SHARE_LABEL, title)
        grid.figure.legend(
            handles=[
                Patch(facecolor=colour, alpha=0.65, label=LAYER_LABEL),
                Line2D([], [], color=INK, linewidth=0.8, linestyle=DASHED, label="their mean"),
                Patch(facecolor="none", edgecolor=INK, linewidth=0.6, label=POOLED_LABEL),
            ],
            loc="center",
            bbox_to_anchor=(0.5, FOOTER / 2 / grid.figure.get_size_inches()[1]),
            ncols=3,
            borderpad=0,
            frameon=False,
            fontsize=7,
        )
    return grid.figure


def draw_stairs(axes: Axes, shares: Floats, lowest: float | None, **look: Any) -> None:
    """Draw the outline or area of a histogram.

    Args:
        axes: The axes.
        shares: Height of each of the equal bins from 0 to 1.
        lowest: Lower end of a logarithmic axis; None on a linear one.
        look: Keywords of `matplotlib.axes.Axes.stairs`.
    """
    # Without the empty bins an outline does not run along the axis, over what is drawn there.
    heights = np.where(shares > 0, shares, np.nan)
    axes.stairs(heights, np.linspace(0, 1, len(shares) + 1), baseline=lowest or 0.0, **look)


def share_axis(axes: Axes, lowest: float | None, highest: float) -> None:
    """Limits and ticks of the axis of shares: from 0 to ``highest``, or logarithmic from ``lowest`` to 1."""
    if lowest is None:
        axes.set_ylim(0.0, highest)
        ticks = linear_ticks(0.0, highest)
    else:
        axes.set_yscale("log")
        axes.set_ylim(lowest, 1.0)
        ticks = log_ticks(lowest, 1.0)
    labels = [f"{tick:g}" if tick == 0 or tick > 9e-4 else power_of_ten(tick) for tick in ticks]
    axes.set_yticks(ticks, labels)
    axes.minorticks_off()
