"""Means with intervals, places, prompts in small vocabularies, tokens that are never read, related tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fixtures.letters import save_letters
from fixtures.tiny import build, local_model
from rwcore.claim.values import Interval
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError
from rwcore.heads.ioi import IoiWords, ioi_prompts, single_tokens
from rwcore.heads.unseen_tokens import unseen_tokens
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.plugin.heads.in_text import related
from rwcore.plugin.heads.sampled import mean_of, place, place_of_mean, size_of
from rwcore.plugin.heads.toy_prompts import NAMES, toy_texts


def test_a_mean_has_the_interval_of_another_sample():
    values = np.random.default_rng(0).normal(2, 1, 400)
    found = mean_of(values)
    assert isinstance(found, Interval)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_a_ratio_of_sums():
    assert mean_of([1, 1, 4], [2, 2, 2]).estimate == 1
    assert mean_of([1, 1], [1, 1]) == 1  # nothing is sampled where all is alike
    assert math.isnan(mean_of([1, 2], [0, 0]))


def test_one_thing_alone_decides_nothing():
    assert mean_of([2, 0], [1, 0]) == Interval(-math.inf, math.inf, 2)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Interval(-3, 1, -1), Interval(0, 3, 1)),
        (Interval(-3, -2, -2.5), Interval(2, 3, 2.5)),
        (-0.5, 0.5),
    ],
)
def test_the_size_of_a_mean(value, size):
    assert size_of(value) == size


def test_places_of_equal_values():
    assert [place([3.0, 5.0, 3.0, 1.0], number) for number in range(4)] == [2, 1, 2, 4]


def test_the_place_of_a_mean_is_as_sure_as_the_means_are():
    rng = np.random.default_rng(0)
    hits = (rng.random((4, 100)) < np.array([0.9, 0.5, 0.5, 0.1])[:, None]).astype(float)
    assert place_of_mean(hits, 0) == 1
    assert place_of_mean(hits, 3) == 4
    middle = place_of_mean(hits, 1)
    assert (middle.low, middle.high) == (2, 3)


@pytest.mark.parametrize("letters", [True, False])
def test_prompts_in_the_words_of_a_small_vocabulary(tmp_path, letters):
    folder = build("gpt2", tmp_path / "model")
    if letters:
        save_letters(folder, 64)
    local = local_model(folder)
    encoder = read_encoder(local)
    texts = toy_texts(encoder, vocabulary(local, encoder.vocab))
    prompts = ioi_prompts(IoiWords.of(texts, encoder), encoder, 8, seed=0)
    assert len(texts.names) == NAMES
    assert (prompts.io_token != prompts.s_token).all()
    assert prompts.tokens.gather(1, prompts.s2[:, None])[:, 0].tolist() == prompts.s_token.tolist()


def test_a_vocabulary_without_words_is_refused(tmp_path):
    encoder = read_encoder(local_model(build("gpt2", tmp_path / "model", vocab=16)))
    with pytest.raises(OptionError, match="12 words of one token"):
        toy_texts(encoder, vocabulary(local_model(tmp_path / "model"), 16))


def test_a_space_may_be_a_token_of_its_own(tmp_path):
    encoder = read_encoder(local_model(save_letters(build("gpt2", tmp_path / "model"), 64)))
    found = single_tokens(encoder, ["w", "we"])
    assert (list(found.numbers), found.left_out) == (["w"], ("we",))


def test_tokens_that_lie_where_impossible_bytes_lie_are_never_read():
    texts = ["a", "b", "\udcc0", "\udcff", "glitch", "c", "d", "e"]
    words = Vocabulary(tuple(texts), len(texts), tuple(texts), frozenset())
    embedding = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    assert unseen_tokens(words, embedding) == {2, 3}
    embedding[3] = embedding[2] + 0.01
    embedding[4] = embedding[2] - 0.01
    assert unseen_tokens(words, embedding) == {2, 3, 4}
    plain = Vocabulary(("a", "b"), 2, ("a", "b"), frozenset())
    assert unseen_tokens(plain, embedding[:2]) == frozenset()


class _Pieces:
    """A tokenizer of whole words, spaces and all; anything else is one unknown piece."""

    def __init__(self, texts):
        self.numbers = {text: number for number, text in enumerate(texts)}

    def encode(self, texts):
        return [[self.numbers.get(text, f"unknown {text}")] for text in texts]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [(" pier", " Pier", True), (" pier", " piers", True), ("pier", " pier", True), (" pier", " dog", False)],
)
def test_forms_of_one_word_are_related(first, second, same):
    texts = (" pier", "pier", " Pier", " piers", " dog")
    words = Vocabulary(texts, len(texts), texts, frozenset())
    pair = texts.index(first), texts.index(second)
    assert related([pair[0]], [pair[1]], words, _Pieces(texts)).tolist() == [same]
