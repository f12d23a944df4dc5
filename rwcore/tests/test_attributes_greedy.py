"""Continuations of several prompts at once: each is the one that is written alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny import SIZES, build, local_model
from rwcore.ablation.generation import Decoding, generate
from rwcore.attributes.greedy import greedy
from rwcore.errors import ModelError, OptionError
from rwcore.models.load import load_bridge
from rwcore.tests.ablation_parts import hooks_of, shared
from rwcore.tests.chain_maker import chain_bridge

VOCAB = 16


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return chain_bridge(tmp_path_factory.mktemp("circle"), {4: 5, 5: 6, 6: 7, 7: 4}, VOCAB)


def test_a_model_whose_texts_are_known(circle: Any) -> None:
    found = greedy(circle, torch.tensor([[9, 4], [4, 9], [1, 6]]), 5)
    assert found.tolist() == [[5, 6, 7, 4, 5], [9] * 5, [7, 4, 5, 6, 7]]


@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "gemma2", "gemma3", "olmo", "olmo2", "gpt2", "gptj", "opt", "bloom"]
)
def test_every_row_is_what_is_written_alone(family: str, tmp_path: Path) -> None:
    bridge = load_bridge(local_model(build(family, tmp_path)))
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(4, SIZES["vocab"], (7, 5), generator=generator)
    found = greedy(bridge, prompts, 12)
    alone = [generate(bridge, prompt, Decoding(12)).tokens.tolist() for prompt in prompts.tolist()]
    assert found.tolist() == alone
    assert len({tuple(row) for row in alone}) > 1


def test_what_was_read_is_not_read_again_and_only_the_last_logits_are_made() -> None:
    bridge = shared("llama")
    read: list[tuple[int, ...]] = []
    made: list[tuple[int, ...]] = []
    before = hooks_of(bridge)
    handles = [
        part.register_forward_hook(lambda *seen, into=into: into.append(tuple(seen[2].shape[:2])))
        for part, into in ((bridge.embed, read), (bridge.unembed, made))
    ]
    try:
        greedy(bridge, torch.randint(4, 60, (3, 9)), 4)
    finally:
        for handle in handles:
            handle.remove()
    assert read == [(3, 9), (3, 1), (3, 1), (3, 1)]
    assert made == [(3, 1)] * 4
    assert before == hooks_of(bridge)


def test_the_first_of_equal_tokens_and_models_that_keep_nothing(
    circle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def read(model: Any, unread: Tensor, kept: Any) -> tuple[Tensor, None]:
        lengths.append(unread.shape[1])
        return torch.tensor([[0.0, 3.0, 3.0], [1.0, 1.0, 0.0]]), None

    monkeypatch.setattr("rwcore.attributes.greedy.read", read)
    assert greedy(circle, torch.tensor([[4], [5]]), 3).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert lengths == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prediction_that_is_not_a_number(
    circle: Any, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.tensor([[0.0, 1.0], [0.0, value]])
    monkeypatch.setattr("rwcore.attributes.greedy.read", lambda *given: (logits, None))
    with pytest.raises(ModelError, match="not finite"):
        greedy(circle, torch.tensor([[4], [5]]), 1)


@pytest.mark.parametrize("prompt", [[], [VOCAB], [-1]])
def test_impossible_prompts(circle: Any, prompt: list[int]) -> None:
    with pytest.raises(OptionError, match=r"nothing to continue|none of the model's"):
        greedy(circle, torch.tensor([prompt], dtype=torch.int64), 3)


def test_texts_must_fit_into_the_context(circle: Any) -> None:
    prompts = torch.full((2, 30), 4)
    assert greedy(circle, prompts, 3).shape == (2, 3)
    with pytest.raises(OptionError, match="do not fit"):
        greedy(circle, prompts, 4)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_models_that_are_no_decoders(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        greedy(load_bridge(local_model(build(family, tmp_path))), torch.tensor([[4]]), 1)
