"""Labelled stretches of characters, and the tokens they cover."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError
from rwcore.probing.datasets.source import Row, Source, rows_corpus
from rwcore.probing.datasets.strings import Placed, encode_placed

Span = tuple[int, int]
"""The characters ``text[start:end]``."""


@dataclass(frozen=True, eq=False)
class PlacedCorpus:
    """Rows of tokens that know where in their texts they stand.

    Attributes:
        corpus: The rows.
        start: First character of each token in the text of its document; −1 of the token at the beginning.
        end: The character behind it; −1 of the token at the beginning.
    """

    corpus: TokenCorpus
    start: Int64[Tensor, " token"]
    end: Int64[Tensor, " token"]

    def tokens_of(self, document: int) -> Int64[Tensor, " token"]:
        """Places in ``corpus.tokens`` of the tokens of a document, without those at the beginning."""
        rows = (self.corpus.document == document).nonzero().flatten()
        bounds = self.corpus.offsets
        places = [torch.arange(int(bounds[row]), int(bounds[row + 1])) for row in rows]
        place = torch.cat(places) if places else torch.zeros(0, dtype=torch.int64)
        return place[self.start[place] >= 0]

    def mark(self, document: int, spans: Iterable[Span], label: Bool[Tensor, " token"]) -> None:
        """Set the label of every token that stands for a character of one of the spans."""
        place = self.tokens_of(document)
        start, end = self.start[place], self.end[place]
        for low, high in spans:
            label[place[(start < high) & (end > low)]] = True


def placed_rows(
    source: Source, name: str, *, context: int, most: Sequence[int] | None = None, bos: bool = True
) -> PlacedCorpus:
    """Every document in rows of at most ``context`` tokens, with the place of each token in its text.

    Rows that came before are dropped.

    Args:
        source: The documents.
        name: Name of the data set.
        context: Tokens of the longest row.
        most: Rows of each document, at most; by default all.
        bos: Whether rows begin with the model's BOS.

    Raises:
        CorpusError: The tokenizer does not say where its tokens stand, or there is no text.
    """
    first = source.bos if bos else []
    step = source.length(context) - len(first)
    rows: list[Row] = []
    starts: list[Tensor] = []
    ends: list[Tensor] = []
    seen: set[tuple[int, ...]] = set()
    none = torch.full((len(first),), -1)
    for number, placed in enumerate(encode_placed(source.encoder, [text.text for text in source.texts])):
        for cut in range(0, len(placed.ids), step)[: None if most is None else most[number]]:
            part = slice(cut, cut + step)
            tokens = tuple(placed.ids[part])
            if tokens not in seen:
                seen.add(tokens)
                rows.append(Row(number, [*first, *tokens]))
                starts += [none, placed.start[part]]
                ends += [none, placed.end[part]]
    corpus = rows_corpus(source, name, rows, bos=first[0] if first else None)
    return PlacedCorpus(corpus, torch.cat(starts), torch.cat(ends))


def matches(pattern: re.Pattern[str], text: str, group: int | str = 0) -> list[Span]:
    """Where a group of a pattern stands in a text."""
    return [found.span(group) for found in pattern.finditer(text) if found.start(group) >= 0]


def require_inside(spans: Sequence[Span], text: str, where: str) -> None:
    """Check that spans are characters of a text.

    Raises:
        CorpusError: One of them is empty or reaches beyond the text.
    """
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise CorpusError(
                f"the span {start} to {end} is no stretch of a text of {len(text)} characters",
                where=where,
                remedy="count characters, from 0; the end is the character behind the last one",
            )


def published_range(placed: Placed, span: Span) -> slice:
    """The tokens that the published code marks for a span, of the tokens of a window.

    From the token of its first character up to, not including, the token of its end character. The token of
    a character that stands behind the window is −1, so a span that reaches over the end of the window stops
    before the last token, and one that begins behind it is the empty slice ``[−1:−1]``.

    Source: sparse probing 3.7 and trap 6.
    """
    return slice(_token_of(placed, span[0]), _token_of(placed, span[1]))


def _token_of(placed: Placed, character: int) -> int:
    # Tokens leave no gap, so the first one that ends behind a character holds it.
    found = (placed.end > character).nonzero().flatten()
    return int(found[0]) if len(found) else -1
