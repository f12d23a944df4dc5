"""Bars of the tokens a head suppresses, boosts or attends to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import MUTED, Look, new_figure, style
from rwcore.plots.trace import TOKEN_FONT, drawable

if TYPE_CHECKING:
    import pandas as pd

BAR = 0.15
"""Height of a bar with its gap, in inches."""
TITLES = {
    ("OV", "source", "suppressed"): "reading it suppresses",
    ("OV", "source", "boosted"): "reading it boosts",
    ("OV", "destination", "suppressed"): "suppressed by reading",
    ("OV", "destination", "boosted"): "boosted by reading",
    ("QK", "source", "attended"): "attended from",
    ("QK", "destination", "attended"): "attends to",
}
AXES = {"OV": "change of the logit (before the final scale)", "QK": "query · key"}


def token_bars_figure(
    lists: pd.DataFrame,
    named: Callable[[int], str],
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel for each list of one token of one head; given tokens stand out.

    Args:
        lists: Rows of `rwcore.heads.token_lists` of one head and one token.
        named: Text of a token by its id.
        title: Usually model, head and token.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure; panels have the ``gid`` ``circuit:focus:list``. A given token beyond the end of a list
        stands below it, with its place.
    """
    kinds = [*dict.fromkeys(zip(lists["circuit"], lists["focus"], lists["list"], strict=True))]
    columns = min(2, len(kinds))
    rows = -(-len(kinds) // columns)
    longest = int(lists.groupby(["circuit", "focus", "list"]).size().max())
    plain, own = cycle(palette_name)[:2]
    with style(look):
        figure = new_figure(width, 0.35 + rows * (BAR * longest + 0.75))
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, kind in zip(panels, kinds, strict=False):
            circuit, focus, name = kind
            chosen = (lists["circuit"] == circuit) & (lists["focus"] == focus) & (lists["list"] == name)
            part = lists[chosen]
            axes.set_gid(":".join(kind))
            texts = []
            for bar, row in enumerate(part.itertuples()):
                mine = row.other == row.token
                axes.barh(bar, row.value, height=0.8, color=own if mine else plain)
                beyond = f" (#{row.place:,})" if row.place != bar + 1 else ""
                texts.append(drawable(named(int(row.other))) + beyond)
            axes.set_yticks(range(len(texts)), texts, parse_math=False, fontfamily=TOKEN_FONT)
            axes.set_ylim(longest - 0.5, -0.5)
            axes.axvline(0, color=MUTED, linewidth=0.6)
            axes.tick_params(labelsize=7, length=2, pad=1.5)
            axes.set_title(f"{circuit}: {TITLES[kind]}", fontsize=8.5)
            axes.set_xlabel(AXES[circuit], fontsize=7.5)
        for axes in panels:
            axes.set_axis_off()
        if title:
            figure.suptitle(title, fontsize=9, parse_math=False, fontfamily=TOKEN_FONT)
    return figure
