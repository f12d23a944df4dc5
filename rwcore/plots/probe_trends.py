"""Probes of several models: the best score of every feature, and where the best neurons are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rwcore.plots.counts import PaletteName
from rwcore.plots.medians import spread
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import cycle, family_colours, feature_label, score_label
from rwcore.plots.style import FAINT, INK, MUTED, PAPER_CYCLE, Look, style

if TYPE_CHECKING:
    import pandas as pd

_LEFT, _GAP, _NAMES, _RIGHT = 0.5, 0.3, 1.28, 0.05
"""In inches: beside the first panel, between two, of the names of features, beside the last names."""
_TITLE, _FOOT, _LINE, _FLAT = 0.24, 0.26, 0.115, 1.4
"""In inches: over a row of panels, for the legend, of a name, of the lowest panel."""
_LETTER = 0.052
_LONGEST = 24
"""Letters of a name; longer ones are cut."""
_STRIP, _DOT, _STACK = 0.55, 4.0, 0.13
"""Height of the strip of a model in inches, size of a dot in points, distance of stacked dots in strips."""

Quantity = Literal["relative_depth", "needed_k"]
_QUANTITIES = {
    "relative_depth": "relative depth of the best neuron",
    "needed_k": "neurons k that reach 95 % of the best score",
}


def trend_scores_figure(
    trends: pd.DataFrame,
    changes: pd.DataFrame,
    names: Mapping[str, str],
    *,
    score: str = "test_mcc",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per family, a line per feature with its name at the end, models side by side by size.

    Models are evenly spaced, whatever their sizes. Lines say by colour and style whether a feature gains or
    loses from the first model to the last.

    Args:
        trends: Rows of `rwcore.studies.probe_trends.probe_trends`, models by size.
        changes: Its changes, for ``mcc_trend``.
        names: What models are called at the axis.
        score: The column that is drawn.
        title: Of the figure.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches; with a single panel the figure is half as wide.

    Returns:
        The figure. Lines have the ``gid`` ``feature:`` and the feature, names at their ends ``name:`` and the
        feature.
    """
    models = list(dict.fromkeys(trends["model"]))
    sizes = dict(zip(trends["model"], trends["neurons"], strict=True))
    ticks = [f"{_cut(names[model])}, {_count(sizes[model])}" for model in models]
    trend_of = changes.set_index(["dataset", "feature"])["mcc_trend"].to_dict()
    groups = list(trends.groupby(["dataset", "family"], sort=False))
    titles = _titles([(str(dataset), str(family)) for (dataset, family), _ in groups])
    lines = _trend_lines(palette_name)
    low = math.floor(10 * float(trends[score].min())) / 10
    with style(look):
        features = [rows["feature"].nunique() for _, rows in groups]
        figure, panels = _rows_of_panels(features, ticks, width, title)
        for axes, ((dataset, _), rows), name in zip(panels, groups, titles, strict=True):
            axes.set_title(name, fontsize=8, loc="left", pad=3)
            axes.set_xlim(-0.15, len(models) - 0.85)
            _score_axis(axes, low)
            ends = []
            for feature, of_feature in rows.groupby("feature", sort=False):
                values = of_feature.set_index("model")[score].loc[models].to_numpy(float)
                line = lines[str(trend_of[dataset, feature])]
                axes.plot(range(len(models)), values, marker="o", markersize=2.4, linewidth=1.0, zorder=3,
                          gid=f"feature:{feature}", **line)  # fmt: skip
                ends.append((str(feature), float(values[-1]), str(line["color"])))
            _name_ends(axes, ends, len(models) - 1)
        _trend_legend(figure, lines, score)
    return figure


