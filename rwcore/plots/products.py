"""Input bias times norm of the input vector: a box for every layer, and the course of the medians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, over_white, style

if TYPE_CHECKING:
    import pandas as pd

PRODUCT = r"$b\,\|w_\mathrm{in}\|$"


def products_figure(
    products: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Above a box per layer, whiskers from 0.5 % to 99.5 %; below the medians over the largest of them.

    Args:
        products: As `rwcore.probing.weight_statistics.NeuronWeights.by_layer` gives them.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure: two axes. Boxes, medians and whiskers have the ``gid`` ``box:``, ``median:`` and
        ``whisker:`` and the layer, the line below ``normalised``.

    Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), box plots of bias times norm.
    """
    colour = cycle(palette_name)[0]
    layers = products["layer"].to_numpy(int)
    with style(look):
        figure = new_figure(width, 3.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        boxes = [
            {"med": row.median, "q1": row.q1, "q3": row.q3, "whislo": row.low, "whishi": row.high}
            for row in products.itertuples()
        ]
        face: dict[str, Any] = {
            "facecolor": over_white((*to_rgb(colour), 0.55)),
            "edgecolor": INK,
            "linewidth": 0.5,
        }
        line = {"color": INK, "linewidth": 0.7}
        drawn = above.bxp(
            boxes, positions=layers, widths=0.7, showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops=face, whiskerprops=line, capprops=line, medianprops={**line, "linewidth": 1.1},
        )  # fmt: skip
        for layer, box, median in zip(layers, drawn["boxes"], drawn["medians"], strict=True):
            box.set_gid(f"box:{layer}")
            median.set_gid(f"median:{layer}")
        for place, whisker in enumerate(drawn["whiskers"]):
            whisker.set_gid(f"whisker:{layers[place // 2]}")
        below.plot(layers, products["relative"], "o-", color=colour, markersize=2.6, linewidth=1.2,
                   gid="normalised")  # fmt: skip
        below.set_ylim(-1.08, max(0.1, 1.08 * float(products["relative"].max())))
        above.set_ylabel(PRODUCT, fontsize=9)
        below.set_ylabel("median,\nnormalised", fontsize=9)
        below.set_xlabel("Layer")
        below.set_xlim(layers[0] - 0.7, layers[-1] + 0.7)
        below.locator_params(axis="x", integer=True)
        for axes in (above, below):
            _frame(axes)
        figure.align_ylabels([above, below])
        if title:
            above.set_title(title, fontsize="medium")
    return figure


def _frame(axes: Axes) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1, gid="zero")
    axes.grid(axis="y", color=FAINT, linewidth=0.4, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, width=0.5, length=2.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
