"""Activation statistics of a model on a corpus: one pass, computed once, found in the store afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.artefact import DEFINITION, Activations, load, save
from rwcore.activations.fold import fold_statistics
from rwcore.activations.groups import GROUPS
from rwcore.activations.intervals import frequencies_without
from rwcore.activations.merge import check_same_pass, merge
from rwcore.activations.summary import Summary, summary_of
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.models.device import pick_device
from rwcore.provenance import collect
from rwcore.store import MANIFEST, ArtefactKey, read_arrays, read_json, write_arrays, writing
from rwcore.studies.activation_pass import ShardTask, bridge, run_shard
from rwcore.studies.frequencies import FrequencyStudy, gate_signs, require_gate
from rwcore.studies.weights import WeightStudy

PASS = "pass"
SIGNS = "gate_signs.safetensors"

DTYPES = ("float32", "bfloat16", "float16")

# What fills the cache of a few cores without waste, and what keeps a GPU busy.
CPU_TOKENS, GPU_TOKENS = 2048, 16384


@dataclass(frozen=True)
class PassOptions:
    """How a pass is run. The first four decide numbers and are part of the artefact's key.

    Attributes:
        k: Length of the lists of extremes; 0 for none.
        token_budget: Positions of a batch, padding included; None for what suits the device. Another batch
            shape moves the last digits.
        dtype: Type the model runs in: ``float32``, ``bfloat16`` or ``float16``. Sums are float64 in any case.
        device: See `rwcore.models.device.pick_device`; of its answers the kind (cpu, cuda) decides numbers.
        shards: Parts the batches are dealt to; tasks of the engine. The result does not depend on it.
        threads: CPU threads of a task; None leaves them as they are. A matrix product may depend on it.
        checkpoint_every: Batches between two checkpoints.
        restart: Discard what an interrupted pass has left, instead of going on from there.
    """

    k: int = 16
    token_budget: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    shards: int = 1
    threads: int | None = None
    checkpoint_every: int = 25
    restart: bool = False

    def __post_init__(self) -> None:
        for name, option, least in (
            ("k", "--top", 0),
            ("token_budget", "--batch-tokens", 1),
            ("shards", "--shards", 1),
            ("threads", "threads", 1),
            ("checkpoint_every", "--checkpoint-every", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(
                    f"{value} is less than {least}", where=option, remedy=f"give {least} or more"
                )
        if self.dtype not in DTYPES:
            raise OptionError(
                f"unknown type {self.dtype!r}", where="--dtype", remedy=f"use {', '.join(DTYPES)}"
            )


@dataclass(frozen=True)
class ActivationStudy(FrequencyStudy):
    """Quadrant frequencies, means and extremes of every neuron of one model on one corpus.

    The pass itself runs on weights whose gate signs are not folded; what is given out is folded, as all
    published numbers are, unless the name says otherwise.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: How the pass is run.
    """

    corpus: TokenCorpus
    options: PassOptions = PassOptions()

    @cached_property
    def folder(self) -> Path:
        """The artefact; computed, or gone on with, if it is not in the store.

        Raises:
            NotGatedError: The MLPs of the model have no gate.
            StoreError: A checkpoint belongs to another pass, or the store cannot be written.
            ModelError: An activation is not finite.
        """
        store, key = self.weights.store, self._key
        if self.options.restart:
            shutil.rmtree(store.work(key), ignore_errors=True)
        return store.get_or_compute(key, self._compute)

    @cached_property
    def unfolded(self) -> Activations:
        """Statistics on weights whose gate signs are not folded: what the pass has measured."""
        return load(self.folder / PASS)

    @cached_property
    def activations(self) -> Activations:
        """Statistics with the gate signs folded."""
        signs = read_arrays(self.folder / SIGNS)["sign"]
        layers = map(fold_statistics, self.unfolded.layers, signs.float())
        return replace(self.unfolded, layers=tuple(layers))

    @cached_property
    def summary(self) -> Summary:
        """Frequencies, means and extremes of all layers, gate signs folded."""
        return summary_of(self.activations)

    def without_groups(self) -> Iterator[Float[Tensor, "layer quadrant neuron"]]:
        """Frequencies of the quadrants without each group of documents in turn, gate signs folded."""
        layers = self.activations.layers
        return frequencies_without(
            torch.stack([layer.counts for layer in layers]),
            torch.stack([layer.group_counts for layer in layers]),
            self.activations.group_tokens,
        )

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the statistics."""
        return dict(read_json(self.folder / MANIFEST))

    def tasks(self) -> list[ShardTask]:
        """The shards, each with what a worker needs to run it.

        Raises:
            NotGatedError: The MLPs of the model have no gate.
        """
        require_gate(self.weights)
        local = self.weights.local
        work, options = self.weights.store.work(self._key), self.options
        rows = work / "corpus"
        with writing(rows):
            rows.mkdir(parents=True, exist_ok=True)
        self.corpus.save(rows)
        return [
            ShardTask(
                local=replace(local, spec=replace(local.spec, processing=self.weights.processing)),
                corpus=rows,
                folder=work / f"shard_{index:03d}_of_{options.shards:03d}",
                identity=tuple(sorted(self._identity.items())),
                index=index,
                of=options.shards,
                k=options.k,
                token_budget=self._token_budget,
                dtype=options.dtype,
                device=options.device,
                threads=options.threads,
                checkpoint_every=options.checkpoint_every,
            )
            for index in range(options.shards)
        ]

    def merge(self, parts: Iterable[Activations]) -> None:
        """Keep the pass whose shards were computed elsewhere, in place of computing it.

        Raises:
            StoreError: They are of another pass, one is missing, or one is there twice.
        """
        merged = merge(parts)
        check_same_pass(merged, replace(merged, identity=self._identity), "the parts, and what was asked")
        self.weights.store.get_or_compute(self._key, lambda folder: self._keep(folder, merged))

    def _compute(self, folder: Path) -> dict[str, object]:
        try:
            parts = self.weights.engine.map(
                run_shard, self.tasks(), desc=f"activations of {self.weights.local.spec.id}"
            )
        finally:
            bridge.cache_clear()  # the model; workers keep theirs for the next shard
        return self._keep(folder, merge(map(load, parts)))

    def _keep(self, folder: Path, merged: Activations) -> dict[str, object]:
        """Fill the artefact's folder; returns the facts about it."""
        save(folder / PASS, merged)
        write_arrays(folder / SIGNS, {"sign": gate_signs(self.weights)})
        return collect(
            None,
            **self._fields,
            tokens=merged.tokens,
            rows=merged.rows,
            corpus_id=self.corpus.spec.id,
            runs=merged.runs,
        )

    @cached_property
    def _token_budget(self) -> int:
        chosen = self.options.token_budget
        return chosen or (CPU_TOKENS if self._device_kind == "cpu" else GPU_TOKENS)

    @cached_property
    def _device_kind(self) -> str:
        """``cpu`` or ``cuda``; not looked for where it was said: the workers may have what this has not."""
        asked = self.options.device
        return (pick_device(asked) if asked == "auto" else asked).partition(":")[0]

    @cached_property
    def _fields(self) -> dict[str, object]:
        """What decides the numbers."""
        return {
            "model": self.weights.local.identity(),
            "processing": self.weights.processing,
            "corpus": self.corpus.content_hash,
            "tokenizer": self.corpus.tokenizer_hash,
            "k": self.options.k,
            "token_budget": self._token_budget,
            "dtype": self.options.dtype,
            "device": self._device_kind,
            "groups": GROUPS,
        }

    @cached_property
    def _key(self) -> ArtefactKey:
        return ArtefactKey.of("activations", DEFINITION, **self._fields)

    @cached_property
    def _identity(self) -> dict[str, str]:
        """The same as texts, and the software: a pass begun with other versions does not go on."""
        versions = {name: metadata.version(name) for name in ("torch", "transformers", "transformer-lens")}
        return {**dict(self._key.fields), **versions}


def activation_study(
    weights: WeightStudy, corpus: TokenCorpus, options: PassOptions | None = None
) -> ActivationStudy:
    """The activation study of a model on a corpus; nothing is computed before it is asked for.

    Args:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: What `rwcore.corpora.prepare.prepare` returns for this model.
        options: How the pass is run.
    """
    return ActivationStudy(weights, corpus, options or PassOptions())
