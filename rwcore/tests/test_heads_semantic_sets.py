"""Sets of related tokens: forms of one word, itself first."""

from __future__ import annotations

import pytest

from rwcore.errors import OptionError
from rwcore.heads.semantic_sets import forms, semantic_sets
from rwcore.models.vocabulary import Vocabulary

TEXTS = ("<bos>", " pier", " Pier", "pier", " piers", "PIER", " of", "of", "1", " pier", "s")
WORDS = Vocabulary(TEXTS, len(TEXTS), TEXTS, frozenset({0}))


def named(token: int, size: int) -> list[str | None]:
    return [None if one < 0 else TEXTS[one] for one in semantic_sets(WORDS, size)[token].tolist()]


def test_itself_its_space_variant_its_number_then_capitals() -> None:
    assert named(1, 6) == [" pier", "pier", " piers", " Pier", "PIER", None]
    assert named(3, 3) == ["pier", " pier", " piers"]
    assert named(4, 3) == [" piers", " pier", "pier"]


def test_short_words_have_no_plural_and_what_is_no_word_no_forms() -> None:
    assert named(6, 3) == [" of", "of", None]
    assert named(8, 2) == ["1", None]
    assert named(0, 2) == ["<bos>", None]
    assert "ofs" not in forms("of")


def test_a_token_with_the_text_of_another_is_itself() -> None:
    assert semantic_sets(WORDS, 2)[9].tolist() == [9, -1]


def test_sets_of_one_are_the_tokens() -> None:
    assert semantic_sets(WORDS, 1)[:, 0].tolist() == list(range(len(TEXTS)))
    with pytest.raises(OptionError):
        semantic_sets(WORDS, 0)
