"""Features of tokens that the label of their document decides, or a stretch of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from rwcore.corpora.documents import Document
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.datasets.sampling import LEAST, Candidate, balanced, priorities, token_dataset
from rwcore.probing.datasets.source import Source
from rwcore.probing.datasets.spans import PlacedCorpus, Span

Finder = Callable[[str], Mapping[str, Sequence[Span]]]


def label_features(
    source: Source,
    placed: PlacedCorpus,
    key: str,
    *,
    name: str,
    first: int = 10,
    size: int = 10_000,
    seed: int = 0,
    least: int = LEAST,
) -> FeatureDataset:
    """One feature per value of a label: the tokens of documents with it against those of the others.

    Documents without the label do not count. Unlike `labelled_rows`, every token is an example.

    Args:
        source: The documents.
        placed: Their rows.
        key: The label.
        name: Name of the data set.
        first: The first position of a row that counts.
        size: Examples of a feature, between a fifth and half of them positive.
        seed: Seed of their choice.
        least: Examples of either class that a feature must have.
    """
    corpus = placed.corpus
    labels = [document.labels.get(key) for document in source.texts]
    classes = sorted({label for label in labels if label is not None})
    number = torch.tensor([-1 if label is None else classes.index(label) for label in labels])
    of_token = number[corpus.document].repeat_interleave(corpus.lengths)
    place = (pooled(corpus, first) & (of_token >= 0)).nonzero().flatten()
    priority = priorities(corpus, seed)
    chosen = [
        balanced(Candidate(f"{name}_{one}", name, place, of_token[place] == n), size, 0.2, 0.5, priority)
        for n, one in enumerate(classes)
    ]
    return token_dataset(name, corpus, chosen, least=least)


def span_features(
    source: Source,
    placed: PlacedCorpus,
    find: Finder,
    *,
    name: str,
    within: Callable[[Document], bool] = lambda document: True,
    among: Mapping[str, str] | None = None,
    first: int = 1,
    size: int = 10_000,
    seed: int = 0,
    least: int = LEAST,
) -> FeatureDataset:
    """One feature per kind of stretch: the tokens of such stretches against the other tokens.

    Args:
        source: The documents.
        placed: Their rows.
        find: What stretches a text has, by kind; the same kinds for every text.
        name: Name of the data set.
        within: Which documents count.
        among: Kind → the kind whose tokens alone are its negatives, for harder ones than any tokens; the
            latter kind is then no feature of its own.
        first: The first position of a row that counts.
        size: Examples of a feature, between a fifth and half of them positive.
        seed: Seed of their choice.
        least: Examples of either class that a feature must have.
    """
    corpus = placed.corpus
    labels: dict[str, Bool[Tensor, " token"]] = {}
    counts = torch.zeros(corpus.n_tokens, dtype=torch.bool)
    for number, document in enumerate(source.texts):
        if within(document):
            counts[placed.tokens_of(number)] = True
            for kind, spans in find(document.text).items():
                label = labels.setdefault(kind, torch.zeros(corpus.n_tokens, dtype=torch.bool))
                placed.mark(number, spans, label)
    counts &= pooled(corpus, first)
    priority = priorities(corpus, seed)
    rivals = among or {}
    chosen = []
    for kind, label in labels.items():
        if kind not in rivals.values():
            candidate = counts & (label | labels[rivals[kind]]) if kind in rivals else counts
            place = candidate.nonzero().flatten()
            chosen.append(balanced(Candidate(kind, name, place, label[place]), size, 0.2, 0.5, priority))
    return token_dataset(name, corpus, chosen, least=least)
