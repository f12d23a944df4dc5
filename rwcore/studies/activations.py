"""Activation statistics of a model on a corpus: one pass, computed once, found in the store afterwards."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.activations.artefact import DEFINITION, Activations, load, save
from rwcore.activations.fold import fold_statistics
from rwcore.activations.groups import GROUPS
from rwcore.activations.intervals import frequencies_without
from rwcore.activations.merge import check_same_pass, merge
from rwcore.activations.summary import Summary, summary_of
from rwcore.corpora.tokens import TokenCorpus
from rwcore.provenance import collect
from rwcore.store import MANIFEST, ArtefactKey, read_arrays, read_json, write_arrays
from rwcore.studies.activation_pass import ShardTask, bridge, run_shard
from rwcore.studies.forward import (
    ForwardOptions,
    as_processed,
    forward_fields,
    identity_of,
    keep_rows,
)
from rwcore.studies.frequencies import FrequencyStudy, gate_signs, require_gate
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

PASS = "pass"
SIGNS = "gate_signs.safetensors"


@dataclass(frozen=True)
class PassOptions(ForwardOptions):
    """How a pass is run; sums are float64 whatever the type of the model.

    Attributes:
        k: Length of the lists of extremes; 0 for none. Part of the artefact's key.
        shards: Parts the batches are dealt to; tasks of the engine. The result does not depend on it.
    """

    k: int = 16
    shards: int = 1

    LEAST: ClassVar[dict[str, tuple[str, int]]] = {
        **ForwardOptions.LEAST,
        "k": ("--top", 0),
        "shards": ("--shards", 1),
    }


@dataclass(frozen=True)
class PassStudy(FrequencyStudy):
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

    @property
    @abstractmethod
    def unfolded(self) -> Activations:
        """Statistics on weights whose gate signs are not folded: what the pass has measured."""

    @property
    @abstractmethod
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """The sign of cos(gate, in) of every neuron, which folding makes positive; +1 without a gate."""

    @cached_property
    def gated(self) -> bool:
        """Whether the MLPs of the model have gates."""
        return read_shape(self.weights.local).gated_mlp

    @cached_property
    def activations(self) -> Activations:
        """Statistics with the gate signs folded."""
        layers = map(fold_statistics, self.unfolded.layers, self.signs.float())
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


@dataclass(frozen=True)
class ActivationStudy(PassStudy):
    """A pass that is computed where the store does not have it."""

    PLAIN: ClassVar[bool] = False
    """Whether it is of a model without gates."""

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
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """The sign of cos(gate, in) of every neuron, which folding makes positive; +1 without a gate."""
        return read_arrays(self.folder / SIGNS)["sign"]

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the statistics."""
        return dict(read_json(self.folder / MANIFEST))

    def tasks(self) -> list[ShardTask]:
        """The shards, each with what a worker needs to run it.

        Raises:
            NotGatedError: The MLPs of the model have no gate.
        """
        self._require()
        work, options = self.weights.store.work(self._key), self.options
        rows = keep_rows(self.corpus, self.weights.store)
        return [
            ShardTask(
                local=as_processed(self.weights),
                corpus=rows,
                folder=work / f"shard_{index:03d}_of_{options.shards:03d}",
                identity=tuple(sorted(self._identity.items())),
                index=index,
                of=options.shards,
                k=options.k,
                token_budget=options.positions,
                dtype=options.dtype,
                device=options.device,
                threads=options.threads,
                checkpoint_every=options.checkpoint_every,
                plain=self.PLAIN,
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
        write_arrays(folder / SIGNS, {"sign": self._gate_signs()})
        return collect(
            None,
            **self._fields,
            tokens=merged.tokens,
            rows=merged.rows,
            corpus_id=self.corpus.spec.id,
            runs=merged.runs,
        )

    def _require(self) -> None:
        """Refuse a model that the pass is not made for, before anything is computed."""
        require_gate(self.weights)

    def _gate_signs(self) -> Int8[Tensor, "layer neuron"]:
        return gate_signs(self.weights)

    @cached_property
    def _fields(self) -> dict[str, object]:
        """What decides the numbers."""
        shared = forward_fields(self.weights, self.corpus, self.options)
        return {**shared, "k": self.options.k, "groups": GROUPS}

    @cached_property
    def _key(self) -> ArtefactKey:
        return ArtefactKey.of("activations", DEFINITION, **self._fields)

    @cached_property
    def _identity(self) -> dict[str, str]:
        return identity_of(self._key)


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
