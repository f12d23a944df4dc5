"""Which layers tell which features: a cell per feature and layer, its colour the score of the best neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH, density_colours, draw_cells, marker_colour
from rwcore.plots.probe_names import feature_label, score_label
from rwcore.plots.style import MUTED, Look, style

if TYPE_CHECKING:
    import pandas as pd

ROW = 0.155
"""Height of the row of a feature, in inches."""
_LEFT_OF_NAMES, _RIGHT, _BOTTOM, _BAR, _BAR_GAP = 0.12, 0.62, 0.42, 0.12, 0.12
_LETTER = 0.058
_WIDEST_CELL = 0.45
_LEGIBLE = 0.19
"""Width of a cell, in inches, from which its score is written into it."""
_FAMILY_NAME = 0.15
"""Height of the name over the features of a family."""


def probe_layers_figure(
    layers: pd.DataFrame,
    *,
    score: str = "validation_mcc",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The best neuron of every layer for every feature.

    Features of a family stand together, with its name over theirs; the best layer of a feature has a frame.
    Scores are written as hundredths where cells are wide enough. Layers that were not probed are empty.

    Args:
        layers: Rows of `rwcore.studies.probe_tables.layer_table`; of several data sets one after the other.
        score: The column that is drawn; scores below 0 have the colour of 0.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis).
        look: ``paper`` or ``screen``.
        width: In inches; the figure is narrower if there are few layers.

    Returns:
        The figure: one axes per family and the scale at the right, which has the ``gid`` ``scale``. Frames
        have the ``gid`` ``best:`` and the feature.
    """
    families = list(dict.fromkeys(layers["family"]))
    numbers = np.arange(int(layers["layer"].min()), int(layers["layer"].max()) + 1)
    rows = {family: list(dict.fromkeys(layers[layers["family"] == family]["feature"])) for family in families}
    longest = max(len(feature_label(name)) for name in {*layers["feature"], *families})
    left = _LEFT_OF_NAMES + _LETTER * longest
    cell = min((width - left - _RIGHT) / len(numbers), _WIDEST_CELL)
    full_width = left + cell * len(numbers) + _RIGHT
    top = 0.26 if title else 0.02
    body = ROW * sum(map(len, rows.values())) + _FAMILY_NAME * len(families)
    height = body + _BOTTOM + top
    norm, colours = Normalize(0, 1), density_colours(palette_name)
    with style(look):
        figure = Figure(figsize=(full_width, height))
        below = height - top
        for family, names in rows.items():
            below -= ROW * len(names) + _FAMILY_NAME
            place = (left, below, cell * len(numbers), ROW * len(names))
            axes = figure.add_axes(_share(place, full_width, height))
            table = _cells(layers[layers["family"] == family], names, numbers, score)
            _family(axes, table, names, numbers, colours, norm, marker_colour(palette_name), legible=cell)
            above = below + ROW * len(names) + _FAMILY_NAME / 2 - 0.01
            figure.text((left - 0.035) / full_width, above / height, feature_label(family), ha="right",
                        va="center", fontsize=7, color=MUTED, style="italic",
                        gid=f"family:{family}")  # fmt: skip
        _layer_axis(axes, numbers, cell)
        bar = (left + cell * len(numbers) + _BAR_GAP, _BOTTOM, _BAR, body - _FAMILY_NAME)
        _scale(figure, _share(bar, full_width, height), norm, colours, score)
        if title:
            figure.text((left + cell * len(numbers) / 2) / full_width, 1 - 0.15 / height, title, ha="center",
                        va="center", fontsize="medium", gid="title")  # fmt: skip
    return figure


def _share(place: tuple[float, float, float, float], width: float, height: float) -> Any:
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height


def _cells(
    layers: pd.DataFrame, names: list[str], numbers: NDArray[np.int_], score: str
) -> NDArray[np.float64]:
    """Scores [feature layer], NaN where there is none."""
    table = layers.pivot_table(index="feature", columns="layer", values=score, aggfunc="max", dropna=False)
    cells: NDArray[np.float64] = table.reindex(index=names, columns=numbers).to_numpy(np.float64)
    return cells


def _family(
    axes: Axes,
    cells: NDArray[np.float64],
    names: list[str],
    numbers: NDArray[np.int_],
    colours: Colormap,
    norm: Normalize,
    frame: str,
    *,
    legible: float,
) -> None:
    """The rows of a family, the first one at the top."""
    axes.set_xlim(-0.5, len(numbers) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    draw_cells(axes, cells[::-1], colours, norm)
    axes.set_yticks(range(len(names)), [feature_label(name) for name in names], parse_math=False)
    axes.tick_params(labelsize=7, length=0, pad=2.5, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row, name in enumerate(names):
        if np.isfinite(cells[row]).any():
            best = int(np.nanargmax(cells[row]))
            axes.add_patch(Rectangle((best - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=frame,
                                     linewidth=1.1, zorder=3, clip_on=False, gid=f"best:{name}"))  # fmt: skip
        if legible >= _LEGIBLE:
            for column in np.flatnonzero(np.isfinite(cells[row])).tolist():
                value = cells[row, column]
                # Both colour maps are dark below and light above.
                ink = "white" if norm(value) < 0.6 else "black"
                text = f"{100 * value:.0f}".replace("-", "−")
                axes.text(column, row, text, ha="center", va="center_baseline", fontsize=5.5, color=ink,
                          zorder=4)  # fmt: skip


def _layer_axis(axes: Axes, numbers: NDArray[np.int_], cell: float) -> None:
    step = 1 if cell >= 0.17 else 2 if cell >= 0.09 else 5
    shown = [place for place, number in enumerate(numbers.tolist()) if number % step == 0]
    axes.set_xticks(shown, [str(numbers[place]) for place in shown])
    axes.tick_params(axis="x", labelbottom=True, labelsize=7, length=2, pad=1.5)
    axes.set_xlabel("layer", fontsize=8.5, labelpad=2)


def _scale(figure: Figure, place: Any, norm: Normalize, colours: Colormap, score: str) -> None:
    axes = figure.add_axes(place, gid="scale")
    axes.set_xlim(0, 1)
    axes.set_ylim(norm.vmin or 0, norm.vmax or 1)
    draw_cells(axes, np.linspace(0, 1, 256)[:, None], colours, norm)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    axes.set_ylabel(f"{score_label(score)}, best neuron", fontsize=7.5, labelpad=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
