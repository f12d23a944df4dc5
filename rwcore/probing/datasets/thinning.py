"""Fewer rows of a corpus, with all its kinds of documents: for a pass that takes minutes."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.probing.datasets.spans import PlacedCorpus


def thinned(placed: PlacedCorpus, kinds: Sequence[Hashable], tokens: int, *, seed: int = 0) -> PlacedCorpus:
    """The corpus with fewer rows, about ``tokens`` tokens in all, in their order.

    Every kind of document gets the same number of tokens, and one that has fewer is kept whole; what it
    leaves is shared among the others. So small kinds are never missing, and large ones shrink. Of a kind,
    rows are taken from as many documents as can be: a second row of a document when all have given their
    first. Each kind keeps one row, even where that makes more tokens than were asked for.

    Args:
        placed: The rows.
        kinds: The kind of each document, by its number.
        tokens: How many there are to be, at most.
        seed: Seed of the choice.
    """
    corpus = placed.corpus
    if corpus.n_tokens <= tokens:
        return placed
    names = list(dict.fromkeys(kinds[document] for document in corpus.document.tolist()))
    kind = torch.tensor([names.index(kinds[document]) for document in corpus.document.tolist()])
    sizes = torch.zeros(len(names), dtype=torch.int64).index_add_(0, kind, corpus.lengths)
    level = water_level(sizes, tokens)
    order = _order(corpus.document, seed)
    kept = []
    for number in range(len(names)):
        rows = order[kind[order] == number]
        fits = corpus.lengths[rows].cumsum(dim=0) <= level
        kept.append(rows[: max(1, int(fits.sum()))])
    return with_rows(placed, torch.cat(kept).sort().values)


def water_level(sizes: Int64[Tensor, " kind"], total: int) -> int:
    """The largest level at which ``Σ min(size, level) ≤ total``; the largest size, if all of it fits."""
    left = total
    ascending = sizes.sort().values.tolist()
    for number, size in enumerate(ascending):
        share = left // (len(ascending) - number)
        if size > share:
            return int(share)
        left -= size
    return int(ascending[-1])


def with_rows(placed: PlacedCorpus, rows: Int64[Tensor, " row"]) -> PlacedCorpus:
    """The corpus of some rows, given in their order; documents keep their numbers."""
    corpus = placed.corpus
    chosen = torch.zeros(len(corpus), dtype=torch.bool)
    chosen[rows] = True
    token = chosen.repeat_interleave(corpus.lengths)
    fewer = dataclasses.replace(
        corpus,
        tokens=corpus.tokens[token],
        document=corpus.document[rows],
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), corpus.lengths[rows].cumsum(dim=0)]),
    )
    return PlacedCorpus(fewer, placed.start[token], placed.end[token])


def _order(document: Int64[Tensor, " row"], seed: int) -> Int64[Tensor, " row"]:
    """The rows in the order they are taken: one row of every document, then a second one of every document.

    Which row of a document is its first, and which document comes first, is drawn.
    """
    drawn = torch.randperm(len(document), generator=torch.Generator().manual_seed(seed))
    by_document = drawn[document[drawn].argsort(stable=True)]
    starts = torch.ones(len(document), dtype=torch.bool)
    starts[1:] = document[by_document].diff() != 0
    place = torch.arange(len(document))
    first = torch.where(starts, place, 0).cummax(dim=0).values
    turn = torch.empty_like(place)
    turn[by_document] = place - first
    return drawn[turn[drawn].argsort(stable=True)]
