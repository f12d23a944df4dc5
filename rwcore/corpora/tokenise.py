"""Documents become rows of token ids, by the recipe of a corpus."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import torch

from rwcore.corpora.documents import Document, documents
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokens import RowPolicy, TokenCorpus
from rwcore.errors import CorpusError
from rwcore.runtime import counting

# Characters tokenised in one call: enough for the tokenizer's threads, little beyond the last row needed. The
# tokenizer keeps some hundred bytes per token while it works, so long documents must not come by the dozen.
_TOGETHER = 2**18


def tokenise(spec: CorpusSpec, encoder: TextEncoder, texts: Iterable[Document] | None = None) -> TokenCorpus:
    """The rows of a corpus for one model's tokenizer.

    With T(d) the ids of document d without special tokens, b the BOS (or nothing) and S the longest row, a
    ragged row is ``b + T(d)`` cut after S ids; with overflow the rest follows in further rows, each with its
    own b. An empty document is the row b, or none without BOS. With full rows a document with
    |b| + |T(d)| ≤ S is left out. Packed rows are b and S − |b| ids each of
    ``T(d₀) + T(d₁) + …`` (with the separator after every document, if there is one); what is left at the end
    is dropped. No EOS is appended. Rows are taken until their running count of ids, BOS included, first
    reaches ``spec.tokens``; no document after that is read.

    Args:
        spec: The recipe.
        encoder: The tokenizer and the limits of the model.
        texts: The documents; by default those of the spec.

    Raises:
        CorpusError: The source cannot be read or holds no text; the tokenizer does not fit the model; or the
            rows are longer than the model's context.

    Source: neuroscope 2; ablations and frequencies 0.1; sparse probing 3 (concatenating tokeniser).
    """
    policy = row_policy(spec, encoder)
    tokens = array("i")
    offsets, numbers = array("q", [0]), array("q")
    # 0: nobody knows how many there are.
    with counting(desc=f"tokenising {spec.id}", total=spec.tokens or 0, unit=" tokens") as count:
        for number, row in rows_of(spec, encoder, texts):
            tokens.extend(row)
            offsets.append(len(tokens))
            numbers.append(number)
            count(len(row))
            if spec.tokens is not None and len(tokens) >= spec.tokens:
                break
    if len(tokens) == len(numbers) * (policy.bos is not None):
        full = policy.layout == "packed" or spec.full_rows
        short = f"not enough for one row of {policy.max_length} tokens" if full else "no"
        raise CorpusError(
            f"the corpus {spec.id!r} holds {short} text",
            where=spec.location or spec.source,
            remedy="name a file or folder with text" + (", or shorter rows" if short != "no" else ""),
        )
    return TokenCorpus(
        spec,
        policy,
        tokens=torch.frombuffer(tokens, dtype=torch.int32).clone(),
        offsets=torch.frombuffer(offsets, dtype=torch.int64).clone(),
        document=torch.frombuffer(numbers, dtype=torch.int64).clone(),
        tokenizer_hash=encoder.hash,
        model=encoder.model,
    )


def rows_of(
    spec: CorpusSpec, encoder: TextEncoder, texts: Iterable[Document] | None = None
) -> Iterator[tuple[int, list[int]]]:
    """The rows of a corpus one by one, without an end at ``spec.tokens``.

    Args:
        spec: The recipe.
        encoder: The tokenizer and the limits of the model.
        texts: The documents; by default those of the spec.

    Yields:
        The number of the document that the row begins in, and the ids of the row.

    Raises:
        CorpusError: As of `tokenise`.
    """
    policy = row_policy(spec, encoder)
    ids = _encoded(documents(spec) if texts is None else texts, encoder)
    if spec.full_rows:
        least = policy.max_length - (policy.bos is not None)
        ids = (one for one in ids if len(one[1]) > least)
    yield from _packed(ids, policy) if policy.layout == "packed" else _ragged(ids, policy)


def row_policy(spec: CorpusSpec, encoder: TextEncoder) -> RowPolicy:
    """How a recipe makes rows for one model.

    Raises:
        CorpusError: The rows would be longer than the model's context, or nothing says how long it is; or
            the tokenizer lacks the token that the recipe asks for.
    """
    longest = encoder.context if spec.max_length is None else spec.max_length
    if longest is None:
        raise CorpusError(
            f"the longest row of {spec.id!r} is the context of the model, which {encoder.model} does not say",
            where=f"{encoder.model}: max_position_embeddings in config.json",
            remedy="give the corpus a max_length",
        )
    if encoder.context is not None and longest > encoder.context:
        raise CorpusError(
            f"rows of {spec.id!r} have up to {longest} tokens, and {encoder.model} has {encoder.context} "
            "positions",
            where=f"{spec.id}: max_length",
            remedy=f"use at most {encoder.context} tokens per row: --max-length {encoder.context}",
        )
    separator = encoder.bos("eot") if spec.separator == "eot" else None
    return RowPolicy(encoder.bos(spec.bos), separator, longest, spec.overflow, spec.layout)


def _encoded(texts: Iterable[Document], encoder: TextEncoder) -> Iterator[tuple[int, list[int]]]:
    """(number, ids) of each document."""
    for first, together in _groups(texts):
        yield from enumerate(encoder.encode(together), start=first)


def _groups(texts: Iterable[Document]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first, texts) of documents that are tokenised in one call."""
    first, size = 0, 0
    together: list[str] = []
    for document in texts:
        together.append(document.text)
        size += len(document.text)
        if size >= _TOGETHER:
            yield first, together
            first, size, together = first + len(together), 0, []
    if together:
        yield first, together


def _ragged(ids: Iterable[tuple[int, list[int]]], policy: RowPolicy) -> Iterator[tuple[int, list[int]]]:
    bos = [] if policy.bos is None else [policy.bos]
    step = policy.max_length - len(bos)
    for number, text in ids:
        for start in range(0, max(1, len(text)) if policy.overflow else 1, step):
            row = bos + text[start : start + step]
            if row:
                yield number, row


def _packed(ids: Iterable[tuple[int, list[int]]], policy: RowPolicy) -> Iterator[tuple[int, list[int]]]:
    bos = [] if policy.bos is None else [policy.bos]
    after = [] if policy.separator is None else [policy.separator]
    step = policy.max_length - len(bos)
    waiting: list[int] = []
    owners: list[int] = []  # document of each waiting id
    for number, text in ids:
        waiting += text + after
        owners += [number] * (len(text) + len(after))
        full = len(waiting) - len(waiting) % step
        for start in range(0, full, step):
            yield owners[start], bos + waiting[start : start + step]
        del waiting[:full], owners[:full]
