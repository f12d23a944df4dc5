"""Exact sparse probing: a proven gap among the neurons of a layer, and one support against libsvm."""

from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.benchmarks.measure import interleaved
from rwcore.extras import PROBE, extra_library
from rwcore.probing.exact import exact_probe
from rwcore.probing.subproblem import balanced_rows, hinge_probe
from rwcore.probing.synthetic import Trial, plant

ROWS, NEURONS, TRUE = 2000, 1536, 8


def layer(shift: float = 0.5) -> tuple[Float[Tensor, "n neuron"], Bool[Tensor, " n"]]:
    """Normalised activations of a layer of SmolLM2's width, in which a few neurons carry the label."""
    planted = plant(Trial(ROWS, NEURONS, TRUE, shift, 0.2, 0))
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(ROWS, 1, generator=generator)
    x = planted.x + 0.4 * common
    return x / (10 * x.std(0, correction=0)), planted.label


@pytest.mark.parametrize(
    ("k", "gamma", "gap"),
    [(2, None, 0.01), (2, None, 1e-4), (2, 1.0, 0.01), (2, 10.0, 0.01), (8, None, 1e-4)],
    ids=["target", "fine", "light norm", "hardly a norm", "eight"],
)
def test_all_neurons_of_a_layer(benchmark, k, gamma, gap):
    """The target is 60 s for two of 1,536 neurons, proven to 1 %, with the published norm."""
    x, label = layer()
    found = benchmark.pedantic(exact_probe, args=(x, label, k), kwargs={"gamma": gamma, "gap": gap}, rounds=1)
    benchmark.extra_info |= {
        "gap": found.gap,
        "status": found.status,
        "cuts": found.cuts,
        "kept": found.kept,
        "seconds": found.seconds,
        "target_seconds": 60,
    }
    assert found.gap == pytest.approx((found.objective - found.bound) / found.objective, abs=1e-9)


@pytest.mark.parametrize("gamma", [1 / math.sqrt(ROWS), 1.0])
def test_one_support_against_libsvm(benchmark, gamma):
    x, label = layer()
    rows = balanced_rows(x[:, :5].double().numpy(), label.numpy())
    machine = extra_library("sklearn.svm", PROBE).SVC(kernel="linear", C=gamma, tol=1e-5)

    def ours() -> None:
        hinge_probe(rows, gamma)

    def theirs() -> None:
        machine.fit(rows.x, rows.sign, sample_weight=rows.weight)

    benchmark.extra_info |= interleaved(ours, theirs).facts()
    benchmark.pedantic(ours, rounds=3)
