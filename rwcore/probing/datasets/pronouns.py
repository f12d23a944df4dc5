"""English pronouns of the third person singular, and their gender."""

from __future__ import annotations

import re

from rwcore.probing.datasets.spans import Span, matches

_WORDS = {
    "Gender_Fem": ("she", "her", "hers", "herself"),
    "Gender_Masc": ("he", "him", "his", "himself"),
    "Gender_Neut": ("it", "its", "itself"),
}
_ANY = "Gender"

GENDERED = dict.fromkeys(_WORDS, _ANY)
"""Features that are told from the pronouns of the other genders only."""


def pronoun_spans(text: str) -> dict[str, list[Span]]:
    """The pronouns of each gender in a text, and all of them, for `labelled_tokens.span_features`.

    Of a treebank, the gender of such a word is annotated; here the word decides, with or without a capital
    (``IT`` is none). Every token of a word counts, as there.

    Source: sparse probing 3.5 (Gender).
    """
    found = {name: matches(_pattern(words), text) for name, words in _WORDS.items()}
    return {**found, _ANY: [span for spans in found.values() for span in spans]}


def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(f"[{word[0]}{word[0].upper()}]{word[1:]}" for word in words)
    return re.compile(rf"\b(?:{either})\b")
