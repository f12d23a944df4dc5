"""Figures of trends show the numbers of their tables."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from rwcore.plots.probe_trends import trend_scores_figure, trend_strips_figure

MODELS = {"org/small": 40, "org/large": 70_400}
NAMES = {"org/small": "small", "org/large": "a model with quite a long name"}


def trends(features: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = [
        ("data", "text" if number % 2 else "code", f"f_{number}", model, neurons,
         0.5 + generator.random() / 2, number % 3 / 2, pd.NA if number == 1 else 2**number)
        for number in range(features)
        for model, neurons in MODELS.items()
    ]  # fmt: skip
    names = ["dataset", "family", "feature", "model", "neurons", "test_mcc", "relative_depth", "needed_k"]
    return pd.DataFrame(rows, columns=names).astype({"needed_k": "Int64"})


def changes(table: pd.DataFrame) -> pd.DataFrame:
    trend = ["gains", "loses", "same"]
    pairs = table[["dataset", "feature"]].drop_duplicates()
    return pairs.assign(mcc_trend=[trend[number % 3] for number in range(len(pairs))])


def named(axes: Axes) -> dict[str, Any]:
    return {str(one.get_gid()): one for one in (*axes.lines, *axes.collections) if one.get_gid()}


def test_lines_are_the_scores_over_the_models_by_family() -> None:
    table = trends()
    figure = trend_scores_figure(table, changes(table), NAMES)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["code", "text"]
    lines = named(figure.axes[0]) | named(figure.axes[1])
    for feature in ("f_0", "f_1", "f_2"):
        line = lines[f"feature:{feature}"]
        assert line.get_ydata().tolist() == table.loc[table["feature"] == feature, "test_mcc"].tolist()
        assert line.get_xdata().tolist() == [0, 1]
    assert len({lines[f"feature:f_{number}"].get_color() for number in range(3)}) == 3
    assert lines["feature:f_1"].get_linestyle() == "--"  # losses are told apart without colours
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["small, 40", "a model with quite a lo…, 70k"]


def test_names_at_the_ends_are_in_the_order_of_the_scores_and_apart() -> None:
    table = trends(40)
    figure = trend_scores_figure(table, changes(table), NAMES)
    figure.canvas.draw()  # type: ignore[attr-defined]
    for axes in figure.axes:
        shown = [text for text in axes.texts if str(text.get_gid()).startswith("name:")]
        ends = {gid: line.get_ydata()[-1] for gid, line in named(axes).items()}
        scores = [ends[str(text.get_gid()).replace("name:", "feature:")] for text in shown]
        heights = [text.get_window_extent() for text in shown]
        order = np.argsort([box.y0 for box in heights])
        assert np.argsort(scores, kind="stable").tolist() == order.tolist()
        below = [heights[place] for place in order]
        assert all(a.y1 < b.y1 and b.y0 - a.y0 > 0.8 * (a.y1 - a.y0) for a, b in itertools.pairwise(below))


def test_a_family_of_two_data_sets_has_two_panels() -> None:
    table = pd.concat([trends(2), trends(2).assign(dataset="other")], ignore_index=True)
    figure = trend_scores_figure(table, changes(table), NAMES)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["code (data)", "text (data)", "code (other)", "text (other)"]


@pytest.mark.parametrize("quantity", ["relative_depth", "needed_k"])
def test_strips_have_a_dot_for_each_known_value_and_the_median(quantity: Any) -> None:
    table = trends(7)
    figure = trend_strips_figure(table, NAMES, quantity=quantity)
    (axes,) = figure.axes
    drawn = named(axes)
    for row, model in enumerate(MODELS):
        known = table[(table["model"] == model) & table[quantity].notna()]
        for family, rows in known.groupby("family"):
            dots = drawn[f"strip:{model}:{family}"]
            assert dots.get_xdata().tolist() == rows[quantity].astype(float).tolist()
            assert all(abs(height - row) < 0.5 for height in dots.get_ydata())
        (median,) = {point[0] for point in drawn[f"median:{model}"].get_segments()[0]}
        assert median == np.median(known[quantity].astype(float))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["code", "text", "median"]


def test_dots_with_one_value_do_not_cover_each_other() -> None:
    table = trends(60).assign(relative_depth=0.5)
    drawn = named(trend_strips_figure(table, NAMES).axes[0])
    heights = np.concatenate([drawn[f"strip:org/small:{family}"].get_ydata() for family in ("code", "text")])
    assert len(np.unique(heights)) == 60
    assert np.abs(heights).max() < 0.45
