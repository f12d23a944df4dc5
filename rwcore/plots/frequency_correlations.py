"""How the correlation of frequencies and cosines goes from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.activations.frequencies import POOLED
from rwcore.plots.counts import PaletteName
from rwcore.plots.frequency_names import FREQUENCY_LABELS, NAMES
from rwcore.plots.histograms import Regression, correlation_text
from rwcore.plots.panels import COSINE_LABELS, TICKS, WIDTH
from rwcore.plots.style import CYCLE, FAINT, MUTED, PAPER_CYCLE, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

COSINES = ("linout", "gateout", "gatelin")
DASHES: Mapping[str, Any] = {"linout": "solid", "gateout": (0, (4, 1.2)), "gatelin": (0, (1, 1))}


def correlations_figure(
    correlations: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """How frequencies go with cosines from layer to layer: a panel per frequency, a line per cosine.

    Over each panel stand the correlations over all layers together.

    Args:
        correlations: Columns quadrant, cosine, layer, r; layers as text, ``all`` for the pooled value; as
            `rwcore.activations.frequencies.frequency_correlations` gives them. An r that is NaN is a gap.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; its lines have the ``gid`` ``r:`` and the cosine. With all quadrants the upper row of
        panels is gate > 0, the lower one gate < 0.

    Source: RW functionalities, activation frequencies; section 5.4 and appendix B of the specification.
    """
    present = set(correlations["quadrant"])
    names: list[str | None] = [name for name in NAMES if name in present]
    cosines = [name for name in COSINES if name in set(correlations["cosine"])]
    cells = [*names[:3], None, *names[3:]] if len(names) == len(NAMES) else [*names, None]
    columns = min(3, len(cells))
    rows = math.ceil(len(cells) / columns)
    colours = dict(zip(COSINES, PAPER_CYCLE if palette_name == "paper" else CYCLE, strict=False))
    with style(look):
        figure = new_figure(width, 2.1 * rows + (0.25 if title else 0.0))
        grid = figure.add_gridspec(rows, columns)
        shared: dict[str, Any] = {}
        for place, name in enumerate(cells):
            axes = figure.add_subplot(grid[divmod(place, columns)], **(shared if name else {}))
            if name is None:
                _cosine_legend(axes, cosines, colours)
                continue
            shared = shared or {"sharex": axes, "sharey": axes}
            _draw_correlations(axes, correlations[correlations["quadrant"] == name], cosines, colours)
            axes.set_title(FREQUENCY_LABELS[name], fontsize=8, pad=15)
            axes.tick_params(labelleft=place % columns == 0 or cells[place - 1] is None)
        if title:
            figure.suptitle(title, fontsize="medium")
        figure.supxlabel("layer", fontsize=9)
        figure.supylabel("correlation of frequency and cosine", fontsize=9)
    return figure


def _draw_correlations(
    axes: Axes, rows: pd.DataFrame, cosines: list[str], colours: Mapping[str, str]
) -> None:
    handles: list[Line2D] = []
    for cosine in reversed(cosines):
        of = rows[rows["cosine"] == cosine]
        single = of[of["layer"] != POOLED]
        layers, r = single["layer"].astype(int).to_numpy(), single["r"].to_numpy(float)
        order = np.argsort(layers)
        (line,) = axes.plot(
            layers[order],
            r[order],
            color=colours[cosine],
            linestyle=DASHES[cosine],
            linewidth=1.8 if cosine == "linout" else 1.3,
            marker="o" if len(layers) == 1 else None,
            markersize=3.5,
            label=_pooled(of),
            gid=f"r:{cosine}",
        )
        handles.insert(0, line)
    numbers = rows.loc[rows["layer"] != POOLED, "layer"].astype(int)
    if len(numbers):
        axes.set_xlim(numbers.min() - 0.5, numbers.max() + 0.5)
    axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
    axes.set_ylim(-1, 1)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    axes.locator_params(axis="x", integer=True, nbins=5)
    axes.tick_params(**TICKS)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.985),
        ncols=len(handles),
        frameon=False,
        fontsize=7,
        handlelength=1.7,
        handletextpad=0.4,
        columnspacing=0.9,
        borderpad=0.1,
    )


def _pooled(rows: pd.DataFrame) -> str:
    """The correlation over all layers, as figures write correlations: two decimals."""
    pooled = rows.loc[rows["layer"] == POOLED, "r"]
    r = float(pooled.iloc[0]) if len(pooled) else math.nan
    return correlation_text(Regression(math.nan, math.nan, r, math.nan, 0)).removeprefix("r = ")


def _cosine_legend(axes: Axes, cosines: list[str], colours: Mapping[str, str]) -> None:
    axes.set_axis_off()
    handles = [
        Line2D(
            [],
            [],
            color=colours[cosine],
            linestyle=DASHES[cosine],
            linewidth=1.8 if cosine == "linout" else 1.3,
            label=COSINE_LABELS[cosine],
        )
        for cosine in cosines
    ]
    axes.legend(
        handles=handles,
        loc="center",
        frameon=False,
        fontsize=8.5,
        title="cosine\n(over each panel: all layers)",
        title_fontsize=8,
        handlelength=2.4,
    )
