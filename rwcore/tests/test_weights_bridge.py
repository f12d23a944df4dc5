"""Weights read from files against those of a TransformerBridge that loaded the same files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fixtures.tiny import FAMILIES, build, local_model
from rwcore.errors import NotGatedError, WeightsError
from rwcore.models.load import load_bridge, native_bridge
from rwcore.models.spec import LocalModel
from rwcore.weights.attention import AttentionLayer, attention_weights
from rwcore.weights.bridge import bridge_mlp_weights
from rwcore.weights.embedding import embedding, unembedding
from rwcore.weights.mlp import mlp_weights

BRIDGED = [family for family in FAMILIES if family != "mingpt"]
# Both have encoder and decoder towers, and their bridges no `.blocks`.
DECODERS = [family for family in BRIDGED if not family.startswith("t5")]
# Summation order: GPT-2 and the writing matrices are centred over another axis of memory.
CLOSE = {"atol": 1e-6, "rtol": 0}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @lru_cache
    def load(family: str) -> tuple[LocalModel, Any]:
        local = local_model(build(family, tmp_path_factory.mktemp(family), layers=2))
        return local, load_bridge(local)

    return load


def same(ours: Tensor | None, theirs: Tensor | None) -> None:
    """Equal, where no bias counts as a bias of zeros."""
    if ours is None or theirs is None:
        present = theirs if ours is None else ours
        assert present is None or not present.any()
        return
    assert_close(ours, theirs.detach(), **CLOSE)


@pytest.mark.parametrize("family", BRIDGED)
def test_mlp(loaded: Any, family: str) -> None:
    local, bridge = loaded(family)
    ours, theirs = mlp_weights(local), bridge_mlp_weights(bridge)
    assert theirs.shape == ours.shape
    assert theirs.processing == "bridge"
    assert len(ours) == (3 if family.startswith("t5") else 2)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.index == other.index
        for name in ("gate", "in_", "out", "b_gate", "b_in", "b_out"):
            a, b = getattr(mine, name), getattr(other, name)
            assert (a is None) == (b is None), name
            same(a, b)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gemma3", "olmo", "t5_gated"])
def test_mlp_is_equal_bit_for_bit_where_rows_are_rows(loaded: Any, family: str) -> None:
    local, bridge = loaded(family)
    for mine, other in zip(mlp_weights(local), bridge_mlp_weights(bridge), strict=True):
        assert torch.equal(mine.in_, other.in_)
        assert torch.equal(mine.gate, other.gate)


@pytest.mark.parametrize("family", DECODERS)
def test_attention(loaded: Any, family: str) -> None:
    local, bridge = loaded(family)
    for layer in range(2):
        ours = attention_weights(local, layer)
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            same(getattr(ours, name), getattr(bridge, name)[layer])
        for name in ("b_Q", "b_K", "b_V", "b_O"):
            same(getattr(ours, name), bridge_bias(bridge, name, layer))


@pytest.mark.parametrize("family", BRIDGED)
def test_embedding(loaded: Any, family: str) -> None:
    local, bridge = loaded(family)
    ours = embedding(local)
    same(ours.W_E, bridge.W_E)
    assert (ours.W_pos is not None) == (family in ("gpt2", "opt", "bert"))
    if ours.W_pos is not None:
        same(ours.W_pos, bridge.W_pos)


@pytest.mark.parametrize("family", BRIDGED)
def test_unembedding(loaded: Any, family: str) -> None:
    local, bridge = loaded(family)
    ours = unembedding(local)
    theirs = bridge.W_U.detach()
    if family == "olmo":
        # The bridge does not centre the unembedding behind a norm without parameters; the loader of the
        # published numbers does.
        theirs = theirs - theirs.mean(0)
    if family == "olmo2":
        # The bridge folds none of OLMo-2's norms, though the last one does stand before the unembedding.
        gain = bridge.ln_final.weight.detach()[:, None]
        theirs = theirs * gain
    same(ours.W_U, theirs)
    same(ours.b_U, bridge.b_U)


def test_raw_is_what_an_unprocessed_bridge_holds(tmp_path: Path) -> None:
    local = local_model(build("gpt2", tmp_path))
    bridge = load_bridge(local, compatibility=False)
    for mine, other in zip(mlp_weights(local, processing="raw"), bridge_mlp_weights(bridge), strict=True):
        assert torch.equal(mine.in_, other.in_)
        assert torch.equal(mine.out, other.out)
        assert torch.equal(mine.b_in, other.b_in)
    ours = attention_weights(local, 1, processing="raw")
    same(ours.W_K, bridge.W_K[1])
    same(ours.b_V, bridge.b_V[1])


def test_grouped_heads_are_expanded_as_the_bridge_does(loaded: Any) -> None:
    local, bridge = loaded("llama")
    ours: AttentionLayer = attention_weights(local, 1)
    assert (ours.n_heads, ours.n_kv_heads) == (4, 2)
    expanded = ours.expanded()
    assert expanded.n_kv_heads == 4
    product = expanded.W_V @ expanded.W_O
    assert_close(product, bridge.OV.AB[1].detach(), **CLOSE)
    assert expanded.expanded() is expanded


def test_folding_the_sign_leaves_the_live_model_alone(loaded: Any) -> None:
    local, bridge = loaded("llama")
    before = [layer.in_.clone() for layer in bridge_mlp_weights(bridge)]
    folded = list(bridge_mlp_weights(bridge, fold_sign=True))
    assert any(not torch.equal(a, b.in_) for a, b in zip(before, folded, strict=True))
    for layer in bridge_mlp_weights(bridge):
        layer.out.zero_()
    after = bridge_mlp_weights(bridge)
    assert all(torch.equal(a, b.in_) for a, b in zip(before, after, strict=True))
    assert after[0].out.any()
    for a, b in zip(folded, mlp_weights(local, fold_sign=True), strict=True):
        assert torch.equal(a.in_, b.in_)
        assert torch.equal(a.out, b.out)


def test_a_native_bridge_without_a_config(loaded: Any) -> None:
    config = {
        "n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 16, "n_ctx": 8, "d_vocab": 20,
        "act_fn": "silu", "gated_mlp": True, "normalization_type": "RMS",
    }  # fmt: skip
    bridge = native_bridge(config, seed=0)
    weights = bridge_mlp_weights(bridge)
    shape = weights.shape
    assert (shape.n_layers, shape.d_mlp, shape.d_model, shape.norm) == (2, 16, 16, "rms")
    assert (shape.gated_mlp, shape.softcap, shape.family) == (True, None, "")
    parameters = dict(bridge.original_model.named_parameters())
    stored = next(p for name, p in parameters.items() if name.startswith("layers.1") and ".gate." in name)
    assert torch.equal(weights[1].gate, stored)


def test_gate_sign_of_an_ungated_bridge(loaded: Any) -> None:
    with pytest.raises(NotGatedError, match="gpt2"):
        bridge_mlp_weights(loaded("gpt2")[1], fold_sign=True)


def test_a_bridge_without_blocks_or_mlps() -> None:
    with pytest.raises(WeightsError, match="no blocks"):
        bridge_mlp_weights(SimpleNamespace())
    with pytest.raises(WeightsError, match="no MLP"):
        bridge_mlp_weights(SimpleNamespace(blocks=[SimpleNamespace()], cfg=SimpleNamespace()))


def bridge_bias(bridge: Any, name: str, layer: int) -> Tensor | None:
    try:
        bias: Tensor = getattr(bridge, name)[layer]
    except AttributeError:  # the bridge's way of saying that there is none
        return None
    return bias