def trend_strips_figure(
    trends: pd.DataFrame,
    names: Mapping[str, str],
    *,
    quantity: Quantity = "relative_depth",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One strip per model, the smallest above, a dot per feature; a black line is the median of a strip.

    Dots with the same value are stacked. Numbers of neurons have a logarithmic axis.

    Args:
        trends: As for `trend_scores_figure`; features without a value are left out.
        names: What models are called.
        quantity: The column that is drawn.
        title: Of the figure.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Dots have the ``gid`` ``strip:``, the model, ``:`` and the family, medians ``median:`` and
        the model.
    """
    models = list(dict.fromkeys(trends["model"]))
    families = list(dict.fromkeys(trends["family"]))
    colours = family_colours(families, palette_name)
    known = trends[trends[quantity].notna()]
    left = 0.2 + _LETTER * 1.15 * max(len(_cut(names[model])) for model in models)
    columns = max(1, int((width - left) / 1.3))
    foot = 0.12 + 0.16 * math.ceil(len(families) / columns)
    above = 0.26 if title else 0.06
    body = _STRIP * len(models)
    height = above + body + 0.36 + foot
    with style(look):
        figure = Figure(figsize=(width, height))
        place = (left / width, (foot + 0.36) / height, (width - left - 0.12) / width, body / height)
        axes = figure.add_axes(place)
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_yticks(range(len(models)), [_cut(names[model]) for model in models], parse_math=False)
        for row, model in enumerate(models):
            of_model = known[known["model"] == model]
            values = of_model[quantity].to_numpy(float)
            heights = row + _stacked(values)
            for family in families:
                own = (of_model["family"] == family).to_numpy()
                axes.plot(values[own], heights[own], "o", markersize=_DOT, color=colours[family],
                          markeredgecolor="white", markeredgewidth=0.4, zorder=3, clip_on=False,
                          gid=f"strip:{model}:{family}")  # fmt: skip
            if len(values):
                axes.vlines(float(np.median(values)), row - 0.48, row + 0.48, color=INK, linewidth=1.6,
                            zorder=2, gid=f"median:{model}")  # fmt: skip
            axes.axhline(row + 0.5, color=FAINT, linewidth=0.5, zorder=1)
        _strip_axis(axes, quantity, known[quantity].to_numpy(float))
        handles = [Line2D([], [], linestyle="none", marker="o", markersize=_DOT, color=colours[family],
                          label=feature_label(family)) for family in families]  # fmt: skip
        handles.append(Line2D([], [], color=INK, linewidth=1.6, label="median"))
        figure.legend(handles=handles, loc="lower center", frameon=False, fontsize=7.5, columnspacing=1.2,
                      handletextpad=0.5, labelspacing=0.3, borderaxespad=0.1,
                      ncols=min(columns, len(handles)))  # fmt: skip
        if title:
            axes.set_title(title, fontsize="medium")
    return figure


def _strip_axis(axes: Axes, quantity: Quantity, values: np.ndarray) -> None:
    if quantity == "relative_depth":
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    else:
        axes.set_xscale("log", base=2)
        largest = max(2.0, float(values.max()))
        axes.set_xlim(0.85, largest * 1.18)
        shown = [2**power for power in range(int(math.log2(largest)) + 1)]
        axes.set_xticks(shown, [str(number) for number in shown])
        axes.minorticks_off()
    axes.set_xlabel(_QUANTITIES[quantity], fontsize=8.5, labelpad=2)
    axes.tick_params(labelsize=7.5, length=2, pad=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)


def _stacked(values: np.ndarray) -> np.ndarray:
    """Heights around 0 such that equal values stand over each other, in their order."""
    found = np.zeros(len(values))
    for value in np.unique(values):
        places = np.flatnonzero(values == value)
        step = min(_STACK, 0.78 / len(places))
        found[places] = step * (np.arange(len(places)) - (len(places) - 1) / 2)
    return found


def _trend_lines(palette_name: PaletteName) -> dict[str, dict[str, Any]]:
    colours = cycle(palette_name)
    loss = "C3" if colours is PAPER_CYCLE else colours[1]
    return {
        "gains": {"color": colours[0], "linestyle": "solid"},
        "loses": {"color": loss, "linestyle": (0, (4.0, 1.4))},
        "same": {"color": MUTED, "linestyle": "solid"},
    }


def _trend_legend(figure: Figure, lines: Mapping[str, Mapping[str, Any]], score: str) -> None:
    said = {"gains": "gains more than 0.01", "loses": "loses more than 0.01", "same": "neither"}
    handles = [Line2D([], [], linewidth=1.2, label=said[name], **line) for name, line in lines.items()]
    figure.legend(handles=handles, loc="lower center", frameon=False, fontsize=7, ncols=3, columnspacing=1.1,
                  handlelength=2.0, borderaxespad=0.1)  # fmt: skip
    places = [axes.get_position() for axes in figure.axes]
    middle = (max(place.y1 for place in places) + min(place.y0 for place in places)) / 2
    figure.text(0.09 / figure.get_size_inches()[0], middle, f"{score_label(score)}, best neuron", rotation=90,
                ha="center", va="center", fontsize=8, gid="ylabel")  # fmt: skip


def _rows_of_panels(
    features: Sequence[int], ticks: Sequence[str], width: float, title: str | None
) -> tuple[Figure, list[Axes]]:
    """Panels two in a row, as high as the names of their features need, and room for these at their right."""
    columns = min(2, len(features))
    full_width = width if columns == 2 else width / 2 + 0.4
    side = (full_width - _LEFT - (columns - 1) * _GAP - columns * _NAMES - _RIGHT) / columns
    rows = [features[start : start + columns] for start in range(0, len(features), columns)]
    heights = [max(_FLAT, _LINE * (max(row) + 1)) for row in rows]
    below = 0.12 + _LETTER * max(map(len, ticks))
    above = 0.22 if title else 0.02
    height = above + sum(heights) + _TITLE * len(rows) + below + _FOOT
    figure = Figure(figsize=(full_width, height))
    if title:
        figure.text(0.5, 1 - 0.13 / height, title, ha="center", va="center", fontsize="medium", gid="title")
    panels = []
    top = height - above
    for number, row in enumerate(rows):
        top -= _TITLE + heights[number]
        for column in range(len(row)):
            left = _LEFT + column * (side + _NAMES + _GAP)
            place = (left / full_width, top / height, side / full_width, heights[number] / height)
            axes = figure.add_axes(place)
            # The lowest panel of each column has the names of the models.
            lowest = number * columns + column + columns >= len(features)
            axes.set_xticks(range(len(ticks)), ticks if lowest else [""] * len(ticks), rotation="vertical",
                            parse_math=False)  # fmt: skip
            axes.tick_params(labelsize=6.5, length=2, width=0.5, pad=2)
            for spine in axes.spines.values():
                spine.set_linewidth(0.5)
            panels.append(axes)
    return figure, panels


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float, str]], last: int) -> None:
    """Names of features beside the ends of their lines, moved apart where they would overlap."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    inches = axes.get_position().height * figure.get_size_inches()[1]
    low, high = axes.get_ylim()
    heights = spread([end for _, end, _ in ends], gap=_LINE * (high - low) / inches, low=low, high=high)
    inch = 1 / (axes.get_position().width * figure.get_size_inches()[0])
    for (name, end, colour), height in zip(ends, heights, strict=True):
        share = (height - low) / (high - low)
        axes.annotate(
            "", xy=(last, end), xytext=(1 + 0.13 * inch, share), textcoords="axes fraction", zorder=2,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1.5},
        )  # fmt: skip
        axes.text(1 + 0.16 * inch, share, _cut(feature_label(name)), transform=axes.transAxes,
                  va="center_baseline", fontsize=6.5, color=INK, parse_math=False,
                  gid=f"name:{name}")  # fmt: skip


def _score_axis(axes: Axes, low: float) -> None:
    """A vertical axis from the lowest score of all panels to 1."""
    axes.set_ylim(low - 0.02 * (1 - low), 1 + 0.02 * (1 - low))
    step = 0.1 if low >= 0.5 else 0.2
    ticks = [1 - step * number for number in range(int((1 - low) / step + 1e-9) + 1)]
    axes.set_yticks(ticks, [f"{tick:.1f}".replace("-", "−") for tick in ticks])
    axes.grid(axis="y", color=FAINT, linewidth=0.4, zorder=0)


def _titles(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Names of families, with the data set where a family is of several."""
    families = [family for _, family in pairs]
    return [
        feature_label(family) + (f" ({dataset})" if families.count(family) > 1 else "")
        for dataset, family in pairs
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def _count(number: int) -> str:
    """``46k`` for 46,080."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:.2g}{name}" if number < 10 * unit else f"{number / unit:.0f}{name}"
    return str(number)
