"""Pairs of words that mean something else together: is the second word the end of the pair?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from rwcore.probing.datasets.concatenated import concatenated_stream
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED, FeatureDataset
from rwcore.probing.datasets.sampling import LEAST, Candidate, token_dataset
from rwcore.probing.datasets.source import Row, Source, require_convention, rows_corpus
from rwcore.probing.datasets.strings import token_strings

PAIRS = (
    ("high", "school"), ("living", "room"), ("social", "security"), ("credit", "card"), ("blood", "pressure"),
    ("prime", "factors"), ("social", "media"), ("gene", "expression"), ("control", "group"),
    ("magnetic", "field"), ("cell", "lines"), ("trial", "court"), ("second", "derivative"),
    ("north", "america"), ("human", "rights"), ("side", "effects"), ("public", "health"),
    ("federal", "government"), ("third", "party"), ("clinical", "trials"), ("mental", "health"),
)  # fmt: skip
"""The published pairs, first and second word."""

CONTEXT = 24
POSITIVES, NEGATIVES = 1600, 3200


@dataclass(frozen=True, eq=False)
class Occurrences:
    """Where a pair and its parts stand in a stream; the place is that of the token to be probed.

    Attributes:
        positive: The second word right behind the first.
        missing_first: The second word behind something else.
        missing_second: Something else right behind the first word.
    """

    positive: Int64[np.ndarray, " both"]
    missing_first: Int64[np.ndarray, " second"]
    missing_second: Int64[np.ndarray, " first"]


def occurrences(
    tokens: Int64[np.ndarray, " token"], first: Iterable[int], second: Iterable[int]
) -> Occurrences:
    """The three kinds of place of a pair; the first token of the stream is none of them.

    Args:
        tokens: The stream.
        first: Ids that are the first word.
        second: Ids that are the second word.

    Source: sparse probing 3.6.
    """
    is_first, is_second = np.isin(tokens[:-1], list(first)), np.isin(tokens[1:], list(second))
    places = (
        np.flatnonzero(found) + 1
        for found in (is_first & is_second, ~is_first & is_second, is_first & ~is_second)
    )
    return Occurrences(*places)


def word_ids(strings: dict[int, str], word: str) -> list[int]:
    """The tokens that are a word by themselves, in any case and with or without white space around it."""
    return [number for number, text in strings.items() if text.strip().lower() == word]


def compound_words(
    source: Source,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    context: int = CONTEXT,
    positives: int = POSITIVES,
    negatives: int = NEGATIVES,
    seed: int = 0,
    least: int = LEAST,
    convention: str = FIXED,
) -> FeatureDataset:
    """Windows that end at the second word of a pair (positive) or at one of its two kinds of negatives.

    Fixed: a window stays within its document and begins with BOS, so it may be shorter; windows that came
    before (in the same feature) are dropped.

    ``as_published``: the stream of `concatenated_stream` without ends of documents, windows of exactly
    ``context`` tokens without BOS, so that another text's end may be in them and their first token takes the
    attention that BOS would get.

    Args:
        source: The texts.
        pairs: First and second word of each pair; both must be one token.
        context: Tokens of a window, BOS included where there is one.
        positives: Windows of either pair that are positive, at most.
        negatives: Windows of each kind of negative, at most.
        seed: Seed of the choice.
        least: Windows of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: No pair occurs.

    Source: sparse probing 3.6 and trap 10.
    """
    published = require_convention(convention)
    tokens, owner = _stream(source, published=published)
    strings = token_strings(source.encoder, np.unique(tokens).tolist())
    before = np.zeros(len(tokens), dtype=np.int64)  # the first place that a window may reach back to
    if not published:
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        before = np.repeat(starts, np.diff(starts, append=len(tokens)))
    width = context if published else context - len(source.bos)
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    labels: list[tuple[str, int, list[bool]]] = []
    for pair in pairs:
        found = occurrences(tokens, *(word_ids(strings, word) for word in pair))
        windows: list[Row] = []
        label: list[bool] = []
        seen: set[tuple[int, ...]] = set()
        for places, most in (
            (found.positive, positives),
            (found.missing_first, negatives),
            (found.missing_second, negatives),
        ):
            inside = places[places >= width - 1] if published else places[before[places] < places]
            taken = 0
            for place in rng.permutation(inside).tolist():
                window = tokens[max(before[place], place - width + 1) : place + 1].tolist()
                if taken < most and (published or tuple(window) not in seen):
                    seen.add(tuple(window))
                    windows.append(Row(int(owner[place]), window if published else source.bos + window))
                    label.append(places is found.positive)
                    taken += 1
        labels.append(("-".join(pair), len(rows), label))
        rows += windows
    bos = source.bos[0] if source.bos and not published else None
    corpus = rows_corpus(source, "compound_words", rows, bos=bos)
    last = corpus.offsets[1:] - 1
    candidates = [
        Candidate(name, "compound", last[start : start + len(label)], torch.tensor(label, dtype=torch.bool))
        for name, start, label in labels
    ]
    return token_dataset("compound_words", corpus, candidates, least=least)


def _stream(
    source: Source, *, published: bool
) -> tuple[Int64[np.ndarray, " token"], Int64[np.ndarray, " token"]]:
    """The ids of all texts and the document of each; published, whole rows of 1,023 of each batch."""
    tokens: list[Int64[np.ndarray, " token"]] = []
    owner: list[Int64[np.ndarray, " token"]] = []
    convention = AS_PUBLISHED if published else FIXED
    for ids, owners in concatenated_stream(source, range(len(source.texts)), convention=convention):
        # The published stream had been cut into rows of 1,024, their BOS removed.
        whole = len(ids) - len(ids) % (source.length(1024) - len(source.bos)) if published else len(ids)
        # Arrays, as lists of the hundreds of millions of tokens of the published text fill the memory.
        tokens.append(np.array(ids[:whole], dtype=np.int64))
        owner.append(np.array(owners[:whole], dtype=np.int64))
    return np.concatenate(tokens), np.concatenate(owner)
