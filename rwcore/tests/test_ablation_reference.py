"""The plain reference of the metrics, number by number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rwcore.ablation.hooks import ablating
from rwcore.benchmarks.reference.ablation import ablation_hooks, direct_metrics
from rwcore.tests.ablation_parts import (
    SHAPES,
    random_set,
    shared,
    signs_of,
    tokens_and_mask,
    zero,
)


@pytest.fixture(params=SHAPES)
def any_bridge(request: pytest.FixtureRequest) -> Any:
    return shared(request.param)


@pytest.fixture
def llama() -> Any:
    return shared("llama")


def test_the_references_metrics_number_by_number(llama: Any) -> None:
    """Section 3.2, with its padding quirks, from the logits of each row alone."""
    tokens, mask = tokens_and_mask()
    found = direct_metrics(llama, tokens, mask)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        with torch.no_grad():
            alone, cache = llama.run_with_cache(tokens[row : row + 1, :length])
        for position in range(tokens.shape[1]):
            numbers = {name: float(values[row, position]) for name, values in found.items()}
            if position >= length:
                assert [numbers[name] for name in ("loss", "entropy", "rank")] == [0.0] * 3
                assert numbers["scale"] > 0
                continue
            chances = alone[0, position].double().softmax(dim=0).tolist()
            entropy = -sum(chance * math.log(chance + 1e-8) for chance in chances)
            assert numbers["entropy"] == pytest.approx(entropy, rel=1e-4)
            stream = cache["blocks.2.hook_resid_post"][0, position].tolist()
            scale = math.sqrt(sum(one * one for one in stream) / len(stream) + llama.cfg.eps)
            assert numbers["scale"] == pytest.approx(scale, rel=1e-4)
            if position + 1 == tokens.shape[1]:
                assert numbers["loss"] == numbers["rank"] == 0.0
                continue
            following = int(tokens[row, position + 1])  # the padding id at the end of a shorter row
            assert numbers["rank"] == sum(chance > chances[following] for chance in chances)
            loss = -math.log(chances[following]) if position + 1 < length else 0.0
            assert numbers["loss"] == pytest.approx(loss, rel=1e-4)


def test_the_references_scale_centres_where_the_norm_does(any_bridge: Any) -> None:
    tokens, mask = tokens_and_mask()
    with torch.no_grad():
        _, cache = any_bridge.run_with_cache(tokens, attention_mask=mask.long())
    wanted = cache["ln_final.hook_scale"][..., 0]
    found = direct_metrics(any_bridge, tokens, mask)["scale"]
    torch.testing.assert_close(found[mask], wanted[mask], rtol=1e-5, atol=1e-6)
    one = zero(random_set(2, 40), signs_of(any_bridge))
    with ablating(any_bridge, one):
        ours = direct_metrics(any_bridge, tokens, mask)
    hooks = ablation_hooks(one.neurons.pairs(), "zero", signs=one.signs.tolist())
    for name, values in direct_metrics(any_bridge, tokens, mask, hooks).items():
        torch.testing.assert_close(ours[name][mask], values[mask], rtol=1e-4, atol=1e-5)
        assert not torch.equal(values[mask], direct_metrics(any_bridge, tokens, mask)[name][mask])
