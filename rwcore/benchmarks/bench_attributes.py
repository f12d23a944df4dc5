"""The attributes rate against the forward pass, and against the recipe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rwcore.attributes.facts import Fact
from rwcore.attributes.lens import one_batch, top_tokens
from rwcore.attributes.subjects import SubjectPrompt
from rwcore.benchmarks.measure import interleaved, packaged_model
from rwcore.benchmarks.reference.attributes_rate import predictions_of
from rwcore.corpora.batches import TOKEN_BUDGET
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.own_texts import knowns
from rwcore.models.load import load_bridge

# Three layers of OLMo-7B, with its vocabulary.
STAND_IN = {"layers": 3, "d_model": 4096, "d_mlp": 11008, "heads": 32, "vocab": 50304, "context": 2048}
RECIPE_PROMPTS = 12


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


@pytest.fixture(scope="module")
def model(packaged):
    return load_bridge(packaged)


@pytest.fixture(scope="module")
def prompts(packaged) -> list[SubjectPrompt]:
    """The handmade facts, up to the ends of their subjects."""
    encoder = read_encoder(packaged)
    found = []
    for number, one in enumerate(knowns()):
        text = f" {one.prompt}"
        begins = text.index(one.subject)
        before, whole = encoder.encode([text[:begins].rstrip(), text[: begins + len(one.subject)]])
        fact = Fact(str(number), one.subject, one.relation, one.prompt, one.answer)
        bos = encoder.bos("model")
        assert bos is not None
        found.append(SubjectPrompt(fact, (bos, *whole), 1 + len(before)))
    return found


def random_prompts(count: int, length: int, vocab: int) -> list[SubjectPrompt]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(4, vocab, (count, length), generator=generator).tolist()
    fact = Fact("0", "subject", "relation", "prompt", "attribute")
    return [SubjectPrompt(fact, tuple(row), length - 2) for row in rows]


def forward(model, prompts: list[SubjectPrompt], budget: int) -> Callable[[], None]:
    """The forward pass with logits over the batches that `top_tokens` makes."""
    ordered = sorted(prompts, key=lambda one: -len(one.tokens))
    batches = []
    while ordered:
        size = max(1, budget // len(ordered[0].tokens))
        batches.append(one_batch(ordered[:size]))
        ordered = ordered[size:]

    def once() -> None:
        with torch.no_grad():
            for batch in batches:
                mask = None if bool(batch.mask.all()) else batch.mask.long()
                model(batch.tokens, attention_mask=mask, use_cache=False)

    return once


@pytest.mark.parametrize("budget", [256, TOKEN_BUDGET])
def test_against_the_forward_pass(benchmark, model, prompts, budget):
    """SmolLM2, all layers: at most 1.3 times the forward pass of the same batches."""

    def ours() -> None:
        top_tokens(model, prompts, token_budget=budget)

    ratio = interleaved(forward(model, prompts, budget), ours)
    positions = sum(len(one.tokens) for one in prompts) / len(prompts)
    benchmark.extra_info |= {**ratio.facts(), "positions_mean": positions, "target_ratio_at_most": 1.3}
    benchmark.pedantic(ours, rounds=1)


def test_against_the_forward_pass_in_a_large_shape(benchmark, tmp_path):
    """Three layers of OLMo-7B's shape, which have more vocabulary for each layer than all 32: likewise."""
    from fixtures.tiny import build, local_model  # builders are not in wheels

    model = load_bridge(local_model(build("olmo", tmp_path / "olmo-7b-layers", **STAND_IN)))
    # The unembedding is prepared once, for some 800 prompts of the paper.
    prompts = random_prompts(96, 6, STAND_IN["vocab"])

    def ours() -> None:
        top_tokens(model, prompts)

    ratio = interleaved(forward(model, prompts, TOKEN_BUDGET), ours, pairs=3)
    benchmark.extra_info |= {**ratio.facts(), "layers": STAND_IN["layers"], "target_ratio_at_most": 1.3}
    benchmark.pedantic(ours, rounds=1)


def test_ratio_against_the_recipe(benchmark, model, prompts):
    """One prompt at a time with all logits sorted takes several times as long."""
    some = prompts[:RECIPE_PROMPTS]

    def recipe() -> None:
        for one in some:
            predictions_of(model, one.tokens, one.start)

    ratio = interleaved(lambda: top_tokens(model, some), recipe, pairs=3)
    benchmark.extra_info |= {**ratio.facts(), "prompts": len(some)}
    benchmark.pedantic(lambda: top_tokens(model, some), rounds=1)
