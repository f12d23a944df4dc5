"""Layers that are not computed: the same bits as if they were, in every family and type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fixtures.tiny import SIZES, build, local_model
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import Ending, run_to_the_end
from rwcore.ablation.prefix import BlockOutput, run_first_layers, skipping
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import tokens_and_mask

LAYERS = 4
# Windows of three tokens in some layers, so that it matters which layer is which.
SHAPES: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("llama", "qwen2", "qwen3", "gemma", "olmo", "olmo2", "gpt2", "gpt_neox")},
    **{name: {} for name in ("gptj", "opt", "bloom")},
    **{name: {"sliding_window": 3} for name in ("mistral", "gemma2", "gemma3")},
}
TUPLES = {"gptj": 2, "bloom": 2}
TYPES = (torch.float32, torch.bfloat16)
CASES = [
    *((name, dtype) for name in SHAPES for dtype in TYPES),
    ("olmo", torch.float16),  # its queries and keys are float32 until the cache, see `run_hooks`
]


@cache
def shared(name: str, dtype: torch.dtype) -> Any:
    with TemporaryDirectory() as folder:
        local = local_model(build(name, Path(folder), layers=LAYERS, **SHAPES[name]))
        return load_bridge(local, dtype=dtype)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}, {str(case[1])[6:]}")
def bridge(request: pytest.FixtureRequest) -> Any:
    return shared(*request.param)


@pytest.fixture
def llama() -> Any:
    return shared("llama", torch.float32)


def batch_of(*lengths: int, seed: int = 0) -> Batch:
    tokens, mask = tokens_and_mask(lengths, seed)
    return Batch(0, torch.arange(len(tokens)), tokens, mask)


PADDED, WHOLE = batch_of(7, 5, 3), batch_of(6, 6, seed=1)


def ablation_from(layer: int, mode: str = "fixed") -> Ablation:
    """Of many neurons of this layer and all after it."""
    pairs = [(each, neuron) for each in range(layer, LAYERS) for neuron in range(0, SIZES["d_mlp"], 2)]
    neurons = NeuronSet.of("late", pairs)
    given = Intervention(mode, parameter=1.5 if mode == "fixed" else None)
    return Ablation.of(neurons, given, signs=torch.ones(LAYERS, SIZES["d_mlp"], dtype=torch.int8))


def same(one: Ending, other: Ending) -> bool:
    return torch.equal(one.hidden, other.hidden) and torch.equal(one.scale, other.scale)


@contextmanager
def counted(bridge: Any) -> Iterator[Counter[int]]:
    """How often the model's own module of each block computes."""
    computed: Counter[int] = Counter()
    with ExitStack() as stack:
        for layer, block in enumerate(bridge.blocks):

            def count(module: Any, arguments: Any, output: Any, layer: int = layer) -> None:
                computed[layer] += 1

            stack.callback(block.original_component.register_forward_hook(count).remove)
        yield computed


@pytest.mark.parametrize("batch", [PADDED, WHOLE], ids=["padded", "not padded"])
def test_skipped_layers_change_no_bit(bridge: Any, batch: Batch) -> None:
    clean = run_to_the_end(bridge, batch)
    for layers in range(1, LAYERS):
        output = run_first_layers(bridge, batch, layers)
        with skipping(bridge, layers, output), counted(bridge) as computed:
            assert same(run_to_the_end(bridge, batch), clean)
        assert computed == dict.fromkeys(range(layers, LAYERS), 1)
        one = ablation_from(layers)
        with ablating(bridge, one):
            ablated = run_to_the_end(bridge, batch)
            with skipping(bridge, layers, output):
                assert same(run_to_the_end(bridge, batch), ablated)
        with skipping(bridge, layers, output), ablating(bridge, one):
            assert same(run_to_the_end(bridge, batch), ablated)
        assert not same(ablated, clean)


def test_only_the_first_layers_are_computed(bridge: Any) -> None:
    found: list[torch.Tensor] = []

    def keep(values: torch.Tensor, hook: Any) -> None:
        found.append(values.clone())

    name = f"blocks.{LAYERS - 2}.hook_out"
    with torch.no_grad():
        mask = PADDED.mask.long()
        bridge.run_with_hooks(PADDED.tokens, fwd_hooks=[(name, keep)], attention_mask=mask)
    with counted(bridge) as computed:
        output = run_first_layers(bridge, PADDED, LAYERS - 1)
    assert computed == dict.fromkeys(range(LAYERS - 1), 1)
    torch.testing.assert_close(output.hidden, found[0])
    assert output.hidden.dtype == next(bridge.parameters()).dtype


