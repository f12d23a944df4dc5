"""A model's tokenizer as a corpus needs it: text to ids, the token at the beginning, what fits the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rwcore.errors import CorpusError
from rwcore.models.gguf import converted
from rwcore.models.spec import GGUF, LocalModel
from rwcore.models.vocabulary import read_tokenizer
from rwcore.store import read_json
from rwcore.weights.shape import read_shape

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "</s>", "<eos>")
"""Names of the token that ends a document in pretraining. Models tuned for chat call another one EOS."""

# Where configs say how many positions a model has.
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "block_size")
# transformers' number for a tokenizer that knows no limit is 10**30.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class TextEncoder:
    """Text to token ids for one model.

    Attributes:
        model: The model, for messages.
        tokenizer: A tokenizer of transformers.
        vocab: Rows of the model's embedding; every id must be below.
        context: Positions the model has, or None where its config does not say.
    """

    model: str
    tokenizer: Any
    vocab: int
    context: int | None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without any token at its beginning or end.

        The names of special tokens are ordinary text here: a document that quotes ``<|endoftext|>`` must
        not end for the model. Tokens that are added but not special (runs of spaces in OLMo's) do count.

        Raises:
            CorpusError: An id is not below ``vocab``: the tokenizer belongs to another model.
        """
        if not texts:
            return []  # transformers fails here
        ids: list[list[int]] = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        self._require_rows(max((max(row, default=0) for row in ids), default=0))
        return ids

    def bos(self, policy: str) -> int | None:
        """The id at the beginning of every row under a policy of `CorpusSpec.bos`; None for ``none``.

        Raises:
            CorpusError: The tokenizer has no such token, or it is none of the model's.
        """
        if policy == "none":
            return None
        own = self.tokenizer.bos_token_id if policy == "model" else None
        number = self.end_of_text() if own is None else int(own)
        if number is None:
            raise CorpusError(
                f"the tokenizer of {self.model} defines "
                + ("neither BOS nor end-of-text token" if policy == "model" else "no end-of-text token"),
                where=f"{self.model}: tokenizer",
                remedy='use a corpus with bos = "none"',
            )
        self._require_rows(number)
        return number

    def end_of_text(self) -> int | None:
        """The id that ends a document: of a token named in `END_OF_TEXT`, else the tokenizer's EOS."""
        added: dict[str, int] = self.tokenizer.get_added_vocab()
        named = next((added[name] for name in END_OF_TEXT if name in added), self.tokenizer.eos_token_id)
        return None if named is None else int(named)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text: the tokenizer's EOS and the end-of-text token, of a chat model both."""
        both = (self.tokenizer.eos_token_id, self.end_of_text())
        return frozenset(int(end) for end in both if end is not None)

    def _require_rows(self, number: int) -> None:
        if number >= self.vocab:
            raise CorpusError(
                f"the tokenizer does not fit the model {self.model}: it gives token id {number} "
                f"({self.tokenizer.convert_ids_to_tokens(number)!r} of {len(self.tokenizer)} tokens), and "
                f"the model's embedding has {self.vocab} rows",
                where=f"{self.tokenizer.name_or_path or 'the tokenizer'} and {self.model}",
                remedy="put the tokenizer files of this very model into its folder",
            )

    @cached_property
    def hash(self) -> str:
        """``sha256:…`` of everything that decides the ids of a text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            rules: object = [type(self.tokenizer).__name__, self.tokenizer.get_vocab()]
        else:
            parts = json.loads(backend.to_str())
            # Left behind by whoever used the tokenizer before; we never truncate or pad.
            rules = {name: part for name, part in parts.items() if name not in ("truncation", "padding")}
        facts = [rules, self.tokenizer.bos_token_id, self.end_of_text()]
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def read_encoder(local: LocalModel) -> TextEncoder:
    """The tokenizer of a model on this machine, with the limits of the model.

    Raises:
        ModelError: There is no readable tokenizer.
        WeightsError: The config is missing or invalid.
    """
    folder = converted(local.path) if local.spec.source == GGUF else local.path
    tokenizer = read_tokenizer(folder)
    return TextEncoder(local.spec.id, tokenizer, read_shape(local).vocab, context_of(folder, tokenizer))


def context_of(folder: Path, tokenizer: Any) -> int | None:
    """Positions of the model in a folder by its config, else by its tokenizer, else None.

    None is also right for models whose positions have no end (T5, BLOOM).
    """
    config = folder / "config.json"
    values = read_json(config) if config.is_file() else {}
    values = {**values, **values.get("text_config", {})}
    sizes = [values[key] for key in _CONTEXT_KEYS if isinstance(values.get(key), int)]
    if not sizes and tokenizer.model_max_length < _NO_LIMIT:
        sizes = [int(tokenizer.model_max_length)]
    return sizes[0] if sizes else None
