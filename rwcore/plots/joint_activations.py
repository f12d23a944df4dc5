"""What the best neurons of a pair of words do together: each neuron against each other, by occurrence."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import SMALL, TICKS, WIDTH, scale_axis
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import Look, style

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("missing_second", "missing_first", "positive")
"""From the back to the front: those with the pair must be seen."""
_MARKERS = {"positive": "o", "missing_first": "s", "missing_second": "^"}
_COLOURS = {"positive": 1, "missing_first": 0, "missing_second": 2}
"""Places in the cycle: vermilion, blue and green, told apart with any colour vision."""
_LEFT, _BOTTOM, _TOP, _RIGHT, _GAP = 0.62, 0.5, 0.3, 0.1, 0.12
_ROOM = 0.05


def joint_activations_figure(
    joint: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """A panel for each two of the best neurons, a point for each example of one pair of words.

    Args:
        joint: Of one feature, a row per example and neuron: ``example``, ``kind`` (of `KINDS`), ``place`` of
            the neuron among the best, from 1, ``layer``, ``neuron``, ``activation``.
        title: Usually the model's name, and the pair.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, panels below the diagonal: column j has the j-th neuron on the horizontal axis, row i the
        one after the i-th on the vertical one. Points have the ``gid`` of their kind.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), superposition of compound words.
    """
    wide = joint.pivot_table("activation", ["example", "kind"], "place").reset_index("kind")
    neurons = joint.drop_duplicates("place").set_index("place").sort_index()
    names = (neurons["layer"].astype(str) + "." + neurons["neuron"].astype(str)).tolist()
    places = neurons.index.tolist()
    count = max(1, len(places) - 1)
    colours = cycle(palette_name)
    with style(look):
        figure = Figure(figsize=(width, width - _LEFT - _RIGHT + _BOTTOM + _TOP))
        for column, row in combinations_with_replacement(range(count), 2):
            across, up = column, min(row + 1, len(places) - 1)
            x, y = places[across], places[up]
            axes = _panel(figure, row, column, count)
            for kind in KINDS:
                points = wide[wide["kind"] == kind]
                axes.plot(points[x], points[y], gid=kind, **_points(kind, colours, 2.6))
            scale_axis(axes, "x", _limits(wide[x]))
            scale_axis(axes, "y", _limits(wide[y]))
            if row == count - 1:
                axes.set_xlabel(names[across], fontsize=8)
            if column == 0:
                axes.set_ylabel(names[up], fontsize=8)
        _legend(figure, wide["kind"], colours)
        if title:
            figure.suptitle(title, fontsize="medium", y=1 - 0.12 / figure.get_size_inches()[1], va="center")
    return figure


def _panel(figure: Figure, row: int, column: int, count: int) -> Axes:
    """A square below the diagonal; ticks are labelled at the left and at the bottom."""
    width, height = figure.get_size_inches()
    rows = max(2, count)  # a single panel, too, leaves room for the legend on its right
    side = (width - _LEFT - _RIGHT - (rows - 1) * _GAP) / rows
    x = _LEFT + column * (side + _GAP)
    y = _BOTTOM + (rows - 1 - row) * (side + _GAP)
    axes = figure.add_axes((x / width, y / height, side / width, side / height))
    axes.tick_params(**TICKS, labelleft=column == 0, labelbottom=row == count - 1)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    return axes


def _points(kind: str, colours: tuple[str, ...], size: float) -> dict[str, Any]:
    colour = colours[_COLOURS[kind]]
    return {
        "linestyle": "none", "marker": _MARKERS[kind], "markersize": size, "color": colour, "alpha": 0.6,
        "markeredgewidth": 0.0,
    }  # fmt: skip


def _limits(values: pd.Series[float]) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = _ROOM * (high - low or 1.0)
    return low - room, high + room


def _legend(figure: Figure, kinds: pd.Series[str], colours: tuple[str, ...]) -> None:
    """Above the diagonal, where no panels are."""
    labels = {
        "positive": "both words",
        "missing_first": "second word without the first",
        "missing_second": "what follows the first word instead",
    }
    counts = kinds.value_counts()
    handles = [
        Line2D([], [], label=f"{label} ({counts.get(kind, 0)})", **{**_points(kind, colours, 5), "alpha": 1})
        for kind, label in labels.items()
    ]
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper right", frameon=False, fontsize=SMALL + 0.5, handletextpad=0.2,
        bbox_to_anchor=(1 - _RIGHT / width, 1 - _TOP / height), title="activations (post) of layer.neuron at",
        alignment="left", title_fontsize=SMALL + 0.5,
    )  # fmt: skip
