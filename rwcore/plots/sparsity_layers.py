"""How well k neurons of a layer tell a feature, over k: one panel per feature, one line per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import METHOD_LABELS, score_label
from rwcore.plots.probe_panels import legend_below, probe_grid, score_axis
from rwcore.plots.sparsity_curves import size_axis
from rwcore.plots.style import Look, style

if TYPE_CHECKING:
    import pandas as pd

# Through violet: the middle layers, often the best, are not pale.
_EARLY_TO_LATE = LinearSegmentedColormap.from_list("layers", ["#d7191c", "#8e44ad", "#1f6fc4"])
_MOST_ENTRIES = 8
"""Of the legend: with more layers, some of them stand for those between."""


def sparsity_layers_figure(
    curves: pd.DataFrame,
    *,
    method: str = "mean_dif",
    score: str = "test_mcc",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The curves of one method in several layers, red in early layers and blue in late ones.

    Args:
        curves: Rows of `rwcore.probing.sparsity.sparsity_curve` with columns ``feature`` and ``layer``.
        method: Which method is drawn.
        score: The column that is drawn.
        title: Usually the model's name.
        palette_name: ``paper``, red over violet to blue; ``accessible``, light to dark.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Lines have the ``gid`` ``layer:`` and the layer.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), figures of scores over k by layer.
    """
    rows = curves[curves["method"] == method]
    features, layers = list(dict.fromkeys(rows["feature"])), sorted({*rows["layer"].tolist()})
    lines = _layer_lines(layers, palette_name)
    every = -(-len(layers) // _MOST_ENTRIES)
    handles = [Line2D([], [], label=f"layer {layer}", **lines[layer]) for layer in layers[::every]]
    with style(look):
        grid = probe_grid(features, entries=len(handles), title=title, width=width)
        for axes, feature in zip(grid.panels, features, strict=True):
            size_axis(axes, int(rows["k"].max()), grid.side)
            score_axis(axes, float(np.nanmin(rows[score].to_numpy(float))))
            for layer in layers:
                chosen = (rows["feature"] == feature) & (rows["layer"] == layer)
                of_layer = rows[chosen].sort_values("k")
                axes.plot(of_layer["k"].to_numpy(int), of_layer[score].to_numpy(float), zorder=3,
                          gid=f"layer:{layer}", **lines[layer])  # fmt: skip
        grid.label("neurons k", score_label(score), title)
        legend_below(grid, handles, f"neurons chosen by: {METHOD_LABELS.get(method, method)}")
    return grid.figure


def _layer_lines(layers: list[int], palette_name: PaletteName) -> dict[int, dict[str, Any]]:
    colours = _EARLY_TO_LATE if palette_name == "paper" else mpl.colormaps["cividis_r"]
    # The lightest colours of the latter are not seen on white.
    first = 0.0 if palette_name == "paper" else 0.15
    last = max(1, len(layers) - 1)
    return {
        layer: {"color": colours(first + (1 - first) * place / last), "linewidth": 1.0}
        for place, layer in enumerate(layers)
    }
