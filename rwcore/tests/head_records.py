"""A made-up record of heads, for the tests of the page that shows it; packed by hand, not by the library."""

from __future__ import annotations

import base64
import re
import struct
from typing import Any

import numpy as np

Run = dict[str, np.ndarray]

EFFECTS = ("direct", "direct_rescaled", "indirect", "total")
HEADS = ("2.1", "3.0")
HOSTILE = "</script><script>alert(1)</script>"
FACE = [" \udcf0\udc9f", "\udc98", "\udc80"]
# The text of each token; bytes that are no character as U+DC00 + byte.
TEXTS = (
    ["<bos>", *re.findall(r" ?[\w’]+|\W", "All’s fair in love and war, they say; and what of love?\n")],
    ["<bos>", "I", " see", HOSTILE, *FACE, " &amp;", " twice", HOSTILE, "\u200b", "!"],
    [f" word{number % 60}" for number in range(150)],
)
# What token_units makes of the second text: three tokens are one character.
UNITS = {1: {"text": " 😀", "at": 4, "tokens": 3}}
TOP, CONTEXT = 10, 5


def shown(text: str) -> str:
    """The name of a token, near enough to the library's."""
    signs = {" ": "␣", "\n": "⏎", "\u200b": "⟨U+200B⟩"}
    return "".join(
        f"⟨{ord(one) - 0xDC00:02X}⟩" if 0xDC00 <= ord(one) < 0xDD00 else signs.get(one, one) for one in text
    )


def make_record(seed: int = 0, rows: int = 3) -> dict[str, Any]:
    """A record of `HEADS` in some rows of `TEXTS`, every number drawn at random."""
    random = np.random.default_rng(seed)
    names = sorted({shown(text) for row in TEXTS for text in row} | {f"␣other{n}" for n in range(40)})
    places = {name: place for place, name in enumerate(names)}
    made = []
    for number, texts in enumerate(TEXTS[:rows]):
        tokens = [places[shown(text)] for text in texts]
        made.append(
            {
                "number": 3 * number + 4,
                "document": None if number == 1 else f"text {number}",
                "text": _units(number, texts),
                "tokens": tokens,
                "bos": texts[0] == "<bos>",
            }
        )
    readings = [
        {"row": row, "head": head, **_reading(random, made[row]["tokens"], len(names))}
        for row in range(rows)
        for head in range(len(HEADS))
    ]
    return {
        "schema": "rwcore-head-reading/1",
        "model": "made-up",
        "corpus": "made-up texts",
        "words": names,
        "rows": made,
        "heads": [*HEADS],
        "effects": [*EFFECTS],
        "readings": readings,
    }


def _units(number: int, texts: list[str]) -> dict[str, Any]:
    shared = UNITS.get(number)
    units = [*texts]
    if shared:
        at = shared["at"]
        units[at : at + shared["tokens"]] = [shared["text"]]
    return {
        "text": "".join(units),
        "lengths": [len(one.encode("utf-16-le")) // 2 for one in units],
        "tokens": {str(shared["at"]): shared["tokens"]} if shared else {},
        "special": [0] if texts[0] == "<bos>" else [],
        "bytes": {},
    }


def _reading(random: np.random.Generator, tokens: list[int], vocab: int) -> dict[str, Any]:
    size = len(tokens)
    loss = np.append(random.gamma(2, 1.5, size - 1), np.nan)
    change = np.append(np.maximum(random.standard_t(2, size - 1) * 0.4, -loss[:-1] / 2), np.nan)
    return {
        "clean": {**_run(random, loss, vocab), "loss": _floats(loss)},
        "effects": {
            name: {
                **_run(random, loss + change * part, vocab),
                "loss": _floats(change * part),
                "kl": _floats(random.gamma(1, 0.01, size)),
            }
            for name, part in zip(EFFECTS, (1, 0.9, -0.3, 0.6), strict=True)
        },
        "attribution": {
            "lowered": [_values(random, vocab, -1) for _ in tokens],
            "raised": [_values(random, vocab, 1) for _ in tokens],
        },
        "attention": _attention(random, size),
        "lens": [_lens(random, tokens[: place + 1], vocab) for place in range(size)],
        "cspa": {
            "mean": _floats(change),
            "left": _floats(change * random.uniform(-0.2, 1.1, size)),
            "kept": [
                [query, key, tokens[key], *(round(float(one), 3) for one in random.normal((9, 0), (3, 1)))]
                for query in range(0, size, 2)
                for key in range(0, query + 1, 5)
            ],
        },
    }


def _run(random: np.random.Generator, loss: np.ndarray, vocab: int) -> dict[str, Any]:
    rank = np.where(np.isnan(loss), np.nan, random.integers(0, 900, len(loss)))
    top = [_shares(random, vocab) for _ in loss]
    return {"loss": _floats(loss), "p": _floats(np.exp(-loss)), "rank": _floats(rank), "top": top}


def _shares(random: np.random.Generator, vocab: int) -> list[list[float]]:
    words = random.choice(vocab, TOP, replace=False)
    p = -np.sort(-random.dirichlet(np.full(TOP + 1, 0.4))[:TOP])
    return [[int(word), float(f"{one:.4g}")] for word, one in zip(words, p, strict=True)]


def _values(random: np.random.Generator, vocab: int, sign: int) -> list[list[float]]:
    words = random.choice(vocab, TOP, replace=False)
    sizes = -np.sort(-random.gamma(1.5, 0.8, TOP))
    return [[int(word), float(f"{sign * one:.4g}")] for word, one in zip(words, sizes, strict=True)]


def _attention(random: np.random.Generator, size: int) -> dict[str, Any]:
    pattern = np.tril(random.gamma(0.15, 1, (size, size)) + 1e-9)
    pattern /= pattern.sum(axis=1, keepdims=True)
    written = pattern * random.uniform(0, 1, size)
    return {"shape": [size, size], "pattern": _shares16(pattern), "written": _shares16(written)}


def _shares16(grid: np.ndarray) -> str:
    return base64.b64encode((grid * 65535).round().astype("<u2").tobytes()).decode("ascii")


def _lens(random: np.random.Generator, seen: list[int], vocab: int) -> dict[str, Any]:
    words = list(dict.fromkeys(seen))[1 : CONTEXT + 1]
    p = -np.sort(-random.dirichlet(np.full(CONTEXT + 1, 0.3))[: len(words)])
    context = [
        [word, float(f"{one:.4g}"), [at for at, token in enumerate(seen) if token == word]]
        for word, one in zip(words, p, strict=True)
    ]
    return {"top": _shares(random, vocab), "context": context}


def _floats(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def floats(packed: str) -> list[float]:
    """Numbers of a record."""
    data = base64.b64decode(packed)
    return [one for (one,) in struct.iter_unpack("<f", data)]


def grid(attention: dict[str, Any], kind: str) -> np.ndarray:
    """Attention of a record, [query key]."""
    size = attention["shape"][0]
    return np.frombuffer(base64.b64decode(attention[kind]), "<u2").reshape(size, size) / 65535
