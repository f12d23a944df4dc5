"""Attribute sets: which tokens of passages count, in both conventions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.attribute_sets import AttributeSets, attribute_sets, decoded
from rwcore.attributes.passages import Passage
from rwcore.attributes.stop_words import STOP_WORDS
from rwcore.benchmarks.reference.attributes_rate import attributes_of
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import OptionError
from rwcore.tests.corpus_makers import END, byte_tokenizer, encoder

WORDS = (END, " Paris", "Paris", " The", " the", " These", " river", " ox", " Seine", " itself", " its")
TEXTS = (
    *(bytes([byte]).decode("utf-8", errors="surrogateescape") for byte in range(256)),
    *WORDS,
    " Paris",  # another id of the same text
    f"<unused {256 + len(WORDS) + 1}>",
)
CONVENTIONS = (FIXED, AS_PUBLISHED)


def word_encoder(context: int | None = None) -> TextEncoder:
    """Some words are tokens, all else is bytes."""
    tokenizer = byte_tokenizer(*WORDS, special=False, eos_token=END)
    return encoder(tokenizer, vocab=len(TEXTS), context=context)


def made(convention: str, context: int | None = None, **passages: list[str]) -> AttributeSets:
    return attribute_sets(
        {subject: tuple(Passage("title", text) for text in texts) for subject, texts in passages.items()},
        [*passages, "nobody"],
        word_encoder(context),
        TEXTS,
        convention=convention,
    )


def members(sets: AttributeSets, row: int = 0) -> set[str]:
    return {TEXTS[number] for number in sets.member[row].nonzero()[:, 0].tolist()}


def test_the_stop_words_are_the_179_of_nltk() -> None:
    assert len(STOP_WORDS) == 179
    assert {"i", "mightn't", "you've", "ma", "wouldn", "themselves"} <= STOP_WORDS
    assert not {"would", "us", "could", "upon", "he'd"} & STOP_WORDS
    assert all(word == word.lower().strip() for word in STOP_WORDS)


def test_words_count_and_short_ones_do_not() -> None:
    sets = made(FIXED, a=["the river Seine", "Paris ox the"])
    # The first word of a passage has the space that is put before it.
    assert members(sets) == {" river", " Seine", " Paris"}
    assert sets.member[0, TEXTS.index(" Paris")]
    assert sets.member[0, len(TEXTS) - 2]  # the other id
    assert not sets.member[0, TEXTS.index("Paris")]
    assert sets.sizes.tolist() == [3, 0]


def test_stop_words_with_a_capital_are_attributes_as_published() -> None:
    text = ["The river. These"]
    assert members(made(AS_PUBLISHED, a=text)) == {" The", " These", " river", END}
    assert members(made(FIXED, a=text)) == {" river"}
    for convention in CONVENTIONS:  # and never predictions
        counted = made(convention, a=text).counted
        assert [TEXTS[number] for number in counted.nonzero()[:, 0].tolist()] == [
            END, " Paris", "Paris", " river", " Seine", " Paris"
        ]  # fmt: skip


def test_as_published_the_text_ends_with_the_context_and_bos_is_in_it() -> None:
    texts = ["Paris river", "Seine"]
    assert members(made(AS_PUBLISHED, 3, a=texts)) == {END, " Paris", " river"}
    assert members(made(AS_PUBLISHED, 4, a=texts)) == {END, " Paris", " river", " Seine"}
    assert members(made(FIXED, 3, a=texts)) == {" Paris", " river", " Seine"}


def test_who_has_a_rate() -> None:
    """A subject without attributes has none; as published, one that passages were looked up for has one."""
    given = {"a": ["river"], "b": [], "c": ["ox the"]}
    assert made(FIXED, **given).rated.tolist() == [True, False, False, False]
    assert made(AS_PUBLISHED, **given).rated.tolist() == [True, True, True, False]
    assert members(made(AS_PUBLISHED, **given), row=1) == {END}


def test_equal_texts_have_one_number() -> None:
    string = made(FIXED, a=["river"]).string
    same = [number for number, text in enumerate(TEXTS) if text == " Paris"]
    assert len({int(string[number]) for number in same}) == 1
    assert len(string.unique()) == len({decoded(text) for text in TEXTS})


def test_bytes_that_are_no_character_are_one_sign() -> None:
    whole = "🙂".encode()
    half = whole[:3].decode("utf-8", errors="surrogateescape")
    assert len(half) == 3
    assert decoded(half) == whole[:3].decode("utf-8", errors="replace") == "�"
    assert decoded(" naïve") == " naïve"


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(OptionError, match="convention"):
        made("published", a=["river"])


@given(
    st.lists(st.lists(st.sampled_from(["Paris", "The", "the", "river", "ox", "itself", "ü"])), max_size=4),
    st.sampled_from(CONVENTIONS),
    st.integers(1, 12),
)
def test_the_reference_finds_the_same(words: list[list[str]], convention: str, context: int) -> None:
    texts = [" ".join(one) for one in words]
    published = convention == AS_PUBLISHED
    tokenizer = word_encoder(context)
    wanted = attributes_of(
        texts,
        lambda text: tokenizer.encode([text])[0],
        lambda token: decoded(TEXTS[token]),
        STOP_WORDS,
        bos=tokenizer.bos("model") if published else None,
        context=context if published else None,
        cased=published,
    )
    found = made(convention, context, a=texts)
    assert {decoded(text) for text in members(found)} == wanted
    assert int(found.sizes[0]) == len(wanted)
    assert not found.member[1].any()
    assert found.member.dtype == torch.bool
