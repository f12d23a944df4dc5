"""Entropy neurons: a full singular value decomposition, planted null directions, ties and bad options."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import roles as reference
from rwcore.errors import OptionError, WeightsError
from rwcore.stats.roles import entropy as module
from rwcore.stats.roles.entropy import N_NULL, entropy_neurons, entropy_ratio, null_directions
from rwcore.weights.layer import MlpLayer


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_of(out):
    return MlpLayer(5, None, torch.zeros_like(out), out)


@given(
    seed=st.integers(0, 2**20),
    n_neurons=st.integers(1, 8),
    d_model=st.integers(2, 12),
    share=st.floats(0.01, 0.99),
)
def test_equal_to_a_full_decomposition(seed, n_neurons, d_model, share):
    W_U, out = random(d_model, 50, seed=seed), random(n_neurons, d_model, seed=seed + 1)
    n_null = max(1, min(d_model - 1, int(share * d_model)))
    found = entropy_ratio(layer_of(out), W_U, n_null)
    torch.testing.assert_close(found.double(), reference.entropy_ratio(out, W_U, n_null), atol=1e-5, rtol=0)


def test_planted_neurons_are_found():
    """The unembedding is weak in the last 40 of 64 axes of a random frame; two neurons write there."""
    frame = torch.linalg.qr(random(64, 64, seed=1)).Q
    W_U = frame @ (random(64, 500, seed=2) * torch.where(torch.arange(64) < 24, 1.0, 1e-3)[:, None])
    out = random(50, 64, seed=3)
    out[7] = frame[:, 60] + 0.02 * out[7]
    out[33] = 1e-4 * (frame[:, 40] - frame[:, 45])
    ratio = entropy_ratio(layer_of(out), W_U)
    assert N_NULL == 40
    assert sorted(entropy_neurons(ratio)) == [7, 33]
    assert entropy_neurons(ratio)[0] == 33
    assert ratio[33] == pytest.approx(1, abs=1e-5)
    others = ratio[[k for k in range(50) if k not in (7, 33)]]
    assert others.max() < 0.97
    assert (others**2).mean() == pytest.approx(40 / 64, abs=0.05)


def test_the_all_ones_vector_is_a_null_direction_of_a_centred_unembedding():
    W_U = random(8, 100)
    W_U = W_U - W_U.mean(dim=0)
    ones = torch.ones(1, 8)
    assert entropy_ratio(layer_of(ones), W_U, 1).item() == pytest.approx(1, abs=1e-6)


def test_tiny_singular_values_are_told_apart():
    """Their squares differ by twelve orders of magnitude: float32 would not do."""
    values = torch.tensor([1.0, 1.0, 1e-4, 1e-6])
    W_U = values[:, None] * torch.linalg.qr(random(100, 4)).Q.T
    assert entropy_ratio(layer_of(torch.eye(4)), W_U, 1).tolist() == pytest.approx([0, 0, 0, 1], abs=1e-3)


def test_blocks_do_not_show(monkeypatch):
    W_U, out = random(6, 50), random(4, 6, seed=1)
    whole = entropy_ratio(layer_of(out), W_U, 2)
    monkeypatch.setattr(module, "_BLOCK", 7)
    torch.testing.assert_close(entropy_ratio(layer_of(out), W_U, 2), whole)


def test_each_ratio_has_its_own_norm():
    """Error 2 of the original: norms of all layers' neurons stood below ratios of the last layer's."""
    W_U, out = random(6, 50), random(4, 6, seed=1)
    ratio = entropy_ratio(layer_of(out), W_U, 2)
    longer = entropy_ratio(layer_of(out * torch.tensor([[1e-3], [1.0], [10.0], [1e6]])), W_U, 2)
    torch.testing.assert_close(longer, ratio)
    assert ratio.max() <= 1


def test_nothing_given_is_changed():
    W_U, out = random(6, 50), random(4, 6, seed=1)
    copies = W_U.clone(), out.clone()
    entropy_ratio(layer_of(out), W_U, 2)
    assert torch.equal(W_U, copies[0])
    assert torch.equal(out, copies[1])


def test_neurons_without_a_direction_are_nan_and_never_chosen():
    out = random(5, 6)
    out[1] = 0
    out[2, 3] = torch.nan
    out[4, 0] = torch.inf
    ratio = entropy_ratio(layer_of(out), random(6, 50), 2)
    assert ratio.isnan().tolist() == [False, True, True, False, True]
    assert sorted(entropy_neurons(ratio, 2)) == [0, 3]
    with pytest.raises(OptionError, match="3 entropy neurons cannot be taken from 2"):
        entropy_neurons(ratio, 3)


def test_equal_ratios_go_to_the_first_neurons():
    assert entropy_neurons(torch.tensor([0.1, 0.9, 0.5, 0.9, 0.9]), 2) == [1, 3]
    assert entropy_neurons(torch.tensor([0.1, 0.9]), 0) == []


@pytest.mark.parametrize("n_null", [0, -1, 6, 40])
def test_impossible_numbers_of_directions(n_null):
    with pytest.raises(OptionError) as caught:
        null_directions(random(6, 50), n_null)
    assert f"--null-directions {n_null}" in str(caught.value)
    assert "from 1 to 5" in str(caught.value)


def test_a_damaged_unembedding_is_refused():
    W_U = random(6, 50)
    W_U[1, 3] = torch.nan
    with pytest.raises(WeightsError, match="singular vectors"):
        null_directions(W_U, 2)
