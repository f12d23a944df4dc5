"""Logistic regressions on several neurons: the optimum, sparse ones, the published solver with a seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.errors import ProbeError
from rwcore.probing.logistic import LogisticProbe, fit_logistic
from rwcore.probing.scores import scores


def rows(seed: int = 0, n: int = 300, neurons: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n, generator=generator) < 0.3
    x = torch.randn(n, neurons, generator=generator)
    x[label, 2] += 1.5
    x[label, 6] -= 1.5
    return x * 5, label


def gradient(probe: LogisticProbe, x: Tensor, label: Tensor, C: float) -> tuple[Tensor, Tensor]:
    weight = probe.weight.clone().requires_grad_()
    intercept = torch.tensor(probe.intercept, dtype=torch.float64, requires_grad=True)
    y = torch.where(label, 1.0, -1.0).double()
    share = label.double().mean()
    balance = torch.where(label, 1 / (2 * share), 1 / (2 * (1 - share)))
    score = (x.double() / probe.scale) @ weight + intercept
    loss = (balance * torch.nn.functional.softplus(-y * score)).sum() * C + (weight**2).sum() / 2
    loss.backward()
    assert weight.grad is not None
    assert intercept.grad is not None
    return weight.grad, intercept.grad


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_the_gradient_vanishes(C: float) -> None:
    x, label = rows()
    probe = fit_logistic(x, label, C=C)
    assert probe.converged
    of_weight, of_intercept = gradient(probe, x, label, C)
    assert float(of_weight.abs().max()) < 1e-3 * C
    assert abs(float(of_intercept)) < 1e-3 * C


def test_the_planted_pair_has_its_signs_and_sparse_probes_leave_others_out() -> None:
    x, label = rows()
    dense, sparse = fit_logistic(x, label), fit_logistic(x, label, C=0.3, l1_share=1.0)
    assert sorted(dense.weight.abs().argsort(descending=True)[:2].tolist()) == [2, 6]
    assert float(dense.weight[2]) > 0 > float(dense.weight[6])
    assert int((dense.weight != 0).sum()) == 10
    assert {2, 6} <= set(sparse.weight.nonzero()[:, 0].tolist())
    assert int((sparse.weight != 0).sum()) < 10


def test_two_neurons_are_better_than_one() -> None:
    x, label = rows(1, n=2000)
    pair, single = fit_logistic(x[:, [2, 6]], label), fit_logistic(x[:, [2]], label)
    other, of_other = rows(2, n=2000)
    good = scores(of_other, pair.decide(other[:, [2, 6]]))["roc_auc"]
    assert good > scores(of_other, single.decide(other[:, [2]]))["roc_auc"] + 0.05


def test_the_published_solver_has_a_seed_and_says_when_it_stopped_early() -> None:
    x, label = rows()
    first, again = (fit_logistic(x, label, as_published=True, seed=3) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    assert torch.allclose(first.weight, fit_logistic(x, label).weight, rtol=0.02, atol=0.01)
    far = fit_logistic(x + 3000, label, as_published=True)
    assert not far.converged
    assert far.iterations == 200
    assert fit_logistic(x + 3000, label).converged


def test_normalisation_is_an_option() -> None:
    x, label = rows()
    assert fit_logistic(x, label, normalised=False).scale.tolist() == [1] * 10
    assert fit_logistic(x, label).scale.tolist() == pytest.approx(
        (10 * x.double().std(0, correction=0)).tolist()
    )


def test_what_cannot_be_fitted() -> None:
    x, label = rows()
    with pytest.raises(ProbeError, match="300 of 300"):
        fit_logistic(x, torch.ones(300, dtype=torch.bool))
    for options in ({"C": 0.0}, {"l1_share": 1.5}):
        with pytest.raises(OptionError):
            fit_logistic(x, label, **options)
    x[5, 1] = math.inf
    with pytest.raises(ProbeError, match="neuron 1 at example 5"):
        fit_logistic(x, label)
