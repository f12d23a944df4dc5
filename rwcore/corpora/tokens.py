"""The rows of token ids that a corpus is for one tokenizer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.registry import TOKENS
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError, RwcoreError, StoreError
from rwcore.store import read_arrays, read_json, write_arrays, write_json

FORMAT = "token-corpus/1"  # raise when rows or hash would be others for the same text

_FACTS = "corpus.json"
_ROUND_TRIP = {"tokens": torch.int32, "offsets": torch.int64, "document": torch.int64}


@dataclass(frozen=True)
class RowPolicy:
    """How documents became rows, with the ids of this tokenizer.

    Attributes:
        bos: Id at the beginning of every row, or None.
        separator: Id between packed documents, or None.
        max_length: Tokens of the longest row that may be, BOS included.
        overflow: Whether the rest of a longer document became further rows.
        layout: ``ragged`` or ``packed``.
    """

    bos: int | None
    separator: int | None
    max_length: int
    overflow: bool
    layout: str


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """A corpus as token ids: row i is ``tokens[offsets[i]:offsets[i + 1]]``.

    Attributes:
        spec: The recipe.
        policy: How documents became rows.
        tokens: All rows, one after the other, without padding.
        document: Number of the document that each row begins in, as `rwcore.corpora.documents` counts them.
        offsets: Where each row begins, and the end of the last one.
        tokenizer_hash: `TextEncoder.hash` of the tokenizer.
        model: The model whose tokenizer it was, for messages.
    """

    spec: CorpusSpec
    policy: RowPolicy
    tokens: Int32[Tensor, " token"]
    document: Int64[Tensor, " row"]
    offsets: Int64[Tensor, " row+1"]
    tokenizer_hash: str
    model: str

    def __len__(self) -> int:
        return len(self.document)

    @property
    def n_tokens(self) -> int:
        """Tokens of all rows, BOS included."""
        return len(self.tokens)

    @property
    def n_documents(self) -> int:
        """Documents that at least one row begins in."""
        return len(set(self.document.tolist()))

    def identity(self) -> dict[str, object]:
        """What manifests of measurements say of the text: which it is, and how much of it."""
        return {
            "id": self.spec.id,
            "content_hash": self.content_hash,
            "rows": len(self),
            "tokens": self.n_tokens,
            "documents": self.n_documents,
        }

    @cached_property
    def lengths(self) -> Int64[Tensor, " row"]:
        """Tokens of each row."""
        return self.offsets.diff()

    def row(self, number: int) -> Int32[Tensor, " pos"]:
        """The token ids of one row.

        Raises:
            IndexError: There is no such row.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]

    @cached_property
    def content_hash(self) -> str:
        """``sha256:…`` over policy, ids, offsets and documents.

        The documents belong to it because intervals over documents depend on them. Where the text came
        from does not: the same rows have the same hash.
        """
        policy = json.dumps([FORMAT, dataclasses.asdict(self.policy)], sort_keys=True)
        digest = hashlib.sha256(policy.encode() + b"\n")
        for array in (self.tokens, self.offsets, self.document):
            numbers = array.contiguous().numpy()
            little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{little.dtype.str} {len(little)}\n".encode())
            digest.update(little.data)
        return "sha256:" + digest.hexdigest()

    def require_fit(self, encoder: TextEncoder) -> None:
        """Check that the rows are what this model's own tokenizer makes and that they fit its context.

        Ids below the size of another vocabulary go through that model without a word, as they did for the
        ablations of Llama that were published on OLMo's ids; so the tokenizers are compared.

        Raises:
            CorpusError: They do not; the message names both models.
        """
        longest, largest = int(self.lengths.max()), int(self.tokens.max())
        reason = None
        if encoder.hash != self.tokenizer_hash:
            reason = f"its ids were made by the tokenizer of {self.model}, which is another one"
        elif encoder.context is not None and longest > encoder.context:
            reason = f"its longest row has {longest} tokens, and the model has {encoder.context} positions"
        elif largest >= encoder.vocab:
            reason = f"it has token id {largest}, and the model's embedding has {encoder.vocab} rows"
        if reason is not None:
            raise CorpusError(
                f"the tokens of {self.spec.id} do not fit the model {encoder.model}: {reason}",
                where=f"{self.spec.id} ({self.model}) and {encoder.model}",
                remedy=f"tokenise the corpus for {encoder.model}",
            )

    def save(self, folder: Path) -> None:
        """Write the rows (safetensors) and the facts about them (JSON) into a folder.

        Raises:
            StoreError: The folder cannot be written, or the disk is full.
        """
        arrays = {"tokens": self.tokens, "offsets": self.offsets, "document": self.document}
        write_arrays(folder / TOKENS, arrays)
        facts = {
            "format": FORMAT,
            "spec": self.spec.recipe(),
            "policy": dataclasses.asdict(self.policy),
            "tokenizer_hash": self.tokenizer_hash,
            "model": self.model,
            "content_hash": self.content_hash,
            "rows": len(self),
            "tokens": self.n_tokens,
        }
        write_json(folder / _FACTS, facts)

    @classmethod
    def load(cls, folder: Path) -> TokenCorpus:
        """Read what `save` wrote, and check it against its hash.

        Raises:
            StoreError: Files are missing or damaged, or do not belong together.
        """
        facts = read_json(folder / _FACTS)
        arrays = read_arrays(folder / TOKENS)
        try:
            if facts["format"] != FORMAT:
                raise ValueError(f"its format is {facts['format']!r}, not {FORMAT!r}")
            found = {name: array.dtype for name, array in arrays.items()}
            if found != _ROUND_TRIP:
                raise ValueError(f"the arrays are {found}")
            corpus = cls(
                CorpusSpec.from_recipe(facts["spec"]),
                RowPolicy(**facts["policy"]),
                tokenizer_hash=_string(facts, "tokenizer_hash"),
                model=_string(facts, "model"),
                **arrays,
            )
            if corpus.content_hash != facts["content_hash"]:
                raise ValueError("its tokens are not those of its content hash")
        except (KeyError, TypeError, ValueError, RwcoreError) as error:
            raise StoreError(
                f"this is no whole corpus of tokens: {error!r}",
                where=str(folder),
                remedy="delete the folder; the corpus is tokenised again",
            ) from error
        return corpus


def _string(facts: Mapping[str, object], key: str) -> str:
    value = facts[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}")
    return value
