"""The units of a text that a page shows: tokens, and tokens that share a character as one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""Stands in a text for a byte that is no whole character."""

_WHOLE = re.compile("[^\udc00-\udcff]*")
_BYTES = range(0xDC00, 0xDD00)  # what surrogateescape, and our tokens of single bytes, write for bytes


@dataclass(frozen=True)
class Unit:
    """One token, or consecutive tokens that none can be told apart from in the text.

    Attributes:
        text: What stands in the text; `BROKEN` for each byte that is no whole character.
        tokens: How many tokens it is made of; more than one if characters are split over them.
        special: Whether it is a token that no text is made of, such as BOS.
        bytes: The bytes that `BROKEN` stands for, in order. (The text may have that character itself, too; so
            there are bytes only if no `BROKEN` of the text is of its own.)
    """

    text: str
    tokens: int = 1
    special: bool = False
    bytes: bytes = b""


def token_units(texts: Sequence[str], special: Collection[int] = ()) -> list[Unit]:
    """The units of consecutive tokens, in order; their texts together are the text.

    Args:
        texts: Text of each token; a byte b that is no character by itself as U+DC00 + b, as in
            ``bytes.decode(errors="surrogateescape")`` and `rwcore.models.vocabulary.Vocabulary.texts`.
        special: Places of tokens that no text is made of.
    """
    units: list[Unit] = []
    for is_special, start, end in _runs(len(texts), special):
        if is_special:
            units += [Unit(_plain(texts[place]), special=True) for place in range(start, end)]
        elif _WHOLE.fullmatch("".join(texts[start:end])):
            units += map(Unit, texts[start:end])  # most texts: nothing is split, and this is much faster
        else:
            units += _joined([_encoded(text) for text in texts[start:end]])
    return units


def _runs(count: int, special: Collection[int]) -> Iterator[tuple[bool, int, int]]:
    """(special, start, end) of the stretches that are special and those that are not."""
    start = 0
    for place in range(1, count + 1):
        if place == count or (place in special) != (start in special):
            yield start in special, start, place
            start = place


def _joined(pieces: Sequence[bytes]) -> Iterator[Unit]:
    """The units of tokens given as bytes: a new one begins wherever a token begins with a character."""
    text = b"".join(pieces).decode("utf-8", errors="surrogateescape")
    characters = iter(text)
    first, here, reached = 0, 0, 0  # the unit's first token; bytes up to this token and to this character
    held = ""
    for place, piece in enumerate(pieces):
        here += len(piece)
        while reached < here:
            character = next(characters)
            held += character
            reached += len(_encoded(character))
        if reached == here:
            yield _unit(held, place + 1 - first)
            first, held = place + 1, ""


def _unit(text: str, tokens: int) -> Unit:
    broken = bytes(ord(one) - _BYTES.start for one in text if ord(one) in _BYTES)
    return Unit(_plain(text), tokens, bytes=b"" if BROKEN in text else broken)


def _plain(text: str) -> str:
    return "".join(BROKEN if ord(one) in _BYTES else one for one in text)


def _encoded(text: str) -> bytes:
    """UTF-8; unlike surrogateescape also of escaped bytes below 0x80, which some vocabularies have."""
    return b"".join(
        bytes([ord(one) - _BYTES.start]) if ord(one) in _BYTES else one.encode("utf-8") for one in text
    )


def packed(units: Sequence[Unit]) -> dict[str, object]:
    """The units for ``activation_tokens.js``, ready for JSON; lengths are in UTF-16 code units."""
    return {
        "text": "".join(unit.text for unit in units),
        "lengths": [len(unit.text.encode("utf-16-le")) // 2 for unit in units],
        "tokens": {place: unit.tokens for place, unit in enumerate(units) if unit.tokens > 1},
        "special": [place for place, unit in enumerate(units) if unit.special],
        "bytes": {place: unit.bytes.hex(" ").upper() for place, unit in enumerate(units) if unit.bytes},
    }
