"""Scores: against definitions and scikit-learn, their identities, what happens at the edges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.benchmarks.reference import probing as reference
from rwcore.probing.codes import code_book
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.newton import OneNeuronProbes, fit_rows
from rwcore.probing.scores import (
    CONFUSION_SCORES,
    SCORES,
    confusion_scores,
    histogram_scores,
    precision_recall_curve,
    scores,
)

seeds = st.integers(0, 10_000)


def judged(seed: int, n: int = 40, ties: bool = True) -> tuple[Tensor, Tensor]:
    """Labels and scores that know something of them; both classes occur and both are predicted."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n, generator=generator) < 0.4
    label[:4] = torch.tensor([True, True, False, False])
    score = torch.randn(n, generator=generator) + label
    score[:4] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    return label, (score * 2).round() / 2 if ties else score


@given(seed=seeds, ties=st.booleans())
def test_every_score_equals_its_definition(seed: int, ties: bool) -> None:
    label, score = judged(seed, ties=ties)
    wanted = reference.scores(label.tolist(), score.tolist())
    assert set(wanted) == set(SCORES)
    assert scores(label, score) == pytest.approx(wanted, abs=1e-9)


@given(seed=seeds, ties=st.booleans())
def test_every_score_equals_scikit_learn(seed: int, ties: bool) -> None:
    from sklearn import metrics

    label, score = judged(seed, ties=ties)
    y, s = label.numpy(), score.numpy()
    predicted = s > 0
    precision, recall, _ = metrics.precision_recall_curve(y, s)
    wanted = {
        "mcc": metrics.matthews_corrcoef(y, predicted),
        "kappa": metrics.cohen_kappa_score(y, predicted),
        "f1": metrics.f1_score(y, predicted),
        "f05": metrics.fbeta_score(y, predicted, beta=0.5),
        "f2": metrics.fbeta_score(y, predicted, beta=2),
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "precision": metrics.precision_score(y, predicted),
        "recall": metrics.recall_score(y, predicted),
        "average_precision": metrics.average_precision_score(y, predicted),
        "pr_auc": metrics.auc(recall, precision),
        "roc_auc": metrics.roc_auc_score(y, s),
    }
    found = scores(label, score)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert found["fowlkes_mallows"] ** 2 == pytest.approx(found["precision"] * found["recall"])


@pytest.mark.parametrize("called", ["all", "none"])
def test_probes_that_call_everything_the_same(called: str) -> None:
    from sklearn import metrics

    label = torch.arange(20) < 6
    score = torch.full((20,), 1.0 if called == "all" else -1.0)
    found = scores(label, score)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = score.numpy() > 0
        assert found["average_precision"] == pytest.approx(
            metrics.average_precision_score(label.numpy(), predicted)
        )
        assert found["f1"] == pytest.approx(metrics.f1_score(label.numpy(), predicted))
    assert found["mcc"] == found["kappa"] == 0
    assert found["balanced_accuracy"] == found["roc_auc"] == 0.5
    assert found["recall"] == (called == "all")
    # one threshold, recall 1 and precision .3, and the end (0, 1)
    assert found["pr_auc"] == pytest.approx(0.65)


def test_average_precision_as_published() -> None:
    """The suffix row of the original: P, R and share of positives give what was stored."""
    precision, recall, share, n = 0.883645, 0.890164, 0.203333, 12_000
    tp = torch.tensor(recall * share * n, dtype=torch.float64)
    fp = tp / precision - tp
    fn = share * n - tp
    found = confusion_scores(tp, fp, fn, n - tp - fp - fn)
    assert float(found["average_precision"]) == pytest.approx(0.808922, abs=1e-6)


def test_without_one_of_the_classes_areas_are_unknown() -> None:
    found = scores(torch.ones(3, dtype=torch.bool), torch.tensor([1.0, 2.0, -1.0]))
    assert np.isnan(found["roc_auc"])
    assert np.isnan(found["pr_auc"])
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


