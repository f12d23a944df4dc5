"""Small tokenizers and corpora for the tests of ``rwcore.corpora``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokens import RowPolicy, TokenCorpus

END = "<|endoftext|>"


def byte_tokenizer(*added: str, fill: int = 0, special: bool = True, **names: str) -> Any:
    """One token per byte (id = byte), then ``fill`` names nobody writes, then the added tokens in order."""
    pieces = {piece: byte for byte, piece in enumerate(alphabet())}
    pieces |= {f"⟪{number}⟫": number for number in range(256, 256 + fill)}
    tokenizer = Tokenizer(models.BPE(pieces, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=special) for text in added])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def alphabet() -> list[str]:
    """GPT-2's sign of each byte, in the order of the bytes."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def encoder(tokenizer: Any = None, *, vocab: int = 300, context: int | None = 4096) -> TextEncoder:
    """An encoder with ids = bytes and 256 as the end-of-text token, unless a tokenizer is given."""
    tokenizer = byte_tokenizer(END, eos_token=END) if tokenizer is None else tokenizer
    return TextEncoder("tiny", tokenizer, vocab, context)


def rows_corpus(rows: Sequence[Sequence[int]], document: Sequence[int] | None = None) -> TokenCorpus:
    """A corpus of given rows."""
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return TokenCorpus(
        CorpusSpec("rows", "file", "/rows", max_length=4096),
        RowPolicy(bos=None, separator=None, max_length=4096, overflow=False, layout="ragged"),
        tokens=torch.tensor([token for row in rows for token in row], dtype=torch.int32),
        offsets=torch.tensor(offsets),
        document=torch.tensor(list(range(len(rows)) if document is None else document), dtype=torch.int64),
        tokenizer_hash="sha256:0",
        model="tiny",
    )
