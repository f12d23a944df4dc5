"""Class means of frequencies against those of random neurons of the same layers, with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from rwcore.activations.quadrants import SUMMARY
from rwcore.plots.counts import Colour, PaletteName, palette
from rwcore.plots.frequency_names import ATYPICAL, BASELINE_LABEL, CLASS_LABEL, FREQUENCY_LABELS
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, over_white, style

if TYPE_CHECKING:
    import pandas as pd

ROW = 0.235
"""Height of the row of a class, in inches."""


def class_means_figure(
    means: pd.DataFrame,
    *,
    name: str = SUMMARY,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One row per class: its mean frequency as a dot of its colour, that of its baseline as a ring.

    Dots of atypical classes are diamonds. Bars across a dot are its 95 % interval; the number of neurons of
    the class stands at the right. A class without neurons has an empty row that says so.

    Args:
        means: Columns class, n, true, baseline, low, high, one row per class, drawn from the top; NaN where
            there is no such number.
        name: Which frequency it is, a key of `FREQUENCY_LABELS`.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Lines of its axes have the ``gid`` ``true:`` and the class, ``baseline:`` and the class,
        ``interval:`` and the class, ``gap:`` and the class.

    Source: RW functionalities, activation frequencies by class; section 5.3 of the specification.
    """
    colours = palette(palette_name).colours
    with style(look):
        figure = new_figure(width, ROW * len(means) + (1.15 if title else 0.95))
        axes = figure.add_subplot()
        rows = [tuple(row) for row in means[["class", "true", "baseline", "low", "high"]].to_numpy()]
        for row, (one, *numbers) in enumerate(rows):
            _draw_mean(axes, row, str(one), *map(float, numbers), colour=colours[str(one)])
        _class_rows(axes, [str(one) for one in means["class"]], [int(n) for n in means["n"]])
        axes.set_xlim(0, _upper(means))
        axes.set_xlabel(f"mean {FREQUENCY_LABELS[name]}", fontsize=9)
        if title:
            axes.set_title(title, fontsize="medium")
        _means_legend(
            figure, [colours[str(one)] for one in means["class"]], intervals=bool(means["low"].notna().any())
        )
    return figure


def _upper(means: pd.DataFrame) -> float:
    """The right end: the next tenth beyond what is drawn."""
    drawn = means[["true", "baseline", "high"]].to_numpy(float)
    highest = float(np.nanmax(drawn, initial=0.0))
    return min(1.0, math.ceil(10 * highest + 0.3) / 10)


def _draw_mean(
    axes: Axes, row: int, one: str, true: float, baseline: float, low: float, high: float, *, colour: Colour
) -> None:
    if not math.isfinite(true):
        axes.annotate(
            "no neurons", (0, row), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color=MUTED
        )
        return
    if math.isfinite(baseline):
        axes.plot([baseline, true], [row, row], color=FAINT, linewidth=2.2, zorder=2, gid=f"gap:{one}")
        axes.plot(
            baseline,
            row,
            "o",
            markersize=5.5,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=0.9,
            zorder=3,
            clip_on=False,
            gid=f"baseline:{one}",
        )
    diamond = one.startswith(ATYPICAL)
    axes.plot(
        true,
        row,
        "D" if diamond else "o",
        markersize=5.5 if diamond else 7,
        color=over_white(colour),
        markeredgecolor=INK,
        markeredgewidth=0.6,
        zorder=4,
        clip_on=False,  # a dot at 0 is as large as the others
        gid=f"true:{one}",
    )
    if math.isfinite(low) and math.isfinite(high):
        axes.plot(
            [low, high],
            [row, row],
            marker="|",
            markersize=11,
            markeredgewidth=0.9,
            color=INK,
            linewidth=0.9,
            zorder=3.5,
            gid=f"interval:{one}",
        )


def _class_rows(axes: Axes, names: list[str], counts: list[int]) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, width=0.5, length=2.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_linewidth(0.5)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
    for row, text in [(-0.9, "neurons"), *((row, f"{n:,}") for row, n in enumerate(counts))]:
        axes.annotate(
            text,
            (1, row),
            (38, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=MUTED if row < 0 else INK,
            annotation_clip=False,
        )


def _means_legend(figure: Figure, colours: list[Colour], *, intervals: bool) -> None:
    look: dict[str, Any] = {"linestyle": "none", "markeredgecolor": INK}
    shown = [colours[0], colours[-1]]
    dots = tuple(
        Line2D([], [], marker=marker, markersize=5.5, color=over_white(colour), markeredgewidth=0.6, **look)
        for marker, colour in zip("oD", shown, strict=True)
    )
    ring = Line2D([], [], marker="o", markersize=5.5, markerfacecolor="white", markeredgewidth=0.9, **look)
    handles: list[Any] = [dots, ring]
    labels = [CLASS_LABEL, BASELINE_LABEL]
    if intervals:
        handles.append(
            Line2D([], [], marker="|", markersize=9, markeredgewidth=0.9, color=INK, linewidth=0.9)
        )
        labels.append("95 % interval over documents")
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
        handler_map={tuple: HandlerTuple(ndivide=None)},
    )
