"""Frequencies against cosines, norms and mean norms: counts, lines, limits, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import pearsonr

from rwcore.plots.frequency_scatter import (
    clipped,
    cosine_limits,
    frequency_figure,
    mean_norm_figure,
    selected_layers,
)
from rwcore.plots.histograms import regression
from rwcore.tests.test_plots_panels import cells, texts

RNG = np.random.default_rng(5)
SHAPE = (4, 500)
LINOUT: NDArray[np.float64] = RNG.uniform(-0.5, 0.9, SHAPE)
FREQUENCY: NDArray[np.float64] = np.clip(0.4 - 0.3 * LINOUT + RNG.normal(0, 0.05, SHAPE), 0, 1)
NORM: NDArray[np.float64] = np.exp(RNG.normal(size=SHAPE))


def line(figure: Figure, panel: int = 0) -> Any:
    (found,) = [one for one in figure.axes[panel].lines if one.get_gid() == "regression"]
    return found


def panels(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_gid() != "colour bar"]


def colour_bar(figure: Figure) -> Any:
    (bar,) = [axes for axes in figure.axes if axes.get_gid() == "colour bar"]
    return bar


# -- the line


def test_the_published_mistake_is_not_made() -> None:
    # Section 9.2, no. 5: for this line the original draws 1.6 + 2.1 x.
    x = np.linspace(-0.5, 0.9, 57)
    found = regression(x, 1 + 3 * x)
    assert (found.intercept, found.slope) == pytest.approx((1, 3))
    wrong = np.polynomial.Polynomial.fit(x, 1 + 3 * x, 1).coef
    assert wrong == pytest.approx([1.6, 2.1])


def test_the_line_drawn_is_the_least_squares_line_of_the_layer() -> None:
    figure = frequency_figure(LINOUT, FREQUENCY, quantity="linout")
    for layer in range(len(LINOUT)):
        slope, intercept = np.polyfit(LINOUT[layer], FREQUENCY[layer], 1)
        drawn = line(figure, layer)
        np.testing.assert_allclose(drawn.get_xdata(), [-1, 1])
        np.testing.assert_allclose(drawn.get_ydata(), [intercept - slope, intercept + slope])
        r = pearsonr(LINOUT[layer], FREQUENCY[layer]).statistic
        assert texts(figure, "correlation")[layer] == f"r = {r:.2f}\np < 0.01".replace("-", "−")


def test_an_exact_line_on_a_lopsided_range_is_drawn_where_it_is() -> None:
    x = np.linspace(-0.5, 0.9, 57)[None]
    drawn = line(frequency_figure(x, 0.4 - 0.3 * x, quantity="linout"))
    np.testing.assert_allclose(drawn.get_ydata(), [0.7, 0.1])


def test_pooled_correlations_are_over_all_neurons() -> None:
    shifted = FREQUENCY + np.linspace(0, 0.2, 4)[:, None]
    figure = frequency_figure(LINOUT, shifted, quantity="linout", pooled=True)
    r = pearsonr(LINOUT.ravel(), shifted.ravel()).statistic
    assert texts(figure, "correlation") == [f"r = {r:.2f}\np < 0.01".replace("-", "−")]
    assert len(panels(figure)) == 1
    expected, *_ = np.histogram2d(shifted.ravel(), LINOUT.ravel(), 100, ((0, 1), (-1, 1)))
    np.testing.assert_array_equal(cells(figure), expected)


# -- counts, colours and axes


def test_panels_are_the_histograms_of_the_layers() -> None:
    figure = frequency_figure(
        torch.from_numpy(LINOUT), torch.from_numpy(FREQUENCY), quantity="linout", title="org/name"
    )
    largest = 0
    for layer, axes in enumerate(panels(figure)):
        expected, *_ = np.histogram2d(FREQUENCY[layer], LINOUT[layer], 100, ((0, 1), (-1, 1)))
        np.testing.assert_array_equal(cells(figure, layer), expected)
        assert axes.get_title() == f"Layer {layer}"
        largest = max(largest, int(expected.max()))
    norms = {id(axes.images[0].norm) for axes in panels(figure)}
    assert len(norms) == 1
    norm = figure.axes[0].images[0].norm
    assert isinstance(norm, LogNorm)
    assert (norm.vmin, norm.vmax) == (1, largest)
    assert texts(figure, "xlabel") == [r"cos($w_\mathrm{in}$, $w_\mathrm{out}$)"]
    assert texts(figure, "ylabel") == ["frequency of gate > 0"]
    assert texts(figure, "title") == ["org/name"]
    assert colour_bar(figure).get_ylabel() == "neurons"


def test_colours_can_go_with_the_counts_themselves() -> None:
    figure = frequency_figure(LINOUT, FREQUENCY, quantity="linout", bins=10, log_counts=False)
    norm = figure.axes[0].images[0].norm
    assert type(norm) is Normalize
    largest = max(cells(figure, panel).max() for panel in range(4))
    assert (norm.vmin, norm.vmax) == (0, largest)


def test_selected_layers_keep_the_axes_of_all() -> None:
    cosines = LINOUT.copy()
    cosines[0] = np.abs(cosines[0])
    figure = frequency_figure(cosines, FREQUENCY, quantity="linout", layers=[3, 0])
    assert [axes.get_title() for axes in panels(figure)] == ["Layer 3", "Layer 0"]
    # The original asks layer 0 alone, which would cut off half of layer 3.
    assert {axes.get_xlim() for axes in panels(figure)} == {(-1, 1)}
    assert cells(figure, 0).sum() == cells(figure, 1).sum() == 500
    np.testing.assert_array_equal(
        cells(figure, 0), cells(frequency_figure(cosines, FREQUENCY, quantity="linout"), 3)
    )


@pytest.mark.parametrize(("n_layers", "expected"), [(32, [0, 15, 31]), (3, [0, 1, 2]), (2, [0, 1]), (1, [0])])
def test_first_middle_and_last_layer_are_selected(n_layers: int, expected: list[int]) -> None:
    assert selected_layers(n_layers) == expected


def test_cosines_without_negative_ones_begin_at_zero() -> None:
    assert cosine_limits(np.array([[0.0, np.nan], [0.3, 1.0]])) == (0, 1)
    assert cosine_limits(np.array([[0.0, 0.2], [-0.1, 1.0]])) == (-1, 1)
    figure = frequency_figure(np.abs(LINOUT), FREQUENCY, quantity="gatelin", name="gate-_in+")
    assert figure.axes[0].get_xlim() == (0, 1)
    assert figure.axes[0].get_ylim() == (0, 1)
    assert texts(figure, "ylabel") == ["frequency of gate < 0, in > 0"]


def test_unmeasured_neurons_are_counted_in_a_note() -> None:
    frequency = FREQUENCY.copy()
    frequency[1, :7] = np.nan
    figure = frequency_figure(LINOUT, frequency, quantity="gateout")
    assert cells(figure, 1).sum() == 493
    assert texts(figure, "note") == ["not shown: 7 of 2,000 neurons, undefined or beyond the axes"]


@pytest.mark.parametrize("quantity", ["norm_gate", "norm_in_out"])
def test_norms_have_a_clipped_logarithmic_axis_and_no_line(quantity: str) -> None:
    norm = NORM.copy()
    norm[0, :3] = [0.0, 1e-9, 1e-6]
    figure = frequency_figure(norm, FREQUENCY, quantity=quantity)
    for axes in panels(figure):
        assert axes.get_xscale() == "log"
        assert axes.get_yscale() == "linear"
        assert axes.get_xlim()[0] == pytest.approx(1e-6, rel=0.3)
        assert not axes.lines[:]
    assert texts(figure, "correlation") == []
    assert texts(figure, "note") == []
    # All three lie at 1e-6: in the first column, or in the one beside it.
    assert cells(figure, 0)[:, :2].sum() == 3


def test_what_is_clipped() -> None:
    found = clipped(np.array([0.0, 1e-7, 1e-6, 3.0, np.nan]))
    np.testing.assert_array_equal(found, [1e-6, 1e-6, 1e-6, 3.0, np.nan])


def test_mean_norms_are_drawn_against_frequencies() -> None:
    norm = NORM.copy()
    norm[2, :5] = 0
    figure = mean_norm_figure(FREQUENCY, torch.from_numpy(norm), name="gate+_in+", title="org/name")
    axes = figure.axes[2]
    assert axes.get_yscale() == "log"
    assert axes.get_xlim() == (0, 1)
    assert 1e-7 < axes.get_ylim()[0] < 1e-6
    assert axes.get_ylim()[1] > norm.max()
    assert cells(figure, 2)[:2].sum() == 5
    assert cells(figure, 0)[:2].sum() == 0
    assert cells(figure, 0).sum() == 500
    assert texts(figure, "xlabel") == ["frequency of gate > 0, in > 0"]
    assert texts(figure, "ylabel") == ["mean ‖output‖ when gate > 0, in > 0"]
    assert texts(figure, "correlation") == []


def test_pooled_and_selected_mean_norms_share_the_axis_of_all_layers() -> None:
    limits = [
        mean_norm_figure(FREQUENCY, NORM, **how).axes[0].get_ylim()
        for how in ({}, {"pooled": True}, {"layers": [1]})
    ]
    assert limits[0] == limits[1] == limits[2]


def test_long_labels_fit_beside_one_row_of_panels() -> None:
    figure = mean_norm_figure(FREQUENCY[:3], NORM[:3], name="gate-_in-", title="org/name")
    figure.draw_without_rendering()
    for text in figure.texts:
        box = text.get_window_extent()
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="all layers"):
        frequency_figure(LINOUT, FREQUENCY, quantity="linout", pooled=True, layers=[0])
    with pytest.raises(ValueError, match="do not fit"):
        frequency_figure(LINOUT[:3], FREQUENCY, quantity="linout")
    with pytest.raises(KeyError):
        frequency_figure(LINOUT, FREQUENCY, quantity="linout", name="gate")
    with pytest.raises(KeyError):
        frequency_figure(LINOUT, FREQUENCY, quantity="norm")


# -- the place of the correlation


def place(x: np.ndarray, y: np.ndarray) -> str:
    figure = frequency_figure(x[None], y[None], quantity="linout")
    (text,) = [one for one in figure.axes[0].texts if one.get_gid() == "correlation"]
    return text.get_horizontalalignment()


def test_the_correlation_stands_in_the_emptier_upper_corner() -> None:
    x = np.linspace(-0.9, 0.9, 50)
    assert place(x, 0.5 - 0.4 * x) == "right"
    assert place(x, 0.5 + 0.4 * x) == "left"
    # A rising line that ends below the corner, and neurons in the other one.
    y = np.where(np.arange(50) < 5, 0.9, 0.1 + 0.3 * (x + 1))
    y[-20:] = 0.7
    assert regression(x, y).r > 0
    assert place(x, y) == "right"
    # The same slope through the right corner.
    assert place(x, 0.7 + 0.2 * x) == "left"
    # A few neurons in the left corner, in the right one only the line.
    low = np.repeat(x[:30], 4)
    a, b = np.append(low, [-0.9, -0.8]), np.append(0.55 + 0.5 * low, [0.85, 0.85])
    assert b[:-2].max() < 0.75 < regression(a, b).intercept + 0.8 * regression(a, b).slope < 1
    assert place(a, b) == "left"
    # Nothing in either: as the slope has it.
    assert place(x, 0.2 - 0.1 * x) == "right"
    assert place(x, 0.2 + 0.1 * x) == "left"
