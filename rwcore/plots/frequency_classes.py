"""How frequencies are distributed over the neurons of each class and over their same-layer baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from torch import Tensor

from rwcore.activations.quadrants import SUMMARY
from rwcore.neurons import SEED, NeuronSet, classes_with_baselines
from rwcore.plots.counts import Colour, Palette, PaletteName, palette
from rwcore.plots.frequency_histograms import (
    BINS,
    DASHED,
    SHARE_LABEL,
    Histogram,
    draw_stairs,
    histogram,
    share_axis,
)
from rwcore.plots.frequency_names import ATYPICAL, BASELINE_LABEL, CLASS_LABEL, FREQUENCY_LABELS, to_array
from rwcore.plots.panels import TICKS, WIDTH
from rwcore.plots.style import FAINT, MUTED, Look, style
from rwcore.stats.classes import RW_CLASSES, RWClass

# Panels are white, also on a dark page, so these are not the colours that a page replaces.
OUTLINE = "#3d3d42"
BASELINE: dict[str, Any] = {"edgecolor": OUTLINE, "linewidth": 0.9}
BASELINE_MEAN: dict[str, Any] = {"color": OUTLINE, "linewidth": 0.9, "linestyle": DASHED}
CLASS_MEAN: dict[str, Any] = {"color": "black", "linewidth": 1.0}


@dataclass(frozen=True)
class ClassHistograms:
    """The distributions over the neurons of a class and over its same-layer baseline."""

    name: str
    true: Histogram
    baseline: Histogram


def class_histograms(
    frequency: Float[Tensor, "layer neuron"],
    codes: Int8[Tensor, "layer neuron"],
    classes: Sequence[RWClass] = RW_CLASSES,
    *,
    bins: int = BINS,
    seed: int = SEED,
) -> list[ClassHistograms]:
    """The distributions of each class and of its baseline, all layers together.

    The neurons are those of `rwcore.activations.frequencies.class_frequencies`, so that the means are too.

    Args:
        frequency: Share of the tokens, 0 … 1; NaN for a neuron that was not measured.
        codes: Class of every neuron, from `rwcore.stats.classes.class_codes`.
        classes: What the codes stand for.
        bins: Number of equal bins from 0 to 1.
        seed: Seed of the baselines.

    Returns:
        One entry per class, in the order of the classes; without neurons ``n`` is 0.

    Source: RW functionalities, activation frequencies by class; section 5.3 of the specification.
    """
    values = to_array(frequency)

    def of(neurons: NeuronSet) -> Histogram:
        return histogram(values[neurons.layer, neurons.neuron], bins)

    return [
        ClassHistograms(one.name, of(members), of(baseline))
        for one, members, baseline in classes_with_baselines(codes, classes, seed=seed)
    ]


def class_histograms_figure(
    histograms: Sequence[ClassHistograms],
    *,
    name: str = SUMMARY,
    log_y: bool = False,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per class: its neurons filled with its colour, its baseline as an outline over them.

    Classes stand in canonical order, an atypical one to the right of its typical one. Every histogram adds up
    to 1 (each neuron weighs 1/N), so shapes can be compared whatever the numbers of neurons are, and every
    panel is as high as its highest bar. Lines mark the two means.

    Args:
        histograms: From `class_histograms`.
        name: Which frequency it is, a key of `FREQUENCY_LABELS`.
        log_y: Logarithmic proportions, from half a neuron of the largest set to 1, the same in all panels.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure: ``figure.axes[k]`` is the panel of class k. Its patches have the ``gid`` ``true`` and
        ``baseline``, its lines ``mean:true`` and ``mean:baseline``.

    Source: RW functionalities, histograms by category; section 5.3 of the specification.
    """
    cells = _cells([one.name for one in histograms])
    rows = len(cells) // 2
    left, right, bottom, gap, panel = 0.55, 0.1, 0.5, 0.3, 0.86
    top = 0.5 if title else 0.28
    height = bottom + top + rows * panel + (rows - 1) * gap
    colours = palette(palette_name)
    lowest = 0.5 / max(1, *(max(one.true.n, one.baseline.n) for one in histograms))
    with style(look):
        figure = Figure(figsize=(width, height))
        side = (width - left - right - 0.45) / 2
        for place, index in enumerate(cells):
            row, column = divmod(place, 2)
            x, y = left + column * (side + 0.45), bottom + (rows - 1 - row) * (panel + gap)
            box = (x / width, y / height, side / width, panel / height)
            if index is None:
                if place == cells.index(None):
                    _class_legend(figure, box, [colours.colours[one.name] for one in histograms])
                continue
            axes = figure.add_axes(box)
            _draw_class(axes, histograms[index], colours, lowest if log_y else None)
            below = cells[place + 2] if place + 2 < len(cells) else None
            axes.tick_params(labelbottom=below is None)
        middle = (left + side + 0.225) / width
        label = FREQUENCY_LABELS[name]
        figure.text(middle, 0.13 / height, label, ha="center", va="center", fontsize=9, gid="xlabel")
        figure.text(
            0.1 / width,
            (bottom + (height - bottom - top) / 2) / height,
            SHARE_LABEL,
            ha="center",
            va="center",
            rotation="vertical",
            fontsize=9,
            gid="ylabel",
        )
        if title:
            figure.text(middle, 1 - 0.12 / height, title, ha="center", va="center", fontsize="medium")
    return figure


