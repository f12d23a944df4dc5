"""Panels of probes, usually one per feature, with a legend and a footnote below that fit their width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rwcore.plots.panels import Grid, Margins, panel_grid, title_panels
from rwcore.plots.probe_names import feature_label
from rwcore.plots.style import FAINT, MUTED

_MARGINS = Margins(left=0.5, bottom=0.4, top=0.1, row_gap=0.22, column_gap=0.14)
_TITLE = 0.2
_ENTRY, _LINE = 1.42, 0.155
"""Width and height of an entry of the legend, in inches; the footnote is one more line."""
WIDE = 1.2
"""Width of a panel, in inches, from which titles and ticks have room."""
_SIZE, _SMALL_SIZE, _LETTER = 8.0, 6.5, 0.0078
"""Sizes of titles, and the width of a letter by its size, in inches."""
_LOWEST = 0.03


def probe_grid(names: Sequence[str], *, entries: int, title: str | None, width: float) -> Grid:
    """Panels with the names as titles, and room for a title above and a legend below.

    Args:
        names: Of features or families.
        entries: Of the legend; 0 for a footnote only.
        title: Of the figure, if there is one.
        width: In inches.
    """
    margins = replace(_MARGINS, top=_MARGINS.top + (_TITLE if title else 0))
    # Few panels make a narrow figure, whose legend needs more lines.
    full_width = panel_grid(len(names), width=width, margins=margins).figure.get_size_inches()[0]
    lines = math.ceil(entries / _columns(full_width, entries)) + 1
    grid = panel_grid(len(names), width=width, margins=replace(margins, footer=lines * _LINE + 0.06))
    size = _SIZE if grid.side >= WIDE else _SMALL_SIZE
    title_panels(grid, [_fitted(feature_label(name), grid.side / (size * _LETTER)) for name in names])
    for axes in grid.panels:
        axes.title.set_fontsize(size)
    return grid


def score_axis(axes: Axes, low: float) -> None:
    """A vertical axis of scores that are at most 1.

    Args:
        axes: The panel.
        low: The lowest score of all panels.
    """
    axes.set_ylim(min(0.0, low) - _LOWEST, 1 + _LOWEST)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y", color=FAINT, linewidth=0.4, zorder=0)


def legend_below(grid: Grid, handles: Sequence[Line2D], footnote: str | None) -> None:
    """The legend in the footer, a footnote over it.

    Args:
        grid: From `probe_grid`, with as many entries.
        handles: Lines with labels.
        footnote: What bands or marks mean.
    """
    legend = grid.figure.legend(
        handles=list(handles), loc="lower center", frameon=False, fontsize=7.5, columnspacing=1.3,
        handlelength=2.2, labelspacing=0.3, borderaxespad=0.1, title=footnote, title_fontsize=7.5,
        ncols=_columns(grid.figure.get_size_inches()[0], len(handles)),
    )  # fmt: skip
    legend.get_title().set_color(MUTED)


def _columns(width: float, entries: int) -> int:
    return max(1, min(entries, int(width / _ENTRY)))


def _fitted(text: str, letters: float) -> str:
    """Text that is not wider than its panel."""
    most = max(4, int(letters))
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
