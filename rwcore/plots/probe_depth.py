"""How deep in the model features are told best: the best neuron of each layer over relative depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import family_colours, score_label
from rwcore.plots.probe_panels import probe_grid, score_axis
from rwcore.plots.style import INK, Look, style

if TYPE_CHECKING:
    import pandas as pd

NOTE = "thin: one feature, its best layer marked; thick: mean of the family"


def probe_depth_figure(
    layers: pd.DataFrame,
    *,
    score: str = "test_mcc",
    chosen_by: str = "validation_mcc",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per family: a thin line per feature, a thick one for their mean, a dot at the best layer.

    Args:
        layers: Rows of `rwcore.studies.probe_tables.layer_table`; of several data sets or models one after
            the other.
        score: The column that is drawn.
        chosen_by: The column by which the best layer of a feature is chosen; as published ``test_mcc``.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Thin lines have the ``gid`` ``feature:`` and the feature, thick ones ``mean:`` and the
        family, dots ``best:`` and the feature.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), PR-AUC over relative depth.
    """
    families = list(dict.fromkeys(layers["family"]))
    colours = family_colours(families, palette_name)
    with style(look):
        grid = probe_grid(families, entries=0, title=title, width=width)
        for axes, family in zip(grid.panels, families, strict=True):
            of_family = layers[layers["family"] == family]
            axes.set_xlim(-0.04, 1.04)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            score_axis(axes, float(np.nanmin(layers[score].to_numpy(float))))
            for feature, rows in of_family.groupby("feature", sort=False):
                depth, value = (rows[name].to_numpy(float) for name in ("relative_depth", score))
                axes.plot(depth, value, color=colours[family], linewidth=0.7, alpha=0.45, zorder=2,
                          gid=f"feature:{feature}")  # fmt: skip
                known = rows[chosen_by].to_numpy(float)
                if np.isfinite(known).any():
                    at = int(np.nanargmax(known))
                    axes.plot(depth[at], value[at], "o", markersize=3.4, markerfacecolor=colours[family],
                              markeredgecolor=INK, markeredgewidth=0.5, zorder=4,
                              gid=f"best:{feature}")  # fmt: skip
            mean = of_family.groupby("relative_depth")[score].mean()
            axes.plot(mean.index.to_numpy(float), mean.to_numpy(float), color=colours[family], linewidth=2.0,
                      zorder=3, gid=f"mean:{family}")  # fmt: skip
        grid.label("relative depth of the layer", f"{score_label(score)}, best neuron", title)
        grid.note(NOTE)
    return grid.figure
