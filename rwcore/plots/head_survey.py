"""What heads and MLPs do to predictions: MLPs by layer, on how few tokens effects rest, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

HEIGHT = 2.7
BARS = {
    "loss_increase": "loss increase without it (nats)",
    "dla_predicted": "on the predicted token (logits)",
}
"""Quantities of the figure of MLPs, and what they are called."""


def mlp_effects_figure(
    table: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Loss increase and attribution to the predicted token of every MLP, with intervals over documents.

    Args:
        table: Rows of ``heads.csv`` whose kind is ``mlp``.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, one axes per quantity; bars have the ``gid`` ``mlp:3``.
    """
    layers = table["layer"].to_numpy(dtype=int)
    with style(look):
        figure = new_figure(width, HEIGHT)
        panels = figure.subplots(1, len(BARS))
        for axes, (name, label), colour in zip(panels, BARS.items(), cycle(palette_name), strict=False):
            values = table[name].to_numpy(dtype=float)
            bars = axes.bar(layers, values, width=0.75, color=colour, zorder=3)
            for layer, bar in zip(layers, bars, strict=True):
                bar.set_gid(f"mlp:{layer}")
            ends = [np.abs(table[f"{name}_{end}"].to_numpy(dtype=float) - values) for end in ("low", "high")]
            if np.isfinite(ends).all():
                axes.errorbar(layers, values, yerr=ends, fmt="none", ecolor=INK, elinewidth=0.7, zorder=4)
            axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlabel("MLP of layer", fontsize=8.5)
            axes.set_ylabel(label, fontsize=8.5)
            _thin(axes)
        _titled(figure, title)
    return figure


def cumulative_figure(
    curves: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """On how few tokens a head helps: share of all positive loss increases over the share of tokens.

    Args:
        curves: ``layer``, ``head``, ``token_share``, ``effect_share``.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; curves have the ``gid`` ``head:10.7``.

    Source: Copy Suppression, section on what L10H7 does for the loss.
    """
    with style(look):
        figure = new_figure(0.66 * width, HEIGHT)
        axes = figure.subplots()
        for number, ((layer, head), rows) in enumerate(curves.groupby(["layer", "head"], sort=False)):
            name = f"{layer}.{head}"
            axes.plot(
                rows["token_share"],
                rows["effect_share"],
                label=name,
                gid=f"head:{name}",
                **_line(palette_name, number),
            )
        axes.axvline(0.05, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
        axes.annotate("5 %", (0.05, 0.02), (3, 0), textcoords="offset points", fontsize=7.5, color=MUTED)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("tokens, those that the head helps most first", fontsize=8.5)
        axes.set_ylabel("share of positive loss increases", fontsize=8.5)
        axes.legend(title="head", fontsize=7.5, title_fontsize=8, frameon=False, loc="lower right")
        _thin(axes)
        _titled(figure, title)
    return figure


def calibration_figure(
    table: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """How often predictions of some probability come true, with all heads and without some.

    Neighbouring bins are put together by tens: with few tokens hundredths are noise.

    Args:
        table: ``without`` (empty for the clean model, or a head), ``probability`` (middle of a bin),
            ``predictions``, ``correct``.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; curves have the ``gid`` ``clean`` and ``without:10.7``.

    Source: Copy Suppression, figure of calibration.
    """
    with style(look):
        figure = new_figure(0.66 * width, HEIGHT + 0.3)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
        for number, (without, rows) in enumerate(table.groupby("without", sort=False)):
            ten = np.floor(rows["probability"] * 10)
            joined = rows.assign(mass=rows["probability"] * rows["predictions"]).groupby(ten)
            sums = joined[["mass", "predictions", "correct"]].sum()
            sums = sums[sums["predictions"] > 0]
            clean = without == ""
            line = {"color": INK, "linewidth": 1.8, "zorder": 5} if clean else _line(palette_name, number - 1)
            axes.plot(
                sums["mass"] / sums["predictions"],
                sums["correct"] / sums["predictions"],
                marker="o",
                markersize=3,
                label="all heads" if clean else f"without {without}",
                gid="clean" if clean else f"without:{without}",
                **line,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability of one of the top 3 predictions", fontsize=8.5)
        axes.set_ylabel("came next", fontsize=8.5)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
        _thin(axes)
        _titled(figure, title)
    return figure


def _line(palette_name: PaletteName, number: int) -> dict[str, Any]:
    colours = cycle(palette_name)
    return {"color": colours[number % len(colours)], "linewidth": 1.2, "zorder": 3}


def _thin(axes: Axes) -> None:
    axes.tick_params(labelsize=7.5, width=0.5, length=2.5)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("bottom", "left"))


def _titled(figure: Figure, title: str | None) -> None:
    if title:
        figure.suptitle(title, fontsize=9, parse_math=False)
