"""Moments of token cosines: the dense formulation, scipy, one pass, and every awkward unembedding."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import roles as reference
from rwcore.errors import WeightsError
from rwcore.stats.roles import moments as module
from rwcore.stats.roles.moments import MOMENTS, TokenMoments, token_directions, token_moments
from rwcore.weights.layer import MlpLayer


def random_layers(seed=0, layers=2, n_neurons=7, d_model=6):
    generator = torch.Generator().manual_seed(seed)
    outs = [torch.randn(n_neurons, d_model, generator=generator) for _ in range(layers)]
    return [MlpLayer(k, None, torch.zeros_like(out), out) for k, out in enumerate(outs)]


def random_unembedding(seed=1, d_model=6, vocab=40, common=1.0):
    generator = torch.Generator().manual_seed(seed)
    shared = common * torch.randn(d_model, 1, generator=generator)
    return torch.randn(d_model, vocab, generator=generator) + shared


def dense(layers, W_U):
    return reference.dense_moments([layer.out.double() for layer in layers], W_U.double())


def assert_equal_dense(found, layers, W_U, atol=3e-6):
    for name, expected in dense(layers, W_U).items():
        torch.testing.assert_close(getattr(found, name).double(), expected, atol=atol, rtol=1e-5)


@given(
    seed=st.integers(0, 2**20),
    n_neurons=st.integers(1, 9),
    d_model=st.integers(2, 8),
    vocab=st.integers(6, 60),
    common=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_moments_equal_the_dense_formulation(seed, n_neurons, d_model, vocab, common):
    layers = random_layers(seed, 2, n_neurons, d_model)
    W_U = random_unembedding(seed + 1, d_model, vocab, common)
    found = token_moments(layers, token_directions(W_U))
    assert found.mean.shape == (2, n_neurons)
    assert_equal_dense(found, layers, W_U, atol=2e-5)


def test_moments_equal_scipy():
    """Skew and kurtosis are scipy's, but for the variance with V - 1."""
    from scipy import stats

    layers, W_U = random_layers(), random_unembedding()
    found = token_moments(layers, token_directions(W_U))
    count = W_U.shape[1]
    for layer, one in enumerate(layers):
        cosines = reference.token_cosines(one.out.double(), W_U.double()).numpy()
        shrink = (count - 1) / count
        np.testing.assert_allclose(found.variance[layer], cosines.var(axis=1, ddof=1), rtol=1e-5)
        skew = stats.skew(cosines, axis=1) * shrink**1.5
        np.testing.assert_allclose(found.skew[layer], skew, rtol=1e-4, atol=1e-6)
        kurtosis = (stats.kurtosis(cosines, axis=1) + 3) * shrink**2 - 3
        np.testing.assert_allclose(found.kurtosis[layer], kurtosis, rtol=1e-4, atol=1e-6)


