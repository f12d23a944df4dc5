"""What copy suppression explains token by token: percentile lines, and loss changes against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwcore.heads.cspa import BOTH, NAMES, NEGATIVE, OV, QK
from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import CYCLE, INK, MUTED, PAPER_CYCLE, Look, new_figure, style

if TYPE_CHECKING:
    import pandas as pd

PANEL = 2.9
SMALLEST = 1e-7
"""Nats; below this KL is rounding."""
_ORDER = {NEGATIVE: "solid", BOTH: "dashed", QK: "dotted", OV: "dashdot"}


def cspa_line_figure(
    line: pd.DataFrame,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """KL that is left (y) by the KL of mean ablation (x): means of bins with equally many tokens.

    Both axes are logarithmic. On the diagonal nothing is explained; the lower a line, the more.

    Args:
        line: Rows of `rwcore.studies.head_cspa.CspaStudy.line` of one head.
        title: Usually the model's name and the head.
        palette_name: ``paper`` or ``accessible``; lines differ by style too.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; lines have the ``gid`` of their variant, the diagonal ``diagonal``.

    Source: Copy Suppression, figure of KL by percentile; the most extreme bin is drawn (trap 7).
    """
    with style(look):
        figure = new_figure(WIDTH * 0.62, PANEL + 0.6)
        axes = figure.subplots()
        largest = SMALLEST
        for number, (variant, rows) in enumerate(line.groupby("variant", sort=False)):
            x, y = (rows[name].to_numpy(float).clip(min=SMALLEST) for name in ("kl_mean_ablation", "kl"))
            largest = max(largest, x.max(), y.max())
            axes.plot(x, y, linestyle=_ORDER[str(variant)], color=_colour(palette_name, number),
                      linewidth=1.3, label=NAMES[str(variant)], gid=str(variant), zorder=3)  # fmt: skip
        smallest = max(float(line["kl_mean_ablation"].min()), SMALLEST)
        ends = [smallest, 1.5 * largest]
        axes.plot(ends, ends, color=INK, linewidth=0.8, label=NAMES["mean"], gid="diagonal", zorder=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("KL of mean ablation (nats)", fontsize=8.5)
        axes.set_ylabel("KL that is left (nats)", fontsize=8.5)
        _finish(axes, title)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)
    return figure


def cspa_scatter_figure(
    mean_ablation: Float[np.ndarray, " token"],
    cspa: Float[np.ndarray, " token"],
    *,
    variant: str,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
) -> Figure:
    """The loss increase that is left (y) by that of mean ablation (x), a dot per prediction.

    Args:
        mean_ablation: Increase of each prediction's loss; predictions with NaN are left out.
        cspa: Likewise, of the variant.
        variant: Its name.
        title: Usually the model's name and the head.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.

    Returns:
        The figure; the dots have the ``gid`` ``tokens``, the line on which nothing is explained
        ``diagonal``.
    """
    there = np.isfinite(mean_ablation) & np.isfinite(cspa)
    x, y = mean_ablation[there], cspa[there]
    limit = 1.05 * max(float(np.abs(np.concatenate([x, y])).max(initial=0)), 1e-6)
    with style(look):
        figure = new_figure(PANEL + 0.7, PANEL + 0.6)
        axes = figure.subplots()
        lines: dict[str, Any] = {"color": MUTED, "linewidth": 0.6, "zorder": 1}
        axes.axhline(0, **lines)
        axes.axvline(0, **lines)
        axes.plot([-limit, limit], [-limit, limit], color=INK, linewidth=0.8, gid="diagonal", zorder=2)
        axes.scatter(x, y, s=5, color=_colour(palette_name, 0), alpha=0.45, linewidths=0, zorder=3,
                     rasterized=True, gid="tokens")  # fmt: skip
        axes.set_xlim(-limit, limit)
        axes.set_ylim(-limit, limit)
        axes.set_aspect("equal")
        axes.set_xlabel("loss increase, mean ablation (nats)", fontsize=8.5)
        axes.set_ylabel(f"loss increase, {NAMES[variant]} (nats)", fontsize=8.5)
        _finish(axes, title)
    return figure


def _colour(palette_name: PaletteName, number: int) -> str:
    return (PAPER_CYCLE if palette_name == "paper" else CYCLE)[number]


def _finish(axes: Axes, title: str | None) -> None:
    axes.tick_params(labelsize=7.5, width=0.5, length=2.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    if title:
        axes.set_title(title, fontsize="medium", parse_math=False)
