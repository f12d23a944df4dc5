"""Median cos(w_in, w_out) over the neurons of each layer, against relative depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.style import CYCLE, FAINT, INK, LINE_STYLES, MUTED, PAPER_CYCLE, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

SMALL_MODELS = ("1b", "0.5b")
"""Parts of the lower-cased name of a model that the papers' "selected" figure leaves out."""
DIRECT_LABELS = 6


def selected_models(models: Sequence[str]) -> list[str]:
    """The models of the papers' "selected" figure of medians: all but the small ones."""
    return [model for model in models if not any(part in model.lower() for part in SMALL_MODELS)]


def relative_depth(n_layers: int) -> np.ndarray:
    """Where layers 0 … n-1 are drawn: evenly from 0 to 1; a single layer at 0."""
    return np.linspace(0.0, 1.0, n_layers) if n_layers > 1 else np.zeros(n_layers)


def medians_figure(
    curves: pd.DataFrame,
    background: pd.DataFrame | None = None,
    *,
    background_label: str = "published models",
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    size: tuple[float, float] = (6.75, 2.6),
    legend_inside: bool = False,
) -> Figure:
    """Draw one line per model; other models' curves thin and grey behind.

    Up to six models are labelled at the end of their lines; more get a legend.

    Args:
        curves: Columns model, layer, median (no unit, -1 … 1); models are drawn in order of appearance.
        background: The same columns, for models to compare with.
        background_label: What the grey curves are.
        palette_name: ``paper``, matplotlib's ten colours as published; ``accessible``, six that stay apart
            with any colour vision. After them line styles change. The screen look is always accessible.
        look: ``paper`` or ``screen``.
        size: Width and height in inches.
        legend_inside: A legend in the lower left corner, however many models there are.

    Returns:
        The figure. Each line's ``gid`` is ``curve:`` and its model.
    """
    with style(look):
        figure = new_figure(*size)
        axes = figure.add_subplot()
        _frame(axes)
        n_behind = 0
        if background is not None and len(background):
            n_behind = _draw_background(axes, background)
        published = look == "paper" and palette_name == "paper"
        ends = _draw_curves(axes, curves, PAPER_CYCLE if published else CYCLE)
        if ends and legend_inside:
            axes.legend(loc="lower left", fontsize=8, frameon=False, labelspacing=0.2, handlelength=1.6)
        elif 0 < len(ends) <= DIRECT_LABELS:
            _label_ends(axes, ends, gap=3.2 * mpl.rcParams["font.size"] / 72 / size[1])
        elif ends:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, labelspacing=0.2)
        if n_behind:
            note = f"grey: {n_behind} {background_label}"
            place = (0.01, 0.97) if legend_inside else (0.01, 0.03)
            axes.annotate(
                note,
                place,
                xycoords="axes fraction",
                va="top" if legend_inside else "baseline",
                color=MUTED,
                fontsize="small",
            )
    return figure


def selected_medians_figure(
    curves: pd.DataFrame, *, palette_name: PaletteName = "paper", look: Look = "paper"
) -> Figure:
    """The papers' "selected" figure: all but the small models (`selected_models`), one column wide.

    Args:
        curves: Columns model, layer, median; names of models without organisation in the legend.
        palette_name: As for `medians_figure`.
        look: ``paper`` or ``screen``.

    Source: RW functionalities, figure of selected medians; section 4.1 of the specification.
    """
    kept = selected_models([str(model) for model in curves["model"].unique()])
    return medians_figure(
        curves[curves["model"].isin(kept)],
        palette_name=palette_name,
        look=look,
        size=(3.3, 4.0),
        legend_inside=True,
    )


def _frame(axes: Axes) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(-1, 1)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    axes.set_xlabel("Layer (relative to network depth)")
    axes.set_ylabel(r"median cos($w_\mathrm{in}$, $w_\mathrm{out}$)")


def _by_model(frame: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    groups = frame.groupby("model", sort=False)
    return [(str(model), group.sort_values("layer")["median"].to_numpy(float)) for model, group in groups]


def _draw_background(axes: Axes, frame: pd.DataFrame) -> int:
    models = _by_model(frame)
    for model, values in models:
        axes.plot(
            relative_depth(len(values)), values, color=FAINT, linewidth=0.8, zorder=1, gid=f"curve:{model}"
        )
    return len(models)


def _draw_curves(axes: Axes, frame: pd.DataFrame, cycle: Sequence[str]) -> list[tuple[str, float, str]]:
    ends = []
    for number, (model, values) in enumerate(_by_model(frame)):
        colour = cycle[number % len(cycle)]
        line_style = LINE_STYLES[number // len(cycle) % len(LINE_STYLES)]
        marker = "o" if len(values) == 1 else None
        axes.plot(
            relative_depth(len(values)),
            values,
            color=colour,
            linestyle=line_style,
            linewidth=1.8,
            marker=marker,
            label=model.rsplit("/", 1)[-1],
            zorder=3,
            gid=f"curve:{model}",
        )
        finite = values[np.isfinite(values)]
        if len(finite):
            ends.append((model, float(finite[-1]), colour))
    return ends


def _label_ends(axes: Axes, ends: list[tuple[str, float, str]], gap: float) -> None:
    heights = spread([height for _, height, _ in ends], gap=gap, low=-0.97, high=0.97)
    for (model, end, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            model.rsplit("/", 1)[-1],
            xy=(1, end),
            xytext=(1.035, height),
            textcoords="data",
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1.0, "shrinkA": 1, "shrinkB": 0},
        )


def spread(heights: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move heights as little as needed so that neighbours are `gap` apart, inside [low, high]; order is kept.

    Where there is no room for that, they are spread evenly over [low, high].
    """
    n = len(heights)
    if n > 1 and gap * (n - 1) > high - low:
        gap = (high - low) / (n - 1)
    order = sorted(range(n), key=lambda i: heights[i])
    # Subtracting i·gap turns "at least a gap apart" into "not decreasing", which pooling neighbours solves.
    blocks: list[list[float]] = []
    for rank, i in enumerate(order):
        blocks.append([heights[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, weight = blocks.pop()
            before, others = blocks.pop()
            total = others + weight
            blocks.append([(before * others + value * weight) / total, total])
    flat = [value for value, weight in blocks for _ in range(int(weight))]
    top = high - (n - 1) * gap
    placed = [0.0] * n
    for rank, i in enumerate(order):
        placed[i] = min(max(flat[rank], low), top) + rank * gap
    return placed
