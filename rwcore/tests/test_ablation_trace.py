"""Where an effect comes from: against a plain loop of runs, by hand, and in models planted for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny import SIZES, build, local_model
from rwcore.ablation.direct import Direct, direct_hidden
from rwcore.ablation.head import Unembedding
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.last import Prediction, Prompt
from rwcore.ablation.metrics import run_to_the_end
from rwcore.ablation.trace import doubling, trace
from rwcore.ablation.variants import Variant, ablating_rows, last_hidden, one_prompt, part_of
from rwcore.benchmarks.reference.ablation import ablation_hooks
from rwcore.errors import ModelError, NotGatedError, OptionError
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import LAYERS, hooks_of, made, random_set, signs_of

TOKENS = (1, 5, 9, 20, 33, 7)
PROMPT = Prompt(TOKENS, target=11, following=4)
SOME = random_set(3, 18)
EVERY_PLACE = tuple(range(len(SOME)))
GATED = ("llama", "qwen3", "gemma2", "olmo", "olmo2")
PLAIN = ("gpt2", "gpt_neox", "opt", "bloom")


@cache
def shared(family: str, processing: str = "as_published") -> Any:
    """A tiny model in double precision, so that batch shapes do not matter; left as it was."""
    with TemporaryDirectory() as folder:
        return load_bridge(
            local_model(build(family, Path(folder)), processing=processing), dtype=torch.float64
        )


def conditional(model: Any, neurons: NeuronSet = SOME) -> Ablation:
    """Where post > 0 below a negative gate, or, in a model without gates, to random values."""
    given = Intervention("zero", gate="-", post="+") if model.cfg.gated_mlp else Intervention("mean")
    return made(neurons, given, signs_of(model))


def looped(model: Any, ablation: Ablation, positions: Sequence[int] | None = None) -> Tensor:
    """Logits at the last position, with one hook per neuron and all logits of the prompt."""
    given = ablation.intervention
    hooks = ablation_hooks(
        ablation.neurons.pairs(),
        given.mode,
        signs=ablation.signs.tolist(),
        gate=given.gate,
        post=given.post,
        parameter=given.parameter,
        means=None if ablation.values is None else ablation.values.tolist(),
        positions=positions,
    )
    with torch.no_grad():
        logits: Tensor = model.run_with_hooks(torch.tensor([TOKENS]), fwd_hooks=hooks, use_cache=False)
    return logits[0, -1]


def read(logits: Tensor, target: int = 11, following: int = 4) -> Prediction:
    p = logits.softmax(dim=0)
    return Prediction(
        entropy=-sum(float(x * x.log()) for x in p),
        argmax=int(p.argmax()),
        target_logit=float(logits[target]),
        target_probability=float(p[target]),
        target_rank=sum(float(one) > float(logits[target]) for one in logits),
        loss=-math.log(float(p[following])),
    )


def assert_same(found: Prediction, expected: Prediction) -> None:
    one, other = dataclasses.asdict(found), dataclasses.asdict(expected)
    for name in ("argmax", "target_rank"):
        assert one.pop(name) == other.pop(name)
    assert one == pytest.approx(other, abs=3e-6)


def only(ablation: Ablation, pairs: Sequence[tuple[int, int]]) -> Ablation:
    return part_of(ablation, [place for place, pair in enumerate(ablation.neurons.pairs()) if pair in pairs])


def of_layers(ablation: Ablation, *layers: int) -> Ablation:
    return only(ablation, [pair for pair in ablation.neurons.pairs() if pair[0] in layers])


@pytest.mark.parametrize("family", [*GATED, *PLAIN])
def test_every_part_is_a_run_of_the_plain_loop(family: str) -> None:
    model = shared(family)
    ablation = conditional(model)
    found = trace(model, PROMPT, ablation, groups=[(2, 0)], left_out=2)
    clean, whole = read(looped(model, only(ablation, []))), read(looped(model, ablation))
    assert abs(clean.entropy - whole.entropy) > 3e-4, "this prompt must be able to tell"
    assert_same(found.clean, clean)
    assert_same(found.ablated, whole)
    assert list(found.by_layer) == list(found.up_to) == list(found.since) == [0, 1, 2]
    for layer in range(LAYERS):
        assert_same(found.by_layer[layer], read(looped(model, of_layers(ablation, layer))))
        assert_same(found.up_to[layer], read(looped(model, of_layers(ablation, *range(layer + 1)))))
        assert_same(found.since[layer], read(looped(model, of_layers(ablation, *range(layer, LAYERS)))))
    assert_same(found.groups[0, 2], read(looped(model, of_layers(ablation, 0, 2))))
    assert list(found.by_position) == list(range(len(TOKENS)))
    for position, one in found.by_position.items():
        assert_same(one, read(looped(model, ablation, positions=[position])))
    assert {*found.by_neuron} == {*ablation.neurons.pairs()}
    for pair, one in found.by_neuron.items():
        assert_same(one, read(looped(model, only(ablation, [pair]))))
    ordered = list(found.by_neuron)
    assert list(found.strongest) == [1, 2, 4, 8, 16, 18]
    for n, one in found.strongest.items():
        assert_same(one, read(looped(model, only(ablation, ordered[:n]))))
    assert list(found.all_but) == ordered[:2]
    for pair, one in found.all_but.items():
        assert_same(one, read(looped(model, only(ablation, [other for other in ordered if other != pair]))))


def test_parts_differ_in_this_model_so_that_a_wrong_mask_would_show() -> None:
    model = shared("llama")
    found = trace(model, PROMPT, conditional(model), groups=[(0, 2)])
    for name in ("by_layer", "by_position", "by_neuron"):
        entropies = [one.entropy for one in getattr(found, name).values()]
        changed = {round(one, 5) for one in entropies} - {round(found.clean.entropy, 5)}
        assert len(changed) >= len(entropies) // 2, name


@pytest.mark.parametrize("family", ["llama", "opt", "bloom"])
def test_rows_of_a_batch_are_as_each_variant_alone(family: str) -> None:
    model = shared(family)
    ablation = conditional(model)
    variants = [
        Variant((0, 3)),
        Variant(()),
        Variant((1, 2, 8), (0, 4)),
        Variant(EVERY_PLACE, (5,)),
        Variant((4,)),
    ]
    together = last_hidden(model, TOKENS, ablation, variants)
    for budget in (1, 13):
        assert torch.allclose(
            last_hidden(model, TOKENS, ablation, variants, budget=budget), together, atol=1e-12
        )
    for row, one in zip(together, variants, strict=True):
        (alone,) = last_hidden(model, TOKENS, ablation, [one])
        assert torch.allclose(row, alone, atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


def test_layers_that_nothing_changes_run_once_for_all_rows() -> None:
    model = shared("llama")
    neurons = NeuronSet.of("two layers", [(2, 0), (0, 1), (2, 3), (0, 4)])
    rows: list[int] = []
    seen = model.blocks[1].mlp.hook_post.register_forward_hook(
        lambda module, arguments, post: rows.append(len(post))
    )
    variants = [Variant((place,)) for place in range(4)]
    last_hidden(model, TOKENS, made(neurons, Intervention("zero"), signs_of(model)), variants, budget=12)
    seen.remove()
    assert rows == [2, 1], "two variants begin in layer 0, two behind layer 1"


def test_positions_of_a_variant_are_those_of_an_intervention() -> None:
    model = shared("llama")
    whole = conditional(model)
    at = Intervention("zero", gate="-", post="+", positions=(1, 5))
    with ablating(model, Ablation(whole.neurons, at, whole.signs)):
        expected = last_hidden(model, TOKENS, part_of(whole, []), [Variant(())])
    found = last_hidden(model, TOKENS, whole, [Variant(EVERY_PLACE, (1, 5))])
    assert torch.allclose(found, expected, atol=1e-12)
    restricted = trace(model, PROMPT, Ablation(whole.neurons, at, whole.signs), parts=["positions"])
    assert list(restricted.by_position) == [1, 5]
    assert_same(restricted.by_position[5], trace(model, PROMPT, whole).by_position[5])


def test_the_budget_does_not_change_a_trace() -> None:
    model = shared("llama")
    one, other = (trace(model, PROMPT, conditional(model), budget=budget) for budget in (None, 1))
    for name in ("by_layer", "by_position", "by_neuron", "strongest", "all_but"):
        assert list(getattr(one, name)) == list(getattr(other, name))
        for key, found in getattr(one, name).items():
            assert_same(found, getattr(other, name)[key])


def test_an_empty_ablation_changes_nothing_at_all() -> None:
    model = shared("llama")
    found = trace(model, PROMPT, conditional(model, NeuronSet.of("none", [])), groups=[(1,)])
    assert found.ablated == found.clean
    assert {*found.by_position.values()} == {*found.groups.values()} == {found.clean}
    assert found.direct == Direct(found.clean, found.clean)
    assert (found.by_layer, found.by_neuron, found.strongest, found.all_but) == ({}, {}, {}, {})
    empty_group = trace(model, PROMPT, of_layers(conditional(model), 2), groups=[(0, 1)])
    assert empty_group.groups[0, 1] == empty_group.clean != empty_group.ablated


def test_the_ends_of_cumulative_parts_are_the_whole_exactly() -> None:
    model = shared("llama")
    found = trace(model, PROMPT, conditional(model))
    assert found.up_to[2] == found.since[0] == found.strongest[18] == found.ablated
    assert found.up_to[0] == found.by_layer[0]
    assert found.since[2] == found.by_layer[2]
    assert found.strongest[1] == next(iter(found.by_neuron.values()))
    assert [doubling(n) for n in (0, 1, 2, 5, 8)] == [[], [1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


@pytest.mark.parametrize("strength", ["entropy", "target_logit"])
def test_strong_is_what_moves_in_the_direction_of_the_whole(strength: str) -> None:
    model = shared("llama")
    found = trace(model, PROMPT, conditional(model), strength=strength)
    clean, whole = getattr(found.clean, strength), getattr(found.ablated, strength)
    shares = [(clean - getattr(one, strength)) / (clean - whole) for one in found.by_neuron.values()]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0 > shares[-1]


def test_without_a_target_it_is_the_clean_argmax_and_without_a_next_token_there_is_no_loss() -> None:
    model = shared("llama")
    found = trace(model, Prompt(TOKENS), conditional(model), parts=[])
    assert found.target == found.clean.argmax != PROMPT.target
    assert found.clean.target_rank == 0
    assert found.clean.loss is None
    assert (found.direct, found.by_layer, found.by_neuron) == (None, {}, {})
    same = trace(model, Prompt(TOKENS, target=found.target), conditional(model), parts=[])
    assert same.ablated.target_logit == found.ablated.target_logit


def by_hand(model: Any, ablation: Ablation) -> tuple[Tensor, Tensor]:
    """The final stream of the clean run, and Σ (s - v) w over the conditions that hold in it."""
    kept: dict[str, Tensor] = {}

    def keep(values: Tensor, hook: Any) -> None:
        kept[hook.name] = values[0, -1].clone()

    names = ["ln_final.hook_in"]
    names += [f"blocks.{n}.mlp.{name}" for n in range(LAYERS) for name in ("hook_pre", "hook_post")]
    with torch.no_grad():
        model.run_with_hooks(
            torch.tensor([TOKENS]), fwd_hooks=[(name, keep) for name in names], use_cache=False
        )
    gone = torch.zeros(SIZES["d_model"], dtype=torch.float64)
    for place, (layer, neuron) in enumerate(ablation.neurons.pairs()):
        s = float(kept[f"blocks.{layer}.mlp.hook_post"][neuron])
        gate = float(kept[f"blocks.{layer}.mlp.hook_pre"][neuron])
        value = 0.0 if ablation.values is None else float(ablation.values[place]) * int(ablation.signs[place])
        if ablation.intervention.gate is None or (gate < 0 and s * int(ablation.signs[place]) > 0):
            gone += (s - value) * model.blocks[layer].mlp.W_out[neuron]
    return kept["ln_final.hook_in"], gone


@pytest.mark.parametrize(
    ("family", "processing"),
    # As stored, the final norm has gains and, in GPT-2, a bias.
    [
        *((name, "as_published") for name in ("llama", "olmo", "gpt_neox", "opt")),
        ("gpt2", "raw"),
        ("llama", "raw"),
    ],
)
def test_the_direct_effect_is_the_sum_of_contributions(family: str, processing: str) -> None:
    model = shared(family, processing)
    ablation = conditional(model)
    stream, gone = by_hand(model, ablation)
    assert gone.norm() > 1e-2
    found = direct_hidden(model, TOKENS, ablation)
    with torch.no_grad():
        expected = model.ln_final.original_component((stream - gone)[None])[0]
        clean = model.ln_final.original_component(stream[None])[0]
    assert torch.allclose(found.recomputed, expected, atol=1e-10)
    centre = family != "llama"
    scale = ((stream - stream.mean() * centre) ** 2).mean().add(model.cfg.eps).sqrt()
    component = model.ln_final.original_component
    gain = component.weight if getattr(component, "weight", None) is not None else torch.ones(())
    assert torch.allclose(found.frozen, clean - gain * (gone - gone.mean() * centre) / scale, atol=1e-10)


@pytest.mark.parametrize("family", [*GATED, *PLAIN])
def test_behind_the_last_layer_nothing_reacts(family: str) -> None:
    model = shared(family)
    last = of_layers(conditional(model), LAYERS - 1)
    found = trace(model, PROMPT, last, parts=["direct"])
    assert found.direct is not None
    assert_same(found.direct.recomputed, found.ablated)
    assert abs(found.ablated.entropy - found.clean.entropy) > 1e-4
    elsewhere = dataclasses.replace(
        last, intervention=dataclasses.replace(last.intervention, positions=(0, 2))
    )
    far = trace(model, PROMPT, elsewhere, parts=["direct"])
    assert far.direct == Direct(far.clean, far.clean)


def planted(folder: Path) -> tuple[Any, int, float]:
    """A model, a neuron of layer 0 that writes the unembedding of token 11 there, and its post at the end."""
    model = load_bridge(local_model(build("llama", folder)), dtype=torch.float64)
    kept: list[Tensor] = []

    def keep(values: Tensor, hook: Any) -> None:
        kept.append(values[0, -1].clone())

    with torch.no_grad():
        model.run_with_hooks(torch.tensor([TOKENS]), fwd_hooks=[("blocks.0.mlp.hook_post", keep)])
        neuron = int(kept[0].abs().argmax())
        row = model.unembed.original_component.weight[11]
        model.blocks[0].mlp.out.original_component.weight[:, neuron] = 3.0 * row
    return model, neuron, float(kept[0][neuron])


def test_a_neuron_that_writes_one_token(tmp_path: Path) -> None:
    model, number, post = planted(tmp_path)
    row = model.unembed.original_component.weight[11].detach().clone()
    scale = float(run_to_the_end(model, one_prompt(TOKENS)).scale[0, -1])
    neuron = NeuronSet.of("writes token 11", [(0, number)])
    found = trace(model, PROMPT, made(neuron, Intervention("zero"), signs_of(model)))
    assert found.direct is not None
    change = found.clean.target_logit - found.direct.frozen.target_logit
    assert change == pytest.approx(3.0 * post * float(row @ row) / scale, abs=1e-5)
    assert abs(change) > 0.1
    total = found.clean.target_logit - found.ablated.target_logit
    assert abs(total - change) > 1e-2, "layers behind it react"
    assert found.by_neuron[0, number] == found.by_layer[0] == found.ablated


def test_no_hook_is_left_even_after_an_error() -> None:
    model = shared("llama")
    before = hooks_of(model)
    trace(model, PROMPT, conditional(model))
    with (
        pytest.raises(RuntimeError, match="stop"),
        ablating_rows(model, conditional(model), torch.ones(1, 18).bool(), torch.ones(1, 6).bool()),
    ):
        raise RuntimeError("stop")
    assert hooks_of(model) == before


def test_of_no_prompt_more_than_one_position_is_unembedded(monkeypatch: pytest.MonkeyPatch) -> None:
    from rwcore.ablation import last

    heights: list[int] = []
    logits = Unembedding.logits

    def counted(self: Unembedding, hidden: Tensor) -> Tensor:
        heights.append(len(hidden))
        return logits(self, hidden)

    monkeypatch.setattr(Unembedding, "logits", counted)
    model = shared("llama")
    found = trace(model, PROMPT, conditional(model), parts=["layers", "positions"])
    # Clean, whole, three layers, two cumulative ones that are no layer and not the whole, and positions.
    assert sum(heights) == 1 + 1 + 3 + 2 + len(found.by_position)
    monkeypatch.setattr(last, "CPU_LOGITS", 1)
    assert trace(model, PROMPT, conditional(model), parts=["layers", "positions"]) == found


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"prompt": Prompt(())}, "empty"),
        ({"prompt": Prompt((1,) * 65)}, "65 tokens.*64 positions"),
        ({"prompt": Prompt((1, 64))}, "no token 64"),
        ({"prompt": Prompt((1, -1))}, "no token -1"),
        ({"prompt": Prompt((1, 2), target=99)}, "no token 99"),
        ({"prompt": Prompt((1, 2), following=99)}, "no token 99"),
        ({"neurons": NeuronSet.of("far", [(1, 24)])}, r"no neuron 1\.24"),
        ({"neurons": NeuronSet.of("far", [(3, 0)])}, r"no neuron 3\.0"),
        ({"groups": [(1, 3)]}, "no group of layers 1,3"),
        ({"groups": [()]}, "no group"),
        ({"parts": ["layer"]}, "no part 'layer'"),
        ({"strength": "loss"}, "no strength 'loss'"),
        ({"left_out": -1}, "-1 neurons"),
        ({"positions": (2, 6)}, "no position 6"),
    ],
)
def test_bad_input(changes: dict[str, Any], match: str) -> None:
    model = shared("llama")
    neurons = changes.pop("neurons", SOME)
    given = Intervention("zero", positions=changes.pop("positions", None))
    ablation = Ablation(neurons, given, torch.ones(len(neurons), dtype=torch.int8))
    with pytest.raises(OptionError, match=match) as caught:
        trace(model, changes.pop("prompt", PROMPT), ablation, **changes)
    assert caught.value.remedy


def test_conditions_need_a_gate_and_predictions_must_be_finite() -> None:
    with pytest.raises(NotGatedError, match="no gate"):
        trace(shared("gpt2"), PROMPT, made(SOME, Intervention("zero", gate="-"), signs_of(shared("gpt2"))))
    model = shared("llama")
    infinite = made(SOME, Intervention("fixed", parameter=1e300), signs_of(model))
    with pytest.raises(ModelError, match="not finite"):
        trace(model, PROMPT, infinite)
