"""Texts under ablations: a model whose texts are known, the whole text against the cache, coupled draws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.tiny import SIZES, build, local_model
from rwcore.ablation.generation import Continuation, Decoding, choose, generate, parts_at
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.errors import ModelError, NotGatedError, OptionError, WeightsMissing
from rwcore.models.load import load_bridge
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import ALL, GATED, hooks_of, made, random_set, shared, signs_of, zero
from rwcore.tests.chain_maker import chain_bridge

# After token 4 comes 5, then 6, 7, 4 …; any other token repeats itself.
FOLLOWS = {4: 5, 5: 6, 6: 7, 7: 4}
VOCAB = 16
GREEDY = Decoding(9)


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Neuron i reads token i and writes the one that follows."""
    return chain_bridge(tmp_path_factory.mktemp("circle"), FOLLOWS, VOCAB)


def of_six(mode: str = "zero", **given: Any) -> Ablation:
    """An ablation of the neuron that reads token 6."""
    return Ablation(
        NeuronSet.of("six", [(0, 6)]), Intervention(mode, **given), torch.ones(1, dtype=torch.int8)
    )


def written(found: Continuation) -> list[int]:
    return found.tokens.tolist()


# --- texts that are known ------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    ("ablations", "expected"),
    [
        ((), [5, 6, 7, 4, 5, 6, 7, 4, 5]),
        ((of_six(),), [5, 6, 6, 6, 6, 6, 6, 6, 6]),
        ((of_six(gate="+", post="+"),), [5, 6, 6, 6, 6, 6, 6, 6, 6]),
        ((of_six(gate="-"),), [5, 6, 7, 4, 5, 6, 7, 4, 5]),
        ((of_six("threshold", parameter=9.0),), [5, 6, 7, 4, 5, 6, 7, 4, 5]),
        # The 6 at position 2 is repeated; the one at position 3 is not ablated.
        ((of_six(positions=(2,)),), [5, 6, 6, 7, 4, 5, 6, 7, 4]),
        ((of_six(positions=(0, 6)),), [5, 6, 7, 4, 5, 6, 6, 7, 4]),
    ],
)
def test_a_model_whose_texts_are_known(
    circle: Any, ablations: Sequence[Ablation], expected: list[int], cache: bool
) -> None:
    found = generate(circle, [4], GREEDY, *ablations, cache=cache)
    assert written(found) == expected
    assert not found.ended


def test_the_prompt_is_ablated_too(circle: Any) -> None:
    assert written(generate(circle, [9, 6], Decoding(2), of_six())) == [6, 6]


def test_probabilities_by_hand(circle: Any) -> None:
    post = 4 / (1 + math.exp(-4))
    norm = math.sqrt((1 + post**2) / VOCAB)
    logits = torch.zeros(VOCAB, dtype=torch.float64)
    logits[4], logits[5] = 1 / norm, post / norm
    probabilities = logits.softmax(dim=0)
    found = generate(circle, [4], Decoding(1))
    assert found.logprob.item() == pytest.approx(probabilities[5].log().item(), abs=1e-5)
    assert found.entropy.item() == pytest.approx(torch.special.entr(probabilities).sum().item(), abs=1e-5)
    warm = generate(circle, [4], Decoding(1, temperature=3.0, top_k=2, seed=1))
    (token,) = written(warm)
    assert token in (4, 5)
    two = (logits[[4, 5]] / 3).softmax(dim=0)
    assert warm.logprob.item() == pytest.approx(two[token - 4].log().item(), abs=1e-5)
    assert warm.entropy.item() == pytest.approx(torch.special.entr(two).sum().item(), abs=1e-5)


def test_a_text_ends_with_a_stop_token(circle: Any) -> None:
    found = generate(circle, [5], GREEDY, stop=[7])
    assert written(found) == [6, 7]
    assert found.ended
    assert len(found.logprob) == len(found.entropy) == 2
    assert not generate(circle, [5], Decoding(1), stop=[7]).ended
    # Only what is written ends a text: the original begins with the end-of-text token.
    assert written(generate(circle, [7], Decoding(2), stop=[7])) == [4, 5]


