"""Function words: which tokens of a vocabulary a list means."""

from __future__ import annotations

from pathlib import Path

import pytest

from rwcore.errors import OptionError, StoreError
from rwcore.heads.function_words import AS_PUBLISHED, FunctionWords, own_words, published_words
from rwcore.models.vocabulary import Vocabulary

TEXTS = ("<bos>", " The", "the", "THE", " pier", " ", "\n\n", ".", " ...", "n't", "<end>", " theory")
WORDS = Vocabulary(TEXTS, len(TEXTS), TEXTS, frozenset({0}))


def chosen(words: FunctionWords, ends: tuple[int, ...] = ()) -> set[str]:
    return {TEXTS[place] for place in words.tokens(WORDS, ends).nonzero()[:, 0].tolist()}


def test_own_words_have_any_case_and_spaces() -> None:
    found = chosen(own_words(), ends=(10,))
    assert found == {"<bos>", " The", "the", "THE", " ", "\n\n", ".", "n't", "<end>"}


def test_a_padding_token_without_a_row_is_no_function_word() -> None:
    padded = Vocabulary(TEXTS, len(TEXTS), TEXTS, frozenset({0, len(TEXTS)}))
    assert own_words().tokens(padded).tolist() == own_words().tokens(WORDS).tolist()


def test_own_words_are_lower_case_single_and_of_every_kind() -> None:
    words = own_words().words
    assert 200 < len(words) < 500
    assert all(word == word.strip().lower() for word in words)
    assert {"the", "she", "between", "nor", "might", "whose", "however", "'s", "?"} <= words
    assert not words & {"pier", "love", "time", "people", "#"}


def test_published_words_are_exact(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('index,token_json\n0,""" The"""\n1,"""\\n\\n"""\n2,"""<end>"""\n', encoding="utf-8")
    words = published_words(file)
    assert words.name == AS_PUBLISHED
    # Special tokens count, whatever a list says.
    assert chosen(words) == {"<bos>", " The", "\n\n", "<end>"}


def test_files_that_are_no_list(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no list of function words"):
        published_words(tmp_path / "missing.csv")
    file = tmp_path / "list.csv"
    for text in ("word\nthe\n", "token_json\nthe\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(StoreError, match="token_json"):
            published_words(file)
    for text in ("token_json\n", "token_json\n3\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(OptionError, match="empty, or has something else"):
            published_words(file)
