"""The lens: the largest logits after every layer, in batches, under ablations, and exactly."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.attributes.facts import Fact
from rwcore.attributes.largest import Unembedded, ordered
from rwcore.attributes.lens import SUBJECT, subject_states, top_tokens
from rwcore.attributes.subjects import SubjectPrompt
from rwcore.benchmarks.reference.ablation import ablation_hooks
from rwcore.benchmarks.reference.attributes_rate import predictions_of
from rwcore.errors import ModelError, NotGatedError, OptionError
from rwcore.models.load import load_bridge
from rwcore.tests.ablation_parts import hooks_of, made, random_set, shared, signs_of, zero

FAMILIES = ("llama", "gemma2", "olmo", "gpt2", "gpt_neox", "opt", "bloom", "olmo2")
K = 12
CONVENTIONS = (FIXED, AS_PUBLISHED)


@cache
def bridge(family: str) -> Any:
    if family in ("llama", "gemma2", "olmo", "gpt2", "gpt_neox"):
        return shared(family)
    with TemporaryDirectory() as folder:
        return load_bridge(local_model(build(family, Path(folder))))


def prompts(count: int = 9, seed: int = 0) -> list[SubjectPrompt]:
    """Random tokens of several lengths; subjects of one to three tokens."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        length = 2 + int(torch.randint(0, 7, (), generator=generator))
        tokens = torch.randint(4, 64, (length,), generator=generator).tolist()
        fact = Fact(str(number), "subject", "relation", "prompt", "attribute")
        found.append(SubjectPrompt(fact, (1, *tokens), max(1, length - number % 3)))
    return found


def reference(
    model: Any, ablation: Ablation | None = None, *, where: str = "everywhere", **given: Any
) -> Tensor:
    """Every prompt alone, with the hooks of the recipe."""
    found = []
    for prompt in prompts():
        hooks: list[Any] = []
        if ablation is not None:
            one = ablation.intervention
            hooks = ablation_hooks(
                ablation.neurons.pairs(),
                one.mode,
                signs=ablation.signs.tolist(),
                gate=one.gate,
                post=one.post,
                means=None if ablation.values is None else ablation.values.tolist(),
                positions=range(prompt.start, prompt.position + 1) if where == SUBJECT else None,
            )
        found.append(predictions_of(model, prompt.tokens, prompt.start, hooks, k=K, **given))
    return torch.tensor(found)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_by_prompt_the_reference_finds_the_same(family: str, convention: str) -> None:
    model = bridge(family)
    wanted = reference(model, normed=convention == FIXED)
    for budget in (1, 24, 4096):
        found = top_tokens(model, prompts(), k=K, convention=convention, token_budget=budget)
        assert found.dtype == torch.int32
        assert torch.equal(found.long(), wanted)


def test_the_norm_matters_where_it_has_parameters() -> None:
    """Gains are folded into the unembedding, a bias of GPT-2's norm is not in ``h · W_U``."""
    gpt2, llama = bridge("gpt2"), bridge("llama")
    assert not torch.equal(reference(gpt2, normed=True), reference(gpt2, normed=False))
    assert torch.equal(reference(llama, normed=True), reference(llama, normed=False))


def test_the_last_layer_predicts_what_the_model_does() -> None:
    for family in FAMILIES:
        model = bridge(family)
        with torch.no_grad():
            for prompt, found in zip(prompts(), top_tokens(model, prompts(), k=1), strict=True):
                logits = model(torch.tensor([prompt.tokens]), use_cache=False)[0, -1]
                assert int(found[-1, 0]) == int(logits.argmax())


@pytest.mark.parametrize("where", ["everywhere", SUBJECT])
@pytest.mark.parametrize("mode", ["zero", "mean"])
@pytest.mark.parametrize("family", ["llama", "olmo", "gpt2", "gpt_neox"])
def test_under_ablation_the_reference_finds_the_same(family: str, mode: str, where: str) -> None:
    model = bridge(family)
    one = made(random_set(1, 30), Intervention(mode), signs_of(model))
    hooks = hooks_of(model)
    found = top_tokens(model, prompts(), one, k=K, where=where).long()
    assert torch.equal(found, reference(model, one, where=where))
    clean = top_tokens(model, prompts(), k=K).long()
    assert not torch.equal(found, clean)
    assert torch.equal(found[:, 0], clean[:, 0])  # the embedding is before all neurons
    assert hooks_of(model) == hooks


def test_where_makes_a_difference_and_conditions_hold_at_the_subject_too() -> None:
    model = bridge("llama")
    one = made(random_set(1, 30), Intervention("zero", gate="-"), signs_of(model))
    found = {where: top_tokens(model, prompts(), one, k=K, where=where) for where in ("everywhere", SUBJECT)}
    assert not torch.equal(found["everywhere"], found[SUBJECT])
    assert torch.equal(found[SUBJECT].long(), reference(model, one, where=SUBJECT))
    quadrants = [
        made(random_set(1, 30), Intervention("zero", gate=gate, post=post), signs_of(model))
        for gate in "+-" for post in "+-"
    ]  # fmt: skip
    whole = zero(random_set(1, 30), signs_of(model))
    for where in ("everywhere", SUBJECT):
        parts = top_tokens(model, prompts(), *quadrants, k=K, where=where)
        assert torch.equal(parts, top_tokens(model, prompts(), whole, k=K, where=where))


