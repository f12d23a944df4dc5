"""Identities of ablations that hold for any weights, and every type of number and device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.planted import plant
from fixtures.tiny import local_model
from rwcore.ablation.edits import flip_signs
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention, mean_values
from rwcore.activations.fold import fold_summary
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import (
    ALL,
    GATED,
    LAYERS,
    NEURONS,
    PARAMETERS,
    QUADRANTS,
    SHAPES,
    ablated,
    hooks_of,
    load,
    logits,
    made,
    posts,
    random_set,
    reference_logits,
    shared,
    signs_of,
    summary_of_bridge,
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


# --- identities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", GATED)
def test_folding_the_signs_leaves_logits_unchanged(family: str, tmp_path: Path) -> None:
    """I1: products of two turned signs are the same bits."""
    bridge = load(family, tmp_path)
    signs, clean = signs_of(bridge), logits(bridge)
    assert set(signs.flatten().tolist()) == {1, -1}
    flip_signs(bridge, signs)
    assert bool((signs_of(bridge) == 1).all())
    assert torch.equal(logits(bridge), clean)


@pytest.mark.parametrize("family", GATED)
def test_sign_book_keeping_is_running_the_folded_model(family: str, tmp_path: Path) -> None:
    """I5: for every mode under every condition, and means from a summary; the same bits."""
    bridge = load(family, tmp_path)
    signs = signs_of(bridge)
    ones = torch.ones_like(signs)
    summary = fold_summary(summary_of_bridge(bridge), signs.float())
    chosen = random_set(8, 40)
    interventions = [
        Intervention(mode, parameter=PARAMETERS.get(mode), **conditions)
        for mode in ("zero", "mean", "fixed", "threshold", "relu", "multiply")
        for conditions in ({}, {"gate": "-"}, {"post": "+"}, {"gate": "-", "post": "+"})
    ]

    def runs(present: Tensor) -> list[Tensor]:
        return [
            ablated(bridge, Ablation.of(chosen, one, signs=present, summary=summary)) for one in interventions
        ]

    unfolded, ignored = runs(signs), runs(ones)
    flip_signs(bridge, signs)
    folded = runs(ones)
    for one, found, wanted, wrong in zip(interventions, unfolded, folded, ignored, strict=True):
        assert torch.equal(found, wanted), one.label
        # And relu has nothing to do where post is positive.
        signless = (one.mode in ("zero", "multiply") and one.post is None) or one.label in (
            "relu post+",
            "relu gate- post+",
        )
        assert torch.equal(found, wrong) == signless, one.label


def test_summary_of_the_folded_model_is_the_folded_summary(llama: Any, tmp_path: Path) -> None:
    folded_bridge = load("llama", tmp_path)
    signs = signs_of(llama)
    flip_signs(folded_bridge, signs)
    folded, direct = fold_summary(summary_of_bridge(llama), signs.float()), summary_of_bridge(folded_bridge)
    for gate, post in [(None, None), *QUADRANTS]:
        given_one = Intervention("mean", gate, post)
        assert torch.equal(mean_values(folded, ALL, given_one), mean_values(direct, ALL, given_one))


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_four_masks_at_once_are_no_condition(bridge: Any, mode: str) -> None:
    """I4, in one pass and with as many ablations; the same for the two signs of gate, and of post."""
    signs, chosen = signs_of(bridge), random_set(2, 50)
    whole = ablated(bridge, made(chosen, Intervention(mode), signs))
    splits = [
        [{"gate": gate, "post": post} for gate, post in QUADRANTS],
        [{"gate": "-"}, {"gate": "+"}],
        [{"post": "+"}, {"post": "-"}],
        [{"positions": (0, 2, 3)}, {"positions": (1, 4, 5, 6)}],
    ]
    for split in splits:
        parts = [made(chosen, Intervention(mode, **conditions), signs) for conditions in split]
        torch.testing.assert_close(ablated(bridge, *parts), whole, rtol=1e-5, atol=1e-6)
        three = ablated(bridge, *parts[1:])
        assert (three - whole).abs().max() > 1e-4


def test_conditions_of_several_ablations_come_before_all_values(llama: Any) -> None:
    """A value that is set by the first does not make the second fire."""
    signs, chosen = signs_of(llama), NeuronSet.of("last layer", [(2, neuron) for neuron in range(NEURONS)])
    first = made(chosen, Intervention("fixed", post="+", parameter=-1.0), signs)
    second = made(chosen, Intervention("fixed", post="-", parameter=5.0), signs)
    before = posts(llama)[2] * signs[2]
    with ablating(llama, first, second):
        found = posts(llama)[2] * signs[2]
    assert torch.equal(found, torch.where(before > 0, -1.0, 5.0))


def test_an_empty_set_is_the_clean_run(any_bridge: Any) -> None:
    """I10: no hook, the same bits."""
    clean, before = logits(any_bridge), hooks_of(any_bridge)
    signs = signs_of(any_bridge)
    for mode in ("zero", "mean", "relu"):
        one = made(NeuronSet.of("none", []), Intervention(mode), signs)
        with ablating(any_bridge, one):
            assert hooks_of(any_bridge) == before
            assert torch.equal(logits(any_bridge), clean)
    with ablating(any_bridge):
        assert torch.equal(logits(any_bridge), clean)


def test_a_mean_of_what_never_occurs_is_finite_in_the_model(llama: Any) -> None:
    """I11: the condition fires in this pass although it never did in the summary."""
    signs = signs_of(llama)
    summary = fold_summary(summary_of_bridge(llama), signs.float())
    summary.frequencies[:] = 0.0
    summary.means[:] = torch.nan
    for gate, post in [(None, None), *QUADRANTS]:
        one = Ablation.of(ALL, Intervention("mean", gate, post), signs=signs, summary=summary)
        found = ablated(llama, one)
        assert found.isfinite().all()
        assert torch.equal(found, ablated(llama, zero(ALL, signs, gate=gate, post=post)))


def test_ablating_every_neuron_leaves_the_bias(any_bridge: Any) -> None:
    mask = tokens_and_mask()[1]
    found: list[Tensor] = []

    def keep(values: Tensor, hook: Any) -> None:
        found.append(values[mask].clone())

    with ablating(any_bridge, zero(ALL, signs_of(any_bridge))):
        logits(any_bridge, [(f"blocks.{layer}.mlp.out.hook_out", keep) for layer in range(LAYERS)])
    for block, written in zip(any_bridge.blocks, found, strict=True):
        bias = getattr(block.mlp, "b_out", None)
        wanted = torch.zeros_like(written) if bias is None else bias.expand_as(written)
        assert torch.equal(written, wanted)


def test_the_planted_weakening_neurons_write_against_what_they_read(tmp_path: Path) -> None:
    """Their post, folded, is negative in gate-_in+ and positive in gate+_in+; see ablations section 2.2."""
    bridge = load_bridge(local_model(plant("olmo", tmp_path, layers=1).folder))
    signs = signs_of(bridge)
    gates: list[Tensor] = []
    ins: list[Tensor] = []

    def keep_gate(values: Tensor, hook: Any) -> None:
        gates.append(values.clone())

    def keep_in(values: Tensor, hook: Any) -> None:
        ins.append(values.clone())

    tokens = tokens_and_mask((12,))[0]
    chosen = NeuronSet.of("all", [(0, neuron) for neuron in range(signs.shape[1])])

    def keep_post(values: Tensor, hook: Any) -> None:
        kept.append(values.clone())

    with torch.no_grad():
        hooks = [("blocks.0.mlp.hook_pre", keep_gate), ("blocks.0.mlp.hook_pre_linear", keep_in)]
        bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        for gate, post in QUADRANTS:
            kept: list[Tensor] = []
            with ablating(bridge, made(chosen, Intervention("fixed", gate, post, 9.0), signs)):
                bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.0.mlp.hook_post", keep_post)])
            in_positive = gate == post  # of the folded model: post has the sign of gate · in
            folded_in = ins[0] * signs[0]
            wanted = ((gates[0] > 0) == (gate == "+")) & ((folded_in > 0) == in_positive)
            assert torch.equal(kept[0] * signs[0] == 9.0, wanted)
            assert wanted.any()


# --- devices and types ----------------------------------------------------------------------------------


def check_reduced(bridge: Any) -> None:
    signs = signs_of(bridge)
    chosen = random_set(6, 30)
    for mode in ("zero", "mean", "threshold", "relu"):
        for conditions in ({}, {"gate": "-", "post": "+"}, {"positions": (1, 3)}):
            one = made(chosen, Intervention(mode, parameter=PARAMETERS.get(mode), **conditions), signs)
            found = ablated(bridge, one)
            assert found.dtype == logits(bridge).dtype
            torch.testing.assert_close(found, reference_logits(bridge, one), rtol=1e-5, atol=1e-5)
            assert mode != "mean" or (found - logits(bridge)).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["llama", "gemma2", "llama with biases"])
def test_bfloat16(name: str, tmp_path: Path) -> None:
    bridge = load(name, tmp_path, dtype=torch.bfloat16)
    assert bridge.blocks[0].mlp.W_out.dtype == torch.bfloat16
    check_reduced(bridge)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda(dtype: torch.dtype, tmp_path: Path) -> None:
    check_reduced(load("llama", tmp_path, device="cuda:0", dtype=dtype))


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_models_whose_weights_are_not_processed(name: str, tmp_path: Path) -> None:
    bridge = load(name, tmp_path, compatibility=False)
    conditions: dict[str, Any] = {} if name == "gpt2" else {"gate": "-", "post": "+"}
    one = zero(random_set(9, 30), signs_of(bridge), **conditions)
    found = ablated(bridge, one)
    assert (found - logits(bridge)).abs().max() > 1e-4
    with ablating(bridge, one):
        seen = posts(bridge)
    zeros = [bool((seen[layer][:, neuron] == 0).any()) for layer, neuron in one.neurons.pairs()]
    assert sum(zeros) > 15


def test_gradients_see_the_ablated_values(llama: Any) -> None:
    """With gradients on, post is a copy: functions may need what they returned, such as relu."""
    tokens, _ = tokens_and_mask((5,))
    one = made(random_set(4, 30), Intervention("multiply", "+", parameter=0.0), signs_of(llama))
    with ablating(llama, one):
        found = llama(tokens)
        found.sum().backward()
        with torch.no_grad():
            assert torch.equal(llama(tokens), found)
    assert torch.isfinite(llama.blocks[0].mlp.gate.original_component.weight.grad).all()
    llama.zero_grad()
