"""Activation statistics of a model on a corpus: one pass, computed once, found in the store afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.activations.artefact import DEFINITION, Activations, load, save
from rwcore.activations.fold import fold_statistics
from rwcore.activations.frequencies import class_frequencies, frequency_correlations
from rwcore.activations.groups import GROUPS
from rwcore.activations.intervals import Estimate, frequencies_without, jackknife
from rwcore.activations.merge import check_same_pass, merge
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary, summary_of
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import NotGatedError, OptionError
from rwcore.models.device import pick_device
from rwcore.provenance import collect
from rwcore.stats.classes import RW_CLASSES, UNDEFINED, class_codes
from rwcore.store import MANIFEST, ArtefactKey, read_arrays, read_json, write_arrays, writing
from rwcore.studies.activation_pass import ShardTask, bridge, run_shard
from rwcore.studies.weights import WeightStudy
from rwcore.weights.fold import gate_sign
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import read_shape

SUMMARY = "summary"
"""Name of the frequency of gate > 0 beside those of the quadrants, as in the published files."""

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
        least = {"k": 0, "token_budget": 1, "shards": 1, "threads": 1, "checkpoint_every": 1}
        for name, number in least.items():
            value = getattr(self, name)
            if value is not None and value < number:
                raise OptionError(
                    f"{value} is less than {number}", where=name, remedy=f"give {number} or more"
                )
        if self.dtype not in DTYPES:
            raise OptionError(
                f"unknown type {self.dtype!r}", where="dtype", remedy=f"use {', '.join(DTYPES)}"
            )


@dataclass(frozen=True)
class ActivationStudy:
    """Quadrant frequencies, means and extremes of every neuron of one model on one corpus.

    The pass itself runs on weights whose gate signs are not folded; what is given out is folded, as all
    published numbers are, unless the name says otherwise.

    Attributes:
        weights: The weight study of the model.
        corpus: The rows.
        options: How the pass is run.
    """

    weights: WeightStudy
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

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the statistics."""
        return dict(read_json(self.folder / MANIFEST))

    def tasks(self) -> list[ShardTask]:
        """The shards, each with what a worker needs to run it.

        Raises:
            NotGatedError: The MLPs of the model have no gate.
        """
        local = self.weights.local
        if not read_shape(local).gated_mlp:
            raise NotGatedError(
                "activation quadrants are asked of a model whose MLPs have no gate",
                where=local.spec.id,
                remedy="use a gated model (Llama, OLMo, Gemma, Qwen, Mistral, …)",
            )
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

    # --- what claims and figures reduce --------------------------------------------------------------------

    def frequencies(self) -> dict[str, Float[Tensor, "layer neuron"]]:
        """Share of the tokens, by name: ``summary`` (gate > 0, in ≠ 0) and the quadrants; float64."""
        return named_frequencies(self.summary.frequencies)

    def mean_norms(self) -> dict[str, Float[Tensor, "layer neuron"]]:
        """How much a neuron writes when it is in a quadrant: ``|mean(post)| · ‖out‖``, by name; float64.

        ``summary`` is ``Σ_q f_q · |mean_q(post)| · ‖out‖``, the mean of |post| · ‖out‖ over all tokens,
        since post has one sign within a quadrant. A quadrant that never occurs counts as 0.

        Source: ablations and frequencies specification, section 5.2.
        """
        norm = self.weights.statistics.norm_out.double()
        size = self.summary.means[:, :, QUANTITIES.index("post")].abs().nan_to_num(nan=0.0) * norm[:, None]
        overall = (self.summary.frequencies * size).sum(dim=1)
        return {SUMMARY: overall, **{name: size[:, place] for place, name in enumerate(QUADRANTS)}}

    @cached_property
    def class_codes(self) -> Int8[Tensor, "layer neuron"]:
        """Read-write class of every neuron."""
        return class_codes(self.weights.cosines)

    def class_names(self) -> list[str]:
        """Name of the class of every neuron, layer by layer."""
        names = [*(one.name for one in RW_CLASSES), UNDEFINED]
        return [names[code] for code in self.class_codes.flatten().tolist()]

    def class_frequency(self, name: str = SUMMARY) -> pd.DataFrame:
        """How often the neurons of each class fire, against random neurons of the same layers.

        Args:
            name: ``summary`` (gate > 0) or a quadrant.

        Returns:
            ``class`` (canonical order), ``n`` (neurons), ``true`` and ``baseline`` (mean frequencies; see
            `rwcore.activations.frequencies.class_frequencies`), ``low`` and ``high`` (95 % interval of
            ``true`` over documents). NaN for a class without neurons.
        """
        codes = self.class_codes
        frame = class_frequencies(self.frequencies()[name], codes, RW_CLASSES)
        members = [codes == code for code in range(len(RW_CLASSES))]

        def means(frequencies: Mapping[str, Tensor]) -> dict[str, float]:
            found = frequencies[name]
            return {
                one.name: float(found[inside].mean()) for one, inside in zip(RW_CLASSES, members, strict=True)
            }

        intervals = self.intervals(means)
        return frame.assign(
            low=[intervals[one].low for one in frame["class"]],
            high=[intervals[one].high for one in frame["class"]],
        )

    def intervals(
        self, reduce: Callable[[Mapping[str, Float[Tensor, "layer neuron"]]], Mapping[str, float]]
    ) -> dict[str, Estimate]:
        """Numbers with 95 % intervals over documents; see `rwcore.activations.intervals`.

        Args:
            reduce: Computes the numbers, by name, from frequencies as `frequencies` returns them.
        """
        layers = self.activations.layers
        without = frequencies_without(
            torch.stack([layer.counts for layer in layers]),
            torch.stack([layer.group_counts for layer in layers]),
            self.activations.group_tokens,
        )
        return jackknife(reduce, self.frequencies(), map(named_frequencies, without))

    def correlations(self) -> pd.DataFrame:
        """See `rwcore.activations.frequencies.frequency_correlations`."""
        return frequency_correlations(self.frequencies(), self.weights.cosines)


def named_frequencies(
    frequencies: Float[Tensor, "layer quadrant neuron"],
) -> dict[str, Float[Tensor, "layer neuron"]]:
    """The frequency of gate > 0 as published (the sum of its two quadrants), and that of each quadrant."""
    each = {name: frequencies[:, place] for place, name in enumerate(QUADRANTS)}
    return {SUMMARY: each["gate+_in+"] + each["gate+_in-"], **each}


def gate_signs(weights: WeightStudy) -> Int8[Tensor, "layer neuron"]:
    """The sign of cos(gate, in) of every neuron, +1 for 0, which folding makes positive."""
    layers = mlp_weights(weights.local, processing=weights.processing, fold_sign=False)
    return torch.stack([_signs(layers[number]) for number in range(len(layers))])


def _signs(layer: MlpLayer) -> Int8[Tensor, " neuron"]:
    assert layer.gate is not None  # the pass has refused models without a gate
    return gate_sign(layer.gate, layer.in_).to(torch.int8)


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