def _cells(names: Sequence[str]) -> list[int | None]:
    """Which class stands in each cell of two columns, with at least one empty cell (for the legend)."""
    cells: list[int | None] = []
    paired = any(name.startswith(ATYPICAL) for name in names)
    for number, name in enumerate(names):
        if not paired:
            cells.append(number)
        elif name.startswith(ATYPICAL) and cells and cells[-1] is None:
            cells[-1] = number
        else:
            cells += [number, None]
    if None not in cells:
        cells.append(None)
    return cells + [None] * (len(cells) % 2)


def _draw_class(axes: Axes, one: ClassHistograms, colours: Palette, lowest: float | None) -> None:
    axes.set_facecolor("white")  # half-transparent colours are defined over white, also on a dark page
    axes.set_title(one.name, loc="left", fontsize=8, pad=2.5)
    axes.set_title(f"n = {one.true.n:,}", loc="right", fontsize=7, pad=2.5, color=MUTED)
    axes.set_xlim(0.0, 1.0)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    highest = max(one.true.shares.max(initial=0), one.baseline.shares.max(initial=0)) or 1.0
    share_axis(axes, lowest, 1.08 * highest)
    _thin(axes)
    if not one.true.n:
        axes.text(0.5, 0.5, "no neurons", transform=axes.transAxes, ha="center", color=MUTED, fontsize=8)
        return
    colour, hatch = colours.colours[one.name], colours.hatches.get(one.name)
    look: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": "#ffffff" if hatch else colour}
    draw_stairs(axes, one.true.shares, lowest, gid="true", fill=True, linewidth=0, **look)
    # Classes are as dark as black: lines over them are seen by their white borders.
    halo = [withStroke(linewidth=2.2, foreground="white")]
    if one.baseline.n:
        draw_stairs(axes, one.baseline.shares, lowest, gid="baseline", path_effects=halo, **BASELINE)
        axes.axvline(one.baseline.mean, **BASELINE_MEAN, path_effects=halo, gid="mean:baseline")
    axes.axvline(one.true.mean, **CLASS_MEAN, path_effects=halo, gid="mean:true")


def _class_legend(figure: Figure, box: tuple[float, float, float, float], colours: Sequence[Colour]) -> None:
    entries: dict[str, Any] = {
        f"{CLASS_LABEL} (filled)": tuple(
            Patch(facecolor=colour, edgecolor="none") for colour in (colours[0], colours[-1])
        ),
        f"{BASELINE_LABEL} (outline)": Patch(facecolor="none", **BASELINE),
        "mean of the class": Line2D([], [], **CLASS_MEAN),
        "mean of the random neurons": Line2D([], [], **BASELINE_MEAN),
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="center",
        bbox_to_anchor=(box[0] + box[2] / 2, box[1] + box[3] / 2),
        facecolor="white",
        edgecolor="none",
        labelcolor="black",
        framealpha=1.0,
        fontsize=8,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )


def _thin(axes: Axes) -> None:
    axes.tick_params(**TICKS)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("left", "bottom"))
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
