"""Medians, quartiles and letter values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.stats.cosines import RWCosines
from rwcore.stats.medians import layer_medians, letter_value_depth, letter_values, quartiles


def random_cosines(seed=0, n_layers=2, n_neurons=64):
    values = torch.rand(3, n_layers, n_neurons, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return RWCosines(*values)


def samples(cosines):
    """Layer, name and values with gatelin absolute."""
    for layer in range(len(cosines.linout)):
        for name, values in cosines.present().items():
            row = values[layer].tolist()
            yield layer, name, [abs(x) for x in row] if name == "gatelin" else row


@given(seed=st.integers(0, 2**20), n_neurons=st.integers(1, 70))
def test_medians_equal_the_middle_of_the_sorted_values(seed, n_neurons):
    cosines = random_cosines(seed, n_neurons=n_neurons)
    expected = [(layer, name, reference.median(values), 0) for layer, name, values in samples(cosines)]
    frame = layer_medians(cosines)
    assert list(frame.columns) == ["layer", "cosine", "median", "undefined"]
    assert list(frame.itertuples(index=False, name=None)) == expected


def test_median_of_an_even_number_is_the_mean_of_the_middle_two():
    """C49: `torch.median` would say 0.1."""
    frame = layer_medians(RWCosines(None, None, torch.tensor([[0.1, 0.4, -0.9, 0.9]])))
    assert frame["median"].tolist() == [(float(np.float32(0.1)) + float(np.float32(0.4))) / 2]


def test_gatelin_is_absolute():
    signed = torch.tensor([[-0.9, 0.1, -0.5]])
    frame = layer_medians(RWCosines(signed, signed, signed)).set_index("cosine")["median"]
    assert frame.to_dict() == {"gatelin": 0.5, "gateout": -0.5, "linout": -0.5}


def test_undefined_neurons_are_left_out_and_counted():
    cosines = random_cosines()
    cosines.gatelin[1, 5] = math.nan
    cosines.gateout[1, 5] = math.nan
    cosines.linout[1, 5] = 1.0  # that neuron's only cosine; left out like the others
    frame = layer_medians(cosines)
    assert frame["undefined"].tolist() == [0, 0, 0, 1, 1, 1]
    kept = [x for k, x in enumerate(cosines.linout[1].tolist()) if k != 5]
    assert frame["median"].iloc[-1] == reference.median(kept)


def test_a_layer_without_defined_neurons_has_no_median():
    cosines = RWCosines(None, None, torch.full((1, 4), math.nan))
    assert math.isnan(layer_medians(cosines)["median"].item())
    assert quartiles(cosines)[["min", "q1", "max"]].isna().all().all()
    assert layer_medians(cosines)["undefined"].item() == 4


@given(seed=st.integers(0, 2**20), n_neurons=st.integers(2, 300))
def test_letter_values_equal_the_reference(seed, n_neurons):
    cosines = random_cosines(seed, n_layers=1, n_neurons=n_neurons)
    frame = letter_values(cosines)
    for (_, name, values), (_, row) in zip(samples(cosines), frame.iterrows(), strict=True):
        expected = reference.letter_values(values)
        assert row["cosine"] == name
        assert list(frame.columns) == ["layer", "cosine", *expected, "undefined"]
        assert [row[key] for key in expected] == pytest.approx(list(expected.values()), abs=1e-15)


@pytest.mark.parametrize(
    ("n_neurons", "depth"),
    # d_mlp of pythia-14m, t5-small, gpt2, bert-large, Qwen2.5-0.5B, OLMo-1B, Llama-2-7b, gemma-2-9b,
    # Qwen2.5-7B, opt-13b, and the last filled columns of their published letter values.
    {
        512: 7,
        2048: 9,
        3072: 9,
        4096: 10,
        4864: 10,
        8192: 11,
        11008: 11,
        14336: 11,
        18944: 12,
        20480: 12,
    }.items(),
)
def test_depth_of_published_letter_values(n_neurons, depth):
    assert letter_value_depth(n_neurons) == depth
    assert letter_value_depth(3) == 2


def test_quartiles_agree_with_letter_values_and_medians():
    cosines = random_cosines(n_neurons=512)
    table, letters, medians = quartiles(cosines), letter_values(cosines), layer_medians(cosines)
    assert list(table.columns) == [
        "layer",
        "cosine",
        "min",
        "whisker_low",
        "q1",
        "median",
        "q3",
        "whisker_high",
        "max",
        "whisker_tail_exp",
        "undefined",
    ]
    assert set(table["whisker_tail_exp"]) == {7}
    for column, same in {"q1": "lo2", "q3": "hi2", "whisker_low": "lo7", "whisker_high": "hi7"}.items():
        assert table[column].tolist() == letters[same].tolist()
    assert table["median"].tolist() == medians["median"].tolist()
    ordered = table[["min", "whisker_low", "q1", "median", "q3", "whisker_high", "max"]].to_numpy()
    assert (np.diff(ordered, axis=1) > 0).all()
    extremes = [(min(values), max(values)) for _, _, values in samples(cosines)]
    assert list(zip(table["min"], table["max"], strict=True)) == extremes
