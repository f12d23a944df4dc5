"""The toy model of features on a circle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import OptionError
from rwcore.probing.toy_circle import circle_neuron


@given(st.integers(3, 500))
def test_a_neuron_reads_its_own_feature_and_its_neighbours_as_nothing(features: int) -> None:
    neuron = circle_neuron(features)
    step = 2 * math.pi / features
    assert neuron.reads(0.0) > 0
    assert neuron.reads(step) == pytest.approx(0, abs=1e-9 * neuron.norm**2)
    assert all(neuron.reads(place * step) < 1e-9 * neuron.norm**2 for place in range(1, features))


def test_few_features_by_hand() -> None:
    four, six = circle_neuron(4), circle_neuron(6)
    assert (four.norm, four.product) == (pytest.approx(1), pytest.approx(0))
    root = (4 / 3) ** 0.25  # of 1/sin 60° = 2/√3
    assert (six.norm, six.bias) == (pytest.approx(root), pytest.approx(-(root**2) / 2))
    assert circle_neuron(99).product == pytest.approx(-62.48, abs=0.005)


def test_the_product_falls_as_the_power_three_halves() -> None:
    ratio = circle_neuron(4000).product / circle_neuron(1000).product
    assert math.log(ratio, 4) == pytest.approx(1.5, abs=1e-4)
    assert circle_neuron(4000).product == pytest.approx(-((4000 / (2 * math.pi)) ** 1.5), rel=1e-4)


@pytest.mark.parametrize("features", [2, 1, 0, -5])
def test_two_features_are_too_few(features: int) -> None:
    with pytest.raises(OptionError, match="less than 3"):
        circle_neuron(features)
