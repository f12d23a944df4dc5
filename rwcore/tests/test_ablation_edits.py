"""Ablations by edited weights: the same as by hooks, and gone without a trace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rwcore.ablation.edits import editable, edited
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import MODES, PARAMETER_MODES, Ablation, Intervention
from rwcore.errors import ModelError, NotGatedError, OptionError
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import EVERY, SHAPES, load, logits, made, random_set, shared, signs_of

CONSTANT = [Intervention("zero"), Intervention("mean"), Intervention("fixed", parameter=-0.4)]
Bits = dict[str, tuple[bytes, Any]]


@pytest.fixture(params=SHAPES)
def bridge(request: pytest.FixtureRequest) -> Any:
    return shared(request.param)


@pytest.fixture(scope="module", params=["qwen2", "llama with biases"])
def gated(request: pytest.FixtureRequest) -> tuple[Any, Tensor]:
    return shared(request.param), signs_of(shared(request.param))


def bits(bridge: Any) -> Bits:
    """All parameters, with their places in memory; biases that are not there are."""
    found: Bits = {
        name: (value.detach().contiguous().view(torch.uint8).numpy().tobytes(), value.data_ptr())
        for name, value in bridge.named_parameters()
    }
    for layer, block in enumerate(bridge.blocks):
        bias = block.mlp.out.original_component.bias
        found[f"bias {layer}"] = (b"", None if bias is None else id(bias))
    return found


def by_hooks(bridge: Any, ablation: Ablation) -> Tensor:
    with ablating(bridge, ablation):
        return logits(bridge)


def by_edits(bridge: Any, ablation: Ablation) -> Tensor:
    with edited(bridge, ablation):
        return logits(bridge)


def test_what_can_be_edited() -> None:
    for mode in MODES:
        parameter = 0.5 if mode in PARAMETER_MODES else None
        assert editable(Intervention(mode, parameter=parameter)) == (mode in ("zero", "mean", "fixed"))
        for options in ({"gate": "+"}, {"post": "-"}, {"positions": (1,)}):
            assert not editable(Intervention(mode, parameter=parameter, **options))
    assert editable(Intervention("fixed", gate="+", parameter=1.0, as_published=True))
    assert not editable(Intervention("zero", gate="+", as_published=True))


@pytest.mark.parametrize("intervention", CONSTANT, ids=lambda one: one.label)
def test_edited_weights_are_the_hooks(bridge: Any, intervention: Intervention) -> None:
    """I2 and I3; zero has the same bits."""
    signs = signs_of(bridge)
    before, clean = bits(bridge), logits(bridge)
    for count in (1, 30, len(EVERY)):
        one = made(random_set(count, count), intervention, signs)
        found, wanted = by_edits(bridge, one), by_hooks(bridge, one)
        if intervention.mode == "zero":
            assert torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        assert (found - clean).abs().max() > 1e-5
        assert bits(bridge) == before
    assert torch.equal(logits(bridge), clean)


@given(seed=st.integers(0, 2**20), count=st.integers(0, len(EVERY)), which=st.sampled_from(CONSTANT))
@settings(max_examples=30)
def test_random_sets(gated: tuple[Any, Tensor], seed: int, count: int, which: Intervention) -> None:
    bridge, signs = gated
    one = made(random_set(seed, count), which, signs, seed)
    torch.testing.assert_close(by_edits(bridge, one), by_hooks(bridge, one), rtol=1e-4, atol=1e-5)


def test_zero_is_zero_rows_and_mean_adds_what_the_neurons_write(gated: tuple[Any, Tensor]) -> None:
    """The edit itself, written out by hand."""
    bridge, signs = gated
    chosen = NeuronSet.of("two", [(1, 7), (1, 3)])
    one = made(chosen, Intervention("mean"), signs)
    assert one.values is not None
    mlp = bridge.blocks[1].mlp
    module = mlp.out.original_component
    rows = mlp.W_out.detach()[[7, 3]].clone()
    bias = torch.zeros(rows.shape[1]) if module.bias is None else module.bias.detach().clone()
    others = mlp.W_out.detach().clone()
    with edited(bridge, one):
        assert not bool(mlp.W_out[[7, 3]].any())
        others[[7, 3]] = 0
        assert torch.equal(mlp.W_out, others)
        written = sum(
            float(signs[1, neuron]) * float(value) * row
            for neuron, value, row in zip((7, 3), one.values, rows, strict=True)
        )
        torch.testing.assert_close(module.bias.detach(), bias + written, rtol=1e-5, atol=1e-6)
        assert bridge.blocks[0].mlp.W_out.any(dim=1).all()


def test_edits_add_no_hook(gated: tuple[Any, Tensor]) -> None:
    bridge, signs = gated
    before = sum(len(module._forward_hooks) for module in bridge.modules())
    with edited(bridge, made(random_set(1, 40), Intervention("mean"), signs)):
        assert sum(len(module._forward_hooks) for module in bridge.modules()) == before


@pytest.mark.parametrize("intervention", CONSTANT, ids=lambda one: one.label)
def test_weights_come_back_after_an_exception(gated: tuple[Any, Tensor], intervention: Intervention) -> None:
    bridge, signs = gated
    before = bits(bridge)

    def interrupted() -> None:
        with edited(bridge, made(random_set(2, 60), intervention, signs)):
            assert bits(bridge) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert bits(bridge) == before


def test_weights_come_back_if_the_edit_itself_fails_half_way(
    gated: tuple[Any, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge, signs = gated
    before = bits(bridge)
    one = made(NeuronSet.of("every", EVERY), Intervention("mean"), signs)
    calls: list[Bits] = []

    def out_of_memory(weight: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        calls.append(bits(bridge))
        if len(calls) == 3:
            raise MemoryError
        return values @ weight.detach()[rows].double()

    monkeypatch.setattr("rwcore.ablation.edits._sum", out_of_memory)
    with pytest.raises(MemoryError), edited(bridge, one):
        pytest.fail("it ran")
    assert calls[2] != before
    assert bits(bridge) == before


def test_nothing_is_edited_for_an_empty_set(gated: tuple[Any, Tensor]) -> None:
    """I10."""
    bridge, signs = gated
    before = bits(bridge)
    for intervention in CONSTANT:
        with edited(bridge, made(NeuronSet.of("none", []), intervention, signs)):
            assert bits(bridge) == before


def test_bfloat16_weights_come_back_too(tmp_path: Path) -> None:
    bridge = load("llama", tmp_path, dtype=torch.bfloat16)
    signs, before = signs_of(bridge), bits(bridge)
    zero, mean = (made(random_set(3, 30), Intervention(mode), signs) for mode in ("zero", "mean"))
    assert torch.equal(by_edits(bridge, zero), by_hooks(bridge, zero))
    found, wanted = by_edits(bridge, mean), by_hooks(bridge, mean)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.15)
    assert bits(bridge) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda(tmp_path: Path) -> None:
    bridge = load("llama", tmp_path, device="cuda:0")
    one = made(random_set(3, 30), Intervention("mean"), signs_of(bridge))
    clean = logits(bridge)
    torch.testing.assert_close(by_edits(bridge, one), by_hooks(bridge, one), rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(bridge), clean)


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "intervention",
    [
        Intervention("zero", gate="-"),
        Intervention("mean", post="+"),
        Intervention("zero", positions=(0,)),
        Intervention("relu"),
        Intervention("multiply", parameter=0.5),
    ],
    ids=lambda one: one.label,
)
def test_what_depends_on_the_token_is_refused(gated: tuple[Any, Tensor], intervention: Intervention) -> None:
    bridge, signs = gated
    one = made(random_set(0, 3), intervention, signs)
    with pytest.raises(OptionError, match="depends on the token"), edited(bridge, one):
        pytest.fail("it ran")


def test_neurons_that_are_not_there(gated: tuple[Any, Tensor]) -> None:
    bad = Ablation(NeuronSet.of("bad", [(0, 24)]), Intervention("zero"), torch.ones(1, dtype=torch.int8))
    with pytest.raises(OptionError, match=r"no neuron 0\.24"), edited(gated[0], bad):
        pytest.fail("it ran")


def test_output_weights_that_are_no_parameter_are_refused() -> None:
    """Such as quantised ones, whose W_out is a copy."""
    out = SimpleNamespace(original_component=torch.nn.Linear(6, 4))
    mlp = SimpleNamespace(W_out=torch.ones(6, 4), out=out)
    cfg = SimpleNamespace(model_name="made up", gated_mlp=True)
    model = SimpleNamespace(cfg=cfg, blocks=[SimpleNamespace(mlp=mlp)])
    one = Ablation(NeuronSet.of("one", [(0, 2)]), Intervention("zero"), torch.ones(1, dtype=torch.int8))
    with pytest.raises(ModelError, match="cannot be changed in place") as caught, edited(model, one):
        pytest.fail("it ran")
    assert not isinstance(caught.value, NotGatedError)
    assert bool((mlp.W_out == 1).all())
