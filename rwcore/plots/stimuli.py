"""What excites a neuron: the words it is highest at, and how much depends on what stands before a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rwcore.plots.context_neuron import QUANTITIES
from rwcore.plots.counts import PaletteName
from rwcore.plots.panels import SMALL, WIDTH
from rwcore.plots.probe_names import cycle
from rwcore.plots.style import FAINT, INK, MUTED, Look, new_figure, style
from rwcore.plots.trace import TOKEN_FONT, drawable
from rwcore.probing.stimuli import distinct_groups

WORDS, TOKENS, GROUPS = 20, 7, 3
"""Words with the largest mean; tokens in the other panel, and groups of each."""
ROW, GAP = 0.135, 0.6
"""Height of a row in inches; space between two tokens, in rows."""
LONGEST = 34
"""Characters of a label."""


def stimuli_figure(
    tokens: pd.DataFrame,
    prefixes: pd.DataFrame,
    *,
    quantity: str = "pre",
    threshold: float | None = None,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """The words a neuron is highest at, and words at which it is high after some words only.

    On the left a bar from 0 to the mean of each word and a dot at its largest value. On the right, for the
    words that were chosen because the neuron is sometimes high there and often not, a box of all occurrences
    (grey) above the boxes of the groups that have the largest mean, by the one to three tokens before.

    Args:
        tokens: Rows of one neuron of ``tokens.csv``.
        prefixes: Its rows of ``prefixes.csv``; may have none.
        quantity: What the values are.
        threshold: Drawn as a line.
        title: Usually the model's name and the neuron.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure. Bars have the ``gid`` ``bar:`` and the token's id, dots ``max:`` and that; boxes ``box:``,
        the id and the ids of the prefix, those of all occurrences ``box:`` and the id.

    Source: Gurnee et al., "Finding neurons in a haystack" (2023), figure of n-grams that excite 1.111.
    """
    colour = cycle(palette_name)[0]
    words = _records(tokens[tokens["by_mean"].astype(bool)].head(WORDS))
    blocks = _blocks(tokens, prefixes)
    rows = sum(map(len, blocks)) + GAP * max(0, len(blocks) - 1)
    with style(look):
        height = ROW * max(len(words), rows, 6) + 0.75
        figure = new_figure(width, height + (0.2 if title else 0.0))
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _bars(left, words, colour)
        _boxes(right, blocks, colour)
        for axes in (left, right):
            _frame(axes, quantity, threshold)
        left.set_title("largest mean", fontsize=8)
        right.set_title("by the tokens before", fontsize=8)
        if title:
            figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def _blocks(tokens: pd.DataFrame, prefixes: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """For each token shown: all its occurrences, then its groups; those first whose groups differ most."""
    found = []
    for token, rows in prefixes.groupby("token", sort=False):
        ids = [tuple(map(int, str(prefix).split())) for prefix in rows["prefix"]]
        groups = distinct_groups(rows.assign(prefix=pd.Series(ids, index=rows.index, dtype=object)), GROUPS)
        (whole,) = _records(tokens[tokens["token"] == token])
        gain = float(groups["mean"].iloc[0]) - float(whole["mean"])
        found.append((gain, [whole, *_records(groups)]))
    order = sorted(range(len(found)), key=lambda place: -found[place][0])
    return [found[place][1] for place in order[:TOKENS]]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _bars(axes: Axes, words: list[dict[str, Any]], colour: str) -> None:
    for row, found in enumerate(words):
        (bar,) = axes.barh(row, found["mean"], height=0.66, color=colour, alpha=0.75, zorder=3)
        bar.set_gid(f"bar:{found['token']}")
        axes.plot(found["max"], row, "o", color=INK, markersize=2.2, zorder=4, gid=f"max:{found['token']}")
    _labels(axes, [(row, _text(found["text"]), True) for row, found in enumerate(words)])


def _boxes(axes: Axes, blocks: list[list[dict[str, Any]]], colour: str) -> None:
    labels, at = [], 0.0
    for block in blocks:
        for number, found in enumerate(block):
            prefix = found.get("prefix") if number else None
            ink = colour if number else MUTED
            name = "box:" + " ".join(map(str, [found["token"], *(prefix or ())]))
            _box(axes, at, found, ink, name)
            text = _text(found["text"])
            if number:  # words that follow each other are read with plain spaces
                text = _text((found["prefix_text"] + found["text"]).replace("␣", " ")).strip()
            labels.append((at, f"{text}  ({found['count']:,})", not number))
            at += 1
        at += GAP
    if blocks:
        _labels(axes, labels)
        return
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no group of three", transform=axes.transAxes, ha="center", color=MUTED, fontsize=8)


def _box(axes: Axes, at: float, found: dict[str, Any], ink: str, name: str) -> None:
    """A box from quartile to quartile, whiskers to the 5 and 95 % quantiles, the median, the maximum."""
    stats = {
        "whislo": found["p05"], "q1": found["q1"], "med": found["median"], "q3": found["q3"],
        "whishi": found["p95"],
    }  # fmt: skip
    line = {"color": ink, "linewidth": 0.8}
    drawn = axes.bxp(
        [stats], positions=[at], widths=0.66, orientation="horizontal", showfliers=False,
        patch_artist=True, manage_ticks=False, zorder=3, whiskerprops=line, capprops=line,
        boxprops={"facecolor": ink, "edgecolor": ink, "alpha": 0.55, "linewidth": 0.8},
        medianprops={"color": INK, "linewidth": 1.0},
    )  # fmt: skip
    drawn["boxes"][0].set_gid(name)
    axes.plot(found["max"], at, "o", color=ink, markersize=1.8, zorder=4)


def _labels(axes: Axes, labels: list[tuple[float, str, bool]]) -> None:
    axes.set_yticks([at for at, _, _ in labels], [text for _, text, _ in labels])
    for tick, (_, _, strong) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_parse_math(False)
        tick.set_fontfamily(TOKEN_FONT)
        tick.set_color(INK if strong else MUTED)
    axes.set_ylim(max(at for at, _, _ in labels) + 0.7, -0.7)


def _frame(axes: Axes, quantity: str, threshold: float | None) -> None:
    axes.tick_params(labelsize=SMALL, width=0.5, length=2.5)
    axes.tick_params(axis="y", length=0)
    for side, spine in axes.spines.items():
        spine.set_linewidth(0.5)
        spine.set_visible(side in ("bottom", "left"))
    axes.grid(axis="x", color=FAINT, linewidth=0.4, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(QUANTITIES.get(quantity, quantity), fontsize=8.5)
    low, high = axes.get_xlim()
    if threshold is not None and np.isfinite(threshold):
        axes.axvline(threshold, color=INK, linewidth=0.7, linestyle="dashed", zorder=2, gid="threshold")
        axes.set_xlim(min(low, threshold), max(high, threshold))


def _text(text: str) -> str:
    """A text on paper; the end of a long one."""
    shown = "".join(map(drawable, text))
    return shown if len(shown) <= LONGEST else "…" + shown[-LONGEST:]
