"""Features of a token that its own text decides: digits, capitals, white space, signs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.datasets.sampling import LEAST, Candidate, balanced, priorities, token_dataset
from rwcore.probing.datasets.source import Source, require_convention
from rwcore.probing.datasets.strings import PART, token_strings

Predicate = Callable[[str], bool]

FIRST_POSITION = 10
_FAMILY = "text"


def _matches(pattern: str) -> Predicate:
    whole = re.compile(pattern)
    return lambda text: whole.fullmatch(text) is not None


_CAPITALS = _matches(r"\s*[A-Z]+")

PREDICATES: Mapping[str, Predicate] = {
    "contains_digit": lambda text: any(character.isdecimal() for character in text),
    "all_digits": _matches(r"\s?\d+"),
    "contains_capital": lambda text: re.search("[A-Z]", text) is not None,
    "leading_capital": lambda text: text.removeprefix(" ")[:1].isupper(),
    "all_capitals": lambda text: _CAPITALS(text) and text not in ("I", " I", "A", " A"),
    "contains_whitespace": lambda text: re.search(r"\s", text) is not None,
    "has_leading_space": lambda text: text.startswith(" "),
    "no_leading_space_and_loweralpha": lambda text: text.isalpha() and text.islower(),
    "contains_all_whitespace": _matches(r"\s+"),
    "is_not_alphanumeric": _matches(r"\W+"),
    "is_not_ascii": lambda text: not text.isascii(),
}
"""What each published feature asks of the text of the current token."""

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    affixes[0]: affixes
    for affixes in (
        ("ise", "ize"), ("ate",), ("fy",), ("en",), ("tion", "sion"), ("er",), ("ment",), ("ant", "ent"),
        ("age",), ("al",), ("ence", "ance"), ("ry",), ("ism",), ("ship",), ("ity",), ("ness",), ("cy",),
        ("ent",), ("ive",), ("ous",), ("ful",), ("less",), ("able",),
    )
}  # fmt: skip
"""Groups of suffixes by their first one."""


def suffix_predicates() -> dict[str, Predicate]:
    """Whether a token ends in one of a group of suffixes, as ``suffix_ise`` and so on."""
    return {
        f"suffix_{name}": lambda text, affixes=affixes: text.endswith(affixes)  # type: ignore[misc]
        for name, affixes in SUFFIXES.items()
    }


def text_features(
    source: Source,
    corpus: TokenCorpus,
    *,
    predicates: Mapping[str, Predicate] = PREDICATES,
    size: int = 10_000,
    seed: int = 0,
    least: int = LEAST,
    name: str = "text_features",
    convention: str = FIXED,
) -> FeatureDataset:
    """Features of the current token's text, on the rows of a corpus.

    Candidates are tokens from position 10 on that are no special token. Of a token that is a part of a
    character it is known only that it is not ASCII, so other features are not asked of it.

    ``as_published``: of tokens that decode to the same text, and all parts of characters do, only the one
    with the largest id can be positive; and a feature is left out if ``f · size < 500`` with f its share.

    Args:
        source: The texts, for its tokenizer.
        corpus: Rows of these texts (published: windows of 256 tokens, `windowed`).
        predicates: What is asked, by name.
        size: Examples of a feature, between a fifth and half of them positive.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        name: Name of the data set.
        convention: ``fixed`` or ``as_published``.

    Source: sparse probing 3.4.
    """
    published = require_convention(convention)
    special = torch.tensor(sorted(source.encoder.tokenizer.all_special_ids), dtype=torch.int32)
    candidate = pooled(corpus, FIRST_POSITION) & ~torch.isin(corpus.tokens, special)
    place = candidate.nonzero().flatten()
    tokens = corpus.tokens[place].long()
    strings = token_strings(
        source.encoder, range(len(source.encoder.tokenizer)) if published else tokens.tolist()
    )
    priority = priorities(corpus, seed)
    parts = _table(strings, lambda text: PART in text)[tokens]
    chosen = []
    for feature, predicate in predicates.items():
        table = _table(_last_of_each(strings) if published else strings, predicate)
        one = Candidate(feature, _FAMILY, place, table[tokens])
        if published:
            if float(one.label.float().mean()) * size < 500:
                continue
        elif predicate is not PREDICATES["is_not_ascii"]:
            one = one.pick(~parts)
        chosen.append(balanced(one, size, 0.2, 0.5, priority))
    return token_dataset(name, corpus, chosen, least=1 if published else least)


def _last_of_each(strings: Mapping[int, str]) -> dict[int, str]:
    """Only the largest id of each text."""
    return {number: text for text, number in {text: number for number, text in strings.items()}.items()}


def _table(strings: Mapping[int, str], predicate: Predicate) -> Bool[Tensor, " id"]:
    """Whether each id has the feature; ids that are not asked about do not."""
    table = torch.zeros(max(strings, default=-1) + 1, dtype=torch.bool)
    table[[number for number, text in strings.items() if predicate(text)]] = True
    return table
