"""How well k neurons tell a feature, over k: one panel per feature, one line per way of choosing neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import CONTROL_LINES, METHOD_LABELS, method_lines, score_label
from rwcore.plots.probe_panels import WIDE, legend_below, probe_grid, score_axis
from rwcore.plots.style import Look, style

if TYPE_CHECKING:
    import pandas as pd

FOOTNOTE = "bands: 95 % interval over documents"
OPEN = "not proven"
_TICKS = (1, 4, 16, 64, 256, 1024, 4096)
_CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 5, "markeredgewidth": 1.0}


def sparsity_curves_figure(
    curves: pd.DataFrame,
    *,
    score: str = "test_mcc",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The curves of some features.

    A cross marks an exact search that ended with a gap left. Controls are dashed (random directions) and
    dotted (shuffled labels).

    Args:
        curves: Rows of `rwcore.probing.sparsity.sparsity_curve` with a column ``feature``, panels in the
            order in which features come.
        score: The column that is drawn; the interval is known of ``test_mcc``.
        title: Usually the model's name, and the layer.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Lines have the ``gid`` of their method, bands ``band:`` and the method, crosses
        ``gap:`` and the method.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), figures of F1 over k.
    """
    features = list(dict.fromkeys(curves["feature"]))
    methods = list(dict.fromkeys(curves["method"]))
    lines = method_lines(methods, palette_name)
    largest = int(curves["k"].max())
    banded = score == "test_mcc"
    handles = [Line2D([], [], label=METHOD_LABELS.get(name, name), **line) for name, line in lines.items()]
    if _open_ones(curves).any():
        handles.append(Line2D([], [], label=OPEN, color=lines["exact"]["color"], **_CROSS))
    with style(look):
        grid = probe_grid(features, entries=len(handles), title=title, width=width)
        for axes, feature in zip(grid.panels, features, strict=True):
            size_axis(axes, largest, grid.side)
            score_axis(axes, float(np.nanmin(curves[score].to_numpy(float))))
            of_feature = curves[curves["feature"] == feature]
            # Controls first: what they are compared with is drawn over them.
            for method in sorted(methods, key=lambda method: method not in CONTROL_LINES):
                rows = of_feature[of_feature["method"] == method].sort_values("k")
                _draw(axes, rows, method, score, lines[method], banded=banded)
        grid.label("neurons k", score_label(score), title)
        legend_below(grid, handles, FOOTNOTE if banded else None)
    return grid.figure


def size_axis(axes: Axes, largest: int, side: float) -> None:
    """A horizontal axis of numbers of neurons, by powers of two.

    Args:
        axes: The panel.
        largest: The largest number of all panels.
        side: Width of the panel, in inches.
    """
    largest = max(2, largest)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.85, largest * 1.18)
    shown = [tick for tick in _TICKS if tick <= largest][:: 1 if side >= WIDE else 2]
    axes.set_xticks(shown, [str(tick) for tick in shown])
    axes.minorticks_off()


def _open_ones(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are of searches that ended with a gap left."""
    found: NDArray[np.bool_] = ~rows["status"].isin(["", "optimal"]).to_numpy()
    return found


def _draw(
    axes: Axes, rows: pd.DataFrame, method: str, score: str, line: dict[str, Any], *, banded: bool
) -> None:
    k, value = rows["k"].to_numpy(int), rows[score].to_numpy(float)
    if banded:
        low, high = (rows[f"test_mcc_{end}"].to_numpy(float) for end in ("low", "high"))
        axes.fill_between(k, low, high, color=line["color"], alpha=0.14, linewidth=0, zorder=2,
                          gid=f"band:{method}")  # fmt: skip
    axes.plot(k, value, zorder=3 if method in CONTROL_LINES else 4, gid=method, **line)
    at = _open_ones(rows)
    if at.any():
        axes.plot(k[at], value[at], zorder=5, gid=f"gap:{method}", color=line["color"], **_CROSS)
