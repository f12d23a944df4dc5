"""How a model is run over a corpus: the options and the facts that all such studies share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from rwcore.corpora.tokens import FORMAT, TokenCorpus
from rwcore.errors import OptionError, require_least
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.store import ArtefactKey, Store
from rwcore.studies.weights import WeightStudy

DTYPES = ("float32", "bfloat16", "float16")

# What fills the cache of a few cores without waste, and what keeps a GPU busy.
CPU_TOKENS, GPU_TOKENS = 2048, 16384


@dataclass(frozen=True)
class ForwardOptions:
    """How a model is run over a corpus. The first three decide numbers and are part of an artefact's key.

    Attributes:
        token_budget: Positions of a batch, padding included; None for what suits the device. Another batch
            shape moves the last digits.
        dtype: Type the model runs in: ``float32``, ``bfloat16`` or ``float16``.
        device: See `rwcore.models.device.pick_device`; of its answers the kind (cpu, cuda) decides numbers.
        threads: CPU threads of a task; None leaves them as they are. A matrix product may depend on it.
        checkpoint_every: Batches between two checkpoints.
        restart: Discard what an interrupted process has left, instead of going on from there.

    Raises:
        OptionError: A number is too small, or there is no such type.
    """

    token_budget: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: int = 25
    restart: bool = False

    LEAST: ClassVar[dict[str, tuple[str, int]]] = {
        "token_budget": ("--batch-tokens", 1),
        "threads": ("threads", 1),
        "checkpoint_every": ("--checkpoint-every", 1),
    }
    """Option on the command line and smallest value of each number."""

    def __post_init__(self) -> None:
        for name, (option, least) in self.LEAST.items():
            value = getattr(self, name)
            if value is not None:
                require_least(option, value, least)
        if self.dtype not in DTYPES:
            raise OptionError(
                f"unknown type {self.dtype!r}", where="--dtype", remedy=f"use {', '.join(DTYPES)}"
            )

    @cached_property
    def device_kind(self) -> str:
        """``cpu`` or ``cuda``; not looked for where it was said: the workers may have what this has not."""
        return (pick_device(self.device) if self.device == "auto" else self.device).partition(":")[0]

    @property
    def positions(self) -> int:
        """Positions of a batch."""
        return self.token_budget or (CPU_TOKENS if self.device_kind == "cpu" else GPU_TOKENS)


def model_fields(weights: WeightStudy, options: ForwardOptions) -> dict[str, object]:
    """What decides the numbers of a model that runs, whatever it reads, for the key of an artefact."""
    clip: dict[str, object] = {} if weights.local.spec.clip_qkv else {"clip_qkv": "off"}
    return {
        "model": weights.local.identity(),
        "processing": weights.processing,
        "dtype": options.dtype,
        "device": options.device_kind,
        **clip,
    }


def forward_fields(weights: WeightStudy, corpus: TokenCorpus, options: ForwardOptions) -> dict[str, object]:
    """What decides the numbers of a forward pass over a corpus, for the key of an artefact."""
    return {
        **model_fields(weights, options),
        "corpus": corpus.content_hash,
        "tokenizer": corpus.tokenizer_hash,
        "token_budget": options.positions,
    }


def identity_of(key: ArtefactKey) -> dict[str, str]:
    """The fields of a key and the software: what was begun with other versions does not go on."""
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "transformer-lens")}
    return {**dict(key.fields), **versions}


def as_processed(weights: WeightStudy) -> LocalModel:
    """The model with the processing of the study, for a worker that loads it."""
    local = weights.local
    return replace(local, spec=replace(local.spec, processing=weights.processing))


def keep_rows(corpus: TokenCorpus, store: Store) -> Path:
    """The rows as an artefact, where workers find them.

    Raises:
        StoreError: The store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        corpus.save(folder)
        return {"rows": len(corpus), "tokens": corpus.n_tokens}

    key = ArtefactKey.of("rows", FORMAT, content=corpus.content_hash, tokenizer=corpus.tokenizer_hash)
    return store.get_or_compute(key, compute)
