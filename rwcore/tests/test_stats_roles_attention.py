"""Attention (de)activation: heads one by one, planted neurons, the next layer only, and the right head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import roles as reference
from rwcore.errors import WeightsError
from rwcore.stats.roles import attention as module
from rwcore.stats.roles.attention import (
    ACTIVATION,
    DEACTIVATION,
    NO_HEAD,
    THRESHOLD,
    AttentionScores,
    attention_neurons,
    attention_scores,
    bos_queries,
)
from rwcore.weights.attention import AttentionLayer
from rwcore.weights.layer import MlpLayer


def random_attention(seed=0, heads=4, kv_heads=2, d_model=6, d_head=3, bias=True):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return AttentionLayer(
        1,
        normal(heads, d_model, d_head),
        normal(kv_heads, d_model, d_head),
        normal(kv_heads, d_model, d_head),
        normal(heads, d_head, d_model),
        b_Q=normal(heads, d_head),
        b_K=normal(kv_heads, d_head) if bias else None,
    )


def random_outs(seed=0, layers=3, n_neurons=8, d_model=6):
    return torch.randn(layers, n_neurons, d_model, generator=torch.Generator().manual_seed(seed))


def layers_of(outs):
    return [MlpLayer(k, None, torch.zeros_like(out), out) for k, out in enumerate(outs)]


@given(
    seed=st.integers(0, 2**20),
    norm=st.sampled_from(["rms", "layer", "none"]),
    kv_heads=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_queries_equal_the_reference_number_by_number(seed, norm, kv_heads, bias):
    attention = random_attention(seed, kv_heads=kv_heads, bias=bias)
    x = 3 + torch.randn(6, generator=torch.Generator().manual_seed(seed))
    found = bos_queries(attention, x, norm=norm, eps=1e-5)
    for head in range(4):
        expected = reference.bos_query(attention, head, x, norm=norm, eps=1e-5)
        np.testing.assert_allclose(found[head].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_queries_raise_the_attention_to_the_first_token():
    """What a query direction is: the score of BOS grows by ‖q‖² per unit of q in the later stream."""
    attention = random_attention(kv_heads=4)
    x = torch.randn(6, generator=torch.Generator().manual_seed(1))
    query = bos_queries(attention, x, norm="rms", eps=0.0)
    unit = x / x.square().mean().sqrt()
    key = torch.einsum("hdk,d->hk", attention.W_K, unit) + attention.b_K
    later = torch.randn(6, generator=torch.Generator().manual_seed(2))
    for head in range(4):

        def score(stream, head=head):
            asked = stream @ attention.W_Q[head] + attention.b_Q[head]
            return float(asked @ key[head])

        direction = (query[head] / query[head].norm()).float()
        grown = score(later + direction) - score(later)
        assert grown == pytest.approx(float(query[head].norm()), rel=1e-4)
        assert grown > 0


@given(seed=st.integers(0, 2**20), layers=st.integers(2, 4), heads=st.integers(1, 5))
def test_scores_equal_the_reference_neuron_by_neuron(seed, layers, heads):
    outs = random_outs(seed, layers)
    queries = torch.randn(layers - 1, heads, 6, generator=torch.Generator().manual_seed(seed + 1))
    found = attention_scores(layers_of(outs), queries)
    assert found.score.shape == found.head.shape == (layers, 8)
    for layer in range(layers - 1):
        asked = [query.double().numpy() for query in queries[layer]]
        for neuron in range(8):
            head, score = reference.attention_score(outs[layer, neuron].double().numpy(), asked)
            assert found.head[layer, neuron] == head
            assert found.score[layer, neuron].item() == pytest.approx(score, abs=1e-6)
    assert found.score[-1].isnan().all()
    assert (found.head[-1] == NO_HEAD).all()


def planted():
    """Three layers of 8 neurons, 5 heads; four neurons write along directions of *some* layer's heads."""
    outs = random_outs(5, d_model=40) * 0.3
    queries = torch.linalg.qr(torch.randn(40, 15, generator=torch.Generator().manual_seed(6))).Q.T.reshape(
        3, 5, 40
    )
    outs[0, 2] = queries[1, 3] * 7 + outs[0, 2]  # next layer, towards
    outs[1, 6] = -queries[2, 0] * 4  # next layer, away
    outs[0, 4] = queries[2, 1] * 9  # the layer after the next
    outs[1, 1] = queries[1, 1] * 9  # its own layer
    outs[0, 7] = -queries[1, 0] * 4 + queries[1, 4] * 3  # two heads: the larger one decides
    return outs, queries


