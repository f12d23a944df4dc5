"""Figures of what excites a neuron show the numbers of their tables."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rwcore.plots.stimuli import GROUPS, TOKENS, WORDS, stimuli_figure
from rwcore.probing.group_summary import STATISTICS

NAMES = ["␣Boost", "⏎", "$x_1$", "vard", "a" * 50]


def statistics(rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    ordered = np.sort(generator.normal(size=(rows, 7)), axis=1)
    columns = {"count": generator.integers(3, 9000, rows), "mean": ordered[:, 3], "std": 1.0}
    columns |= dict(zip(STATISTICS[3:], ordered.T, strict=True))
    return pd.DataFrame(columns)


def made(words: int, chosen: int, groups: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    tokens = statistics(words, 0)
    tokens.insert(0, "token", range(words))
    tokens.insert(1, "text", [NAMES[number % len(NAMES)] for number in range(words)])
    tokens = tokens.sort_values("mean", ascending=False).assign(by_mean=True, by_std=True, by_gap=False)
    prefixes = statistics(chosen * groups, 1)
    prefixes.insert(0, "token", np.repeat(np.arange(chosen), groups))
    prefixes.insert(1, "text", [NAMES[token % len(NAMES)] for token in prefixes["token"]])
    prefixes.insert(2, "length", 2)
    prefixes.insert(3, "prefix", [f"{number} {number + 1}" for number in range(chosen * groups)])
    prefixes.insert(4, "prefix_text", "␣under␣the")
    return tokens, prefixes


def drawn(figure: Figure, axes: int) -> dict[str, Any]:
    panel = figure.axes[axes]
    found = (*panel.patches, *panel.lines)
    return {str(one.get_gid()): one for one in found if one.get_gid()}


def test_bars_and_boxes_are_the_numbers() -> None:
    tokens, prefixes = made(6, 3)
    figure = stimuli_figure(tokens, prefixes, threshold=1.5)
    left, right = drawn(figure, 0), drawn(figure, 1)
    for row in tokens.to_dict("records"):
        assert left[f"bar:{row['token']}"].get_width() == pytest.approx(row["mean"])
        assert left[f"max:{row['token']}"].get_xdata().tolist() == [row["max"]]
    for token in range(3):
        (whole,) = tokens[tokens["token"] == token].to_dict("records")
        own = prefixes[prefixes["token"] == token]
        best = own.sort_values("mean", ascending=False).head(GROUPS).to_dict("records")
        shown = {f"box:{token}": whole} | {f"box:{token} {row['prefix']}": row for row in best}
        for name, row in shown.items():
            box = right[name].get_path().vertices[:, 0]
            assert (box.min(), box.max()) == pytest.approx((row["q1"], row["q3"]))
    assert len([name for name in right if name.startswith("box:")]) == 3 * (1 + GROUPS)
    assert right["threshold"].get_xdata() == [1.5, 1.5]


def test_the_words_come_first_whose_groups_are_farthest_above_them() -> None:
    tokens, prefixes = made(20, 12)
    figure = stimuli_figure(tokens, prefixes)
    shown = [name for name in drawn(figure, 1) if name.startswith("box:") and " " not in name]
    means = tokens.set_index("token")["mean"].sort_index()
    gain = prefixes.groupby("token")["mean"].max() - means.loc[:11]
    assert shown == [f"box:{token}" for token in gain.sort_values(ascending=False).index[:TOKENS]]


def test_no_group_is_said() -> None:
    tokens, prefixes = made(2, 1)
    figure = stimuli_figure(tokens, prefixes.head(0))
    assert [text.get_text() for text in figure.axes[1].texts] == ["no group of three"]


@pytest.mark.parametrize(("words", "chosen", "title"), [(1, 1, None), (30, 20, "A model, neuron 1.111")])
def test_labels_stay_in_the_figure_and_apart(words: int, chosen: int, title: str | None) -> None:
    tokens, prefixes = made(words, chosen)
    figure = stimuli_figure(tokens, prefixes, title=title)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    left, right = figure.axes
    assert len(left.get_yticklabels()) == min(words, WORDS)
    for axes in (left, right):
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        for box in boxes:
            assert box.x0 >= -1
            assert box.x1 <= width + 1
            assert box.y0 >= -1
            assert box.y1 <= height + 1
        for above, below in pairwise(boxes):
            assert below.y1 <= above.y1 - 5
    assert (
        min(label.get_window_extent().x0 for label in right.get_yticklabels()) >= left.get_window_extent().x1
    )
