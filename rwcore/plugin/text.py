"""Which text a claim is asked on: the paper's for the paper's models, one without download for all others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rwcore.errors import CorpusError

if TYPE_CHECKING:
    from rwcore.ablation.last import Prompt
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.corpora.tokens import TokenCorpus

OWN = "handmade"
"""The text of models that are not the papers' own."""

STAND_IN_TOKENS = 2000
ABLATED_ROW = 96
"""Tokens of a row in ablated runs of models that are not the papers' own: the beginning of every document."""
HEAD_DOCUMENTS, HEAD_ROW, HEAD_SEED = 32, 48, 0
"""The text on which heads are studied: the beginnings of so many of our own documents, drawn at random. Every
head is asked there what its output does to predictions, which costs a forward pass for every few heads."""


def paper_text(corpus: str, tokens: int | None) -> CorpusSpec:
    """The paper's text, or its first rows.

    Args:
        corpus: Id of the corpus.
        tokens: How many tokens to read; None for all.
    """
    from rwcore.corpora.registry import find

    spec = find(corpus)
    most = [number for number in (spec.tokens, tokens) if number is not None]
    return dataclasses.replace(spec, tokens=min(most, default=None))


def own_text(encoder: TextEncoder, tokens: int | None) -> CorpusSpec:
    """Our own text, in rows that fit the model.

    Args:
        encoder: Tokenizer and limits of the model.
        tokens: How many tokens to read; None for all.
    """
    from rwcore.corpora.registry import find

    spec = find(OWN)
    return dataclasses.replace(spec, tokens=tokens, max_length=_row(spec, encoder))


def stand_in_text(encoder: TextEncoder) -> CorpusSpec:
    """A little of our own text: the beginnings of many documents, so that intervals have what they need."""
    return dataclasses.replace(own_text(encoder, STAND_IN_TOKENS), overflow=False)


def own_text_for_ablations(encoder: TextEncoder, tokens: int | None) -> CorpusSpec:
    """The beginnings of our own documents: intervals over documents need many of them, not long ones.

    Args:
        encoder: Tokenizer and limits of the model.
        tokens: How many tokens to read; None for all.
    """
    spec = own_text(encoder, tokens)
    length = min(spec.max_length or ABLATED_ROW, ABLATED_ROW)
    return dataclasses.replace(spec, max_length=length, overflow=False)


def own_text_for_heads(encoder: TextEncoder) -> CorpusSpec:
    """The beginnings of a few of our own documents, in rows of equal length.

    Args:
        encoder: Tokenizer and limits of the model.
    """
    spec = own_text(encoder, None)
    length = min(spec.max_length or HEAD_ROW, HEAD_ROW)
    return dataclasses.replace(
        spec, shuffle_seed=HEAD_SEED, documents=HEAD_DOCUMENTS, max_length=length, overflow=False
    )


def first_rows(corpus: TokenCorpus, count: int) -> TokenCorpus:
    """The first rows of a corpus.

    Args:
        corpus: The rows.
        count: How many, at most.
    """
    offsets = corpus.offsets[: count + 1]
    tokens, document = corpus.tokens[: int(offsets[-1])], corpus.document[:count]
    return dataclasses.replace(corpus, tokens=tokens, document=document, offsets=offsets)


def prompt_of(
    corpus: TokenCorpus,
    encoder: TextEncoder,
    *,
    row: int,
    position: int,
    tokens: tuple[str, str] | None,
) -> Prompt:
    """The beginning of a row, and the token after it.

    Args:
        corpus: The rows.
        encoder: Tokenizer of the model.
        row: Number of the row, in the paper's own build of the corpus.
        position: The last token of the prompt, from 0.
        tokens: Texts of this token and of the next one, by which the row is found, the nearest one to
            ``row``; None for the first row that is long enough.

    Raises:
        CorpusError: There is no such row.
    """
    from rwcore.ablation.last import Prompt

    starts = corpus.offsets[:-1]
    there = (corpus.lengths > position + 1).nonzero()[:, 0]
    wanted = "" if tokens is None else f" with {tokens[0]!r} and {tokens[1]!r} there"
    if tokens is not None:
        for place, ids in enumerate(encoder.encode(tokens)):
            there = there[corpus.tokens[starts[there] + position + place] == ids[0]]
        there = there[(there - row).abs().argsort(stable=True)]
    if not len(there):
        raise CorpusError(
            f"{corpus.spec.id} has no row of more than {position + 1} tokens{wanted}",
            where=f"row {row} of the paper",
            remedy="prepare the whole corpus with the paper's recipe",
        )
    ids = corpus.row(int(there[0])).tolist()
    return Prompt(tuple(ids[: position + 1]), following=ids[position + 1])


def _row(spec: CorpusSpec, encoder: TextEncoder) -> int | None:
    rows = [length for length in (spec.max_length, encoder.context) if length is not None]
    return min(rows, default=None)
