"""Figures of suppression show the numbers of their tables."""

import numpy as np
import pytest
from matplotlib.container import BarContainer

from rwcore.heads.suppression_tables import Groups, group_table, layer_table
from rwcore.plots.head_suppression import (
    OTHERS,
    suppression_layers_figure,
    suppression_positions_figure,
    suppression_ratios_figure,
)
from rwcore.tests.suppression_makers import LAYERS, MadeUp

FAMILIES = {"all": (0, 1, 2), "any weakening": (0, 1), "weakening": (0,), "conditional weakening": (1,)}


@pytest.fixture(scope="module")
def tables():
    scores = MadeUp().scores()
    groups = Groups(scores.negative, FAMILIES)
    return layer_table(scores, groups), group_table(scores, groups, "predicted")


@pytest.mark.parametrize("palette", ["paper", "accessible"])
def test_bars_are_the_suppression_of_each_layer(tables, palette):
    layers, _ = tables
    figure = suppression_layers_figure(layers, title="a_model", palette_name=palette)
    left, right = figure.axes
    rows = layers.set_index(["writers", "group", "layer"])["suppression"].sort_index()
    bars = {one.get_label(): [bar.get_width() for bar in one] for axes in (left, right)
            for one in axes.containers if isinstance(one, BarContainer)}  # fmt: skip
    assert list(bars) == ["negative heads", "other heads", "weakening", "conditional weakening", OTHERS]
    np.testing.assert_allclose(bars["negative heads"], rows["heads", "negative"])
    np.testing.assert_allclose(bars["weakening"], rows["neurons", "weakening"])
    total = np.sum([bars[name] for name in ("weakening", "conditional weakening", OTHERS)], axis=0)
    np.testing.assert_allclose(total, rows["neurons", "all"])
    assert left.get_ylim() == (LAYERS - 0.5, -0.5)


def test_dots_are_the_ratios(tables):
    _, groups = tables
    figure = suppression_ratios_figure(groups)
    left, right = figure.axes
    rows = groups.set_index("group")
    for axes, column in ((left, "ratio"), (right, "against")):
        dots = {line.get_gid(): line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
        assert dots["any weakening"] == pytest.approx(rows.loc["any weakening", column])
        assert set(dots) == {"negative heads", "other heads", "any weakening", "weakening",
                             "conditional weakening"}  # fmt: skip
    (ticks,) = [line for line in right.lines if line.get_gid() == "expected"]
    assert ticks.get_xdata()[-1] == pytest.approx(rows["against_expected"].iloc[-1])


def test_positions_that_are_not_drawn_are_counted():
    generator = np.random.default_rng(0)
    heads, neurons = generator.random(300), generator.random(300)
    heads[:7] = 0
    figure = suppression_positions_figure(heads, neurons)
    assert figure.axes[0].collections[0].get_array().sum() == 293
    (note,) = [text for text in figure.axes[0].texts if text.get_gid() == "note"]
    assert note.get_text().startswith("7 of 300")


def test_nothing_at_all():
    figure = suppression_positions_figure(np.zeros(4), np.ones(4))
    assert not figure.axes[0].collections
