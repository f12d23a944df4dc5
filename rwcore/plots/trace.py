"""Where the effect of an ablation on one prediction comes from: by layer, by position, by neuron.

Every figure shows two differences, clean − ablated: of the entropy and of the target's logit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rwcore.plots.counts import Colour, PaletteName, palette
from rwcore.plots.panels import WIDTH
from rwcore.plots.style import CYCLE, FAINT, INK, MUTED, Look, new_figure, over_white, style

if TYPE_CHECKING:
    import pandas as pd

METRICS = {"delta_entropy": "entropy (nats)", "delta_target_logit": "logit of {target}"}
MOST_POSITIONS, MOST_NEURONS = 60, 20
LONGEST_TOKEN = 24
BAR, LINE = CYCLE[0], 0.145
"""Colour of bars, and height of a row in inches."""
GREY: Colour = (0.35, 0.35, 0.4, 1.0)
TOKEN_FONT = "DejaVu Sans"
FOOTNOTE = "Δ = clean − ablated; below 0 the intact neurons lower it"


def trace_layers_figure(
    table: pd.DataFrame,
    *,
    target: str = "the target",
    title: str | None = None,
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """One panel per difference: a bar per layer ablated alone, lines for all layers up to or from it.

    Args:
        table: Rows of ``trace.csv`` (`rwcore.studies.trace_tables.COLUMNS`).
        target: Text of the target token.
        title: Usually the model's name.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Bars have the ``gid`` ``layer:3``, lines ``up_to``, ``since``, ``whole`` and ``direct``.
    """
    # A layer without neurons has the value of the one before it, or of the one after it.
    lines = {
        "up_to": ("this layer and all before it", CYCLE[1], "steps-post"),
        "since": ("this layer and all after it", CYCLE[2], "steps-pre"),
    }
    with style(look):
        figure = new_figure(width, 4.2)
        panels: Any = figure.subplots(2, 1, sharex=True)
        for axes, metric in zip(panels, METRICS, strict=True):
            alone = _part(table, "layer")
            for layer, value in zip(alone["layer"].astype(int), alone[metric], strict=True):
                axes.bar(layer, value, width=0.75, color=BAR, zorder=3, gid=f"layer:{layer}")
            for name, (_, colour, steps) in lines.items():
                rows = _part(table, name)
                axes.plot(
                    rows["layer"].astype(int),
                    rows[metric],
                    color=colour,
                    linewidth=1.1,
                    drawstyle=steps,
                    zorder=4,
                    gid=name,
                )
            _levels(axes, table, metric, horizontal=True)
            _value_axis(axes, metric, target, "y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panels[-1].set_xlabel("layer", fontsize=8.5)
        handles: list[Any] = [Patch(color=BAR, label="this layer alone")]
        handles += [Line2D([], [], color=colour, label=label) for label, colour, _ in lines.values()]
        _finish(figure, [*handles, *_level_handles(table)], title)
    return figure


def trace_positions_figure(
    table: pd.DataFrame,
    *,
    target: str = "the target",
    title: str | None = None,
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """A bar per position ablated alone, with the token there; of a long prompt, where most happens.

    Args:
        table: As for `trace_layers_figure`.
        target: Text of the target token.
        title: Usually the model's name.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Bars have the ``gid`` ``position:3``. At most `MOST_POSITIONS` are drawn: those with the
        largest change of the entropy, in the order of the prompt.
    """
    rows = _part(table, "position")
    left_out = len(rows) - MOST_POSITIONS
    if left_out > 0:
        rows = rows.loc[rows["delta_entropy"].abs().nlargest(MOST_POSITIONS).index.sort_values()]
    at = [int(position) for position in rows["position"]]
    labels = [
        f"{drawable(str(token))}  {position}" for token, position in zip(rows["token"], at, strict=True)
    ]
    with style(look):
        figure, panels = _columns(len(rows), labels, width)
        for axes, metric in zip(panels, METRICS, strict=True):
            for place, (position, value) in enumerate(zip(at, rows[metric], strict=True)):
                axes.barh(place, value, height=0.75, color=BAR, zorder=3, gid=f"position:{position}")
            _levels(axes, table, metric, horizontal=False)
            _value_axis(axes, metric, target, "x")
        label = "only at this position" + (f" ({left_out} with less are left out)" if left_out > 0 else "")
        _finish(figure, [Patch(color=BAR, label=label), *_level_handles(table)], title)
    return figure


def trace_neurons_figure(
    table: pd.DataFrame,
    *,
    target: str = "the target",
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The strongest neurons: a bar for each alone, a diamond for what the whole loses without it.

    Args:
        table: As for `trace_layers_figure`.
        target: Text of the target token.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``; bars have the colours of read-write classes.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Bars have the ``gid`` ``neuron:29.41``, diamonds ``without:29.41``.
    """
    rows = _part(table, "neuron").head(MOST_NEURONS)
    names = [f"{layer}.{neuron}" for layer, neuron in zip(rows["layer"], rows["neuron"], strict=True)]
    without = _part(table, "all_but")
    kinds = [str(name) for name in rows["class"]]
    looks = {kind: _class_look(kind, palette_name) for kind in kinds}
    with style(look):
        figure, panels = _columns(len(rows), names, width)
        for axes, metric in zip(panels, METRICS, strict=True):
            for place, (name, kind, value) in enumerate(zip(names, kinds, rows[metric], strict=True)):
                axes.barh(place, value, height=0.75, zorder=3, gid=f"neuron:{name}", **looks[kind])
            whole = float(_part(table, "ablated")[metric].iloc[0])
            for layer, neuron, value in zip(
                without["layer"], without["neuron"], without[metric], strict=True
            ):
                if (name := f"{layer}.{neuron}") in names:
                    axes.plot(
                        whole - value, names.index(name), "D", markersize=3.6, zorder=4,
                        gid=f"without:{name}", markerfacecolor="white", markeredgecolor=INK,
                        markeredgewidth=0.8,
                    )  # fmt: skip
            _value_axis(axes, metric, target, "x")
        handles: list[Any] = [Patch(label=f"{kind}, ablated alone", **look) for kind, look in looks.items()]
        if len(without):
            diamond: dict[str, Any] = {
                "marker": "D",
                "markersize": 4,
                "markerfacecolor": "white",
                "color": INK,
            }
            handles.append(
                Line2D([], [], linestyle="none", label="whole ablation − all but this one", **diamond)
            )
        _finish(figure, handles, title)
    return figure