def test_batches_are_reported_and_the_pass_ends_with_the_last_layer() -> None:
    model = bridge("llama")
    sizes: list[int] = []
    reached: list[str] = []
    handle = model.unembed.register_forward_hook(lambda *_: reached.append("unembed"))
    try:
        top_tokens(model, prompts(), k=3, token_budget=24, report=sizes.append)
    finally:
        handle.remove()
    assert sum(sizes) == 9
    assert len(sizes) > 1
    assert not reached
    assert top_tokens(model, [], k=3).shape == (0, 4, 3)


def test_bad_questions_are_refused() -> None:
    model = bridge("llama")
    for options in ({"where": "there"}, {"convention": "ours"}, {"token_budget": 0}, {"k": 0}, {"k": 65}):
        with pytest.raises(OptionError):
            top_tokens(model, prompts(), **options)
    with pytest.raises(NotGatedError):
        top_tokens(bridge("gpt2"), prompts(), zero(random_set(0, 3), signs_of(bridge("gpt2")), gate="+"))


def test_a_representation_that_is_not_finite_is_named() -> None:
    model = bridge("llama")
    handle = model.blocks[1].mlp.register_forward_hook(lambda module, given, values: values * torch.inf)
    try:
        with pytest.raises(ModelError, match=r"fact \d, layer 1"):
            top_tokens(model, prompts(), k=3)
    finally:
        handle.remove()


def test_states_are_those_of_the_cache() -> None:
    model = bridge("olmo")
    found = subject_states(model, prompts())
    for prompt, states in zip(prompts(), found, strict=True):
        _, kept = model.run_with_cache(torch.tensor([prompt.tokens]))
        wanted = torch.stack([kept[f"blocks.{layer}.hook_resid_post"][0, -1] for layer in range(3)])
        torch.testing.assert_close(states[1:], wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states[0], model.W_E[list(prompt.tokens[prompt.start :])].mean(dim=0))


# The search for the largest logits.


def sorted_places(logits: Tensor, k: int) -> Tensor:
    return torch.sort(logits, dim=-1, descending=True, stable=True).indices[..., :k]


@pytest.mark.parametrize("rough", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab", [60, 3000, 8191])
def test_the_largest_are_those_of_a_full_sort(vocab: int, rough: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(vocab)
    weight = torch.randn(vocab, 40, generator=generator)
    bias = torch.randn(vocab, generator=generator)
    hidden = torch.randn(11, 3, 40, generator=generator) * torch.tensor([0.01, 1.0, 100.0])[:, None]
    for shift in (None, torch.zeros(vocab), bias):
        found = Unembedded.of(weight, shift, rough=rough).largest(hidden, 20).long()
        logits = (hidden.double() @ weight.T.double()) + (0 if shift is None else shift)
        assert torch.equal(found, sorted_places(logits, 20))


def test_a_rough_product_alone_is_not_enough() -> None:
    """What the exact product is for: in bfloat16 the order is another one, and so are the tokens."""
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(8000, 40, generator=generator), torch.randn(20, 40, generator=generator)
    rough = sorted_places((hidden.bfloat16() @ weight.bfloat16().T).float(), 20)
    wanted = sorted_places(hidden @ weight.T, 20)
    assert not torch.equal(rough.sort().values, wanted.sort().values)


def test_few_tokens_are_multiplied_exactly() -> None:
    """The screening lets some pass, not all: otherwise it would be for nothing."""
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(50_000, 64, generator=generator), torch.randn(5, 64, generator=generator)
    rows, tokens = Unembedded.of(weight, rough=torch.bfloat16)._candidates(hidden, 50)
    passed = torch.bincount(rows, minlength=5)
    assert bool((passed >= 50).all())
    assert int(passed.max()) < 250
    assert len(tokens) == len(rows)


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0, 8), st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=40)
def test_no_candidate_is_lost(seed: int, k: int, spread: float, scale: float) -> None:
    """Whatever the norms of the tokens: one far larger than the others loosens the bound only."""
    generator = torch.Generator().manual_seed(seed)
    norms = torch.exp(spread * torch.rand(6000, 1, generator=generator))
    weight = torch.randn(6000, 8, generator=generator) * norms
    hidden = torch.randn(4, 8, generator=generator) * scale
    rows, tokens = Unembedded.of(weight, rough=torch.bfloat16)._candidates(hidden, k)
    passed = torch.zeros(4, 6000, dtype=torch.bool)
    passed[rows, tokens] = True
    wanted = (hidden.double() @ weight.T.double()).topk(k, dim=1).indices
    assert bool(passed.gather(1, wanted).all())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.data())
def test_of_equal_numbers_the_first_comes_first(numbers: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(numbers)))
    wanted = sorted(range(len(numbers)), key=lambda place: (-numbers[place], place))[:k]
    assert ordered(torch.tensor([numbers], dtype=torch.float32), k).tolist() == [wanted]


def test_equal_tokens_come_by_number() -> None:
    weight = torch.zeros(5000, 4)
    weight[3::7, 0] = 1.0
    found = Unembedded.of(weight, rough=torch.bfloat16).largest(torch.ones(1, 2, 4), 30)
    assert found[0, 1].tolist() == list(range(3, 5000, 7))[:30]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_multiplied_in_float32(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3000, 40, generator=generator).to(dtype)
    hidden = torch.randn(2, 3, 40, generator=generator).to(dtype)
    logits = hidden.double() @ weight.T.double()
    assert torch.equal(Unembedded.of(weight).largest(hidden, 20).long(), sorted_places(logits, 20))
