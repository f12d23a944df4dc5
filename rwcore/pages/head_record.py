"""Readings of heads as data for a page: JSON, with the numbers of positions as bytes. See ``OUTPUTS.md``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.heads.reading import HeadReading
from rwcore.heads.reading_lists import NOBODY, Lens, Predicted, TokenList
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.token_units import packed, token_units

SCHEMA = "rwcore-head-reading/1"
WHOLE = 65535
"""Stands for 1 in attention."""
DIGITS = 4
"""Of numbers in lists."""


@dataclass(frozen=True, eq=False)
class TextRow:
    """A row that was read.

    Attributes:
        number: Its number in the corpus.
        document: Name of the document that it begins in; None if it has none.
        tokens: Its tokens.
        bos: Whether the first one is none of the text.
    """

    number: int
    document: str | None
    tokens: Int64[Tensor, " pos"]
    bos: bool


def head_record(
    rows: Sequence[TextRow],
    readings: Sequence[Sequence[HeadReading]],
    words: Vocabulary,
    *,
    model: str,
    corpus: str | None,
    ablation: str | None = None,
) -> dict[str, Any]:
    """What some heads do in some rows, as JSON.

    Args:
        rows: The rows.
        readings: Of each row one for each head, the same heads in the same order.
        words: The model's vocabulary.
        model: Name of the model.
        corpus: Name of the corpus; None for a text that was typed.
        ablation: What heads are replaced by, in a sentence; None to say nothing of it.

    Returns:
        Of schema `SCHEMA`; see ``OUTPUTS.md`` for the keys. Differences of loss are ablated - clean.
    """
    names = _Names(words)
    heads = [f"{one.layer}.{one.head}" for one in readings[0]] if readings else []
    found = {
        "schema": SCHEMA,
        "model": model,
        "corpus": corpus,
        **({} if ablation is None else {"ablation": ablation}),
        "heads": heads,
        "effects": [*readings[0][0].effects] if heads else [],
        "rows": [_row(row, words, names) for row in rows],
        "readings": [
            {"row": number, "head": place, **_reading(one, row.tokens, names)}
            for number, (row, of_row) in enumerate(zip(rows, readings, strict=True))
            for place, one in enumerate(of_row)
        ],
    }
    return {**found, "words": names.list}


def floats(values: Float[Tensor, " pos"]) -> str:
    """Base64 of the bytes of float32, little endian."""
    return _base64(values.numpy().astype("<f4"))


@dataclass
class _Names:
    """The tokens that occur in a record, each once."""

    words: Vocabulary
    list: list[str] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def __call__(self, token: int) -> int:
        """Place of a token in the list."""
        if token not in self.places:
            self.places[token] = len(self.list)
            self.list.append(self.words.tokens[token])
        return self.places[token]


def _row(row: TextRow, words: Vocabulary, names: _Names) -> dict[str, Any]:
    tokens = row.tokens.tolist()
    special = {place for place, token in enumerate(tokens) if token in words.special}
    return {
        "number": row.number,
        "document": row.document,
        "text": packed(token_units([words.texts[token] for token in tokens], special)),
        "tokens": [*map(names, tokens)],
        "bos": row.bos,
    }


def _reading(one: HeadReading, tokens: Int64[Tensor, " pos"], names: _Names) -> dict[str, Any]:
    cspa = one.cspa
    pairs = zip(
        *(vars(cspa)[name].tolist() for name in ("query", "key", "score", "coefficient")), strict=True
    )
    ids = tokens.tolist()
    return {
        "clean": _predicted(one.clean, names),
        "effects": {
            effect: {
                **_predicted(found, names),
                "loss": floats(one.loss_increase(effect)),
                "kl": floats(found.kl),
            }
            for effect, found in one.effects.items()
        },
        "attribution": {"lowered": _listed(one.lowered, names), "raised": _listed(one.raised, names)},
        "attention": {
            "shape": [*one.attention.pattern.shape],
            "pattern": _shares(one.attention.pattern),
            "written": _shares(one.attention.written),
        },
        "lens": _lens(one.lens, ids, names),
        "cspa": {
            "mean": floats(cspa.mean),
            "left": floats(cspa.left),
            "kept": [
                [query, key, names(ids[key]), _short(score), _short(coefficient)]
                for query, key, score, coefficient in pairs
            ],
        },
    }


def _predicted(found: Predicted, names: _Names) -> dict[str, Any]:
    numbers = {name: floats(getattr(found, name)) for name in ("loss", "p", "rank")}
    return {**numbers, "top": _listed(TokenList(found.top_token, found.top_p), names)}


def _lens(found: Lens, tokens: Sequence[int], names: _Names) -> list[dict[str, Any]]:
    top = _listed(TokenList(found.top_token, found.top_p), names)
    places: dict[int, list[int]] = {}
    made = []
    for query, token in enumerate(tokens):
        places.setdefault(token, []).append(query)
        context = [
            [names(word), _short(p), [*places[word]]]
            for word, p in zip(
                found.context_token[query].tolist(), found.context_p[query].tolist(), strict=True
            )
            if word != NOBODY
        ]
        made.append({"top": top[query], "context": context})
    return made


def _listed(found: TokenList, names: _Names) -> list[list[list[float]]]:
    """Of each position the places of tokens among the names, and values."""
    return [
        [[names(token), _short(value)] for token, value in zip(*pair, strict=True)]
        for pair in zip(found.token.tolist(), found.value.tolist(), strict=True)
    ]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _shares(values: Float[Tensor, "query key"]) -> str:
    """Base64 of uint16, little endian, row by row."""
    return _base64((values.clamp(0, 1) * WHOLE).round().to(torch.int32).numpy().astype("<u2"))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
