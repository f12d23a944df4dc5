"""Texts with the tokenizer that reads them, and rows of tokens made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from rwcore.corpora.documents import Document, documents
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokens import RowPolicy, TokenCorpus
from rwcore.errors import CorpusError
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED


@dataclass(frozen=True)
class Source:
    """The documents that a data set is made of.

    Attributes:
        spec: Where they come from.
        encoder: The tokenizer and the limits of the model.
        texts: The documents, in the order of the source.
    """

    spec: CorpusSpec
    encoder: TextEncoder
    texts: tuple[Document, ...]

    @property
    def bos(self) -> list[int]:
        """What a row begins with: the model's own BOS."""
        first = self.encoder.bos(self.spec.bos)
        return [] if first is None else [first]

    def length(self, wanted: int) -> int:
        """Tokens of a row: as many as the published data set has, or the model has positions for."""
        return wanted if self.encoder.context is None else min(wanted, self.encoder.context)


def read_source(spec: CorpusSpec, encoder: TextEncoder, texts: Iterable[Document] | None = None) -> Source:
    """The documents of a corpus, or given ones, all in memory.

    Raises:
        CorpusError: As of `rwcore.corpora.documents.documents`.
    """
    return Source(spec, encoder, tuple(documents(spec) if texts is None else texts))


@dataclass(frozen=True)
class Row:
    """One row of tokens.

    Attributes:
        document: Number of the document it comes from.
        tokens: Its ids, with the token at its beginning.
    """

    document: int
    tokens: list[int]


def rows_corpus(
    source: Source, name: str, rows: Sequence[Row], *, bos: int | None, layout: str = "ragged"
) -> TokenCorpus:
    """A corpus of rows that were made of a source.

    Args:
        source: Where they come from.
        name: Name of the data set; the id of the corpus.
        rows: The rows, in their order.
        bos: What each of them begins with.
        layout: ``ragged`` or ``packed``.

    Raises:
        CorpusError: There is no row.
    """
    if not rows:
        raise CorpusError(
            f"the data set {name!r} has no rows: none of the {len(source.texts)} texts is long enough or has "
            "what it needs",
            where=source.spec.location or source.spec.id,
            remedy="give more or longer texts, or a shorter context",
        )
    lengths = torch.tensor([0, *(len(row.tokens) for row in rows)])
    longest = int(lengths.max())
    spec = dataclasses.replace(
        source.spec, id=name, max_length=max(longest, 2), overflow=False, layout=layout, separator="none",
        bos="none" if bos is None else source.spec.bos,
    )  # fmt: skip
    return TokenCorpus(
        spec,
        RowPolicy(bos, None, longest, overflow=False, layout=layout),
        tokens=torch.tensor([token for row in rows for token in row.tokens], dtype=torch.int32),
        document=torch.tensor([row.document for row in rows]),
        offsets=lengths.cumsum(0),
        tokenizer_hash=source.encoder.hash,
        model=source.encoder.model,
    )


def distinct(rows: Iterable[Row]) -> list[Row]:
    """The rows without those whose tokens came before, which a split could put on both of its sides."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for row in rows:
        tokens = tuple(row.tokens)
        if tokens not in seen:
            seen.add(tokens)
            kept.append(row)
    return kept


def require_convention(convention: str) -> bool:
    """Whether a data set is to be made as published, with its mistakes.

    Raises:
        ValueError: There is no such convention.
    """
    if convention not in (FIXED, AS_PUBLISHED):
        raise ValueError(f"{convention!r} is neither {FIXED!r} nor {AS_PUBLISHED!r}")
    return convention == AS_PUBLISHED
