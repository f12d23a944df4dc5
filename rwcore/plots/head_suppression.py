"""Who suppresses what is already predicted: by layer, beside random groups, and position by position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from rwcore.heads.suppression_tables import ALL, HEADS, NEGATIVE, NEURONS, OTHER
from rwcore.plots.counts import Colour, PaletteName, palette
from rwcore.plots.panels import density_colours
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, style
from rwcore.stats.classes import RW_CLASSES

if TYPE_CHECKING:
    import pandas as pd

WIDTH, BAR, ROW, PANEL = 6.75, 0.16, 0.24, 3.0
"""Width of a figure, height of a layer's bar, of a group's row, and side of the square, in inches."""
OTHERS, WEAKENING = "other neurons", "weakening"
_HEADS: dict[str, Colour] = {NEGATIVE: (0.75, 0.1, 0.1, 1.0), OTHER: (0.93, 0.66, 0.6, 1.0)}
_OTHERS: Colour = (0.88, 0.88, 0.88, 1.0)


def suppression_layers_figure(
    layers: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Stacked bars of suppression, layer 0 on top: heads on the left, neurons on the right.

    Thousands of neurons write a little for and against every token, so that neurons have another scale.

    Args:
        layers: Rows of `rwcore.heads.suppression_tables.layer_table`.
        title: Usually the model's name.
        palette_name: Colours of the classes: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; containers of the two axes are labelled with the groups.
    """
    wide = layers.pivot_table(index="layer", columns=["writers", "group"], values="suppression")
    weakening = [one.name for one in RW_CLASSES if one.name.split()[-1] == WEAKENING]
    weakening = [name for name in weakening if name in wide[NEURONS]]
    rest = wide[NEURONS][ALL] - sum(wide[NEURONS][name] for name in weakening)
    colours = palette(palette_name)
    with style(look):
        figure = new_figure(WIDTH, BAR * len(wide) + 1.25)
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, [(f"{name} heads", wide[HEADS][name].to_numpy(), _HEADS[name], None) for name in _HEADS])
        parts = [
            (name, wide[NEURONS][name].to_numpy(), colours.colours[name], colours.hatches.get(name))
            for name in weakening
        ]
        _bars(right, [*parts, (OTHERS, rest.to_numpy(), _OTHERS, None)])
        left.set_ylim(len(wide) - 0.5, -0.5)
        left.set_yticks(range(0, len(wide), 1 if len(wide) <= 12 else 2))
        left.set_ylabel("layer", fontsize=8.5)
        for axes, name in ((left, HEADS), (right, NEURONS)):
            axes.set_xlabel(f"suppression by {name} (logits)", fontsize=8.5)
            axes.tick_params(labelsize=7, length=2)
        _entitle(figure, title)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def suppression_ratios_figure(
    groups: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """How much groups suppress beside random ones (left), and which part of what they write (right).

    Args:
        groups: Rows of `rwcore.heads.suppression_tables.group_table`, of one kind of tokens.
        title: Usually the model's name.
        palette_name: Colours of the classes: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure. Groups without members or chance are left out. Dots have the ``gid`` ``GROUP``, grey bars
        are what random groups have, and ticks on the right what all writers of the same layers have.
    """
    rows = groups[(groups["group"] != ALL) & groups["ratio"].gt(0)].reset_index(drop=True)
    names = [
        f"{group} heads" if kind == HEADS else group for kind, group in rows[["writers", "group"]].to_numpy()
    ]
    colours = palette(palette_name).colours
    fills = [_HEADS.get(name) or colours.get(name.removeprefix("any ")) or _OTHERS for name in rows["group"]]
    at = np.arange(len(rows))
    with style(look):
        figure = new_figure(WIDTH, ROW * len(rows) + 1.0)
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(at, rows["random_high"] - rows["random_low"], left=rows["random_low"], height=0.62,
                  color=FAINT, gid="random", zorder=1)  # fmt: skip
        left.axvline(1, color=MUTED, linewidth=0.7, zorder=2)
        left.set_xscale("log")
        right.axvline(0.5, color=MUTED, linewidth=0.7, zorder=2)
        right.plot(rows["against_expected"], at, "|", color=INK, markersize=9, zorder=3, gid="expected")
        for axes, column in ((left, "ratio"), (right, "against")):
            values, low, high = (rows[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
            axes.hlines(at, low, high, color=INK, linewidth=1.1, zorder=4)
            for place, name in enumerate(names):
                axes.plot(values[place], place, "o", markersize=5, markerfacecolor=fills[place],
                          markeredgecolor=INK, markeredgewidth=0.6, zorder=5, gid=name)  # fmt: skip
            axes.tick_params(labelsize=7.5, length=2)
        left.minorticks_off()
        left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.xaxis.set_major_formatter("{x:g}")
        left.set_yticks(at, names)
        left.set_ylim(len(rows) - 0.4, -0.6)
        left.set_xlabel("suppression / that of random writers\n(grey: of random groups)", fontsize=8)
        right.set_xlabel(
            "part of what is written that is against\n(tick: of all writers of the layers)", fontsize=8
        )
        _entitle(figure, title)
    return figure


def suppression_positions_figure(
    heads: Float64[np.ndarray, " position"],
    neurons: Float64[np.ndarray, " position"],
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Suppression by negative heads (x) and weakening neurons (y), a hexagon for positions alike.

    Args:
        heads: At each position, in all layers.
        neurons: Likewise.
        title: Usually the model's name.
        palette_name: ``paper`` (viridis) or ``accessible`` (cividis).
        look: ``paper`` or ``screen``.

    Returns:
        The figure: the hexagons, and the scale at the right. Axes are logarithmic; positions where one of the
        two suppresses nothing are left out and counted in a note.
    """
    there = (heads > 0) & (neurons > 0)
    with style(look):
        figure = new_figure(PANEL + 1.2, PANEL + 0.6)
        axes = figure.subplots()
        if there.any():
            cells = axes.hexbin(heads[there], neurons[there], gridsize=32, xscale="log", yscale="log",
                                mincnt=1, norm=LogNorm(), cmap=density_colours(palette_name),
                                linewidths=0.1)  # fmt: skip
            bar = figure.colorbar(cells, ax=axes)
            bar.set_label("positions", fontsize=8)
            bar.ax.tick_params(labelsize=7)
        axes.set_xlabel("suppression by negative heads (logits)", fontsize=8.5)
        axes.set_ylabel("suppression by weakening neurons (logits)", fontsize=8.5)
        axes.tick_params(labelsize=7.5, length=2.5)
        if not there.all():
            note = f"{int((~there).sum())} of {len(there)} positions: one of them suppresses nothing"
            axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=6.5, color=MUTED, gid="note")
        _entitle(figure, title)
    return figure


def _bars(axes: Axes, parts: list[tuple[str, np.ndarray, Colour, str | None]]) -> None:
    base = np.zeros(len(parts[0][1]))
    for name, values, colour, hatch in parts:
        axes.barh(range(len(values)), values, left=base, height=0.86, color=colour, hatch=hatch, label=name,
                  edgecolor=INK, linewidth=0.25)  # fmt: skip
        base = base + values
    axes.set_xlim(0, 1.04 * max(float(base.max()), 1e-9))


def _entitle(figure: Figure, title: str | None) -> None:
    if title:
        figure.suptitle(title, fontsize="medium", parse_math=False)
