"""Benchmarks for a GPU, run here on a model so small that only their code is tried, not the speed."""

import pytest

from rwcore.benchmarks import bench_ablations, bench_activations
from rwcore.benchmarks.large import ROWS, large

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    small = {"layers": 2, "d_model": 64, "d_mlp": 128, "heads": 4, "vocab": 128, "context": 8}
    return large(tmp_path_factory.mktemp("large"), device="cpu", **small)


def test_the_pass(case):
    """Half precision: the model alone must run as well."""
    once, ratio = bench_activations.against_forward(case)
    once()
    assert case.batch.tokens.shape == (ROWS, 8)
    assert ratio.ours > 0
    assert ratio.reference > 0


def test_conditional_ablations(case):
    """Both comparisons come to a figure."""
    found = bench_ablations.conditionally(case, 20)
    assert {*found} == {"clean", "hooks"}
    assert all(ratio.ours > 0 for ratio in found.values())