def test_the_variance_is_that_of_the_second_moment_matrix():
    """Another way: variance = ôᵀ G ô / (V - 1), G the scatter matrix of the token directions."""
    layers, W_U = random_layers(), random_unembedding(vocab=300)
    unit = W_U.double() / W_U.double().norm(dim=0)
    scatter = torch.cov(unit)
    for layer, variance in zip(layers, token_moments(layers, token_directions(W_U)).variance, strict=True):
        out = layer.out.double() / layer.out.double().norm(dim=1, keepdim=True)
        expected = torch.einsum("nd,de,ne->n", out, scatter, out)
        torch.testing.assert_close(variance.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("tokens", [1, 7, 39, 40, 41])
@pytest.mark.parametrize("neurons", [1, 4, 7, 8])
def test_tiles_and_blocks_do_not_show(tokens, neurons, monkeypatch):
    layers, W_U = random_layers(), random_unembedding()
    whole = token_moments(layers, token_directions(W_U))
    monkeypatch.setattr(module, "TILE_TOKENS", tokens)
    monkeypatch.setattr(module, "TILE_NEURONS", neurons)
    monkeypatch.setattr(module, "_BLOCK", tokens)
    tiled = token_moments(layers, token_directions(W_U))
    for name in MOMENTS:
        torch.testing.assert_close(getattr(tiled, name), getattr(whole, name), rtol=1e-5, atol=1e-6)


def test_real_sizes_are_within_float32_of_float64():
    layers = random_layers(layers=1, n_neurons=20, d_model=576)
    W_U = random_unembedding(d_model=576, vocab=5000, common=0.5)
    found = token_moments(layers, token_directions(W_U))
    for name, expected in dense(layers, W_U).items():
        assert (getattr(found, name).double() - expected).abs().max() < 1e-6, name


def test_lengths_do_not_matter():
    layers, W_U = random_layers(), random_unembedding()
    found = token_moments(layers, token_directions(W_U))
    lengths = torch.logspace(-15, 15, 7)[:, None]
    longer = [MlpLayer(one.index, None, one.in_, one.out * lengths) for one in layers]
    scaled = token_moments(longer, token_directions(W_U * torch.logspace(-9, 9, 40)))
    for name in MOMENTS:
        torch.testing.assert_close(getattr(scaled, name), getattr(found, name), rtol=1e-4, atol=1e-5)


def test_turning_a_neuron_round_turns_mean_and_skew():
    layers, W_U = random_layers(layers=1), random_unembedding()
    found = token_moments(layers, token_directions(W_U))
    turned = token_moments([MlpLayer(0, None, layers[0].in_, -layers[0].out)], token_directions(W_U))
    assert torch.equal(turned.mean, -found.mean)
    assert torch.equal(turned.variance, found.variance)
    assert torch.equal(turned.skew, -found.skew)
    assert torch.equal(turned.kurtosis, found.kurtosis)


def test_nothing_given_is_changed():
    """Trap X2: the cosine of the original normalised its arguments in place."""
    layers, W_U = random_layers(), random_unembedding()
    before, outs = W_U.clone(), [layer.out.clone() for layer in layers]
    token_moments(layers, token_directions(W_U))
    assert torch.equal(W_U, before)
    assert all(torch.equal(layer.out, out) for layer, out in zip(layers, outs, strict=True))


def test_neurons_without_a_direction_are_nan_and_alone():
    layers, W_U = random_layers(), random_unembedding()
    clean = token_moments(layers, token_directions(W_U))
    layers[0].out[2] = 0
    layers[0].out[3, 1] = torch.nan
    layers[1].out[5, 0] = torch.inf
    found = token_moments(layers, token_directions(W_U))
    bad = torch.zeros(2, 7, dtype=torch.bool)
    bad[0, 2] = bad[0, 3] = bad[1, 5] = True
    for name in MOMENTS:
        assert torch.equal(getattr(found, name).isnan(), bad), name
        torch.testing.assert_close(getattr(found, name)[~bad], getattr(clean, name)[~bad])


def test_zero_columns_are_left_out_and_counted():
    W_U = random_unembedding()
    padded = torch.cat([W_U[:, :10], torch.zeros(6, 3), W_U[:, 10:], torch.zeros(6, 2)], dim=1)
    tokens = token_directions(padded)
    assert (tokens.left_out, len(tokens)) == (5, 40)
    layers = random_layers()
    for name, expected in token_moments(layers, token_directions(W_U)).to_arrays().items():
        torch.testing.assert_close(getattr(token_moments(layers, tokens), name), expected)


def test_padding_tokens_with_a_direction_count():
    W_U = random_unembedding()
    padded = torch.cat([W_U, W_U[:, :1].expand(-1, 20)], dim=1)
    layers = random_layers()
    found = token_moments(layers, token_directions(padded))
    assert_equal_dense(found, layers, padded)
    assert not torch.allclose(found.kurtosis, token_moments(layers, token_directions(W_U)).kurtosis, atol=0.1)


def test_directions_add_up_to_zero():
    tokens = token_directions(random_unembedding(common=5.0))
    assert tokens.centred.double().sum(0).abs().max() < 1e-5
    assert tokens.mean.norm() > 0.5


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_damaged_unembedding_is_refused(bad):
    W_U = random_unembedding()
    W_U[2, 17] = W_U[1, 19] = bad
    with pytest.raises(WeightsError, match="NaN or an infinity") as caught:
        token_directions(W_U)
    assert "token 17 (and 1 more)" in str(caught.value)


def test_too_few_tokens_are_refused():
    W_U = torch.zeros(6, 30)
    W_U[:, 4] = 1
    with pytest.raises(WeightsError, match="1 tokens of the unembedding"):
        token_directions(W_U)


def test_another_width_is_refused():
    with pytest.raises(WeightsError, match="have 6 numbers, the unembedding's columns 5") as caught:
        token_moments(random_layers(), token_directions(random_unembedding(d_model=5)))
    assert "layer 0" in str(caught.value)


def test_no_layers_are_refused():
    with pytest.raises(WeightsError, match="no layers"):
        token_moments([], token_directions(random_unembedding()))


def test_arrays_and_back():
    found = token_moments(random_layers(), token_directions(random_unembedding()))
    again = TokenMoments.from_arrays({**found.to_arrays(), "other": torch.zeros(1)})
    assert all(torch.equal(getattr(again, name), getattr(found, name)) for name in MOMENTS)


def test_one_layer_is_held_at_a_time():
    alive: list[weakref.ref[torch.Tensor]] = []

    def stream():
        for layer in range(4):
            gc.collect()
            assert sum(ref() is not None for ref in alive) == 0
            out = torch.randn(5, 6)
            alive.append(weakref.ref(out))
            made = MlpLayer(layer, None, torch.zeros(5, 6), out)
            del out
            yield made
            del made

    token_moments(stream(), token_directions(random_unembedding()))
    assert len(alive) == 4
