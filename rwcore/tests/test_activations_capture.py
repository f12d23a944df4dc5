"""Gates and inputs of live models against those computed from their weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny import SIZES, build, local_model
from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.capture import add_batch, run_layers
from rwcore.activations.fold import fold_statistics
from rwcore.activations.groups import group_of
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, NotGatedError
from rwcore.models.load import load_bridge
from rwcore.tests.activation_parts import same
from rwcore.weights.bridge import bridge_mlp_weights
from rwcore.weights.fold import gate_sign

LENGTHS = (5, 7, 3)
ACTIVATIONS = {
    "llama": torch.nn.functional.silu,
    "olmo": torch.nn.functional.silu,
    "gemma": lambda values: torch.nn.functional.gelu(values, approximate="tanh"),
}


def batch(lengths: tuple[int, ...] = LENGTHS, number: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(number)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.randint(4, SIZES["vocab"], mask.shape, generator=generator)
    return Batch(number, torch.arange(len(lengths)) + 10 * number, tokens * mask, mask)


@pytest.fixture(scope="module", params=sorted(ACTIVATIONS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def bridge(family: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_bridge(local_model(build(family, tmp_path_factory.mktemp(family))))


def seen(bridge: Any, given: Batch) -> list[tuple[Tensor, Tensor, Tensor]]:
    found: list[tuple[Tensor, Tensor, Tensor]] = []

    def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
        assert layer == len(found)
        found.append((gate.clone(), in_.clone(), act.clone()))

    run_layers(bridge, given, visit)
    return found


def test_what_is_seen_is_what_the_weights_make_of_the_input(bridge: Any, family: str) -> None:
    given = batch()
    _, cache = bridge.run_with_cache(given.tokens, attention_mask=given.mask.long())
    found = seen(bridge, given)
    weights = list(bridge_mlp_weights(bridge))
    assert len(found) == len(weights) == SIZES["layers"]
    for layer, (gate, in_, act) in zip(weights, found, strict=True):
        assert gate.shape == (3, 7, SIZES["d_mlp"])
        x = cache[f"blocks.{layer.index}.mlp.hook_in"]
        real = given.mask
        torch.testing.assert_close(gate[real], (x @ layer.gate.T)[real], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(in_[real], (x @ layer.in_.T)[real], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(act, ACTIVATIONS[family](gate), rtol=1e-5, atol=1e-6)
        post = cache[f"blocks.{layer.index}.mlp.hook_post"]
        torch.testing.assert_close((act * in_)[real], post[real], rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing_of_the_real_tokens(bridge: Any) -> None:
    padded = seen(bridge, batch())
    alone = batch()
    for row, length in enumerate(LENGTHS):
        whole = Batch(
            0, alone.rows[row : row + 1], alone.tokens[row : row + 1, :length], alone.mask[:1, :length]
        )
        whole.mask[:] = True
        for (gate, *_), (single, *_) in zip(padded, seen(bridge, whole), strict=True):
            torch.testing.assert_close(gate[row, :length], single[0], rtol=1e-4, atol=1e-5)


def test_the_unembedding_is_skipped_and_the_hooks_are_gone(bridge: Any) -> None:
    given = batch((6, 6))
    before = bridge(given.tokens)
    calls: list[str] = []
    handle = bridge.unembed.register_forward_hook(lambda *_: calls.append("unembed"))
    seen(bridge, given)
    assert calls == []
    after = bridge(given.tokens)
    assert calls == ["unembed"]
    handle.remove()
    assert torch.equal(before, after)
    held = [point for point in bridge.hook_dict.values() if point.fwd_hooks]
    assert held == []


def test_statistics_of_a_model_and_of_the_model_with_folded_signs(bridge: Any) -> None:
    accumulator = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"], k=4)
    again = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"], k=4)
    for number in (0, 1):
        add_batch(bridge, batch(number=number), accumulator, group_of(batch(number=number).rows))
    for number in (1, 0):
        add_batch(bridge, batch(number=number), again, group_of(batch(number=number).rows))
    assert all(map(same, accumulator.statistics(), again.statistics()))
    folded = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"], k=4)
    signs = [gate_sign(layer.gate, layer.in_) for layer in bridge_mlp_weights(bridge)]
    for number in (0, 1):
        given = batch(number=number)

        def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor, given: Batch = given) -> None:
            folded.layers[layer].update(
                gate, in_ * signs[layer], act, given.mask, given.rows, group_of(given.rows)
            )

        run_layers(bridge, given, visit)
    for found, wanted, sign in zip(accumulator.statistics(), folded.statistics(), signs, strict=True):
        assert found.tokens == 2 * sum(LENGTHS)
        assert (found.group_counts.sum(dim=(1, 2)) > 0).tolist() == ([True] * 3 + [False] * 7) * 2
        assert int(found.counts.sum(0).max()) <= found.tokens
        assert -1 in sign
        assert same(fold_statistics(found, sign), wanted)


def test_a_nan_in_the_weights_is_located(tmp_path: Path) -> None:
    bridge = load_bridge(local_model(build("llama", tmp_path)))
    with torch.no_grad():
        getattr(bridge.blocks[1].mlp, "in").weight[7, :] = torch.nan
    accumulator = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"])
    with pytest.raises(ModelError, match="in of neuron 7 is nan") as caught:
        add_batch(bridge, batch(number=2), accumulator, torch.tensor([0, 1, 2]))
    assert caught.value.where == "layer 1, row 20, position 0"
    assert [one.statistics.tokens for one in accumulator.layers] == [15, 0, 0]


@pytest.mark.parametrize("family", ["gpt2", "t5_gated"])
def test_models_without_a_gate_or_without_one_stack_are_refused(tmp_path: Path, family: str) -> None:
    bridge = load_bridge(local_model(build(family, tmp_path)))
    with pytest.raises(NotGatedError if family == "gpt2" else ModelError):
        seen(bridge, batch())


def test_an_activation_function_that_is_not_the_models_is_noticed(tmp_path: Path) -> None:
    bridge = load_bridge(local_model(build("llama", tmp_path)))
    bridge.blocks[2].mlp.original_component.act_fn = torch.nn.Tanh()
    with pytest.raises(ModelError, match="differs") as caught:
        seen(bridge, batch())
    assert caught.value.where == "blocks.2.mlp"
    bridge.blocks[0].mlp.original_component.act_fn = None
    with pytest.raises(ModelError, match="names no activation function"):
        seen(bridge, batch())
    with pytest.raises(ModelError, match="no blocks"):
        seen(SimpleNamespace(blocks=[]), batch())


@pytest.mark.parametrize("name", ["llama", "olmo"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision_are_close_to_those_in_single(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    local = local_model(build(name, tmp_path / name))
    found = []
    for precision in (torch.float32, dtype):
        bridge = load_bridge(local, dtype=precision)
        accumulator = ActivationAccumulator(bridge.cfg.n_layers, bridge.cfg.d_mlp, k=2)
        given = batch()
        add_batch(bridge, given, accumulator, group_of(given.rows))
        found.append(accumulator.statistics())
    for single, half in zip(*found, strict=True):
        assert single.tokens == half.tokens
        apart = (single.overall_means() - half.overall_means()).abs().max()
        assert 0 < float(apart) < 0.05 * float(single.overall_means().abs().max())
