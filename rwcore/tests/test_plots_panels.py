"""Panels of two-dimensional histograms: counts, axes, colours, lines and labels are those of the numbers."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from scipy.stats import pearsonr

from rwcore.plots.histograms import (
    Regression,
    correlation_text,
    norm_limits,
    panels_figure,
    regression,
)
from rwcore.plots.panels import (
    MAX_HEIGHT,
    WIDTH,
    cell_numbers,
    density_colours,
    linear_ticks,
    log_ticks,
    marker_colour,
    panel_grid,
)
from rwcore.plots.style import style
from rwcore.tests.test_plots import BLINDNESS, closest, contrast, linear

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(3, 400))
LABELS: dict[str, Any] = {"xlabel": "x", "ylabel": "y"}


def cells(figure: Figure, panel: int = 0) -> np.ndarray:
    """Counts drawn in a panel, 0 where nothing is drawn."""
    return np.ma.filled(figure.axes[panel].images[0].get_array(), 0)


def texts(figure: Figure, gid: str) -> list[str]:
    found = [text for axes in figure.axes for text in axes.texts] + figure.texts
    return [text.get_text() for text in found if text.get_gid() == gid]


def test_counts_are_those_of_numpy_s_histogram() -> None:
    y = CLOUD[::-1] / 2
    figure = panels_figure(CLOUD, y, titles=["a", "b", "c"], xlim=(-4, 4), ylim=(-2, 2), bins=20, **LABELS)
    for panel in range(3):
        expected, *_ = np.histogram2d(y[panel], CLOUD[panel], 20, ((-2, 2), (-4, 4)))
        np.testing.assert_array_equal(cells(figure, panel), expected)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a", "b", "c"]


def test_cells_of_a_logarithmic_axis_are_even_in_the_logarithm() -> None:
    x, y = np.exp(CLOUD), CLOUD / 4
    figure = panels_figure(x, y, log_x=True, xlim=(0.01, 100.0), ylim=(-1.0, 1.0), bins=10, **LABELS)
    axes = figure.axes[0]
    edges = np.geomspace(0.01, 100, 11)
    expected, *_ = np.histogram2d(y[0], x[0], (np.linspace(-1, 1, 11), edges))
    np.testing.assert_array_equal(cells(figure), expected)
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == pytest.approx((0.01, 100))
    # The picture fills the axes: its middle is the middle of the logarithmic axis.
    assert axes.images[0].get_extent() == (0, 1, 0, 1)
    assert axes.transAxes.inverted().transform(axes.transData.transform((1.0, 0.0))) == pytest.approx(
        [0.5, 0.5]
    )


def test_empty_cells_are_empty_and_colours_are_shared() -> None:
    x = np.concatenate([np.zeros((2, 90)), np.full((2, 10), 0.5)], axis=1)
    figure = panels_figure(x, x, xlim=(-1.0, 1.0), ylim=(-1.0, 1.0), bins=4, titles=["", ""], **LABELS)
    for axes in figure.axes[:2]:
        drawn = axes.images[0]
        assert np.ma.count(drawn.get_array()) == 2
        assert isinstance(drawn.norm, LogNorm)
        assert (drawn.norm.vmin, drawn.norm.vmax) == (1, 90)
    assert figure.axes[0].images[0].norm is figure.axes[1].images[0].norm


def test_what_cannot_be_drawn_is_counted_in_a_note() -> None:
    x = np.array([[1.0, 0.0, -1.0, np.nan, np.inf, 5.0, 2.0]])
    figure = panels_figure(x, np.ones_like(x), log_x=True, xlim=(0.5, 3.0), ylim=(0.0, 2.0), **LABELS)
    assert cells(figure).sum() == 2
    assert texts(figure, "note") == ["not shown: 5 of 7 neurons, undefined or beyond the axes"]
    whole = panels_figure(x[:, :1], x[:, :1], **LABELS)
    assert texts(whole, "note") == []


def test_axes_are_as_wide_as_the_values_of_all_panels() -> None:
    x = np.array([[1.0, 2.0], [3.0, 9.0]])
    figure = panels_figure(x, x, titles=["", ""], **LABELS)
    for axes in figure.axes[:2]:
        low, high = axes.get_xlim()
        assert 0.8 < low < 1
        assert 9 < high < 9.2
    assert cells(figure, 0).sum() == cells(figure, 1).sum() == 2


@pytest.mark.parametrize(("norms", "low", "high"), [([1e-9, 2.0], 1e-6, 2.0), ([0.0, np.nan, 4.0], 4.0, 4.0)])
def test_norm_axes_begin_at_a_millionth_at_the_latest(norms: list[float], low: float, high: float) -> None:
    found = norm_limits(np.array([norms]))
    assert found[0] < low <= high < found[1]
    assert found[0] > low * 0.8
    assert found[1] < high * 1.3


def test_without_any_drawable_value_the_figure_is_empty_but_there() -> None:
    nothing = np.full((2, 3), np.nan)
    for log in (False, True):
        figure = panels_figure(nothing, nothing, log_x=log, titles=["a", "b"], **LABELS)
        assert cells(figure).sum() == 0
        assert texts(figure, "note") == ["not shown: 6 of 6 neurons, undefined or beyond the axes"]


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        panels_figure(CLOUD, CLOUD[:, 1:], **LABELS)
    with pytest.raises(ValueError, match="do not fit"):
        panels_figure(CLOUD, CLOUD, titles=["one"], **LABELS)
    with pytest.raises(ValueError, match="linear axes"):
        panels_figure(CLOUD, CLOUD, log_y=True, correlation=True, **LABELS)


@pytest.mark.parametrize("look", ["paper", "screen"])
def test_a_pdf_holds_every_cell_once(look: Any) -> None:
    figure = panels_figure(CLOUD, CLOUD, titles=["", "", ""], bins=23, look=look, **LABELS)
    for kind in ("pdf", "png", "svg"):
        buffer = io.BytesIO()
        with style(look):
            figure.savefig(buffer, format=kind)
        assert len(buffer.getvalue()) > 2000
        if kind == "pdf":
            pictures_and_masks = re.findall(rb"/Width 23\b", buffer.getvalue())
            assert len(pictures_and_masks) == 6
            assert b"/Interpolate true" not in buffer.getvalue()


# -- regression


@given(
    arrays(np.float64, st.tuples(st.just(2), st.integers(3, 20)), elements=st.integers(-50, 50).map(float)),
    st.floats(-3, 3),
)
def test_the_regression_is_the_least_squares_line(points: np.ndarray, shift: float) -> None:
    x, y = points[0] + shift, points[1]
    found = regression(x, y)
    if np.ptp(x) == 0:
        assert math.isnan(found.slope)
        assert math.isnan(found.r)
        return
    slope, intercept = np.polyfit(x, y, 1)
    assert found.slope == pytest.approx(slope, abs=1e-9)
    assert found.intercept == pytest.approx(intercept, abs=1e-8)
    if np.ptp(y) > 0:
        expected = pearsonr(x, y)
        assert found.r == pytest.approx(expected.statistic, abs=1e-9)
        assert found.p == pytest.approx(expected.pvalue, abs=1e-7)
    else:
        assert math.isnan(found.r)


def test_undefined_points_do_not_count_and_few_points_have_no_p() -> None:
    x = np.array([0.0, 1.0, np.nan, 2.0, np.inf], np.float32)
    y = np.array([1.0, 3.0, 9.0, np.nan, 9.0], np.float32)
    found = regression(x, y)
    assert (found.n, found.slope, found.intercept) == (2, 2.0, 1.0)
    assert math.isnan(found.p)
    assert regression(x[:1], y[:1]).n == 1
    assert math.isnan(regression(x[:1], y[:1]).r)


def test_the_line_drawn_is_the_regression_in_the_units_of_the_axes() -> None:
    # Trap X11: coefficients of a polynomial in x scaled to -1 ... 1 are those of another line.
    x = np.linspace(0.2, 0.6, 50)[None]
    y = 3 * x - 1
    figure = panels_figure(x, y, correlation=True, xlim=(0.0, 1.0), ylim=(-1.0, 1.0), **LABELS)
    (line,) = [line for line in figure.axes[0].lines if line.get_gid() == "regression"]
    np.testing.assert_allclose(line.get_xdata(), [0, 1])
    np.testing.assert_allclose(line.get_ydata(), [-1, 2], atol=1e-12)
    scaled = np.polynomial.Polynomial.fit(x[0], y[0], 1).coef
    assert abs(scaled[0] - -1) > 0.1  # what the trap would have drawn at 0
    assert figure.axes[0].get_xlim() == (0, 1)
    assert figure.axes[0].get_ylim() == (-1, 1)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Regression(1, 0, -0.3649, 1e-9, 9), "r = −0.36\np < 0.01"),
        (Regression(1, 0, 0.004, 0.014, 9), "r = 0.00\np = 0.01"),
        (Regression(1, 0, -0.004, 0.5, 9), "r = 0.00\np = 0.50"),
        (Regression(1, 0, 1.0, math.nan, 2), "r = 1.00"),
        (Regression(math.nan, math.nan, math.nan, math.nan, 5), "r undefined"),
    ],
)
def test_correlations_are_written_with_two_decimals(found: Regression, text: str) -> None:
    assert correlation_text(found) == text


def test_a_panel_without_variation_has_a_text_and_no_line() -> None:
    figure = panels_figure(np.ones((1, 4)), CLOUD[:1, :4], correlation=True, **LABELS)
    assert texts(figure, "correlation") == ["r undefined"]
    assert figure.axes[0].lines[:] == []


# -- layout


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 16, 28, 32, 42, 48, 80, 126])
def test_any_number_of_layers_fits_a_page(n: int) -> None:
    grid = panel_grid(n)
    width, height = grid.figure.get_size_inches()
    assert len(grid.panels) == len(grid.figure.axes) == n
    assert width <= WIDTH + 1e-9
    assert height <= MAX_HEIGHT + 1e-9
    assert grid.columns == n or grid.columns >= 4
    assert grid.side > 0.4
    boxes = [axes.get_window_extent() for axes in grid.panels]
    for number, box in enumerate(boxes):
        assert (box.width, box.height) == pytest.approx((grid.side * 100, grid.side * 100))
        assert not any(box.overlaps(other) for other in boxes[:number])
    order = [(-round(box.y0), round(box.x0)) for box in boxes]
    assert order == sorted(order)


def test_tick_labels_stand_left_and_below_only() -> None:
    grid = panel_grid(6)
    shown = [
        (axes.yaxis.get_tick_params()["labelleft"], axes.xaxis.get_tick_params()["labelbottom"])
        for axes in grid.panels
    ]
    # Four columns: panels 2 and 3 have nothing below them.
    expected = [(True, False), (False, False), (False, True), (False, True), (True, True), (False, True)]
    assert shown == expected
    assert [grid.last_of_row(number) for number in range(6)] == [False, False, False, True, False, True]


@given(st.floats(1e-6, 1e3), st.floats(1.05, 1e6))
def test_ticks_of_logarithmic_axes_are_few_and_inside(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 5
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_are_round() -> None:
    assert log_ticks(0.2, 50) == [1, 10]
    assert log_ticks(0.6, 4) == [1, 3]
    assert log_ticks(1e-3, 2e4)[0] == 1e-3
    assert log_ticks(0.5, 1.9) == pytest.approx([0.5, 1])
    assert log_ticks(0.51, 0.74) == pytest.approx([0.6, 0.7])
    assert linear_ticks(-1.0, 1.0) == [-1, 0, 1]
    assert linear_ticks(0.0, 1.0) == pytest.approx([0, 0.5, 1])
    assert linear_ticks(-0.5, 1.0) == pytest.approx([-0.5, 0, 0.5, 1])


def test_cells_are_half_open_and_the_last_one_is_closed() -> None:
    x = np.array([-1.0, -0.5, 0.0, 0.999, 1.0, 1.001, -1.001, np.nan])
    numbers, inside = cell_numbers(x, np.full(8, -1.0), (-1.0, 1.0), (-1.0, 1.0), 4)
    assert numbers.tolist() == [0, 1, 2, 3, 3]
    assert inside.tolist() == [True] * 5 + [False] * 3


# -- colours


def test_colours_of_cells_grow_lighter_for_anybody() -> None:
    for name in ("paper", "accessible"):
        colours = density_colours(name)(np.linspace(0, 1, 32))[:, :3]  # type: ignore[arg-type]
        for eye in (np.eye(3), *map(np.array, BLINDNESS.values())):
            light = np.clip(linear(colours) @ eye.T, 0, 1) @ [0.2126, 0.7152, 0.0722]
            assert (np.diff(light) > 0).all(), name


def test_accessible_lines_are_seen_on_paper_and_on_cells_by_anybody() -> None:
    line = to_rgb(marker_colour("accessible"))
    assert contrast(line, (1, 1, 1)) > 3
    dark = density_colours("accessible")(0.0)[:3]
    assert contrast(line, dark) > 3
    assert closest([line, dark, (1, 1, 1)]) > 30
