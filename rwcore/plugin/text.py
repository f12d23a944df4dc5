"""Which text a claim is asked on: the paper's for the paper's models, one without download for all others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.corpora.spec import CorpusSpec

OWN = "handmade"
"""The text of models that are not the papers' own."""

STAND_IN_TOKENS = 2000


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


def _row(spec: CorpusSpec, encoder: TextEncoder) -> int | None:
    rows = [length for length in (spec.max_length, encoder.context) if length is not None]
    return min(rows, default=None)