# --- with and without the cache ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "gemma2", "gemma3", "olmo", "olmo2", "gpt2", "gptj", "opt", "bloom"]
)
def test_the_cache_changes_nothing(family: str, tmp_path: Path) -> None:
    bridge = load_bridge(local_model(build(family, tmp_path)))
    signs = signs_of(bridge)
    conditions = {"gate": "-"} if bridge.cfg.gated_mlp else {}
    neurons = NeuronSet.of("some", [pair for pair in random_set(3, 30).pairs() if pair[0] < len(signs)])
    for ablations in ((), (zero(neurons, signs, **conditions),)):
        kept = generate(bridge, [1, 7, 9], Decoding(20), *ablations)
        whole = generate(bridge, [1, 7, 9], Decoding(20), *ablations, cache=False)
        assert written(kept) == written(whole)
        torch.testing.assert_close(kept.logprob, whole.logprob, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(kept.entropy, whole.entropy, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("mode", ["mean", "relu"])
def test_every_token_is_the_likeliest_of_the_ablated_model(name: str, mode: str) -> None:
    bridge = shared(name)
    ablation = made(random_set(5, 40), Intervention(mode, gate="+", post="-"), signs_of(bridge))
    found = generate(bridge, [1, 11, 30, 8], Decoding(12), ablation)
    text = torch.tensor([[1, 11, 30, 8, *written(found)]])
    with torch.no_grad(), ablating(bridge, ablation):
        logits = bridge(text, use_cache=False)[0, 3:-1].double()
    assert logits.argmax(dim=-1).tolist() == written(found)
    expected = logits.log_softmax(dim=-1)
    torch.testing.assert_close(found.logprob, expected.amax(dim=-1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        found.entropy, torch.special.entr(expected.exp()).sum(-1), rtol=1e-4, atol=1e-4
    )
    clean = generate(bridge, [1, 11, 30, 8], Decoding(12))
    assert not torch.allclose(clean.logprob[0], found.logprob[0])


def test_a_model_stays_as_it_was() -> None:
    bridge = shared("llama")
    before = hooks_of(bridge)
    generate(bridge, [1, 7], Decoding(3), zero(ALL, signs_of(bridge)))
    with pytest.raises(OptionError):
        generate(bridge, [1, 7], Decoding(3), zero(NeuronSet.of("out", [(9, 0)]), torch.ones(10, 3).char()))
    assert hooks_of(bridge) == before
    with torch.no_grad():
        assert bridge(torch.tensor([[1, 7, 9]])).shape == (1, 3, SIZES["vocab"])


@pytest.mark.slow
def test_the_cache_changes_nothing_on_a_real_model() -> None:
    try:
        bridge = load_bridge(locate(find("packaged")))
    except WeightsMissing as missing:
        pytest.skip(str(missing.remedy))
    prompt = [1, 4093, 15876, 253, 655]
    neurons = NeuronSet.of("some", [(layer, 7 * layer) for layer in range(30)])
    for ablations in ((), (zero(neurons, signs_of(bridge), gate="+"),)):
        kept, whole = (
            generate(bridge, prompt, Decoding(20), *ablations, cache=cache) for cache in (True, False)
        )
        assert written(kept) == written(whole)
        torch.testing.assert_close(kept.logprob, whole.logprob, rtol=1e-3, atol=1e-3)


# --- draws ---------------------------------------------------------------------------------------------


def test_a_seed_decides_the_draws(circle: Any) -> None:
    torch.manual_seed(0)
    texts = [written(generate(circle, [4], Decoding(12, 2.0, seed=seed))) for seed in (1, 1, 2)]
    torch.manual_seed(1)
    again = written(generate(circle, [4], Decoding(12, 2.0, seed=1)))
    assert texts[0] == texts[1] == again
    assert texts[0] != texts[2]


def test_the_global_random_state_is_left_alone(circle: Any) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    generate(circle, [4], Decoding(3, 1.0))
    assert torch.equal(torch.get_rng_state(), state)


def test_texts_differ_by_the_ablation_only(circle: Any) -> None:
    """The ablation acts at a 6 only, so texts are the same until there is one."""
    parted = 0
    for seed in range(20):
        clean, ablated = (
            written(generate(circle, [4], Decoding(15, 2.0, seed=seed), *ablations))
            for ablations in ((), (of_six(),))
        )
        place = parts_at(clean, ablated)
        parted += place is not None
        assert place is None or clean[place - 1] == 6
    assert parted > 5


def test_tokens_come_as_often_as_they_should() -> None:
    logits = torch.tensor([0.0, 1.0, -math.inf, 2.0, 1.5])
    generator = torch.Generator().manual_seed(0)
    decoding = Decoding(1, temperature=0.7)
    count = 4000
    drawn = Counter(choose(logits, decoding, generator)[0] for _ in range(count))
    for token, probability in enumerate((logits / 0.7).softmax(dim=0).tolist()):
        spread = math.sqrt(count * probability * (1 - probability))
        assert abs(drawn[token] - count * probability) <= 4 * spread


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=12), st.integers(1, 12), st.integers(0, 99))
def test_only_the_likeliest_are_drawn(values: list[int], k: int, seed: int) -> None:
    logits = torch.tensor(values, dtype=torch.float32)
    allowed = [number for number, value in enumerate(values) if value >= sorted(values)[-min(k, len(values))]]
    generator = torch.Generator().manual_seed(seed)
    token, logprob, entropy = choose(logits, Decoding(1, 1.5, k), generator)
    assert token in allowed
    among = (logits[allowed].double() / 1.5).log_softmax(dim=0)
    assert logprob == pytest.approx(float(among[allowed.index(token)]), abs=1e-9)
    assert entropy == pytest.approx(float(torch.special.entr(among.exp()).sum()), abs=1e-9)


def test_the_first_of_equal_tokens_is_the_likeliest() -> None:
    token, logprob, entropy = choose(torch.tensor([0.0, 3.0, 3.0]), Decoding(1), torch.Generator())
    assert token == 1
    assert logprob == pytest.approx(-math.log(2 + math.exp(-3)))
    assert entropy > math.log(2)


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [("abc", "abc", None), ("abc", "abd", 2), ("ab", "abc", 2), ("", "", None), ("xbc", "abc", 0)],
)
def test_where_texts_part(one: str, other: str, place: int | None) -> None:
    assert parts_at(one, other) == parts_at(other, one) == place


