"""Letter-value ("boxen") plots of the cosines of each layer, drawn from their quantiles alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import COSINE_LABELS, WIDTH
from rwcore.plots.style import CYCLE, FAINT, MUTED, PAPER_CYCLE, Look, style

if TYPE_CHECKING:
    import pandas as pd

ORDER = ("gatelin", "gateout", "linout")
WIDEST, NARROWEST = 0.84, 0.2
"""Width of the boxes of the quartiles and of the outermost letter values; layers are 1 apart."""
PALEST = 0.78
THRESHOLD = 0.5
HEIGHTS = {1: 2.4, 2: 3.4, 3: 4.6}


def boxes_figure(
    letter_values: pd.DataFrame,
    quartiles: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per cosine, one stack of boxes per layer.

    The widest and darkest box goes from quartile to quartile, the next one from octile to octile, and so on;
    a white line is the median, thin lines end at the smallest and largest value, grey ones are the class
    threshold ±0.5.

    Args:
        letter_values: As `rwcore.stats.medians.letter_values` gives them: layer, cosine, lo2 …, hi2 ….
        quartiles: As `rwcore.stats.medians.quartiles` gives them: layer, cosine, min, median, max are used.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``; both are one hue.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Each panel has one collection per letter value, ``gid`` ``level:2`` (quartiles) and up,
        and collections ``median`` and ``range``. The gatelin panel shows absolute values, 0 … 1.

    Source: RW functionalities, box plots; section 4.5 of the specification.
    """
    cosines = [name for name in ORDER if name in set(letter_values["cosine"])]
    levels = sorted(int(name[2:]) for name in letter_values.columns if name.startswith("lo"))
    colour = (PAPER_CYCLE if palette_name == "paper" else CYCLE)[0]
    with style(look):
        figure = Figure(figsize=(width, HEIGHTS[len(cosines)]), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(cosines), 1, sharex=True))
        for axes, cosine in zip(panels, cosines, strict=True):
            boxes = letter_values[letter_values["cosine"] == cosine].set_index("layer").sort_index()
            summary = quartiles[quartiles["cosine"] == cosine].set_index("layer").sort_index()
            _draw_boxes(axes, boxes, summary, levels, to_rgb(colour))
            _frame(axes, cosine, len(boxes))
        panels[-1].set_xlabel("Layer")
        figure.align_ylabels(list(panels))
        if title:
            panels[0].set_title(title, fontsize="medium")
    return figure


def _draw_boxes(
    axes: Axes,
    boxes: pd.DataFrame,
    summary: pd.DataFrame,
    levels: list[int],
    colour: tuple[float, float, float],
) -> None:
    layers = boxes.index.to_numpy(float)
    low, high = summary["min"].to_numpy(float), summary["max"].to_numpy(float)
    axes.vlines(layers, low, high, color=MUTED, linewidth=0.6, zorder=2, gid="range")
    for level in reversed(levels):
        share = (level - levels[0]) / max(1, levels[-1] - levels[0])
        half = (WIDEST + share * (NARROWEST - WIDEST)) / 2
        bottom, top = boxes[f"lo{level}"].to_numpy(float), boxes[f"hi{level}"].to_numpy(float)
        corners = np.stack(
            [
                np.stack([layers - half, bottom], axis=1),
                np.stack([layers + half, bottom], axis=1),
                np.stack([layers + half, top], axis=1),
                np.stack([layers - half, top], axis=1),
            ],
            axis=1,
        )
        pale = tuple(part + (1 - part) * PALEST * share for part in colour)
        axes.add_collection(
            PolyCollection(
                list(corners[np.isfinite(corners).all(axis=(1, 2))]),
                facecolor=pale,
                edgecolor="white",
                linewidth=0.25,
                zorder=3,
                gid=f"level:{level}",
            ),
            autolim=False,
        )
    half = WIDEST / 2
    medians = summary["median"].to_numpy(float)
    axes.hlines(medians, layers - half, layers + half, color="white", linewidth=1.0, zorder=4, gid="median")


def _frame(axes: Axes, cosine: str, n_layers: int) -> None:
    label = COSINE_LABELS[cosine]
    low = -1.0
    if cosine == "gatelin":
        label, low = f"|{label}|", 0.0
    ticks = [tick for tick in (-1, -0.5, 0, 0.5, 1) if tick >= low]
    axes.set_ylim(low, 1)
    axes.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.set_ylabel(label, fontsize=9)
    axes.set_xlim(-0.7, n_layers - 0.3)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(labelsize=8, width=0.5, length=2.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    for threshold in (-THRESHOLD, THRESHOLD):
        if threshold > low:
            axes.axhline(threshold, color=FAINT, linewidth=0.6, zorder=1, gid="threshold")
    if low < 0:
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=1, gid="zero")