@given(seed=seeds)
def test_turning_label_and_score_round(seed: int) -> None:
    label, score = judged(seed, ties=False)
    found, turned = scores(label, score), scores(~label, -score)
    for name in ("mcc", "kappa", "accuracy", "balanced_accuracy", "roc_auc"):
        assert found[name] == pytest.approx(turned[name])


@given(seed=seeds)
def test_areas_see_the_order_only(seed: int) -> None:
    label, score = judged(seed)
    found, bent = scores(label, score), scores(label, torch.exp(score.double()) - 5)
    assert [found[name] for name in ("pr_auc", "roc_auc")] == [bent[name] for name in ("pr_auc", "roc_auc")]


@given(seed=seeds)
def test_shares_score_as_numbers_do(seed: int) -> None:
    cells = torch.randint(0, 50, (4,), generator=torch.Generator().manual_seed(seed)).double() + 1
    by_number, by_share = confusion_scores(*cells), confusion_scores(*(cells / cells.sum()))
    assert list(by_number) == list(CONFUSION_SCORES)
    for name in CONFUSION_SCORES:
        assert float(by_number[name]) == pytest.approx(float(by_share[name]), abs=1e-12)


@given(seed=seeds)
def test_neurons_from_counts_equal_neurons_one_by_one(seed: int) -> None:
    """Of other examples than the probes were fitted to; neurons with a negative weight and with none."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(60) % 3 == 0
    x = torch.randn(60, 5, generator=generator).round(decimals=1)
    x[label] += torch.tensor([2.0, -2.0, 0.5, 0.0, 0.0])
    x[:, 4] = 3.0
    other = x[torch.randperm(60, generator=generator)]
    book = code_book(torch.cat([x, other]))
    histograms = ClassHistograms(book.values(), count_codes(book.encode(other), label.long(), 2))
    probes = fit_rows(x, label)
    found = histogram_scores(probes, histograms)
    decided = probes.decide(book.restore(book.encode(other)).T.double())
    decided[4] = probes.intercept[4]
    for neuron in range(4):
        wanted = scores(label, decided[neuron])
        assert {name: float(found[name][neuron]) for name in SCORES} == pytest.approx(wanted, abs=1e-9)
    assert float(found["roc_auc"][4]) == 0.5


def test_codes_that_are_restored_alike_are_ties() -> None:
    """As float16 does to neighbouring codes of a narrow range far from zero."""
    values = torch.tensor([[1.0, 1.0, 2.0]])
    counts = torch.zeros(1, 2, 3, dtype=torch.int32)
    counts[0] = torch.tensor([[4, 0, 1], [0, 3, 2]])
    one = torch.ones(1, dtype=torch.float64)
    for sign in (1, -1):
        probes = OneNeuronProbes(sign * one, -1.5 * sign * one, one, one.long(), one.bool())
        found = histogram_scores(probes, ClassHistograms(values, counts))
        label = torch.tensor([False] * 5 + [True] * 5)
        score = sign * (torch.tensor([1.0] * 4 + [2.0] + [1.0] * 3 + [2.0] * 2) - 1.5)
        assert {name: float(found[name]) for name in SCORES} == pytest.approx(scores(label, score))


@pytest.mark.parametrize(("n", "points"), [(30, 29), (5000, 100)])
def test_curves_are_thinned_and_keep_their_ends(n: int, points: int) -> None:
    from sklearn import metrics

    label, score = judged(1, n=n, ties=False)
    precision, recall = precision_recall_curve(label, score)
    wanted = metrics.precision_recall_curve(label.numpy(), score.numpy())
    assert len(precision) == len(recall) == points
    assert (float(recall[0]), float(precision[-1]), float(recall[-1])) == (1, 1, 0)
    every = set(zip(wanted[1].round(9).tolist(), wanted[0].round(9).tolist(), strict=True))
    kept = zip(recall.numpy().round(9).tolist(), precision.numpy().round(9).tolist(), strict=True)
    assert set(kept) <= every
    if n == 30:
        assert np.allclose(precision.numpy(), wanted[0])
