"""Common content words of our own texts that are single tokens: tokens to look at where none are named."""

from __future__ import annotations

import re
from collections import Counter

from rwcore.corpora.own_texts import handmade_documents
from rwcore.heads.function_words import own_words
from rwcore.models.vocabulary import Vocabulary

PROSE = ("genre", "fact")
"""Kinds of documents that are counted: English prose and verse."""
LEAST = 4
"""Letters of a word."""


def content_tokens(words: Vocabulary, count: int) -> list[int]:
    """Ids of the most frequent content words that are one token with the space before them.

    A word is a run of at least `LEAST` lower-case letters, so that names and beginnings of sentences are left
    out; function words (`rwcore.heads.function_words.own_words`) do not count. Of equally frequent ones the
    first by alphabet comes first.

    Args:
        words: The model's vocabulary.
        count: How many at most.
    """
    pattern = re.compile(rf"(?<![\w'-])[a-z]{{{LEAST},}}(?![\w'-])")
    found: Counter[str] = Counter()
    for one in handmade_documents():
        if one.labels["kind"] in PROSE:
            found.update(pattern.findall(one.text))
    common = sorted(found.keys() - own_words().words, key=lambda word: (-found[word], word))
    numbers = {text: number for number, text in reversed([*enumerate(words.texts)])}
    return [numbers[f" {word}"] for word in common if f" {word}" in numbers][:count]
