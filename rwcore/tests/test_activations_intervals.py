"""Intervals over documents: the textbook where there is one, coverage where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from rwcore.activations.intervals import Estimate, frequencies_without, jackknife
from rwcore.errors import OptionError

NUMBERS = st.lists(st.floats(-100, 100), min_size=2, max_size=25)


def without_each(values: np.ndarray) -> list[np.ndarray]:
    return [np.delete(values, group, axis=0) for group in range(len(values))]


@given(values=NUMBERS, factor=st.floats(-3, 3), level=st.floats(0.5, 0.99))
def test_of_a_mean_it_is_the_textbook_interval(values: list[float], factor: float, level: float) -> None:
    """Exact for linear statistics: SE = s/√G, and low and high from Student's t."""
    numbers = factor * np.array(values)
    found = jackknife(lambda left: float(left.mean()), numbers, without_each(numbers), level)
    error = numbers.std(ddof=1) / math.sqrt(len(numbers))
    half = student.ppf((1 + level) / 2, len(numbers) - 1) * error
    assert found.groups == len(numbers)
    wanted = (numbers.mean(), error, numbers.mean() - half, numbers.mean() + half)
    close = pytest.approx(wanted, rel=1e-7, abs=1e-7)
    assert (found.estimate, found.standard_error, found.low, found.high) == close


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Planted: groups of documents of a normal distribution with mean 3; 2000 corpora."""
    generator = np.random.default_rng(5)
    inside, narrow = 0, 0
    for _ in range(2000):
        groups = generator.normal(3, 2, size=20)
        found = jackknife(lambda left: float(left.mean()), groups, without_each(groups))
        inside += found.low <= 3 <= found.high
        # Shorter intervals are found out.
        narrow += abs(found.estimate - 3) <= 1.7 * found.standard_error
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)
    assert narrow / 2000 < 0.93


def test_tokens_of_one_document_are_not_independent() -> None:
    """Planted: 400 documents of 50 tokens, alike within a document. An interval over tokens is too short."""
    generator = np.random.default_rng(1)
    inside = {"documents": 0, "tokens": 0}
    for _ in range(300):
        share = generator.beta(2, 2, size=400)
        counts = generator.binomial(50, share)
        dealt = np.stack([counts[group::20] for group in range(20)])
        found = jackknife(lambda left: float(left.mean()) / 50, dealt, without_each(dealt))
        inside["documents"] += found.low <= 0.5 <= found.high
        by_token = 1.96 * math.sqrt(found.estimate * (1 - found.estimate) / (400 * 50))
        inside["tokens"] += abs(found.estimate - 0.5) <= by_token
    assert 0.92 <= inside["documents"] / 300 <= 0.98
    assert inside["tokens"] / 300 < 0.6


def test_several_numbers_at_once_are_the_numbers_one_by_one() -> None:
    numbers = np.random.default_rng(2).normal(size=(12, 3))
    reduces = {
        "mean": lambda left: float(left.mean()),
        "ratio": lambda left: float(left[:, 0].sum() / left.std()),
    }
    found = jackknife(
        lambda left: {name: reduce(left) for name, reduce in reduces.items()}, numbers, without_each(numbers)
    )
    assert found == {
        name: jackknife(reduce, numbers, without_each(numbers)) for name, reduce in reduces.items()
    }
    assert found["mean"].standard_error > 0


def test_where_there_is_no_interval_it_says_so() -> None:
    single = jackknife(float, 0.25, [math.nan])
    assert single.groups == 1
    assert single.estimate == 0.25
    assert all(math.isnan(end) for end in (single.low, single.high, single.standard_error))
    absent = jackknife(float, 0.25, [0.2, math.nan, 0.3])  # a class whose neurons fired in one group alone
    assert math.isnan(absent.low)
    assert math.isnan(absent.high)
    assert jackknife(float, 0.5, [0.5] * 4) == Estimate(0.5, 0.5, 0.5, 0.0, 4)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(OptionError, match="level"):
            jackknife(float, 0.0, [0.0, 1.0], level)


def test_frequencies_without_a_group() -> None:
    group_counts = torch.tensor([[[[3]], [[0]], [[1]]]]).int()  # layer group quadrant neuron
    counts = group_counts.sum(dim=1)
    found = list(frequencies_without(counts, group_counts, (10, 0, 5)))
    assert [float(one) for one in found] == [1 / 5, 3 / 10], "the group without tokens is not passed over"
    assert found[0].dtype == torch.float64
    alone = list(frequencies_without(counts[:, :] * 0 + 3, group_counts[:, :1], (10,)))
    assert len(alone) == 1
    assert bool(alone[0].isnan().all())