def trace_strongest_figure(
    table: pd.DataFrame,
    *,
    target: str = "the target",
    title: str | None = None,
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """What the n strongest neurons do together, against n.

    Args:
        table: As for `trace_layers_figure`.
        target: Text of the target token.
        title: Usually the model's name.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. The curve has the ``gid`` ``strongest``, levels ``whole`` and ``direct``.
    """
    rows = _part(table, "strongest")
    counts = [int(n) for n in rows["n"]]
    with style(look):
        figure = new_figure(width, 2.7)
        panels: Any = figure.subplots(1, 2)
        for axes, metric in zip(panels, METRICS, strict=True):
            axes.plot(
                counts,
                rows[metric],
                "o-",
                color=BAR,
                markersize=3.5,
                linewidth=1.1,
                zorder=4,
                gid="strongest",
            )
            _levels(axes, table, metric, horizontal=True)
            if counts:
                axes.set_xscale("log", base=2)
                # The last two would overlap where the whole is little more than a power of two.
                shown = [n for n in counts[:-1] if n * 1.4 < counts[-1]] + counts[-1:]
                axes.set_xticks(shown, [str(n) for n in shown])
                axes.minorticks_off()
            axes.set_xlabel("strongest neurons together", fontsize=8.5)
            _value_axis(axes, metric, target, "y")
        curve = Line2D([], [], color=BAR, marker="o", markersize=3.5, label="n strongest neurons")
        _finish(figure, [curve, *_level_handles(table)], title)
    return figure


def _part(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["part"] == name].reset_index(drop=True)


def _class_look(kind: str, palette_name: PaletteName) -> dict[str, Any]:
    """How bars of a class look, and its patch in the legend."""
    colours = palette(palette_name)
    return {
        "facecolor": over_white(colours.colours.get(kind, GREY)),
        "edgecolor": INK,
        "linewidth": 0.4,
        "hatch": colours.hatches.get(kind),
    }


_LEVELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ablated": ("whole", "whole ablation", {"color": INK, "linestyle": "--", "linewidth": 0.9}),
    "direct_frozen": (
        "direct",
        "direct contribution taken away",
        {"color": MUTED, "linestyle": ":", "linewidth": 1.2},
    ),
}


def _levels(axes: Axes, table: pd.DataFrame, metric: str, *, horizontal: bool) -> None:
    """Lines across the panel: the whole ablation and, if it is known, the direct effect."""
    for name, (gid, _, line) in _LEVELS.items():
        draw = axes.axhline if horizontal else axes.axvline
        for value in _part(table, name)[metric]:
            draw(value, zorder=2, gid=gid, **line)


def _level_handles(table: pd.DataFrame) -> list[Line2D]:
    present = {*table["part"]}
    return [
        Line2D([], [], label=label, **line) for name, (_, label, line) in _LEVELS.items() if name in present
    ]


def _columns(rows: int, labels: Sequence[str], width: float) -> tuple[Figure, Any]:
    """Two panels side by side with a row for each label, the first on top."""
    figure = new_figure(width, max(1.6, LINE * rows + 1.1))
    panels: Any = figure.subplots(1, 2)
    for number, axes in enumerate(panels):
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_yticks(range(rows), labels if number == 0 else [""] * rows)
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
            text.set_fontfamily(TOKEN_FONT)
        axes.tick_params(axis="y", length=0, labelsize=7)
    return figure, panels


def _value_axis(axes: Axes, metric: str, target: str, which: Literal["x", "y"]) -> None:
    """Name the axis that has the differences, with a line at 0, and thin out ticks and frame."""
    upright = which == "y"
    (axes.set_ylabel if upright else axes.set_xlabel)(
        f"Δ {METRICS[metric].format(target=drawable(target))}", fontsize=8.5, parse_math=False
    )
    if not upright:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    (axes.axhline if upright else axes.axvline)(0, color=FAINT, linewidth=0.8, zorder=1)
    axes.tick_params(axis="both" if upright else "x", labelsize=7.5, width=0.5, length=2.5)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("bottom", "left") if upright else side == "bottom")


def _finish(figure: Figure, handles: Sequence[Any], title: str | None) -> None:
    if title:
        figure.suptitle(title, fontsize="medium", parse_math=False)
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=3, frameon=False, fontsize=7.5,
        columnspacing=1.2, title=FOOTNOTE, title_fontsize=7.5,
    )  # fmt: skip


@functools.cache
def _glyphs() -> Any:
    return get_font(findfont(TOKEN_FONT))


def drawable(text: str) -> str:
    """A token's text with the characters that matplotlib's own font can draw, cut if it is long."""
    shown = "".join(sign if _glyphs().get_char_index(ord(sign)) else f"⟨U+{ord(sign):04X}⟩" for sign in text)
    return shown if len(shown) <= LONGEST_TOKEN else shown[: LONGEST_TOKEN - 1] + "…"
