"""Ablations of live models: against the reference, and the identities that hold for any weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import PARAMETER_MODES, Ablation, Intervention
from rwcore.errors import ModelError, NotGatedError, OptionError, RwcoreError
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import (
    ALL,
    EVERY,
    GATED,
    LAYERS,
    NEURONS,
    PARAMETERS,
    QUADRANTS,
    SHAPES,
    ablated,
    hooks_of,
    logits,
    made,
    posts,
    random_set,
    reference_logits,
    shared,
    signs_of,
    tokens_and_mask,
    zero,
)


@pytest.fixture(params=GATED)
def bridge(request: pytest.FixtureRequest) -> Any:
    return shared(request.param)


@pytest.fixture(params=SHAPES)
def any_bridge(request: pytest.FixtureRequest) -> Any:
    return shared(request.param)


@pytest.fixture
def llama() -> Any:
    return shared("llama")


@pytest.fixture(params=["olmo", "llama with biases"], scope="module")
def any_of_two(request: pytest.FixtureRequest) -> tuple[Any, Tensor]:
    return shared(request.param), signs_of(shared(request.param))


# --- against the reference -----------------------------------------------------------------------------

CONDITIONS = [
    {},
    {"gate": "+"},
    {"gate": "-"},
    {"post": "+"},
    {"post": "-"},
    *({"gate": gate, "post": post} for gate, post in QUADRANTS),
    {"positions": (0, 4)},
    {"gate": "-", "post": "+", "positions": (1, 2, 6, 40)},
]


@pytest.mark.parametrize("conditions", CONDITIONS, ids=str)
def test_every_condition_in_every_family_is_the_references(bridge: Any, conditions: dict[str, Any]) -> None:
    one = zero(random_set(3, 30), signs_of(bridge), **conditions)
    assert set(one.signs.tolist()) == {1, -1}
    found = ablated(bridge, one)
    torch.testing.assert_close(found, reference_logits(bridge, one), rtol=1e-5, atol=1e-6)
    assert (found - logits(bridge)).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["mean", "fixed", "threshold", "relu", "multiply"])
@pytest.mark.parametrize("conditions", CONDITIONS, ids=str)
def test_every_mode_under_every_condition_is_the_references(
    llama: Any, mode: str, conditions: dict[str, Any]
) -> None:
    given_one = Intervention(mode, parameter=PARAMETERS.get(mode), **conditions)
    one = made(random_set(4, 30), given_one, signs_of(llama))
    found = ablated(llama, one)
    torch.testing.assert_close(found, reference_logits(llama, one), rtol=1e-5, atol=1e-6)
    nothing_to_do = mode == "relu" and conditions.get("post") == "+"
    assert ((found - logits(llama)).abs().max() > 1e-4) != nothing_to_do


@given(
    seed=st.integers(0, 2**20),
    count=st.integers(1, len(EVERY)),
    mode=st.sampled_from(["zero", "mean", "fixed", "threshold", "relu", "multiply"]),
    gate=st.sampled_from([None, "+", "-"]),
    post=st.sampled_from([None, "+", "-"]),
    positions=st.one_of(st.none(), st.sets(st.integers(0, 8), min_size=1).map(tuple)),
    parameter=st.sampled_from([-2.0, -0.1, 0.0, 0.1, 1.0]),
    as_published=st.booleans(),
)
@settings(max_examples=60)
def test_random_sets_conditions_and_positions(
    any_of_two: Any,
    seed: int,
    count: int,
    mode: str,
    gate: str | None,
    post: str | None,
    positions: tuple[int, ...] | None,
    parameter: float,
    as_published: bool,
) -> None:
    bridge, signs = any_of_two
    needed = parameter if mode in PARAMETER_MODES else None
    given_one = Intervention(mode, gate, post, needed, positions, as_published)
    one = made(random_set(seed, count), given_one, signs, seed)
    torch.testing.assert_close(ablated(bridge, one), reference_logits(bridge, one), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["zero", "mean", "fixed", "threshold", "relu", "multiply"])
def test_models_without_a_gate_and_every_family(any_bridge: Any, mode: str) -> None:
    one = made(random_set(5, 20), Intervention(mode, parameter=PARAMETERS.get(mode)), signs_of(any_bridge))
    found = ablated(any_bridge, one)
    torch.testing.assert_close(found, reference_logits(any_bridge, one), rtol=1e-5, atol=1e-6)
    if mode != "relu" or any_bridge.cfg.gated_mlp:
        assert (found - logits(any_bridge)).abs().max() > 1e-4


# --- what is set, where ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("gate", "post"), QUADRANTS)
def test_only_the_chosen_columns_change_and_only_where_the_conditions_hold(
    bridge: Any, gate: str, post: str
) -> None:
    """In the first layer, whose values no earlier layer changes, against masks written out here."""
    signs = signs_of(bridge)
    chosen = NeuronSet.of("first layer", [(0, neuron) for neuron in (20, 3, 4, 11, 0)])
    one = made(chosen, Intervention("mean", gate, post), signs)
    assert one.values is not None
    mask = tokens_and_mask()[1]
    gates: list[Tensor] = []

    def keep(values: Tensor, hook: Any) -> None:
        gates.append(values[mask].clone())

    logits(bridge, [("blocks.0.mlp.hook_pre", keep)])
    before = posts(bridge)[0]
    with ablating(bridge, one):
        after = posts(bridge)[0]
    fired = 0
    for neuron in range(NEURONS):
        for token in range(len(before)):
            was, now = float(before[token, neuron]), float(after[token, neuron])
            folded = float(signs[0, neuron]) * was
            a = float(gates[0][token, neuron])
            if neuron in chosen.neuron and (a > 0) == (gate == "+") and (folded > 0) == (post == "+"):
                value = float(one.values[chosen.neuron.tolist().index(neuron)])
                assert now == pytest.approx(float(signs[0, neuron]) * value, rel=1e-6)
                fired += 1
            else:
                assert now == was
    assert 0 < fired < len(chosen) * len(before)


def test_conditions_are_strict(llama: Any) -> None:
    """A gate, or post, of exactly zero has neither sign."""
    gates = llama.blocks[1].mlp.gate.original_component.weight
    kept = gates.detach().clone()
    neurons = NeuronSet.of("still", [(1, 4), (1, 9)])
    try:
        with torch.no_grad():
            gates[[4, 9]] = 0.0
        clean, signs = logits(llama), torch.ones(LAYERS, NEURONS, dtype=torch.int8)
        for sign in "+-":
            for conditions in ({"gate": sign}, {"post": sign}):
                one = made(neurons, Intervention("fixed", parameter=3.0, **conditions), signs)
                assert torch.equal(ablated(llama, one), clean)
        without = made(neurons, Intervention("fixed", parameter=3.0), signs)
        assert (ablated(llama, without) - clean).abs().max() > 0.1
    finally:
        with torch.no_grad():
            gates.copy_(kept)


def test_conditions_see_the_perturbed_pass(llama: Any) -> None:
    """Which tokens of the last layer are ablated is decided by what earlier layers have become."""
    signs = signs_of(llama)
    both = zero(ALL, signs, gate="-", post="+")
    mask = tokens_and_mask()[1]

    def fired(*ablations: Ablation) -> Tensor:
        gates: list[Tensor] = []

        def keep(values: Tensor, hook: Any) -> None:
            gates.append(values[mask] < 0)

        with ablating(llama, *ablations):
            logits(llama, [("blocks.2.mlp.hook_pre", keep)])
            zeros = posts(llama)[2] == 0
        return torch.stack([gates[0], zeros])

    perturbed, clean = fired(both), fired()
    assert not torch.equal(perturbed[0], clean[0])
    # What is zero now had a negative gate now; some of it had a positive one in the clean pass.
    assert not bool((perturbed[1] & ~perturbed[0]).any())
    assert bool((perturbed[1] & ~clean[0]).any())


def test_relu_threshold_fixed_and_multiply_are_about_the_folded_neuron(bridge: Any) -> None:
    signs = signs_of(bridge)
    chosen = NeuronSet.of("first layer", [(0, neuron) for neuron in range(NEURONS)])
    before = posts(bridge)[0] * signs[0]
    wanted = {
        "relu": before.clamp(min=0),
        "threshold": before.clamp(max=-0.05),
        "fixed": torch.full_like(before, 0.7),
        "multiply": before * -2.0,
    }
    for mode, value in wanted.items():
        one = made(chosen, Intervention(mode, parameter=PARAMETERS.get(mode)), signs)
        with ablating(bridge, one):
            torch.testing.assert_close(posts(bridge)[0] * signs[0], value, rtol=0, atol=1e-7)


def test_as_published_these_modes_ignore_conditions(llama: Any) -> None:
    signs, chosen = signs_of(llama), random_set(1, 25)
    for mode in ("fixed", "threshold", "relu", "multiply"):
        options: dict[str, Any] = {"parameter": PARAMETERS.get(mode)}
        plain = ablated(llama, made(chosen, Intervention(mode, **options), signs))
        options |= {"gate": "-", "post": "+", "positions": (1,)}
        honoured = ablated(llama, made(chosen, Intervention(mode, **options), signs))
        published = ablated(llama, made(chosen, Intervention(mode, **options, as_published=True), signs))
        assert torch.equal(published, plain)
        assert not torch.equal(honoured, plain)
    for mode in ("zero", "mean"):
        honoured, published = (
            ablated(llama, made(chosen, Intervention(mode, "-", "+", as_published=quirk), signs))
            for quirk in (False, True)
        )
        assert torch.equal(published, honoured)


def test_positions_before_the_first_ablated_one_do_not_change(bridge: Any) -> None:
    signs = signs_of(bridge)
    found = ablated(bridge, zero(ALL, signs, positions=(4,)), lengths=(7, 6))
    clean = logits(bridge, lengths=(7, 6))
    same = (found == clean).all(dim=1)
    assert same.tolist() == ([True] * 4 + [False] * 3) + ([True] * 4 + [False] * 2)
    beyond = ablated(bridge, zero(ALL, signs, positions=(7, 30)), lengths=(7, 6))
    assert torch.equal(beyond, clean)


# --- hooks come and go ----------------------------------------------------------------------------------


def test_one_hook_per_layer_and_one_more_for_the_gate(llama: Any) -> None:
    signs, before = signs_of(llama), hooks_of(llama)
    two_layers = NeuronSet.of("two layers", [(layer, neuron) for layer in (0, 2) for neuron in range(20)])
    for conditions, count in (
        ({}, 2),
        ({"post": "-"}, 2),
        ({"gate": "+"}, 4),
        ({"gate": "+", "post": "-"}, 4),
    ):
        with ablating(llama, zero(two_layers, signs, **conditions)):
            assert hooks_of(llama) - before == count
    published = Intervention("relu", "+", as_published=True)
    with ablating(llama, made(two_layers, published, signs)):
        assert hooks_of(llama) - before == 2
    assert hooks_of(llama) == before


def test_post_is_changed_where_it_is(llama: Any) -> None:
    """No copy of it is made."""
    places: list[int] = []
    outer = llama.blocks[1].mlp.hook_post.register_forward_hook(
        lambda module, arguments, values: places.append(values.data_ptr())
    )
    with ablating(llama, zero(ALL, signs_of(llama), gate="-", post="+")):
        logits(llama, [("blocks.1.mlp.hook_post", lambda values, hook: places.append(values.data_ptr()))])
    outer.remove()
    assert len(places) == 2
    assert places[0] == places[1]


def test_hooks_are_gone_after_an_exception(llama: Any) -> None:
    before, clean = hooks_of(llama), logits(llama)
    with pytest.raises(KeyboardInterrupt), ablating(llama, zero(ALL, signs_of(llama), gate="-")):
        raise KeyboardInterrupt
    assert hooks_of(llama) == before
    assert torch.equal(logits(llama), clean)


def test_the_bridges_own_hooks_may_come_and_go_inside(llama: Any) -> None:
    one = zero(random_set(1, 30), signs_of(llama), gate="-")
    with ablating(llama, one):
        first = logits(llama)
        llama.reset_hooks()
        assert torch.equal(logits(llama), first)


def test_an_interrupted_pass_leaves_nothing_for_the_next(llama: Any) -> None:
    """A gate that was seen before an exception is not taken for that of another batch."""
    signs = signs_of(llama)

    class Stop(Exception):
        pass

    def stop(values: Tensor, hook: Any) -> None:
        raise Stop

    with ablating(llama, zero(ALL, signs, gate="-")):
        wanted = logits(llama, lengths=(4, 2))
        with pytest.raises(Stop):
            logits(llama, [("blocks.1.mlp.hook_pre_linear", stop)])
        assert torch.equal(logits(llama, lengths=(4, 2)), wanted)


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [(3, 0), (0, 24), (-1, 2), (1, -1)])
def test_neurons_that_are_not_there(llama: Any, pair: tuple[int, int]) -> None:
    bad = Ablation(NeuronSet.of("bad", [(0, 1), pair]), Intervention("zero"), torch.ones(2, dtype=torch.int8))
    with pytest.raises(OptionError, match=f"no neuron {pair[0]}.{pair[1]}"), ablating(llama, bad):
        pytest.fail("it ran")


@pytest.mark.parametrize("mode", ["zero", "mean"])
@pytest.mark.parametrize("conditions", [{"gate": "+"}, {"post": "-"}])
def test_conditions_need_a_gate(mode: str, conditions: dict[str, str]) -> None:
    bridge = shared("gpt2")
    one = made(random_set(0, 3), Intervention(mode, **conditions), signs_of(bridge))
    with pytest.raises(NotGatedError, match="have no gate") as caught, ablating(bridge, one):
        pytest.fail("it ran")
    assert one.intervention.label in str(caught.value)


def test_models_that_cannot_be_ablated(tmp_path: Path) -> None:
    one = Ablation(NeuronSet.of("one", [(0, 0)]), Intervention("zero"), torch.ones(1, dtype=torch.int8))
    t5 = load_bridge(local_model(build("t5_gated", tmp_path)))
    cfg = SimpleNamespace(model_name="made up", gated_mlp=True)
    no_mlp = SimpleNamespace(cfg=cfg, blocks=[SimpleNamespace(mlp=SimpleNamespace())])
    no_hooks = SimpleNamespace(cfg=cfg, blocks=[SimpleNamespace(mlp=SimpleNamespace(W_out=torch.ones(3, 2)))])
    for model, text in ((t5, "no blocks"), (no_mlp, "no MLP"), (no_hooks, "no hook_post")):
        with pytest.raises(ModelError, match=text), ablating(model, one):
            pytest.fail("it ran")


def test_a_model_that_flattens_rows_has_no_positions(tmp_path: Path) -> None:
    bridge = load_bridge(local_model(build("opt", tmp_path)))
    signs = torch.ones(LAYERS, NEURONS, dtype=torch.int8)
    assert (ablated(bridge, zero(random_set(1, 9), signs)) - logits(bridge)).abs().max() > 1e-4
    with pytest.raises(ModelError, match="positions cannot be told"):
        ablated(bridge, zero(random_set(1, 9), signs, positions=(1,)))


class _Mlp(torch.nn.Module):
    """An MLP with the hooks of a bridge, that calls them as it is told."""

    def __init__(self, order: str, width: int = 6) -> None:
        super().__init__()
        self.hook_pre, self.hook_post = torch.nn.Identity(), torch.nn.Identity()
        self.W_out = torch.ones(6, 4)
        self.order, self.width = order, width

    def forward(self) -> None:
        for name in self.order.split():
            getattr(self, name)(torch.ones(2, 3, self.width))


@pytest.mark.parametrize(
    ("mlp", "text"),
    [
        (_Mlp("hook_post hook_pre"), "the gate does not pass its hook"),
        (_Mlp("hook_pre hook_post hook_post"), "the gate does not pass its hook"),
        (_Mlp("hook_pre hook_post", width=5), r"gate has shape \[2, 3, 5\]"),
        (_Mlp("hook_post", width=7), r"post has shape \[2, 3, 7\]"),
    ],
)
def test_hooks_that_do_not_run_as_expected(mlp: _Mlp, text: str) -> None:
    model = SimpleNamespace(
        cfg=SimpleNamespace(model_name="made up", gated_mlp=True), blocks=[SimpleNamespace(mlp=mlp)]
    )
    one = zero(NeuronSet.of("one", [(0, 2)]), torch.ones(1, 6, dtype=torch.int8), gate="+")
    with ablating(model, one), pytest.raises(RwcoreError, match=text) as caught:
        mlp()
    assert isinstance(caught.value, ModelError)