def test_planted_neurons_are_found_at_their_heads():
    """Errors 4 and 5 of the original: the wrong axis, and membership by any matching coordinate."""
    outs, queries = planted()
    frame = attention_neurons(attention_scores(layers_of(outs), queries[1:]))
    found = [(row.layer, row.neuron, row.head, row.effect) for row in frame.itertuples()]
    assert found == [(0, 2, 3, DEACTIVATION), (0, 7, 0, ACTIVATION), (1, 6, 0, ACTIVATION)]
    assert frame["score"].tolist()[1:] == pytest.approx([-0.8, -1], abs=1e-6)
    assert list(frame.columns) == ["layer", "neuron", "head", "score", "effect"]


def test_random_neurons_are_not_flagged():
    """A null model: random vectors of width 40 hardly reach a cosine of 0.7."""
    outs = random_outs(7, d_model=40, n_neurons=200)
    queries = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(8))
    assert len(attention_neurons(attention_scores(layers_of(outs), queries))) == 0


def test_the_threshold_is_strict():
    score = torch.tensor([[0.5, -0.5, 0.50001, -0.7], [torch.nan] * 4])
    scores = AttentionScores(score, torch.zeros(2, 4, dtype=torch.int16))
    assert attention_neurons(scores, 0.5)["neuron"].tolist() == [2, 3]
    assert attention_neurons(scores)["neuron"].tolist() == []
    assert pytest.approx(0.5) == THRESHOLD**2


def test_unfolded_weights_need_the_sign_of_the_gate():
    outs, queries = planted()
    sign = torch.ones(3, 8)
    sign[0, 2] = sign[1, 6] = -1
    turned = attention_scores(layers_of(outs * sign[:, :, None]), queries[1:])
    expected = attention_neurons(attention_scores(layers_of(outs), queries[1:]))
    assert attention_neurons(turned, gatelin=sign * 0.2).equals(expected)
    assert not attention_neurons(turned).equals(expected)
    zero = attention_neurons(turned, gatelin=torch.zeros(3, 8))
    assert zero.equals(attention_neurons(turned))


def test_lengths_do_not_matter():
    outs, queries = planted()
    scores = attention_scores(layers_of(outs), queries[1:])
    again = attention_scores(layers_of(outs * 1e-4), queries[1:] * 1e5)
    torch.testing.assert_close(again.score, scores.score, equal_nan=True)
    assert torch.equal(again.head, scores.head)


def test_blocks_do_not_show(monkeypatch):
    outs, queries = planted()
    whole = attention_scores(layers_of(outs), queries[1:])
    monkeypatch.setattr(module, "_BLOCK", 3)
    blocks = attention_scores(layers_of(outs), queries[1:])
    torch.testing.assert_close(blocks.score, whole.score, equal_nan=True)
    assert torch.equal(blocks.head, whole.head)


def test_equal_heads_give_the_first():
    outs = random_outs(layers=2)
    query = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(3))
    found = attention_scores(layers_of(outs), torch.cat([query * 0.125, query, -query], dim=1))
    assert (found.head[0] == 0).all()


def test_neurons_and_heads_without_a_direction():
    outs = random_outs(layers=2)
    outs[0, 1] = 0
    outs[0, 3, 2] = torch.nan
    outs[0, 4, 2] = torch.inf
    queries = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(3))
    queries[0, 1] = 0
    found = attention_scores(layers_of(outs), queries)
    assert found.score[0].isnan().tolist() == [False, True, False, True, True, False, False, False]
    assert (found.head[0] == NO_HEAD).tolist() == found.score[0].isnan().tolist()
    assert not (found.head[0] == 1).any()
    assert found.score[0, 0].abs() <= 1
    assert not math.isnan(found.score[0, 0])


def test_wrong_stacks_are_refused():
    queries = torch.randn(2, 3, 6)
    with pytest.raises(WeightsError, match="more layers of heads"):
        attention_scores(layers_of(random_outs(layers=1)), queries)
    with pytest.raises(WeightsError, match="one layer"):
        attention_scores(layers_of(random_outs(layers=1)), [])
    with pytest.raises(WeightsError, match="6 numbers, query directions 5"):
        attention_scores(layers_of(random_outs()), torch.randn(2, 3, 5))


def test_arrays_and_back():
    outs, queries = planted()
    scores = attention_scores(layers_of(outs), queries[1:])
    again = AttentionScores.from_arrays(scores.to_arrays())
    assert torch.equal(again.head, scores.head)
    torch.testing.assert_close(again.score, scores.score, equal_nan=True, rtol=0, atol=0)
