"""Sweeps over sizes, pruning, random directions, and the test of rankings on planted neurons."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.errors import OptionError
from rwcore.probing.fits import elastic_fit, logistic_fit
from rwcore.probing.pruning import f1, iterative_pruning
from rwcore.probing.random_basis import (
    chosen_directions,
    frame_probes,
    gaussian_matrix,
    random_frame,
    rotated_sweep,
    single_direction_probes,
)
from rwcore.probing.synthetic import WIDTHS, Trial, draw_trial, found_share, plant, selection_test
from rwcore.probing.telescopic import best_of, elastic_options, sparsity_sweep, telescopic_sweep
from rwcore.tests.probing_planted import planted_rows

TRUE = (3, 11, 17)


@pytest.fixture(scope="module")
def rows():
    x, label = planted_rows(400, 24, TRUE, shift=1.5, common=0.1)
    return x.numpy(), label.numpy()


def mean_difference(x, label):
    return np.abs(x[label].mean(0) - x[~label].mean(0))


# ---- refits ---------------------------------------------------------------------------------------------


def test_the_logistic_refit_is_stationary(rows):
    """Gradient of ‖w‖²/2 + Σ c log(1 + e^{−y(w·x+b)}) is 0."""
    x, label = rows
    weights, intercept = logistic_fit(x[:, list(TRUE)], label)
    weight = np.where(label, 1 / (2 * label.mean()), 1 / (2 * (1 - label.mean())))
    residual = weight * (1 / (1 + np.exp(-(x[:, list(TRUE)] @ weights + intercept))) - label)
    np.testing.assert_allclose(weights + x[:, list(TRUE)].T @ residual, 0, atol=1e-3)
    assert residual.sum() == pytest.approx(0, abs=1e-3)


def test_the_elastic_refit_is_sparse_and_repeats(rows):
    x, label = rows
    one, other = elastic_fit(x, label, 0.1, 0.9), elastic_fit(x, label, 0.1, 0.9)
    assert (one[0] == 0).any()
    np.testing.assert_array_equal(one[0], other[0])


# ---- sweeps ---------------------------------------------------------------------------------------------


def test_elastic_options():
    """C = k/20 and clip(2.718^(−k/20), .1, .9): at k = 1 and 256, and in between."""
    assert elastic_options(1) == (0.05, 0.9)
    assert elastic_options(256) == (12.8, 0.1)
    assert elastic_options(20) == (1.0, pytest.approx(1 / 2.718))


def test_the_plain_sweep_takes_the_best_of_one_ranking(rows):
    x, label = rows
    found = sparsity_sweep(x, label, mean_difference(x, label), (1, 3, 8))
    assert [len(found[k].support) for k in (1, 3, 8)] == [1, 3, 8]
    assert found[3].support == TRUE
    assert set(found[1].support) < set(found[3].support) < set(found[8].support)
    weights, intercept = logistic_fit(x[:, list(TRUE)], label)
    np.testing.assert_allclose(found[3].score(x), x[:, list(TRUE)] @ weights + intercept)


def test_best_of_breaks_ties_by_number():
    assert best_of(np.array([1.0, 2.0, 2.0, 2.0]), 2) == (1, 2)


@pytest.mark.parametrize("convention", ["fixed", "as_published"])
def test_the_telescopic_sweep_finds_the_planted_neurons(rows, convention):
    """Also where the ranking puts them last: all neurons are in the first fit."""
    x, label = rows
    ranking = np.ones(24)
    ranking[list(TRUE)] = 0
    found = telescopic_sweep(x, label, ranking, (3, 24, 8), convention=convention)
    assert list(found) == [24, 8, 3]
    assert found[3].support == TRUE
    assert set(found[3].support) <= set(found[8].support)


def test_the_telescopic_sweep_follows_weights_and_ties_follow_the_ranking(rows):
    x, label = rows
    ranking = np.arange(24.0)
    weights = np.zeros(24)
    weights[5] = -2.0
    given_options = []

    def fit(columns, _, c, share):
        given_options.append((c, share))
        at = [int(np.flatnonzero((x == column[:, None]).all(0))[0]) for column in columns.T]
        return weights[at], 0.5

    found = telescopic_sweep(x, label, ranking, (24, 4, 2), fit=fit)
    assert found[4].support == (5, 21, 22, 23)
    assert found[2].support == (5, 23)
    assert given_options == [elastic_options(k) for k in (24, 4, 2)]


def test_a_dropped_neuron_does_not_come_back(rows):
    """Once the weights chose neurons of low rank, weights of 0 cannot bring others back."""
    x, label = rows

    def fit(columns, *_):
        weights = np.zeros(columns.shape[1])
        if len(weights) == 24:
            weights[20:23] = 1.0
        return weights, 0.0

    found = telescopic_sweep(x, label, np.arange(24.0)[::-1].copy(), (24, 3, 2), fit=fit)
    assert found[3].support == (20, 21, 22)
    assert found[2].support == (20, 21)


def test_impossible_sizes_are_refused(rows):
    x, label = rows
    for sweep in (sparsity_sweep, telescopic_sweep):
        with pytest.raises(OptionError, match="1 to 24"):
            sweep(x, label, np.zeros(24), (25,))


# ---- pruning --------------------------------------------------------------------------------------------


def test_f1_by_hand():
    score, label = np.array([1.0, 1.0, -1.0, 0.0]), np.array([True, False, True, True])
    assert f1(score, label) == pytest.approx(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3))


def test_pruning_takes_the_planted_neurons_away_one_by_one(rows):
    x, label = rows
    train, judge = slice(0, 300), (x[300:], label[300:])
    ranking = mean_difference(x[train], label[train])
    steps = iterative_pruning(x[train], label[train], ranking, judge, k=3, steps=4, candidates=10)
    assert {step.removed for step in steps[:3]} == set(TRUE)
    assert steps[0].search.support == TRUE == steps[0].probe.support
    for step in steps:
        best = step.alone[int(np.argmax(step.quality))]
        assert best.support == (step.removed,)
        assert max(step.quality) == pytest.approx(f1(best.score(judge[0]), judge[1]))
    removed = [step.removed for step in steps]
    for number, step in enumerate(steps):
        assert not set(step.search.support) & set(removed[:number])
    assert max(steps[0].quality) > max(steps[3].quality) + 0.1


def test_pruning_of_more_neurons_than_there_are_is_refused(rows):
    x, label = rows
    with pytest.raises(OptionError, match="fewer steps"):
        iterative_pruning(x[:, :6], label, np.zeros(6), (x[:, :6], label), k=5, steps=3)


# ---- random directions ----------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 99))
def test_frames_are_orthonormal_and_repeat(k, seed):
    frame = random_frame(12, k, seed)
    np.testing.assert_allclose(frame.T @ frame, np.eye(k), atol=1e-12)
    np.testing.assert_array_equal(frame, random_frame(12, k, seed))


def test_frames_have_no_preferred_sign():
    """QR alone gives columns whose first entry is mostly of one sign."""
    signs = [random_frame(4, 4, seed)[0, 0] > 0 for seed in range(200)]
    assert 70 < sum(signs) < 130


def test_published_matrices_are_not_orthogonal():
    matrix = gaussian_matrix(50, 0)
    assert np.linalg.norm(matrix, axis=0).mean() == pytest.approx(math.sqrt(50), rel=0.05)
    assert np.abs(matrix.T @ matrix - 50 * np.eye(50)).max() > 10


def test_frame_probes_draw_fewer_frames_for_larger_ones(rows):
    x, label = rows
    found = list(frame_probes(x, label, (1, 4, 24)))
    assert [sum(one.directions == k for one in found) for k in (1, 4, 24)] == [16, 8, 3]
    one = [probe.weights for probe in found if probe.directions == 1]
    assert not np.allclose(one[0] / np.linalg.norm(one[0]), one[1] / np.linalg.norm(one[1]))


def test_all_directions_of_a_frame_are_as_good_as_all_neurons(rows):
    """Rotations change neither the norm of w nor the scores."""
    x, label = rows
    weights, intercept = logistic_fit(x, label)
    (whole, *_) = frame_probes(x, label, (24,))
    np.testing.assert_allclose(whole.score(x), x @ weights + intercept, atol=1e-3)


@settings(max_examples=20)
@given(st.integers(0, 99), st.booleans())
def test_chosen_directions_are_those_of_the_largest_mean_difference(seed, normalise):
    x, label = (part.numpy() for part in planted_rows(80, 6, (0,), seed=seed))
    basis = gaussian_matrix(6, seed)
    found = x @ chosen_directions(x, label, basis, 3, normalise=normalise)
    every = x @ basis
    if normalise:
        np.testing.assert_allclose(found.std(0), 0.1)
        every = every / (10 * every.std(0))
    difference = mean_difference(every, label)
    np.testing.assert_allclose(mean_difference(found, label), np.sort(difference)[::-1][:3])


def test_neurons_beat_random_directions_where_one_neuron_carries_the_label():
    x, label = (part.numpy() for part in planted_rows(400, 40, (7,), shift=3.0, common=0.0))
    bases = [np.eye(40), *(random_frame(40, 40, seed) for seed in range(3))]
    found = list(single_direction_probes(x, label, bases, top=2))
    quality = [f1(one.score(x), label) for one in found]
    assert [one.trial for one in found] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.flatnonzero(found[0].weights).tolist() == [7]
    assert quality[0] > max(quality[2:]) + 0.1


def test_the_rotated_sweep_gets_better_with_more_directions(rows):
    x, label = rows
    found = list(rotated_sweep(x, label, [gaussian_matrix(24, seed) for seed in range(2)], (1, 24)))
    assert [(one.trial, one.directions) for one in found] == [(0, 1), (0, 24), (1, 1), (1, 24)]
    small, large = (
        np.mean([f1(one.score(x), label) for one in found if one.directions == k]) for k in (1, 24)
    )
    assert large > small + 0.05


# ---- planted neurons for rankings -----------------------------------------------------------------------


def test_trials_come_from_the_published_ranges():
    trials = [draw_trial(seed) for seed in range(200)]
    assert {one.neurons for one in trials} == set(WIDTHS)
    assert all(500 <= one.rows <= 30_000 and 2 <= one.true <= 19 for one in trials)
    assert all(0.05 <= one.shift <= 5 and 0.01 <= one.positive <= 0.5 for one in trials)
    assert np.median([one.rows for one in trials]) == pytest.approx(math.sqrt(500 * 30_000), rel=0.3)
    assert draw_trial(3) == trials[3]


def test_planted_rows_are_as_told():
    planted = plant(Trial(1000, 30, 4, 2.0, 0.1, 0))
    assert int(planted.label.sum()) == 100
    assert len(set(planted.true.tolist())) == 4
    difference = planted.x[planted.label].mean(0) - planted.x[~planted.label].mean(0)
    assert set(difference.topk(4).indices.tolist()) == set(planted.true.tolist())


def test_every_ranking_finds_strong_neurons_and_none_finds_weak_ones():
    """The mean difference too, of which the published script had only NaN."""
    strong = selection_test(Trial(2000, 100, 5, 2.0, 0.3, 1))
    assert strong == {"mean_dif": 1.0, "f_stat": 1.0, "l2": 1.0, "svm": 1.0}
    weak = selection_test(
        Trial(500, 400, 2, 0.001, 0.02, 1), {"mean_dif": lambda x, y: (x[y].mean(0) - x[~y].mean(0)).abs()}
    )
    assert weak["mean_dif"] == 0


def test_found_share():
    scores = torch.tensor([0.0, 3.0, math.nan, 2.0])
    assert found_share(scores, torch.tensor([1, 2])) == 0.5
