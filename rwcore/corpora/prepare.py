"""The rows of a corpus for a model: tokenised once and kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rwcore.corpora.documents import source_identity
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import row_policy, tokenise
from rwcore.corpora.tokens import FORMAT, TokenCorpus
from rwcore.store import MANIFEST, ArtefactKey, Store


def prepare(spec: CorpusSpec, encoder: TextEncoder, store: Store | None = None) -> TokenCorpus:
    """The rows of a corpus for one model, from the store if they were made before.

    They are found again as long as the recipe, the texts of the source, the tokenizer and the limits of the
    model are the same.

    Args:
        spec: The recipe.
        encoder: The tokenizer and the limits of the model.
        store: Where they are kept; by default the store in the cache folder.

    Raises:
        CorpusError: The source cannot be read or holds no text, or does not fit the model.
        StoreError: The store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        corpus = tokenise(spec, encoder)
        corpus.save(folder)
        return {"content_hash": corpus.content_hash, "rows": len(corpus), "tokens": corpus.n_tokens}

    return TokenCorpus.load((store or Store()).get_or_compute(_key(spec, encoder), compute))


def prepared(spec: CorpusSpec, encoder: TextEncoder, store: Store | None = None) -> TokenCorpus | None:
    """The rows that `prepare` would give, if they were made before.

    Raises:
        CorpusError: The source is not there, or does not fit the model.
    """
    folder = (store or Store()).path(_key(spec, encoder))
    return TokenCorpus.load(folder) if (folder / MANIFEST).exists() else None


def _key(spec: CorpusSpec, encoder: TextEncoder) -> ArtefactKey:
    return ArtefactKey.of(
        "corpus",
        FORMAT,
        recipe=spec.recipe(),
        source=source_identity(spec),
        tokenizer=encoder.hash,
        policy=dataclasses.asdict(row_policy(spec, encoder)),
        vocab=encoder.vocab,
    )
