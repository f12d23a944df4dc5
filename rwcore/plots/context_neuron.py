"""A neuron and a class of text: how active it is inside and outside, and where the model misses it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import SMALL, WIDTH
from rwcore.plots.probe_names import cycle, feature_label
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, power_of_ten, style

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 2.5
ROW = 0.17
"""Height of the row of a class, in inches, where there are many."""
QUANTITIES = {"pre": "pre-activation", "post": "activation"}


def context_neuron_figure(
    histogram: pd.DataFrame,
    losses: pd.DataFrame | None = None,
    *,
    own: str,
    threshold: float | None = None,
    quantity: str = "pre",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """How often the neuron has which value, and the loss that its ablation costs, by class of text.

    The histograms are shares of the tokens of their side, on a logarithmic scale: a neuron that is rarely
    active would otherwise be a bar at 0. Classes are ordered by their loss increase, the own one coloured.

    Args:
        histogram: Rows of `rwcore.probing.context.class_histogram`.
        losses: Rows of `rwcore.probing.context_losses.class_losses`; without, histograms only.
        own: The class that the neuron is said to be about.
        threshold: Where the neuron's probe begins to say that it is this class, in units of the quantity.
        quantity: Which quantity of the histogram is drawn.
        title: Usually the model's name and the neuron.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Histograms have the ``gid`` ``inside`` and ``outside``, the threshold ``threshold``, dots
        ``loss:`` and the class, bars across them ``interval:`` and the class.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), figures of context neurons.
    """
    colour = cycle(palette_name)[0]
    rows = histogram[histogram["quantity"] == quantity]
    with style(look):
        height = HEIGHT if losses is None else max(HEIGHT, ROW * len(losses) + 0.8)
        figure = new_figure(width, height + (0.2 if title else 0.0))
        panels = figure.subplots(1, 1 if losses is None else 2, squeeze=False)[0]
        for axes in panels:
            _prepare(axes)
        _histograms(panels[0], rows, own, colour)
        panels[0].set_xlabel(QUANTITIES.get(quantity, quantity), fontsize=8.5)
        panels[0].set_ylabel("share of tokens", fontsize=8.5)
        if threshold is not None:
            _threshold(panels[0], threshold)
        if losses is not None:
            _losses(panels[1], losses, colour)
        if title:
            figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def _prepare(axes: Axes) -> None:
    axes.tick_params(labelsize=7.5, width=0.5, length=2.5)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("bottom", "left"))


def _histograms(axes: Axes, rows: pd.DataFrame, own: str, colour: str) -> None:
    edges = np.append(rows["low"].to_numpy(float), rows["high"].to_numpy(float)[-1:])
    shares = {}
    for side, fill, name in (("outside", MUTED, "other text"), ("inside", colour, feature_label(own))):
        counts = rows[side].to_numpy(float)
        tokens = counts.sum()
        shares[side] = counts / max(1.0, tokens)
        drawn: dict[str, Any] = {"zorder": 2 if side == "outside" else 3, "baseline": 1e-12}
        label = f"{name} ({int(tokens):,} tokens)"
        axes.stairs(shares[side], edges, fill=True, color=fill, alpha=0.28, **drawn)
        axes.stairs(shares[side], edges, color=fill, linewidth=1.1, gid=side, label=label, **drawn)
    known = np.concatenate([values[values > 0] for values in shares.values()])
    lowest = math.floor(math.log10(known.min())) if len(known) else -3
    axes.set_yscale("log")
    axes.set_ylim(10.0**lowest, 1.6)
    axes.set_xlim(edges[0], edges[-1])
    axes.minorticks_off()
    step = 1 if lowest >= -4 else 2
    ticks = [10.0**power for power in range(0, lowest - 1, -step)]
    axes.set_yticks(ticks, ["1" if tick == 1 else power_of_ten(tick) for tick in ticks])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize=SMALL, borderaxespad=0.1,
                handlelength=1.4, labelspacing=0.25)  # fmt: skip


def _threshold(axes: Axes, threshold: float) -> None:
    low, high = axes.get_xlim()
    # A probe may put its threshold where no token is: the axis is made longer rather than the line left out.
    room = 0.03 * (high - low)
    axes.set_xlim(min(low, threshold - room), max(high, threshold + room))
    axes.axvline(threshold, color=INK, linewidth=0.9, linestyle="dashed", zorder=4, gid="threshold")
    right = threshold < (low + high) / 2
    axes.annotate("threshold", (threshold, 1), (3 if right else -3, -1), xycoords=("data", "axes fraction"),
                  textcoords="offset points", ha="left" if right else "right", va="top",
                  fontsize=SMALL)  # fmt: skip


def _losses(axes: Axes, losses: pd.DataFrame, colour: str) -> None:
    ordered = losses.sort_values("loss_increase", ascending=True, kind="stable").to_dict("records")
    for row, found in enumerate(ordered):
        ink = colour if found["own"] else MUTED
        name, value = str(found["class"]), float(found["loss_increase"])
        axes.plot([found["loss_increase_low"], found["loss_increase_high"]], [row, row], color=ink,
                  linewidth=1.4, solid_capstyle="butt", zorder=3, gid=f"interval:{name}")  # fmt: skip
        axes.plot(value, row, "o", color=ink, markersize=4.5 if found["own"] else 3.6, zorder=4,
                  gid=f"loss:{name}")  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_yticks(range(len(ordered)), [feature_label(str(found["class"])) for found in ordered])
    for tick, found in zip(axes.get_yticklabels(), ordered, strict=True):
        tick.set_parse_math(False)
        if found["own"]:
            tick.set_color(colour)
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.4, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("loss increase, ablated − clean (nats)", fontsize=8.5)
