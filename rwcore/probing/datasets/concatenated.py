"""Texts that follow each other in full rows, as one library of the time cut them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import FIXED, MEAN, FeatureDataset
from rwcore.probing.datasets.labelled_rows import one_against_rest, pooled
from rwcore.probing.datasets.sampling import LEAST, row_dataset
from rwcore.probing.datasets.source import Row, Source, distinct, require_convention, rows_corpus

# What the published tokeniser took together, and into how many chunks it cut that before it tokenised.
_BATCH, _CHUNKS = 1000, 20


def concatenated_stream(
    source: Source, numbers: Sequence[int], *, convention: str = FIXED
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids of some documents, one after the other, and the document of each id, batch by batch.

    Fixed: every document is tokenised by itself and followed by the end-of-text token; there is one batch.

    ``as_published``: 1,000 documents at a time are joined with the end-of-text string, cut into 20 chunks of
    equally many characters (also within a word) and tokenised; then every padding token is dropped, and with
    it all the ends of documents, which were the same token.

    Args:
        source: The documents.
        numbers: Which of them, in their order.
        convention: ``fixed`` or ``as_published``.

    Source: sparse probing 3 (concatenating tokeniser) and trap 1.
    """
    published = require_convention(convention)
    end = source.encoder.end_of_text()
    if not published:
        ids = source.encoder.encode([source.texts[number].text for number in numbers])
        close = [] if end is None else [end]
        tokens = [token for text in ids for token in [*text, *close]]
        owners = [n for n, text in zip(numbers, ids, strict=True) for _ in range(len(text) + len(close))]
        yield tokens, owners
        return
    for first in range(0, len(numbers), _BATCH):
        yield _published_batch(source, numbers[first : first + _BATCH], end)


def _published_batch(source: Source, numbers: Sequence[int], end: int | None) -> tuple[list[int], list[int]]:
    between = "" if end is None else str(source.encoder.tokenizer.convert_ids_to_tokens(end))
    texts = [source.texts[number].text for number in numbers]
    whole = between.join(texts)
    owner = [n for n, text in zip(numbers, texts, strict=True) for _ in range(len(text) + len(between))]
    size = max(1, (len(whole) - 1) // _CHUNKS + 1)
    tokens: list[int] = []
    owners: list[int] = []
    for start in range(0, len(whole), size):
        # The string between two documents is their end here, not text; unless a chunk ends within it.
        chunk = source.encoder.tokenizer(
            whole[start : start + size], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for token, (place, _) in zip(chunk["input_ids"], chunk["offset_mapping"], strict=True):
            if token != end:
                tokens.append(token)
                owners.append(owner[min(start + place, len(owner) - 1)])
    return tokens, owners


def concatenated(
    source: Source,
    name: str,
    numbers: Sequence[int] | None = None,
    *,
    context: int = 1024,
    convention: str = FIXED,
) -> TokenCorpus:
    """Full rows of ``context`` tokens, BOS and what follows; what is left at the end of a batch is dropped.

    Args:
        source: The documents.
        name: Name of the data set.
        numbers: Which documents; by default all.
        context: Tokens of a row.
        convention: ``fixed`` or ``as_published``, see `concatenated_stream`.

    Raises:
        CorpusError: There is not enough text for one row.
    """
    rows = _full_rows(source, range(len(source.texts)) if numbers is None else numbers, context, convention)
    return rows_corpus(source, name, rows, bos=source.bos[0] if source.bos else None, layout="packed")


def _full_rows(source: Source, numbers: Sequence[int], context: int, convention: str) -> list[Row]:
    step = source.length(context) - len(source.bos)
    return [
        Row(owners[start], source.bos + tokens[start : start + step])
        for tokens, owners in concatenated_stream(source, numbers, convention=convention)
        for start in range(0, len(tokens) - len(tokens) % step, step)
    ]


def rows_by_source(
    source: Source, *, key: str = "source", context: int = 512, least: int = LEAST, convention: str = FIXED
) -> FeatureDataset:
    """Full rows of each source of the texts by itself, in alphabetical order, and which source it is.

    Args:
        source: Documents with a label ``key``.
        key: The label that names the source of a document.
        context: Tokens of a row.
        least: Rows of either class that a feature must have.
        convention: ``fixed`` (rows that came before are dropped, too) or ``as_published``.

    Raises:
        CorpusError: No source has enough text for one row.

    Source: sparse probing 3.11.
    """
    labelled = [
        (document.labels[key], n) for n, document in enumerate(source.texts) if key in document.labels
    ]
    rows: list[Row] = []
    for _, together in groupby(sorted(labelled), key=lambda one: one[0]):
        rows += _full_rows(source, [number for _, number in together], context, convention)
    rows = rows if require_convention(convention) else distinct(rows)
    first = source.bos[0] if source.bos else None
    corpus = rows_corpus(source, "pile_test", rows, bos=first, layout="packed")
    labels = [source.texts[row.document].labels[key] for row in rows]
    candidates = one_against_rest(labels, sorted(set(labels)), "source")
    valid = pooled(corpus, 1) if source.bos else torch.ones(corpus.n_tokens, dtype=torch.bool)
    return row_dataset("pile_test", corpus, MEAN, valid, candidates, least=least)
