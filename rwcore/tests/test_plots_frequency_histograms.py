"""Histograms of frequencies: shares, means, baselines, panels; by class and by layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from rwcore.activations.frequencies import class_frequencies
from rwcore.neurons import choose_neurons
from rwcore.plots.frequency_classes import ClassHistograms, class_histograms, class_histograms_figure
from rwcore.plots.frequency_histograms import Histogram, histogram, layer_histograms_figure
from rwcore.plots.frequency_names import FREQUENCY_LABELS, MEAN_NORM_LABELS, NAMES
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES

RNG = np.random.default_rng(3)
LAYERS, NEURONS = 3, 400
FREQUENCY = torch.from_numpy(RNG.beta(2, 5, (LAYERS, NEURONS)))
# All classes but atypical strengthening (1), most neurons orthogonal (6), some undefined.
CODES = torch.from_numpy(
    RNG.choice([0, 2, 3, 4, 5, 6, 6, 6, 6, 6, 7, 8, 9, 10, -1], (LAYERS, NEURONS)).astype(np.int8)
)
HISTOGRAMS = class_histograms(FREQUENCY, CODES)
NAMES_OF_CLASSES = [one.name for one in RW_CLASSES]
OUTLINE = np.linspace(0, 1, 21)


def stairs(figure: Figure, panel: int, gid: str) -> list[np.ndarray]:
    """Heights of the bins that are drawn with this name, 0 where nothing is."""
    found = [one for one in figure.axes[panel].patches if one.get_gid() == gid]
    assert all(isinstance(one, StepPatch) for one in found)
    return [np.nan_to_num(one.get_data().values) for one in found]  # type: ignore[attr-defined]


def means(figure: Figure, panel: int) -> dict[str, float]:
    """Where lines stand, by name."""
    lines: list[Any] = list(figure.axes[panel].lines)
    return {line.get_gid(): float(line.get_xdata()[0]) for line in lines}


def texts(figure: Figure) -> dict[str, str]:
    return {str(text.get_gid()): text.get_text() for text in figure.texts}


# -- numbers


# Multiples of 1/8 lie exactly on the edges of 4 bins, or exactly between them.
@given(st.lists(st.one_of(st.integers(0, 8).map(lambda k: k / 8), st.just(math.nan)), max_size=20))
def test_shares_are_those_of_counting_neuron_by_neuron(values: list[float]) -> None:
    found = histogram(np.array(values, np.float32), 4)
    real = [value for value in values if not math.isnan(value)]
    counts = [sum(k <= 4 * value < k + 1 or (k == 3 and value == 1) for value in real) for k in range(4)]
    assert found.n == len(real)
    np.testing.assert_allclose(found.shares, np.array(counts) / max(1, len(real)))
    if real:
        assert found.mean == pytest.approx(sum(real) / len(real))
        assert found.shares.sum() == pytest.approx(1)
    else:
        assert math.isnan(found.mean)
        assert not found.shares.any()


def test_a_share_that_rounding_made_larger_than_one_counts() -> None:
    assert histogram(np.array([np.nextafter(np.float32(1), np.float32(2))]), 4).shares.tolist() == [
        0,
        0,
        0,
        1,
    ]


def test_class_histograms_are_those_of_the_class_and_its_baseline() -> None:
    assert [one.name for one in HISTOGRAMS] == NAMES_OF_CLASSES
    for one in HISTOGRAMS:
        choice = choose_neurons(CODES, one.name, baseline=True)
        assert choice is not None
        for neurons, found in ((choice.chosen, one.true), (choice.baseline, one.baseline)):
            assert neurons is not None
            values = FREQUENCY.numpy()[neurons.layer, neurons.neuron]
            weights = np.full(len(values), 1 / max(1, len(values)))
            expected, _ = np.histogram(values, 20, (0, 1), weights=weights)
            np.testing.assert_allclose(found.shares, expected, atol=1e-12)
            assert found.n == len(values)


def test_means_are_those_of_the_table_of_classes() -> None:
    table = class_frequencies(FREQUENCY, CODES, RW_CLASSES)
    np.testing.assert_allclose([one.true.mean for one in HISTOGRAMS], table["true"], rtol=1e-12)
    np.testing.assert_allclose([one.baseline.mean for one in HISTOGRAMS], table["baseline"], rtol=1e-12)


def test_another_seed_is_another_baseline_of_the_same_class() -> None:
    other = class_histograms(FREQUENCY, CODES, seed=1)
    np.testing.assert_array_equal(other[2].true.shares, HISTOGRAMS[2].true.shares)
    assert other[2].baseline.mean != HISTOGRAMS[2].baseline.mean


def test_unmeasured_neurons_are_left_out() -> None:
    frequency = FREQUENCY.clone()
    frequency[0] = math.nan
    found = class_histograms(frequency, CODES)
    assert found[2].true.n == int((CODES[1:] == 2).sum())


# -- labels


def test_every_frequency_has_its_labels() -> None:
    assert set(FREQUENCY_LABELS) == set(MEAN_NORM_LABELS) == set(NAMES)
    assert FREQUENCY_LABELS["summary"] == "frequency of gate > 0"
    assert FREQUENCY_LABELS["gate-_in+"] == "frequency of gate < 0, in > 0"
    assert MEAN_NORM_LABELS["summary"] == "mean ‖output‖"
    assert MEAN_NORM_LABELS["gate+_in-"] == "mean ‖output‖ when gate > 0, in < 0"


# -- by class


def test_panels_show_class_and_baseline() -> None:
    figure = class_histograms_figure(HISTOGRAMS, title="org/name", name="gate+_in-")
    assert [axes.get_title(loc="left") for axes in figure.axes] == NAMES_OF_CLASSES
    for panel, one in enumerate(HISTOGRAMS):
        assert figure.axes[panel].get_title(loc="right") == f"n = {one.true.n}"
        assert figure.axes[panel].get_xlim() == (0, 1)
        if not one.true.n:
            continue
        ((true,), (baseline,)) = (stairs(figure, panel, gid) for gid in ("true", "baseline"))
        np.testing.assert_allclose(true, one.true.shares)
        np.testing.assert_allclose(baseline, one.baseline.shares)
        expected = {"mean:true": one.true.mean, "mean:baseline": one.baseline.mean}
        assert means(figure, panel) == pytest.approx(expected)
    assert texts(figure)["xlabel"] == "frequency of gate > 0, in < 0"
    assert texts(figure)["ylabel"] == "proportion of neurons"
    assert "org/name" in texts(figure).values()


def test_a_class_without_neurons_has_an_empty_panel_that_says_so() -> None:
    axes = class_histograms_figure(HISTOGRAMS).axes[1]
    assert [text.get_text() for text in axes.texts] == ["no neurons"]
    assert not axes.patches
    assert not axes.lines[:]


def test_a_class_that_is_a_whole_layer_has_no_baseline() -> None:
    codes = torch.full((1, 5), 6, dtype=torch.int8)
    figure = class_histograms_figure(class_histograms(FREQUENCY[:1, :5], codes))
    assert list(means(figure, 6)) == ["mean:true"]
    assert stairs(figure, 6, "baseline") == []


@pytest.mark.parametrize("name", ["paper", "accessible"])
def test_atypical_classes_stand_to_the_right_of_their_typical_ones(name: Any) -> None:
    figure = class_histograms_figure(HISTOGRAMS, palette_name=name)
    boxes = {axes.get_title(loc="left"): axes.get_position() for axes in figure.axes}
    for one, box in boxes.items():
        if one.startswith("atypical "):
            typical = boxes[one.removeprefix("atypical ")]
            assert box.y0 == pytest.approx(typical.y0)
            assert box.x0 > typical.x1
        else:
            assert box.x0 == pytest.approx(boxes["strengthening"].x0)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "neurons of the class (filled)",
        "random neurons of the same layers (outline)",
        "mean of the class",
        "mean of the random neurons",
    ]
    figure.draw_without_rendering()
    covered = legend.get_window_extent()
    assert not any(axes.get_window_extent().overlaps(covered) for axes in figure.axes)
    assert covered.x1 <= figure.bbox.x1


def test_the_fill_has_the_colour_and_hatch_of_the_class() -> None:
    for name, hatch in (("paper", None), ("accessible", "//////")):
        axes = class_histograms_figure(HISTOGRAMS, palette_name=name).axes[3]  # type: ignore[arg-type]
        (fill,) = [one for one in axes.patches if one.get_gid() == "true"]
        assert fill.get_hatch() == hatch
    colour = class_histograms_figure(HISTOGRAMS).axes[3].patches[0].get_facecolor()
    assert colour == RW_CLASSES[3].rgba


def test_three_classes_make_two_columns_and_a_legend() -> None:
    codes = torch.from_numpy(RNG.integers(0, 3, (LAYERS, NEURONS)).astype(np.int8))
    figure = class_histograms_figure(class_histograms(FREQUENCY, codes, VANILLA_CLASSES))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [one.name for one in VANILLA_CLASSES]
    assert len(figure.legends) == 1


def test_logarithmic_shares_end_below_one_neuron_of_the_largest_set() -> None:
    figure = class_histograms_figure(HISTOGRAMS, log_y=True)
    largest = max(max(one.true.n, one.baseline.n) for one in HISTOGRAMS)
    for axes in figure.axes:
        assert axes.get_yscale() == "log"
        assert axes.get_ylim() == pytest.approx((0.5 / largest, 1))


def test_small_powers_of_ten_are_written_as_powers() -> None:
    many = Histogram(300_000, 0.5, np.full(20, 0.05))
    figure = class_histograms_figure([ClassHistograms("weakening", many, many)], log_y=True)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "10⁻⁵" in labels
    assert "0.1" in labels


# -- by layer


def test_each_panel_shows_its_layer_before_all_layers() -> None:
    frequency = FREQUENCY.clone()
    frequency[2, :9] = math.nan
    figure = layer_histograms_figure(frequency, name="gate-_in-", layers=[2, 0], bins=10, title="org/name")
    assert [axes.get_title() for axes in figure.axes] == ["Layer 2", "Layer 0"]
    values = frequency.numpy()
    pooled = np.histogram(values[np.isfinite(values)], 10, (0, 1))[0] / (LAYERS * NEURONS - 9)
    for panel, layer in enumerate([2, 0]):
        known = values[layer][np.isfinite(values[layer])]
        (drawn,) = stairs(figure, panel, "layer")
        np.testing.assert_allclose(drawn, np.histogram(known, 10, (0, 1))[0] / len(known))
        np.testing.assert_allclose(stairs(figure, panel, "pooled")[0], pooled)
        assert means(figure, panel) == pytest.approx({"mean": known.mean()})
    assert texts(figure)["xlabel"] == "frequency of gate < 0, in < 0"
    assert texts(figure)["title"] == "org/name"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["neurons of the layer", "their mean", "all layers"]


def test_layers_share_their_axes_and_all_are_drawn() -> None:
    figure = layer_histograms_figure(FREQUENCY.numpy())
    assert len(figure.axes) == LAYERS
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    tallest = max(stairs(figure, panel, "layer")[0].max() for panel in range(LAYERS))
    assert tallest <= figure.axes[0].get_ylim()[1] <= 1.2 * tallest


def test_logarithmic_layers_end_below_one_neuron() -> None:
    axes = layer_histograms_figure(FREQUENCY, log_y=True).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim() == pytest.approx((0.5 / NEURONS, 1))


def test_layers_without_any_frequency_are_empty_panels() -> None:
    figure = layer_histograms_figure(np.full((2, 3), np.nan))
    assert [len(axes.lines) for axes in figure.axes] == [0, 0]
    assert not np.concatenate(stairs(figure, 0, "layer")).any()
