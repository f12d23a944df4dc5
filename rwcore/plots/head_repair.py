"""Figures of self-repair: what heads should cost and what they cost, and who makes up the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import CYCLE, INK, MUTED, PAPER_CYCLE, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

PANEL = 3.0
PARTS = {
    "repair": "self-repair",
    "repair_norm": "final norm",
    "repair_mlp": "MLPs",
    "repair_heads": "other heads",
    "repair_post_norm": "norm behind attention",
}
BINS = 40
NAMED = 6
"""Heads that are named in the figure of heads."""


def repair_heads_figure(
    heads: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Mean change of the logit (y) by mean direct effect (x), a dot for each head, its colour the depth.

    On the line nothing is repaired. Right of 0 the rest of the model repairs what lies above the line, and
    loses even more of what lies below.

    Args:
        heads: Rows of one selection of `rwcore.heads.repair_groups.head_table`.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; the dots have the ``gid`` ``heads``, the line ``no repair``.

    Source: Explorations of Self-Repair, figure of direct effects against changes of the logit.
    """
    with style(look):
        figure = new_figure(WIDTH * 0.68, PANEL + 0.4)
        axes = figure.subplots()
        direct, change = (heads[name].to_numpy(float) for name in ("direct", "logit_change"))
        dots = axes.scatter(direct, change, c=heads["relative_depth"], cmap=_map(palette_name), s=18, vmin=0,
                            vmax=1, edgecolors=INK, linewidths=0.3, zorder=3, gid="heads")  # fmt: skip
        low, high = min(0.0, direct.min()), max(0.0, direct.max())
        room = 0.05 * (high - low or 1.0)
        ends = np.array([low - room, high + 2.5 * room])
        axes.plot(ends, -ends, color=INK, linewidth=0.9, label="no repair", gid="no repair", zorder=2)
        axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
        for place in np.argsort(-np.abs(direct))[:NAMED]:
            name = f"{heads['layer'].iloc[place]}.{heads['head'].iloc[place]}"
            axes.annotate(name, (direct[place], change[place]), xytext=(3, 3), textcoords="offset points",
                          fontsize=7)  # fmt: skip
        axes.set_xlim(*ends)
        axes.legend(frameon=False, fontsize=7.5, loc="lower left")
        bar = figure.colorbar(dots, ax=axes, shrink=0.85)
        bar.set_label("relative depth of the layer", fontsize=8)
        bar.ax.tick_params(labelsize=7.5)
        _finish(axes, title, "direct effect (logits)", "change of the logit when ablated")
    return figure


def repair_depth_figure(
    heads: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Self-repair and its parts over relative depth: a dot for each head, a line through the layers' means.

    Args:
        heads: Rows of one selection of `rwcore.heads.repair_groups.head_table`.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``; lines differ by panel too.
        look: ``paper`` or ``screen``.

    Returns:
        The figure, a panel for each part that any head has; lines have the ``gid`` of their part.
    """
    shown = [name for name in PARTS if name != "repair_post_norm" or heads[name].any()]
    colours = PAPER_CYCLE if palette_name == "paper" else CYCLE
    with style(look):
        figure = new_figure(WIDTH, PANEL)
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for number, (axes, part) in enumerate(zip(panels, shown, strict=True)):
            axes.plot(heads["relative_depth"], heads[part], ".", color=colours[number], markersize=3.5,
                      alpha=0.5, zorder=2)  # fmt: skip
            mean = heads.groupby("relative_depth")[part].mean()
            axes.plot(mean.index.to_numpy(float), mean.to_numpy(float), color=colours[number], linewidth=1.6,
                      zorder=3, gid=part)  # fmt: skip
            axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
            _finish(axes, PARTS[part], None, "logits" if number == 0 else None)
            axes.tick_params(labelleft=number == 0)
        figure.supxlabel("relative depth of the head's layer", fontsize=8.5)
        if title is not None:
            figure.suptitle(title, fontsize=9.5)
    return figure


def neuron_shares_figure(
    shares: Float[np.ndarray, " token"],
    *,
    uniform: float,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """Histogram over tokens of the share of the neurons' repair that a hundredth of them has (M2).

    Args:
        shares: Of each token; NaN is left out.
        uniform: Share that they would have if all neurons did the same.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; the line at ``uniform`` has the ``gid`` ``uniform``.

    Source: Explorations of Self-Repair, sparsity of Anti-Erasure neurons.
    """
    colour = (PAPER_CYCLE if palette_name == "paper" else CYCLE)[0]
    known = shares[np.isfinite(shares)]
    with style(look):
        figure = new_figure(WIDTH * 0.6, PANEL)
        axes = figure.subplots()
        edges = [number / BINS for number in range(BINS + 1)]
        axes.hist(
            known, bins=edges, color=colour, weights=np.full(len(known), 1 / max(len(known), 1)), zorder=2
        )
        axes.axvline(uniform, color=INK, linewidth=0.9, linestyle="dashed", label="all neurons alike",
                     gid="uniform", zorder=3)  # fmt: skip
        _finish(axes, title, "share of 1 % of the neurons in what neurons repair", "share of tokens")
        figure.legend(loc="outside lower center", frameon=False, fontsize=7.5)
    return figure


def neuron_scatter_figure(
    clean: Float[np.ndarray, " token"],
    ablated: Float[np.ndarray, " token"],
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """What the neuron that repairs most writes with the head ablated (y) and without (x), a dot per token.

    Left of 0 and above the diagonal is Anti-Erasure: the neuron erases, and less so without the head.

    Args:
        clean: n.
        ablated: n'.
        title: Usually the model's name and the head.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; dots have the ``gid`` ``anti-erasure`` or ``boost``, the diagonal ``no change``.

    Source: Explorations of Self-Repair (M7), on tokens with a large direct effect instead of large repair.
    """
    colours = PAPER_CYCLE if palette_name == "paper" else CYCLE
    with style(look):
        figure = new_figure(WIDTH * 0.6, PANEL + 0.4)
        axes = figure.subplots()
        for number, (name, inside) in enumerate((("anti-erasure", clean < 0), ("boost", clean >= 0))):
            axes.plot(clean[inside], ablated[inside], ".", color=colours[number], markersize=3.5, alpha=0.6,
                      label=f"{name} ({inside.mean():.0%})", gid=name, zorder=3)  # fmt: skip
        both = np.concatenate([clean, ablated, [0.0]])
        ends = [both.min(), both.max()]
        axes.plot(ends, ends, color=INK, linewidth=0.9, gid="no change", zorder=2)
        axes.axvline(0, color=MUTED, linewidth=0.6, zorder=1)
        axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
        axes.legend(frameon=False, fontsize=7.5)
        _finish(axes, title, "writes in the clean pass (logits)", "writes with the head ablated")
    return figure


def _finish(axes: Axes, title: str | None, xlabel: str | None, ylabel: str | None) -> None:
    axes.tick_params(labelsize=7.5)
    if xlabel is not None:
        axes.set_xlabel(xlabel, fontsize=8.5)
    if ylabel is not None:
        axes.set_ylabel(ylabel, fontsize=8.5)
    if title is not None:
        axes.set_title(title, fontsize=8.5)


def _map(palette_name: PaletteName) -> str:
    return "viridis" if palette_name == "paper" else "cividis"