def test_blocks_that_return_tuples_are_among_the_families() -> None:
    for name, members in TUPLES.items():
        output = run_first_layers(shared(name, torch.float32), PADDED, 1)
        assert output.members == members
        hidden, *others = output.as_returned()
        assert hidden is output.hidden
        assert others == [None] * (members - 1)
    assert run_first_layers(shared("llama", torch.float32), PADDED, 1).members == 0


def test_first_layers_go_on_from_fewer(llama: Any) -> None:
    one = run_first_layers(llama, PADDED, 1)
    with skipping(llama, 1, one), counted(llama) as computed:
        three = run_first_layers(llama, PADDED, 3)
    assert computed == {1: 1, 2: 1}
    assert torch.equal(three.hidden, run_first_layers(llama, PADDED, 3).hidden)


def test_the_known_output_stays_as_it_is(bridge: Any) -> None:
    output = run_first_layers(bridge, PADDED, 2)
    before = output.hidden.clone()
    with skipping(bridge, 2, output), ablating(bridge, ablation_from(2)):
        first, second = (run_to_the_end(bridge, PADDED) for _ in range(2))
    assert torch.equal(output.hidden, before)
    assert same(first, second)


def test_it_is_the_known_output_that_goes_on(llama: Any) -> None:
    """The equality above is not there by chance."""
    clean = run_to_the_end(llama, PADDED)
    with skipping(llama, 2, run_first_layers(llama, PADDED, 1)):
        assert not same(run_to_the_end(llama, PADDED), clean)
    with skipping(llama, LAYERS, run_first_layers(llama, PADDED, LAYERS)), counted(llama) as computed:
        assert same(run_to_the_end(llama, PADDED), clean)
    assert not computed


def test_ablations_of_skipped_layers_do_nothing(llama: Any) -> None:
    """Why a run must check where its ablation begins."""
    output = run_first_layers(llama, PADDED, 3)
    with skipping(llama, 3, output), ablating(llama, ablation_from(3)):
        from_3 = run_to_the_end(llama, PADDED)
    with skipping(llama, 3, output), ablating(llama, ablation_from(0)):
        assert same(run_to_the_end(llama, PADDED), from_3)


def test_everything_is_restored(llama: Any) -> None:
    before = [{*vars(block)} for block in llama.blocks]
    clean = run_to_the_end(llama, PADDED)
    hooks = [dict(block._forward_hooks) for block in llama.blocks]
    outputs = [run_first_layers(llama, PADDED, layers) for layers in (1, 2)]
    with skipping(llama, 2, outputs[1]), skipping(llama, 1, outputs[0]):
        pass
    for inner in (nullcontext(), skipping(llama, 1, outputs[0])):
        with pytest.raises(ZeroDivisionError), skipping(llama, 2, outputs[1]), inner:
            raise ZeroDivisionError
    failing = llama.blocks[0].original_component.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_first_layers(llama, PADDED, 2)
    failing.remove()
    assert [dict(block._forward_hooks) for block in llama.blocks] == hooks
    assert [{*vars(block)} for block in llama.blocks] == before
    assert same(run_to_the_end(llama, PADDED), clean)


def test_an_inner_prefix_gives_way_to_the_outer_one(llama: Any) -> None:
    outputs = [run_first_layers(llama, PADDED, layers) for layers in (1, 3)]
    with skipping(llama, 3, outputs[1]):
        with skipping(llama, 1, outputs[0]):
            pass
        with counted(llama) as computed:
            run_to_the_end(llama, PADDED)
    assert computed == {3: 1}


def test_another_batch_is_refused(llama: Any) -> None:
    output = run_first_layers(llama, WHOLE, 2)
    with pytest.raises(ModelError, match="shape") as caught, skipping(llama, 2, output):
        run_to_the_end(llama, PADDED)
    assert "first 2 layers" in str(caught.value.where)


@pytest.mark.parametrize("layers", [0, -1, LAYERS + 1])
def test_layers_that_are_not_there_are_refused(llama: Any, layers: int) -> None:
    output = BlockOutput(torch.zeros(1, 1, 1), 0)
    with pytest.raises(OptionError, match=f"has {LAYERS}"), skipping(llama, layers, output):
        pass
    with pytest.raises(OptionError, match=f"first {layers} layers"):
        run_first_layers(llama, PADDED, layers)
    with pytest.raises(OptionError, match="has 0"), skipping(SimpleNamespace(), 1, output):
        pass


def test_a_block_that_does_not_run_is_reported(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rwcore.ablation import prefix

    monkeypatch.setattr(prefix, "run_hooks", lambda *_: False)
    with pytest.raises(ModelError, match="not reached"):
        run_first_layers(llama, PADDED, 2)
