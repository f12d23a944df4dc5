"""Frequencies by class and by cosine: planted answers, baselines that exclude the class, brute force."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.activations.frequencies import POOLED, class_frequencies, frequency_correlations
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES
from rwcore.stats.correlation import pearson
from rwcore.stats.cosines import RWCosines

WEAKENING = [one.name for one in RW_CLASSES].index("weakening")
ORTHOGONAL = [one.name for one in RW_CLASSES].index("orthogonal output")


def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """Two layers of ten neurons: weakening ones fire in 0.75 of the tokens, the others in 0.25."""
    codes = torch.full((2, 10), ORTHOGONAL, dtype=torch.int8)
    codes[0, :3] = codes[1, 5] = WEAKENING
    return torch.where(codes == WEAKENING, 0.75, 0.25), codes


def test_classes_and_baselines_have_the_planted_means() -> None:
    frequency, codes = planted()
    table = class_frequencies(frequency, codes, RW_CLASSES).set_index("class")
    assert table.loc["weakening"].tolist() == [4, 0.75, 0.25]
    assert table["n"].sum() == codes.numel()
    # All that is not orthogonal output is the baseline of a class that fills most of a layer.
    assert table.loc["orthogonal output"].tolist() == [16, 0.25, 0.75]


def test_a_class_without_neurons_has_no_mean() -> None:
    frequency, codes = planted()
    table = class_frequencies(frequency, codes, RW_CLASSES).set_index("class")
    assert table.loc["strengthening", "n"] == 0
    assert math.isnan(table.loc["strengthening", "true"])
    assert math.isnan(table.loc["strengthening", "baseline"])
    assert table.index.tolist() == [one.name for one in RW_CLASSES]


def test_neurons_that_were_not_measured_are_left_out() -> None:
    frequency, codes = planted()
    frequency[0, 0] = float("nan")
    table = class_frequencies(frequency, codes, RW_CLASSES).set_index("class")
    assert table.loc["weakening", "true"] == 0.75


def test_neurons_count_once_each_whatever_their_layer() -> None:
    codes = torch.zeros((2, 4), dtype=torch.int8)  # strengthening, of neurons without a gate
    codes[1, 1:] = 1
    frequency = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    table = class_frequencies(frequency, codes, VANILLA_CLASSES).set_index("class")
    assert table.loc["strengthening", "true"] == pytest.approx(2.0 / 5)  # not the mean of two layer means


@given(st.integers(0, 1000))
def test_another_order_of_frequencies_gives_the_same_neurons(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 11, (3, 40), generator=generator, dtype=torch.int8)
    frequency = torch.rand(3, 40, generator=generator)
    first = class_frequencies(frequency, codes, RW_CLASSES)
    second = class_frequencies(1 - frequency, codes, RW_CLASSES)
    both = first[["true", "baseline"]] + second[["true", "baseline"]]
    assert np.allclose(both.dropna(), 1)
    pd.testing.assert_frame_equal(first, class_frequencies(frequency, codes, RW_CLASSES))


def test_correlations_are_those_of_numpy_by_layer_and_pooled() -> None:
    generator = torch.Generator().manual_seed(0)
    linout, gatelin, gateout, noise = torch.rand(4, 3, 50, generator=generator) * 2 - 1
    frequency = torch.sigmoid(noise - 2 * linout)
    table = frequency_correlations({"summary": frequency}, RWCosines(gatelin, gateout, linout))
    found = table.set_index(["quadrant", "cosine", "layer"])["r"]
    for cosine, values in (("linout", linout), ("gatelin", gatelin), ("gateout", gateout)):
        pooled = np.corrcoef(frequency.flatten(), values.flatten())[0, 1]
        assert found["summary", cosine, POOLED] == pytest.approx(pooled, abs=1e-6)
        for layer in range(3):
            expected = np.corrcoef(frequency[layer], values[layer])[0, 1]
            assert found["summary", cosine, str(layer)] == pytest.approx(expected, abs=1e-6)
    assert found["summary", "linout", POOLED] < -0.8
    assert abs(found["summary", "gatelin", POOLED]) < 0.3
    assert len(table) == 3 * 4


def test_neurons_without_a_gate_have_one_cosine() -> None:
    linout = torch.tensor([[0.1, 0.2, 0.3]])
    table = frequency_correlations({"summary": 1 - linout}, RWCosines(None, None, linout))
    assert set(table["cosine"]) == {"linout"}
    assert table["r"].tolist() == pytest.approx([-1, -1])


def test_what_does_not_vary_has_no_correlation() -> None:
    same, other = torch.ones(5), torch.arange(5.0)
    assert [math.isnan(value) for value in pearson(same, other)[:2]] == [True, True]
    holes = torch.tensor([float("nan"), 1.0, 2.0, float("inf"), 4.0])
    r, _, n = pearson(holes, other)
    assert n == 3
    assert r == pytest.approx(np.corrcoef([1, 2, 4], [1, 2, 4])[0, 1])
