"""Sets of tokens that are forms of one word: with a space and without, capitals, singular and plural.

A head that suppresses copies of " pier" may write against " Pier" and " piers", too. The published sets also
hold forms of verbs and pieces of words, from a dictionary and a grammar that are not part of this project;
ours are smaller.

Source: copy suppression specification, sections 9.1 and 9.2 (equivalents, "mini" forms).
"""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.errors import require_least
from rwcore.heads.cspa_filter import NO_TOKEN
from rwcore.models.vocabulary import Vocabulary

LONGEST_LEFT_ALONE = 2
"""Letters of words that have no plural here."""


def semantic_sets(words: Vocabulary, size: int) -> Int64[Tensor, "vocab set"]:
    """Of every token the first ``size`` forms of its word that are tokens, itself first.

    The order: itself; the same with or without the space before it; the other number (plural or singular)
    with a space and without; then all of these in lower case, with a capital and in capitals.

    Args:
        words: The model's vocabulary.
        size: Length of the sets; shorter ones are filled up with `rwcore.heads.cspa_filter.NO_TOKEN`.

    Raises:
        OptionError: Sets of less than one token.
    """
    require_least("--related", size, 1)
    numbers: dict[str, int] = {}
    for number, text in enumerate(words.texts):
        if number not in words.special:
            numbers.setdefault(text, number)
    found = torch.full((len(words), size), NO_TOKEN)
    for number, text in enumerate(words.texts):
        own = {number: None}
        others = (numbers[form] for form in forms(text) if form in numbers)
        # A token that is no word, or whose text another one has, too, is related to itself alone.
        every = list({**own, **dict.fromkeys(others)} if numbers.get(text) == number else own)[:size]
        found[number, : len(every)] = torch.tensor(every)
    return found


def forms(text: str) -> list[str]:
    """Forms of the word that a token is, itself first; a token that is no word has none but itself."""
    word = text.removeprefix(" ")
    if not word.isalpha():
        return [text]
    bare = [word]
    if len(word) > LONGEST_LEFT_ALONE:
        bare.append(word[:-1] if word.lower().endswith("s") else word + "s")
    spaced = [text, word if text.startswith(" ") else f" {word}"]
    for one in bare[1:]:
        spaced += [f" {one}", one]
    cased = [change(one) for one in bare for change in (str.lower, str.capitalize, str.upper)]
    return list(dict.fromkeys([*spaced, *(f" {one}" for one in cased), *cased]))
