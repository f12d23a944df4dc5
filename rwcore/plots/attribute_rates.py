"""How much of what a representation is closest to are attributes of its subject, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rwcore.ablation.compare import RunLabel
from rwcore.plots.ablation_names import BASELINE_NAME, class_colour, mode_text, run_text
from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, over_white, style

if TYPE_CHECKING:
    import pandas as pd

HEIGHT, MORE = 2.9, 1.9
"""Of the rates, and of the differences below them."""
CLEAN_LINE: dict[str, Any] = {"color": INK, "linestyle": "solid", "linewidth": 1.2}
BASELINE_LINE: dict[str, Any] = {"color": MUTED, "linestyle": "dashed", "linewidth": 1.1}
FOOTNOTE = "bands: 95 % interval over subjects"


def attribute_rates_figure(
    table: pd.DataFrame,
    label: RunLabel | None = None,
    *,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The rate after every layer: without ablation, with a set ablated, and with its baseline.

    Subjects differ much more from each other than a subject with ablation from itself without, so that bands
    of rates overlap where the change is certain: changes stand in a panel of their own.

    Args:
        table: Rows of ``rates.csv`` (`rwcore.attributes.tables.layer_table`); the embedding is not drawn. No
            condition is an empty text or NaN.
        label: The run; its baseline is drawn if there is one. None for the clean run alone.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``; the set has the colour of its class. Lines differ by style
            too.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure: rates, and for a run clean - ablated below. Lines have the ``gid`` ``clean``, ``set`` and
        ``baseline``, bands ``band:clean``, ….

    Source: RW functionalities, figures of the attributes rate; section 4.3 of the specification.
    """
    # An empty column is read from a file as one of numbers.
    names = ("mode", "gate", "post")
    table = table.assign(**{name: table[name].astype(object).fillna("").astype(str) for name in names})
    table = table[table["layer"] >= 0]
    parts = {"clean": (table[table["set"] == "clean"], "clean", CLEAN_LINE)}
    if label is not None:
        colour = over_white(class_colour(label, palette_name)[0])
        drawn = {"color": colour, "linestyle": "dashdot", "linewidth": 1.6}
        name = f"{run_text(label)}, {mode_text(label.mode)}"
        parts["baseline"] = (_rows(table, label, baseline=True), BASELINE_NAME, BASELINE_LINE)
        parts["set"] = (_rows(table, label, baseline=False), name, drawn)
    parts = {gid: part for gid, part in parts.items() if not part[0].empty}
    with style(look):
        figure = new_figure(width, HEIGHT if label is None else HEIGHT + MORE)
        heights = [HEIGHT] if label is None else [HEIGHT, MORE]
        panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes in panels:
            _prepare(axes)
        for gid, (rows, _, line) in parts.items():
            _draw(panels[0], rows, ("rate", "low", "high"), line, gid)
            if gid != "clean":
                columns = ("difference", "difference_low", "difference_high")
                _draw(panels[1], rows, columns, line, gid)
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("attributes rate (%)", fontsize=8.5)
        if label is not None:
            panels[1].axhline(0, linewidth=0.8, color=INK, zorder=1)
            panels[1].set_ylabel("clean − ablated (%)", fontsize=8.5)
        panels[-1].set_xlabel("layer", fontsize=8.5)
        if title:
            panels[0].set_title(title, fontsize="medium", parse_math=False)
        figure.legend(
            handles=[Line2D([], [], label=text, **line) for _, text, line in parts.values()],
            loc="outside lower center", ncols=3, frameon=False, fontsize=7.5,
            columnspacing=1.2, title=FOOTNOTE, title_fontsize=7.5,
        )  # fmt: skip
    return figure


def _prepare(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=FAINT, linewidth=0.4, zorder=0)
    axes.tick_params(labelsize=7.5, width=0.5, length=2.5)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("bottom", "left"))


def _draw(
    axes: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], line: dict[str, Any], gid: str
) -> None:
    """One line with its band: what is drawn, and the ends of its interval."""
    layers = rows["layer"].to_numpy(int)
    middle, low, high = (rows[column].to_numpy(float) for column in columns)
    axes.fill_between(
        layers, low, high, color=line["color"], alpha=0.18, linewidth=0, zorder=2, gid=f"band:{gid}"
    )
    axes.plot(layers, middle, zorder=3, gid=gid, **line)


def _rows(table: pd.DataFrame, label: RunLabel, *, baseline: bool) -> pd.DataFrame:
    """The rows of a run or of its baseline."""
    chosen = table["baseline"].astype(bool) == baseline
    for name in ("set", "mode", "gate", "post"):
        chosen &= table[name] == getattr(label, name)
    return table[chosen]