# --- what cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"tokens": 0}, "0 tokens"),
        ({"tokens": 5, "temperature": 0.0}, "temperature"),
        ({"tokens": 5, "temperature": -1.0}, "temperature"),
        ({"tokens": 5, "temperature": math.nan}, "temperature"),
        ({"tokens": 5, "temperature": math.inf}, "temperature"),
        ({"tokens": 5, "temperature": 1.0, "top_k": 0}, "0 tokens"),
        ({"tokens": 5, "top_k": 3}, "likeliest"),
        ({"tokens": 5, "seed": -1}, "seed"),
    ],
)
def test_impossible_decoding(given: dict[str, Any], part: str) -> None:
    with pytest.raises(OptionError, match=part):
        Decoding(**given)


def test_the_seed_is_a_fact_of_drawn_texts_only() -> None:
    assert Decoding(5, seed=1).facts() == Decoding(5, seed=2).facts()
    assert Decoding(5, 1.0, seed=1).facts() != Decoding(5, 1.0, seed=2).facts()


def test_a_text_must_fit_into_the_context(circle: Any) -> None:
    assert len(written(generate(circle, [4] * 30, Decoding(3)))) == 3
    with pytest.raises(OptionError, match=r"30 tokens and 4 more .* 32 positions") as caught:
        generate(circle, [4] * 30, Decoding(4))
    assert caught.value.remedy is not None
    assert "at most 3" in caught.value.remedy
    with pytest.raises(OptionError, match="do not fit") as caught:
        generate(circle, [4] * 40, Decoding(1))
    assert caught.value.remedy == "shorten the prompt"


@pytest.mark.parametrize("prompt", [[], [VOCAB], [-1]])
def test_impossible_prompts(circle: Any, prompt: list[int]) -> None:
    with pytest.raises(OptionError, match=r"nothing to continue|none of the model's"):
        generate(circle, prompt, GREEDY)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_models_that_are_no_decoders(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        generate(load_bridge(local_model(build(family, tmp_path))), [4], GREEDY)


def test_a_condition_needs_a_gate() -> None:
    bridge = shared("gpt2")
    with pytest.raises(NotGatedError):
        generate(bridge, [4], GREEDY, zero(random_set(0, 3), signs_of(bridge), gate="+"))


def test_a_prediction_that_is_not_a_number() -> None:
    with pytest.raises(ModelError, match="not finite"):
        choose(torch.tensor([0.0, math.nan]), GREEDY, torch.Generator())
