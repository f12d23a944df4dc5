"""The text of a token by itself, and where in a text each token stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import CorpusError

PART = "\N{REPLACEMENT CHARACTER}"
"""What decoding gives for bytes that are no whole character."""

# Decoders of SentencePiece drop the space at the beginning of a text; behind a letter it stays.
_ANCHOR = "a"


def token_strings(encoder: TextEncoder, ids: Iterable[int]) -> dict[int, str]:
    """What each token adds to a text that it continues; `PART` for bytes that are no whole character."""
    before = encoder.encode([_ANCHOR])[0]
    start = len(_decode(encoder, before))
    return {number: _decode(encoder, [*before, number])[start:] for number in sorted(set(ids))}


def _decode(encoder: TextEncoder, ids: Sequence[int]) -> str:
    text: str = encoder.tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text


@dataclass(frozen=True, eq=False)
class Placed:
    """The tokens of one text with the characters each stands for: ``text[start:end]``.

    A character that is cut into several tokens belongs to each of them.
    """

    ids: list[int]
    start: Int64[Tensor, " token"]
    end: Int64[Tensor, " token"]


def encode_placed(encoder: TextEncoder, texts: Sequence[str]) -> list[Placed]:
    """The ids that `TextEncoder.encode` gives, and where each of them stands.

    White space at the beginning of a token does not count to its place: tokenizers disagree about it.

    Raises:
        CorpusError: The tokenizer does not say where its tokens stand, or does not fit the model.
    """
    if not texts:
        return []
    if not getattr(encoder.tokenizer, "is_fast", False):
        raise CorpusError(
            f"the tokenizer of {encoder.model} does not say which characters a token stands for",
            where=f"{encoder.model}: tokenizer",
            remedy="put a tokenizer.json into the model's folder",
        )
    ids = encoder.encode(texts)
    places = encoder.tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        truncation=False,
        padding=False,
        return_offsets_mapping=True,
        verbose=False,
    )["offset_mapping"]
    return [_placed(text, one, where) for text, one, where in zip(texts, ids, places, strict=True)]


def _placed(text: str, ids: list[int], where: Sequence[tuple[int, int]]) -> Placed:
    starts = []
    for start, end in where:
        # A token of nothing but white space keeps its place.
        inner = text[start:end]
        starts.append(start + len(inner) - len(inner.lstrip()) if inner.strip() else start)
    ends = [end for _, end in where]
    return Placed(ids, torch.tensor(starts, dtype=torch.int64), torch.tensor(ends, dtype=torch.int64))
