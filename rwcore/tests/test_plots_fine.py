"""Fine plots: where the neurons, the regions and their marks are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure

from rwcore.plots.fine import fine_figure, layer_histogram_figure, mean_cells

RNG = np.random.default_rng(1)
SHAPE = (5, 200)
GATEOUT, LINOUT = RNG.uniform(-1, 1, SHAPE), RNG.uniform(-1, 1, SHAPE)
GATELIN = RNG.uniform(0, 1, SHAPE)
BETA = (-0.1, 0.1)
REGIONS = pd.DataFrame(
    [
        (layer, name, low * (1 + layer), 0.2 + 0.1 * layer)
        for layer in range(5)
        for name, low in (("gatelin", np.nan), ("gateout", -0.05), ("linout", -0.06))
    ],
    columns=["layer", "cosine", "low", "high"],
)


def drawn(figure: Figure, panel: int, gid: str) -> list[Any]:
    return [line for line in figure.axes[panel].lines if line.get_gid() == gid]


def slow_means(x: np.ndarray, y: np.ndarray, values: np.ndarray, cells: int) -> np.ndarray:
    """Reference: look through all points for every cell."""
    edges = np.linspace(-1, 1, cells + 1)
    out = np.full((cells, cells), np.nan)
    for row in range(cells):
        for column in range(cells):
            inside = [
                v
                for a, b, v in zip(x, y, values, strict=True)
                if edges[column] <= a and (a < edges[column + 1] or column == cells - 1)
                if edges[row] <= b and (b < edges[row + 1] or row == cells - 1)
            ]
            if inside:
                out[row, column] = np.mean(inside)
    return out


# Multiples of 1/8 lie exactly on the edges of 4 cells, or exactly between them.
@given(
    arrays(
        np.float64,
        st.tuples(st.just(3), st.integers(0, 12)),
        elements=st.integers(-8, 8).map(lambda k: k / 8),
    )
)
def test_cells_hold_the_mean_of_their_neurons(points: np.ndarray) -> None:
    np.testing.assert_allclose(mean_cells(*points, 4), slow_means(*points, 4), atol=1e-12)


def test_undefined_neurons_are_left_out_whichever_cosine_is_undefined() -> None:
    x, y, v = np.zeros(4), np.zeros(4), np.array([0.2, 0.4, 0.6, 0.8])
    x[1], y[2], v[3] = np.nan, np.nan, np.nan
    found = mean_cells(x, y, v, 2)
    assert found[1, 1] == pytest.approx(0.2)
    assert np.isnan(found).sum() == 3


def test_each_panel_shows_its_layer() -> None:
    figure = fine_figure(GATELIN, GATEOUT, LINOUT, layers=[3, 0])
    assert [axes.get_title() for axes in figure.axes] == ["Layer 3", "Layer 0"]
    for panel, layer in enumerate([3, 0]):
        axes = figure.axes[panel]
        picture = np.ma.filled(axes.images[0].get_array(), np.nan)
        expected = mean_cells(GATEOUT[layer], LINOUT[layer], GATELIN[layer], len(picture))
        np.testing.assert_array_equal(picture, expected)
        assert axes.get_xlim() == axes.get_ylim() == (-1, 1)
        assert axes.images[0].origin == "lower"


def test_a_neuron_is_where_its_cosines_say() -> None:
    figure = fine_figure(np.array([[0.7]]), np.array([[0.5]]), np.array([[-0.9]]))
    picture = figure.axes[0].images[0].get_array()
    ((row, column),) = np.argwhere(~np.ma.getmaskarray(picture))
    n = len(picture)
    assert -1 + 2 * column / n <= 0.5 <= -1 + 2 * (column + 1) / n
    assert -1 + 2 * row / n <= -0.9 <= -1 + 2 * (row + 1) / n
    assert picture[row, column] == pytest.approx(0.7)


def test_all_layers_have_a_panel_and_one_layer_is_no_special_case() -> None:
    assert len(fine_figure(GATELIN, GATEOUT, LINOUT).axes) == 5
    assert len(fine_figure(GATELIN[:1], GATEOUT[:1], LINOUT[:1]).axes) == 1  # trap X15


def test_lines_enclose_the_regions_of_the_layer() -> None:
    figure = fine_figure(GATELIN, GATEOUT, LINOUT, layers=[0, 2], beta=BETA, regions=REGIONS)
    for panel, layer in enumerate([0, 2]):
        high = 0.2 + 0.1 * layer
        for cosine, low, across in (("gateout", -0.05, "get_xdata"), ("linout", -0.06, "get_ydata")):
            for kind, ends, style in (
                ("beta", BETA, ":"),
                ("mismatched", (low * (1 + layer), high), "--"),
            ):
                lines = drawn(figure, panel, f"{kind}:{cosine}")
                assert [getattr(line, across)()[0] for line in lines] == pytest.approx(list(ends))
                assert {line.get_linestyle() for line in lines} == {style}
                assert {line.get_color() for line in lines} == {"red"}


def test_the_colour_bar_of_a_panel_has_a_dot_and_a_line() -> None:
    figure = fine_figure(GATELIN, GATEOUT, LINOUT, layers=[1], beta=BETA, regions=REGIONS)
    ((dot,), (line,)) = (drawn(figure, 0, f"{kind}:gatelin") for kind in ("beta", "mismatched"))
    # Heights are shares of the bar, which runs from 0 to 1.
    assert dot.get_ydata() == pytest.approx([0.1])
    assert line.get_ydata() == pytest.approx([0.3, 0.3])
    bar = figure.axes[0].images[1]
    assert bar.norm is figure.axes[0].images[0].norm
    assert (bar.norm.vmin, bar.norm.vmax) == (0, 1)
    left, right, bottom, top = bar.get_extent()
    assert left < dot.get_xdata()[0] < right
    assert (bottom, top) == (0, 1)


def test_cosines_that_are_not_folded_have_colours_from_minus_one() -> None:
    figure = fine_figure(-GATELIN, GATEOUT, LINOUT, layers=[0], beta=(-0.1, 0.1))
    assert figure.axes[0].images[0].norm.vmin == -1
    assert drawn(figure, 0, "beta:gatelin")[0].get_ydata() == pytest.approx([0.55])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"beta": BETA}, ["95 % of random directions (on colour bars: dot)"]),
        ({"regions": REGIONS}, ["95 % of mismatched pairs in the layer (on colour bars: line)"]),
    ],
)
def test_the_legend_names_the_lines_there_are(given: dict[str, Any], expected: list[str]) -> None:
    figure = fine_figure(GATELIN, GATEOUT, LINOUT, **given)
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == expected


def test_the_accessible_palette_changes_cells_and_lines() -> None:
    figure = fine_figure(GATELIN, GATEOUT, LINOUT, layers=[0], beta=BETA, palette_name="accessible")
    assert figure.axes[0].images[0].get_cmap().name == "cividis"
    assert {line.get_color() for line in drawn(figure, 0, "beta:linout")} == {"#d55e00"}


# -- without a gate


def test_columns_are_the_histograms_of_the_layers() -> None:
    linout = LINOUT.copy()
    linout[0, :3] = [1.0, -1.0, np.nan]
    figure = layer_histogram_figure(linout, bins=10, title="m")
    axes = figure.axes[0]
    counts = np.ma.filled(axes.images[0].get_array(), 0)
    for layer in range(5):
        values = linout[layer][~np.isnan(linout[layer])]
        np.testing.assert_array_equal(counts[:, layer], np.histogram(values, 10, (-1, 1))[0])
    assert counts.sum() == linout.size - 1
    assert axes.get_ylim() == (-1, 1)
    assert axes.get_xlim() == (-0.5, 4.5)
    assert axes.get_title() == "m"


def test_chosen_layers_are_the_columns() -> None:
    figure = layer_histogram_figure(LINOUT, layers=[4, 1], bins=10, beta=BETA, regions=REGIONS)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "1"]
    first = np.ma.filled(axes.images[0].get_array(), 0)[:, 0]
    np.testing.assert_array_equal(first, np.histogram(LINOUT[4], 10, (-1, 1))[0])
    steps = [patch for patch in axes.patches if patch.get_gid() == "mismatched:linout"]
    assert [patch.get_data().values.tolist() for patch in steps] == [  # type: ignore[attr-defined]
        pytest.approx([-0.06 * 5, -0.06 * 2]),
        pytest.approx([0.6, 0.3]),
    ]
    assert [line.get_ydata()[0] for line in drawn(figure, 0, "beta:linout")] == [-0.1, 0.1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "95 % of random directions",
        "95 % of mismatched pairs in the layer",
    ]
