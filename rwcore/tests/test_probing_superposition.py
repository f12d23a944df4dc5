"""Rank curves, joint activations and correlations: planted answers and slow references."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.probing.controls import DIRECTIONS, NEURONS
from rwcore.probing.datasets.features import MEAN, NONE, Feature, FeatureDataset
from rwcore.probing.errors import ProbeError
from rwcore.probing.stimuli import token_summary
from rwcore.probing.superposition import (
    correlation,
    correlation_by_class,
    joint_activations,
    log_loss_increase,
    mean_max_correlation,
    neuron_wins,
    occurrence_kinds,
    rank_curves,
)
from rwcore.tests.corpus_makers import rows_corpus


def scores(*rows: tuple[str, str, int, float, float], **more: object) -> pd.DataFrame:
    names = ["feature", "control", "trial", "validation_f1", "test_f1"]
    return pd.DataFrame(rows, columns=names).assign(**more)


FOUND = scores(
    ("a", NEURONS, 0, 0.7, 0.6),
    ("a", NEURONS, 0, 0.9, 0.5),  # the best on validation, not on test
    ("a", DIRECTIONS, 0, 0.4, 0.40),
    ("a", DIRECTIONS, 0, 0.5, 0.30),
    ("a", DIRECTIONS, 1, 0.6, 0.50),
    ("b", NEURONS, 0, 0.5, 0.2),
    ("b", DIRECTIONS, 0, 0.5, 0.2),
)


def test_ranks_are_by_validation_and_means_over_trials() -> None:
    curves = rank_curves(FOUND).set_index(["feature", "control", "rank"])
    assert curves.loc[("a", NEURONS, 1), "mean"] == 0.5
    assert curves.loc[("a", NEURONS, 2), "mean"] == 0.6
    first = curves.loc[("a", DIRECTIONS, 1)]
    assert first["mean"] == pytest.approx(0.4)  # of 0.3 and 0.5
    assert (first["low"], first["high"], first["trials"]) == (0.3, 0.5, 2)
    assert curves.loc[("a", DIRECTIONS, 2), "trials"] == 1  # only one trial has a second direction
    published = rank_curves(FOUND, by="test_f1").set_index(["feature", "control", "rank"])
    assert published.loc[("a", NEURONS, 1), "mean"] == 0.6
    with pytest.raises(ProbeError, match="no column 'test_mcc'"):
        rank_curves(FOUND, score="test_mcc")


def test_a_neuron_wins_where_it_is_better_than_the_mean_direction() -> None:
    wins = neuron_wins(rank_curves(FOUND))
    assert wins["feature"].tolist() == ["a", "b"]
    assert wins["difference"].tolist() == pytest.approx([0.1, 0.0])
    assert wins["wins"].tolist() == [True, False]  # a tie is no win
    assert neuron_wins(rank_curves(FOUND), rank=2)["feature"].tolist() == ["a"]
    layers = pd.concat([FOUND.assign(layer=0), scores(("a", DIRECTIONS, 0, 1.0, 0.9), layer=1)])
    wins = neuron_wins(rank_curves(layers, within=["layer"]))
    assert wins["wins"].tolist() == [False, False]  # the best layer of each side
    lucky = pd.concat([FOUND.assign(layer=0), scores(("a", NEURONS, 0, 0.2, 1.0), layer=1)])
    wins = neuron_wins(rank_curves(lucky, within=["layer"])).set_index("feature")
    assert wins.loc["a", "neuron"] == 0.5  # on validation the other layer is better
    published = neuron_wins(rank_curves(lucky, by="test_f1", within=["layer"])).set_index("feature")
    assert published.loc["a", "neuron"] == 1.0


def test_log_losses_are_compared_k_by_k() -> None:
    neurons = pd.DataFrame({"feature": "a", "k": [1, 2, 4], "log_loss": [0.5, 0.4, 0.1]})
    directions = pd.DataFrame({"feature": "a", "k": [1, 1, 2, 8], "log_loss": [0.5, 0.7, 0.3, 0.1]})
    found = log_loss_increase(neurons, directions)
    assert found["k"].tolist() == [1, 2]
    assert found["percent"].tolist() == pytest.approx([20, -25])
    assert found["low"].tolist() == pytest.approx([0, -25])
    assert found["high"].tolist() == pytest.approx([40, -25])
    assert found["trials"].tolist() == [2, 1]


def pairs() -> FeatureDataset:
    """Rows that end at the probed token; 7 and 9 are the second word, 5 is the first."""
    corpus = rows_corpus([[1, 5, 7], [1, 6, 9], [1, 5, 8], [1, 5, 7]])
    last = corpus.offsets[1:] - 1
    label = torch.tensor([True, False, False, True])
    feature = Feature("high-school", "compound", torch.arange(4), label)
    return FeatureDataset("compound_words", corpus, NONE, last, None, (feature,), corpus.document)


def test_the_kinds_of_occurrences_are_told_by_their_token() -> None:
    data = pairs()
    kinds = ["positive", "missing_first", "missing_second", "positive"]
    assert occurrence_kinds(data, "high-school", [7, 9]) == kinds
    x = torch.arange(12.0).reshape(4, 3).half()
    found = joint_activations(x, kinds, ["0.4", "1.5", "1.6"], [2, 0, 1], most=2)
    assert found.columns.tolist() == ["kind", "1.6", "0.4"]
    assert found["1.6"].tolist() == [2, 5, 8, 11]
    assert found["kind"].tolist() == kinds
    with pytest.raises(ProbeError, match="no pair"):
        occurrence_kinds(data, "blood-pressure", [7])
    rows = FeatureDataset(
        "rows", data.corpus, MEAN, None, torch.ones(12, dtype=torch.bool), data.features, data.group
    )
    with pytest.raises(ProbeError, match="no pair"):
        occurrence_kinds(rows, "high-school", [7])
    with pytest.raises(ProbeError, match="have a kind"):
        joint_activations(x, kinds[1:], ["a", "b", "c"], [0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(-1e6, 1e6, width=32))
def test_the_correlation_is_that_of_numpy_wherever_the_values_are(seed: int, n: int, far: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    y = x + torch.randn(n, generator=generator, dtype=torch.float64)
    found = correlation(x + far, 3 * y, torch.arange(n) // 3, draws=20)
    assert found.r == pytest.approx(np.corrcoef(x.numpy() + far, y.numpy())[0, 1], abs=1e-6)
    assert (found.n, found.documents) == (n, -(-n // 3))


def test_the_interval_covers_the_truth_and_feels_the_documents() -> None:
    covered = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(200, generator=generator)
        y = 0.6 * x + 0.8 * torch.randn(200, generator=generator)
        found = correlation(x, y, torch.arange(200), draws=300)
        covered.append(found.low <= 0.6 <= found.high)
    assert sum(covered) >= 50
    whole = correlation(x.repeat(4), y.repeat(4), torch.arange(200).repeat(4), draws=300)
    split = correlation(x.repeat(4), y.repeat(4), torch.arange(800), draws=300)
    assert whole.high - whole.low > 1.5 * (split.high - split.low)


def test_two_neurons_may_agree_inside_a_class_only() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1000, generator=generator)
    inside = torch.arange(1000) < 400
    y = torch.where(inside, x + 0.5 * y, y)
    found = correlation_by_class(x, y, inside, torch.arange(1000) // 10)
    assert found["inside"].low > 0.8
    assert abs(found["outside"].r) < 0.15
    assert (found["inside"].n, found["outside"].n) == (400, 600)


def test_what_has_no_correlation_has_none() -> None:
    constant = correlation(torch.zeros(5), torch.randn(5), torch.arange(5))
    assert math.isnan(constant.r)
    assert math.isnan(correlation(torch.randn(1), torch.randn(1), torch.arange(1)).r)
    x = torch.randn(5)
    one = correlation(x, -x, torch.zeros(5, dtype=torch.int64))
    assert one.r == pytest.approx(-1)
    assert math.isnan(one.low)


def test_mean_and_maximum_over_tokens() -> None:
    corpus = rows_corpus([[4, 4, 5, 5, 6, 6, 7]])
    values = torch.tensor([0.0, 2.0, 1.0, 5.0, 4.0, 6.0, -50.0])
    summary = token_summary(values, corpus)
    expected = np.corrcoef([1, 3, 5], [2, 5, 6])[0, 1]
    assert mean_max_correlation(summary, seen=1) == pytest.approx(expected)
    assert mean_max_correlation(summary) != pytest.approx(expected)
