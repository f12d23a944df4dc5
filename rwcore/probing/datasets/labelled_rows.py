"""Features of whole texts: programming language, natural language, source of the text, or any label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import FIXED, MEAN, FeatureDataset
from rwcore.probing.datasets.sampling import LEAST, Candidate, row_dataset
from rwcore.probing.datasets.source import Row, Source, distinct, require_convention, rows_corpus


@dataclass(frozen=True)
class LabelFamily:
    """Features that say which label a document has, one feature per class against all others.

    Attributes:
        name: Name of the data set.
        key: The label of a document that names its class.
        classes: The classes, documents of others are dropped; none stands for all there are.
        context: Tokens of the longest row, BOS included.
        ignore_first: The first position that is pooled.
        probe_tokens: Tokens after it that a document must have, and one more.
    """

    name: str
    key: str
    classes: tuple[str, ...] = ()
    context: int = 512
    ignore_first: int = 1
    probe_tokens: int = 2


PROGRAMMING = LabelFamily(
    "programming_lang_id",
    "programming_language",
    ("C", "C++", "Go", "HTML", "Java", "JavaScript", "PHP", "Python", "XML"),
    ignore_first=100,
    probe_tokens=5,
)
"""The published classes; the labels were made by the classifier guesslang (probability 0.8 or more)."""
NATURAL = LabelFamily("natural_lang_id", "language", ("de", "el", "en", "es", "fr", "it", "nl", "pt", "sv"))
"""The nine most frequent languages of EuroParl."""
SOURCES = LabelFamily(
    "distribution_id",
    "source",
    (
        "arxiv",
        "enron",
        "freelaw",
        "github",
        "hackernews",
        "pubmed_abstracts",
        "stack_exchange",
        "uspto",
        "wikipedia",
    ),
    ignore_first=25,
)
"""Nine of the sources of the Pile."""


def labelled_rows(
    source: Source,
    family: LabelFamily,
    *,
    seed: int = 0,
    least: int = LEAST,
    pieces: bool = False,
    convention: str = FIXED,
) -> FeatureDataset:
    """One row per document, the mean over its tokens as a neuron's value, and one feature per class.

    Of a document of more than ``w = context − 1`` tokens a window at a random place is taken; a shorter one
    is a shorter row. A document needs more than ``ignore_first + probe_tokens`` tokens. Rows that came
    before are dropped. Pooled are the positions from ``ignore_first`` on.

    ``as_published``: the search for the end of a padded row found its BOS, so that all documents of fewer
    than w tokens were lost; the last place a window could have is never drawn; the last position is not
    pooled; rows may come twice.

    Args:
        source: Documents with the label ``family.key``.
        family: The classes and sizes.
        seed: Seed of the places of the windows. The published ones had none.
        least: Rows of either class that a feature must have.
        pieces: Cut a document into all its windows, one after the other, instead of drawing one.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: No document is long enough.

    Source: sparse probing 3.1, 3.2, 3.3.
    """
    published = require_convention(convention)
    rng = np.random.default_rng(seed)
    window = source.length(family.context) - len(source.bos)
    shortest = window if published else family.ignore_first + family.probe_tokens + 1
    chosen = [
        (number, document.labels[family.key])
        for number, document in enumerate(source.texts)
        if family.key in document.labels
        and (not family.classes or document.labels[family.key] in family.classes)
    ]
    ids = source.encoder.encode([source.texts[number].text for number, _ in chosen])
    rows = []
    for (number, _), text in zip(chosen, ids, strict=True):
        for start in _starts(len(text), window, shortest, rng, pieces=pieces, published=published):
            rows.append(Row(number, source.bos + text[start : start + window]))
    rows = rows if published else distinct(rows)
    first = source.bos[0] if source.bos else None
    corpus = rows_corpus(source, family.name, rows, bos=first)
    label_of = dict(chosen)
    labels = [label_of[row.document] for row in rows]
    # The published upper bound was exclusive.
    valid = pooled(corpus, family.ignore_first, last=not published)
    candidates = one_against_rest(labels, family.classes or sorted(set(labels)), family.name)
    return row_dataset(family.name, corpus, MEAN, valid, candidates, least=least)


def windowed(
    source: Source, name: str, *, context: int = 256, seed: int = 0, convention: str = FIXED
) -> TokenCorpus:
    """One row per document: BOS and a window of ``context − 1`` tokens at a random place, or all of it.

    ``as_published``: the last place a window could have is never drawn, and rows may come twice.

    Args:
        source: The documents.
        name: Name of the data set.
        context: Tokens of the longest row.
        seed: Seed of the places.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: There is no text.

    Source: sparse probing 3 (random window tokeniser), without its padding.
    """
    published = require_convention(convention)
    rng = np.random.default_rng(seed)
    window = source.length(context) - len(source.bos)
    ids = source.encoder.encode([document.text for document in source.texts])
    rows = [
        Row(number, source.bos + text[start : start + window])
        for number, text in enumerate(ids)
        for start in _starts(len(text), window, 1, rng, pieces=False, published=published)
    ]
    rows = rows if published else distinct(rows)
    return rows_corpus(source, name, rows, bos=source.bos[0] if source.bos else None)


def pooled(corpus: TokenCorpus, first: int, *, last: bool = True) -> Bool[Tensor, " token"]:
    """Which tokens stand at position ``first`` of their row or behind it, the last one or not."""
    position = torch.arange(corpus.n_tokens) - corpus.offsets[:-1].repeat_interleave(corpus.lengths)
    valid = position >= first
    if not last:
        valid[corpus.offsets[1:] - 1] = False
    return valid


def one_against_rest(labels: Sequence[str], classes: Sequence[str], family: str) -> list[Candidate]:
    """One feature per class over all rows."""
    place = torch.arange(len(labels))
    return [
        Candidate(name, family, place, torch.tensor([label == name for label in labels], dtype=torch.bool))
        for name in classes
    ]


def _starts(
    length: int, window: int, shortest: int, rng: np.random.Generator, *, pieces: bool, published: bool
) -> Iterator[int]:
    """Where the windows of a document of so many tokens begin."""
    if length < shortest:
        return
    if pieces:
        yield from (start for start in range(0, length, window) if length - start >= shortest)
    elif length <= window:
        yield 0
    else:
        yield int(rng.integers(length - window + (not published)))
