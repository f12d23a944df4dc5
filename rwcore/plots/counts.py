"""How many neurons of each layer are in which class, as stacked bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from rwcore.plots.style import Look, new_figure, style
from rwcore.stats.classes import RW_CLASSES, UNDEFINED

if TYPE_CHECKING:
    import pandas as pd

PaletteName = Literal["paper", "accessible"]
Colour = tuple[float, float, float, float]
Vector = NDArray[np.float64]

# Strengthening is warm, weakening blue, conditional darker than plain; atypical classes repeat the colour of
# their typical class with a hatch, so that no two classes differ by hue alone.
_ACCESSIBLE = {
    "strengthening": "#f5c710",
    "conditional strengthening": "#b3541e",
    "proportional change": "#3d3d42",
    "orthogonal output": "#e4e5e9",
    "weakening": "#7cc4ee",
    "conditional weakening": "#1f5fa8",
}
_HATCH = "//////"
N_BINS = 10
LEGEND_COLUMNS = 3
DIGIT_POINTS = 4.2  # width of a digit at the size that counts are written in


@dataclass(frozen=True)
class Palette:
    """Colours and hatches by class name."""

    colours: dict[str, Colour]
    hatches: dict[str, str]


def palette(name: PaletteName = "paper") -> Palette:
    """Colours of the eleven classes.

    Args:
        name: ``paper``, the papers' own colours; ``accessible``, six colours that stay apart with any colour
            vision, atypical classes hatched.
    """
    undefined = {UNDEFINED: (1.0, 1.0, 1.0, 1.0)}
    if name == "paper":
        return Palette({one.name: one.rgba for one in RW_CLASSES} | undefined, {UNDEFINED: "xxxx"})
    colours = {one.name: to_rgba(_ACCESSIBLE[one.name.removeprefix("atypical ")]) for one in RW_CLASSES}
    hatches = {one.name: _HATCH for one in RW_CLASSES if one.name.startswith("atypical ")}
    return Palette(colours | undefined, hatches | {UNDEFINED: "xxxx"})


def half_coarse_colours() -> list[Colour]:
    """Colours of the ten cosine bins, blue over white to yellow (section 2.5 of the spec)."""
    positions = [-1 + 2 * number / (N_BINS - 1) for number in range(N_BINS)]
    return [
        (1 - abs(p), 1 - abs(p), 1.0, math.sqrt(abs(p))) if p < 0 else (1.0, 1.0, 1 - p, 1.0)
        for p in positions
    ]


def class_counts_figure(
    counts: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = 6.75,
) -> Figure:
    """Stacked bars of class counts: one bar per layer, layer 0 on top, classes in canonical order.

    Args:
        counts: Columns layer, class, count; as `rwcore.stats.classes.class_counts` gives them.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches; the height follows from the number of layers.

    Returns:
        The figure; ``figure.axes[0].containers`` holds one bar container per class, labelled with its name,
        and bar widths are numbers of neurons.
    """
    present = set(counts["class"])
    names = [name for name in [*(one.name for one in RW_CLASSES), UNDEFINED] if name in present]
    table = counts.pivot_table(index="layer", columns="class", values="count", aggfunc="sum", fill_value=0)
    colours = palette(palette_name)
    fills = [Fill(name, colours.colours[name], colours.hatches.get(name)) for name in names]
    return _stacked_bars(table[names], fills, title=title, look=look, width=width)


def half_coarse_figure(
    counts: pd.DataFrame, *, title: str | None = None, look: Look = "paper", width: float = 6.75
) -> Figure:
    """Stacked bars of cosine-bin counts, laid out like `class_counts_figure`.

    Args:
        counts: Columns layer, bin_low, bin_high, count, with all ten bins.
        title: Usually the model's name.
        look: ``paper`` or ``screen``.
        width: In inches.
    """
    table = counts.pivot_table(index="layer", columns="bin_low", values="count", aggfunc="sum", fill_value=0)
    fills = []
    edges = sorted(float(str(edge)) for edge in table.columns)
    for low, colour in zip(edges, half_coarse_colours(), strict=True):
        last = "≤" if low > 0.7 else "<"
        label = f"{low:.1f} ≤ cos {last} {low + 0.2:.1f}".replace("-0.0", "0.0").replace("-", "−")
        fills.append(Fill(label, colour, None))
    return _stacked_bars(table, fills, title=title, look=look, width=width)


def bar_widths(figure: Figure) -> pd.DataFrame:
    """The widths that the bars of a figure of counts really have, read back from the drawing.

    The widths of a layer add up to its neurons; a drawing that loses a class does not (section 10, X1 of the
    specification).

    Args:
        figure: What `class_counts_figure` or `half_coarse_figure` returned.

    Returns:
        ``layer``, ``class`` (of half-coarse figures the bin), ``width`` in neurons; layer by layer, classes
        in the order of stacking.
    """
    import pandas as pd

    axes = figure.axes[0]
    layers = {
        round(float(row)): int(label.get_text())
        for row, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }
    rows = [
        (layers[round(bar.get_y() + bar.get_height() / 2)], str(bars.get_label()), bar.get_width())
        for bars in axes.containers
        if isinstance(bars, BarContainer)
        for bar in bars
    ]
    frame = pd.DataFrame(rows, columns=["layer", "class", "width"]).astype({"class": "str"})
    return frame.sort_values("layer", kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Fill:
    """One kind of bar segment: its name, colour and hatch."""

    label: str
    colour: Colour
    hatch: str | None


def _stacked_bars(
    table: pd.DataFrame, fills: list[Fill], *, title: str | None, look: Look, width: float
) -> Figure:
    layers = list(table.index)
    n_neurons = int(table.sum(axis=1).max())
    with style(look):
        figure = new_figure(width, 0.19 * len(layers) + 0.2 * math.ceil(len(fills) / LEGEND_COLUMNS) + 0.7)
        axes = figure.add_subplot()
        axes.set_facecolor("white")  # half-transparent colours are defined over white, also on a dark page
        left = np.zeros(len(layers))
        for column, fill in zip(table.columns, fills, strict=True):
            widths = table[column].to_numpy(float)
            axes.barh(range(len(layers)), widths, left=left, height=0.86, label=fill.label, **_look_of(fill))
            _write_counts(axes, widths, left, fill.colour, points_per_neuron=60 * width / n_neurons)
            left = left + widths
        axes.set_xlim(0, n_neurons)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_yticks(range(len(layers)), [str(layer) for layer in layers], fontsize=7)
        axes.tick_params(axis="y", length=0)
        axes.set_ylabel("Layer")
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        if title:
            axes.set_title(title, fontsize="medium")
        totals = table.sum().to_numpy()
        keys = [
            Patch(label=f"{fill.label}: {total:,.0f}", **_look_of(fill))
            for fill, total in zip(fills, totals, strict=True)
        ]
        figure.legend(
            handles=keys,
            loc="outside lower center",
            ncols=LEGEND_COLUMNS,
            frameon=False,
            fontsize=8,
            handlelength=1.3,
        )
    return figure


def _look_of(fill: Fill) -> dict[str, Any]:
    # The hatch takes the edge's colour; without a line width no edge is drawn.
    return {"facecolor": fill.colour, "hatch": fill.hatch, "edgecolor": "#ffffff", "linewidth": 0}


def _write_counts(axes: Axes, widths: Vector, left: Vector, colour: Colour, points_per_neuron: float) -> None:
    """Write each count into its segment where it fits."""
    red, green, blue = (part * colour[3] + 1 - colour[3] for part in colour[:3])
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
    for row, (count, start) in enumerate(zip(widths, left, strict=True)):
        text = f"{count:.0f}"
        if count * points_per_neuron > DIGIT_POINTS * len(text) + 3:
            axes.text(
                start + count / 2,
                row,
                text,
                ha="center",
                va="center_baseline",
                fontsize=6.5,
                color="white" if dark else "black",
            )
