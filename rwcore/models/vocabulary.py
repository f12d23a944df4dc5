"""The tokens of a model as texts that can be told apart on paper."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rwcore.errors import ModelError
from rwcore.models.gguf import converted, quiet_transformers
from rwcore.models.spec import GGUF, LocalModel

NAMED_SHARE = 0.75
"""Share of the rows that a tokenizer must name. Padding to a round number leaves a few percent without a
name; a tokenizer that names less than this belongs to another model."""

# How a single space, line break or tab is shown: a token is often nothing else.
SIGNS = {" ": "␣", "\n": "⏎", "\r": "⇤", "\t": "⇥"}
_CARRIER = "◌"
# Signs that mean something here must not be taken for themselves.
_RESERVED = frozenset({*SIGNS.values(), _CARRIER, "⟨", "⟩"})
_PIECE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_META_SPACE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """What every row of an embedding or unembedding stands for.

    Attributes:
        tokens: Text of each token as `shown` makes it; ``<unused 50280>`` for a row that the tokenizer has
            no token for (padding). A real token of that name shows its space as ``␣``.
        named: How many rows have a token.
        texts: Text of each token as it stands in a text; bytes that are no character as in
            ``bytes.decode(errors="surrogateescape")``.
        special: Ids of tokens that no text is made of, such as BOS.
    """

    tokens: tuple[str, ...]
    named: int
    texts: tuple[str, ...]
    special: frozenset[int]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token_id: int) -> str:
        return self.tokens[token_id]


def vocabulary(local: LocalModel, rows: int) -> Vocabulary:
    """The tokens of a model, by row of its unembedding.

    Args:
        local: The model.
        rows: Rows of the embedding or columns of the unembedding.

    Raises:
        ModelError: There is no readable tokenizer; or its ids go beyond the last row (those of tokens added
            to it, such as a padding token, may), or name so few rows that it must be another model's.
    """
    folder = converted(local.path) if local.spec.source == GGUF else local.path
    tokenizer = read_tokenizer(folder)
    added: dict[str, int] = tokenizer.get_added_vocab()
    everything: dict[str, int] = tokenizer.get_vocab()
    # A tokenizer may add a padding token or the like that the model has no row for; that does no harm.
    numbers = {text: number for text, number in everything.items() if number < rows or text not in added}
    ids = frozenset(numbers.values())
    last = max(ids, default=-1)
    if last >= rows or len(ids) < NAMED_SHARE * rows:
        beyond = f", the last one with id {last}" if last >= rows else ""
        raise ModelError(
            f"the tokenizer does not match the unembedding: it has {len(ids)} tokens{beyond}; the "
            f"unembedding has {rows} rows",
            where=str(folder),
            remedy="put the tokenizer files of this very model (tokenizer.json, tokenizer_config.json) into "
            f"the folder: ids must be below {rows} and name at least {NAMED_SHARE:.0%} of the rows",
        )
    read = _READERS[_kind(tokenizer)]
    texts = [f"<unused {number}>" for number in range(rows)]
    tokens = [*texts]
    for piece, number in numbers.items():
        # Added tokens are stored as they are meant, but for the space of SentencePiece.
        literal = piece in added and read is not _from_pieces
        texts[number] = piece if literal else read(piece)
        tokens[number] = shown(texts[number])
    return Vocabulary(tuple(tokens), len(ids), tuple(texts), frozenset(tokenizer.all_special_ids))


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of transformers in a folder; no code from the folder is run, no network touched.

    Raises:
        ModelError: There is none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises a bare Exception for a damaged file
        raise ModelError(
            f"there is no readable tokenizer: {error}",
            where=str(folder),
            remedy="copy tokenizer.json and tokenizer_config.json into the folder, or fetch the model again",
        ) from error


def shown(text: str) -> str:
    """A token's text so that every character of it can be seen, and seen to be what it is.

    A space becomes ``␣``, line feed ``⏎``, carriage return ``⇤``, tab ``⇥``; other characters without a
    glyph (control and format characters, odd spaces, characters not assigned), and those very signs, become
    ``⟨U+200B⟩``; a byte that is no whole character of UTF-8 ``⟨E2⟩``; a combining mark at the beginning is
    put on ``◌``; nothing at all is ``⟨empty⟩``.

    Args:
        text: The text; bytes that are no character as in ``bytes.decode(errors="surrogateescape")``.
    """
    if not text:
        return "⟨empty⟩"
    carrier = _CARRIER if unicodedata.category(text[0]).startswith("M") else ""
    return carrier + "".join(map(_glyph, text))


def _glyph(character: str) -> str:
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:  # a byte, as surrogateescape writes it
        return f"⟨{code - 0xDC00:02X}⟩"
    if character in SIGNS:
        return SIGNS[character]
    return character if character.isprintable() and character not in _RESERVED else f"⟨U+{code:04X}⟩"


def _kind(tokenizer: Any) -> str:
    """How the tokenizer spells its tokens: ``bytes`` (GPT-2), ``pieces`` (SentencePiece), ``plain``."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # what transformers has without a fast version is SentencePiece
        return "pieces"
    parts = json.loads(backend.to_str())
    spelling = json.dumps([parts.get("decoder"), parts.get("pre_tokenizer")], ensure_ascii=False)
    if '"ByteLevel"' in spelling:
        return "bytes"
    return "pieces" if '"Metaspace"' in spelling or _META_SPACE in spelling else "plain"


def _byte_of_sign() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 for itself, the other bytes in order from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in own)
    return {chr(byte): byte for byte in own} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_SIGN = _byte_of_sign()


def _from_bytes(piece: str) -> str:
    if not all(sign in _BYTE_OF_SIGN for sign in piece):
        return piece  # a token that was put into the vocabulary as plain text
    return bytes(_BYTE_OF_SIGN[sign] for sign in piece).decode("utf-8", errors="surrogateescape")


def _from_pieces(piece: str) -> str:
    byte = _PIECE_BYTE.fullmatch(piece)
    # Also bytes below 0x80: the vocabulary may have the character as a token of its own.
    return chr(0xDC00 + int(byte[1], 16)) if byte else piece.replace(_META_SPACE, " ")


_READERS: dict[str, Callable[[str], str]] = {"bytes": _from_bytes, "pieces": _from_pieces, "plain": str}
