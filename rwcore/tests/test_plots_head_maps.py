"""Maps of heads: each cell where it belongs, in the colour that belongs to it."""

import numpy as np
import pandas as pd
import pytest

from rwcore.plots.head_maps import head_map_figure, signed_head_map_figure


def map_of(figure):
    return next(axes for axes in figure.axes if axes.get_gid() == "heads")


def cells_of(figure):
    """Cells from layer 0 on; the lowest row of a picture comes first."""
    return np.asarray(map_of(figure).images[0].get_array().filled(np.nan))[::-1]


def test_rows_of_the_map_are_their_own_layers():
    """Trap T12: the original map wrote each layer one row too high."""
    shares = pd.DataFrame({"layer": [0, 1, 2, 2], "head": [0, 1, 0, 1], "share": [0.1, 0.2, 0.3, 0.9]})
    figure = head_map_figure(shares, "share", "share")
    cells = cells_of(figure)
    expected = np.array([[0.1, np.nan], [np.nan, 0.2], [0.3, 0.9]])
    np.testing.assert_array_equal(cells, expected)
    # Layer 0 at the top.
    assert map_of(figure).get_ylim() == (2.5, -0.5)


def test_a_signed_map_is_white_at_zero_and_says_where_it_ends():
    values = [0.0, -0.2, 0.1, 5.0]
    table = pd.DataFrame({"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "effect": values})
    figure = signed_head_map_figure(table, "effect", "effect (nats)")
    np.testing.assert_array_equal(cells_of(figure), np.array(values).reshape(2, 2))
    image = map_of(figure).images[0]
    end = float(np.quantile(np.abs(values), 0.98))
    assert (image.norm.vmin, image.norm.vmax) == (pytest.approx(-end), pytest.approx(end))
    assert image.cmap(image.norm(0.0)) == pytest.approx((0.97, 0.97, 0.97, 1), abs=0.01)
    (label,) = {axes.get_ylabel() for axes in figure.axes if axes.get_gid() != "heads"}
    assert label == "effect (nats)\n(from -0.2 to 5)"


@pytest.mark.parametrize("figure", [head_map_figure, signed_head_map_figure])
def test_heads_that_are_all_zero_or_unknown_have_a_scale(figure):
    for value in (0.0, np.nan):
        drawn = figure(pd.DataFrame({"layer": [0], "head": [1], "share": [value]}), "share", "share")
        image = map_of(drawn).images[0]
        assert image.norm.vmin < image.norm.vmax


def test_the_map_begins_at_the_first_layer_there_is_and_large_shares_are_written():
    shares = pd.DataFrame({"layer": [3, 4, 4, 5], "head": [0, 2, 3, 1], "share": [0.01, 0.75, -0.3, 0.05]})
    axes = map_of(head_map_figure(shares, "share", "share", end=1, written=0.05))
    assert axes.get_ylim() == (5.5, 2.5)
    assert axes.get_yticks().tolist() == [3, 4, 5]
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {((2, 4), "75"), ((1, 5), "5")}
    assert not map_of(head_map_figure(shares, "share", "share")).texts


def test_nothing_is_written_where_cells_are_too_narrow():
    shares = pd.DataFrame({"layer": 0, "head": range(40), "share": 0.5})
    assert not map_of(head_map_figure(shares, "share", "share", written=0.05)).texts
