"""Weight statistics of a model: computed once, found in the store afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from rwcore.models.locate import locate
from rwcore.models.spec import LocalModel, ModelSpec
from rwcore.parallel import Engine, InProcess
from rwcore.probing.weight_statistics import has_input_biases, neuron_weights
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import progress
from rwcore.stats.classes import class_counts, class_totals
from rwcore.stats.cosines import RWCosines, WeightStatistics, weight_statistics
from rwcore.stats.half_coarse import half_coarse_counts
from rwcore.stats.medians import layer_medians
from rwcore.stats.norms import norm_ranges
from rwcore.stats.null import mismatched_region
from rwcore.store import ArtefactKey, Store, read_arrays, read_json, read_table, write_arrays, write_table
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import MlpWeights, mlp_weights
from rwcore.weights.shape import read_shape

DEFINITION = "weights/1"
NULL_DEFINITION = "null_regions/1"
PRODUCT_DEFINITION = "bias_products/1"
ARRAYS = "statistics.safetensors"
REGIONS = "null_regions.parquet"
PRODUCTS = "products.parquet"


@dataclass(frozen=True)
class WeightStudy:
    """The weight statistics of one model under one processing.

    Gate signs are folded where there is a gate (cos(gate, in) ≥ 0), as in the published gated results;
    classes, medians of cos(in, out) and norms do not depend on it.

    Attributes:
        local: The model on this machine.
        processing: ``as_published`` or ``raw``.
        store: Where artefacts are kept.
        engine: What runs layer-wise tasks.
    """

    local: LocalModel
    processing: str
    store: Store
    engine: Engine

    def mlp_weights(self) -> MlpWeights:
        """The processed weights, streamed layer by layer, gate signs folded."""
        return folded_weights(self.local, self.processing)

    def _key(self, kind: str, definition: str) -> ArtefactKey:
        return ArtefactKey.of(
            kind, definition, model=self.local.identity(), processing=self.processing, fold_sign=True
        )

    @cached_property
    def folder(self) -> Path:
        """The artefact with cosines and norms; computed if it is not in the store."""

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            weights = self.mlp_weights()
            name = f"weights of {self.local.spec.id}"
            # By number: a bar over the layers themselves would hold one while the next is read.
            numbers = progress(range(len(weights)), desc=name, total=len(weights), unit="layer")
            statistics = weight_statistics((weights[number] for number in numbers), len(weights))
            write_arrays(folder / ARRAYS, statistics.to_arrays())
            return self._facts(stopwatch)

        return self.store.get_or_compute(self._key("weights", DEFINITION), compute)

    @cached_property
    def statistics(self) -> WeightStatistics:
        """Cosines and norms of every neuron."""
        return WeightStatistics.from_arrays(read_arrays(self.folder / ARRAYS))

    @property
    def cosines(self) -> RWCosines:
        """The cosines of every neuron."""
        return self.statistics.cosines

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the cosines and norms."""
        return dict(read_json(self.folder / "manifest.json"))

    def class_counts(self) -> pd.DataFrame:
        """Neurons per layer and class; see `rwcore.stats.classes.class_counts`."""
        return class_counts(self.cosines)

    def class_totals(self) -> pd.DataFrame:
        """Neurons per class; see `rwcore.stats.classes.class_totals`."""
        return class_totals(self.class_counts())

    def half_coarse_counts(self) -> pd.DataFrame:
        """Neurons per layer and cosine bin; see `rwcore.stats.half_coarse.half_coarse_counts`."""
        return half_coarse_counts(self.cosines)

    def medians(self) -> pd.DataFrame:
        """Median cosines per layer; see `rwcore.stats.medians.layer_medians`."""
        return layer_medians(self.cosines)

    def norm_ranges(self) -> pd.DataFrame:
        """Smallest and largest norms; see `rwcore.stats.norms.norm_ranges`."""
        return norm_ranges(self.statistics)

    @cached_property
    def products(self) -> pd.DataFrame | None:
        """Input bias times norm of the input vector, by layer; None where the MLPs have no input biases.

        See `rwcore.probing.weight_statistics.NeuronWeights.by_layer`.
        """
        if not has_input_biases(self.local):
            return None

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            # The sign of a gate would turn the input vector round, and not its bias.
            weights = mlp_weights(self.local, processing=self.processing)
            write_table(folder / PRODUCTS, neuron_weights(weights).by_layer())
            return self._facts(stopwatch)

        folder = self.store.get_or_compute(self._key("weight-products", PRODUCT_DEFINITION), compute)
        return read_table(folder / PRODUCTS)

    def null_regions(self, layers: Sequence[int] | None = None) -> pd.DataFrame:
        """Mismatched-pair regions (columns layer, cosine, low, high, undefined); kept layer by layer.

        Args:
            layers: Which layers; all if None.
        """
        name = f"null regions of {self.local.spec.id}"
        folders = self.engine.map(regions_of_layer, self.tasks(layers), desc=name)
        return pd.concat([read_table(folder / REGIONS) for folder in folders], ignore_index=True)

    def tasks(self, layers: Sequence[int] | None = None) -> list[LayerTask]:
        """What a worker needs for each of some layers, or of all."""
        numbers = range(len(self.mlp_weights())) if layers is None else layers
        return [LayerTask(self.local, self.processing, number, self.store) for number in numbers]

    def _facts(self, stopwatch: Stopwatch) -> dict[str, object]:
        return collect(
            stopwatch,
            model=self.local.identity(),
            processing=self.processing,
            fold_sign=True,
            dtype="float32",
        )


@dataclass(frozen=True)
class LayerTask:
    """One layer of one model: what a worker needs to stream it and to keep what it found.

    Attributes:
        local: The model.
        processing: ``as_published`` or ``raw``.
        layer: Number of the layer.
        store: Where artefacts are kept.
    """

    local: LocalModel
    processing: str
    layer: int
    store: Store

    def weights(self) -> MlpLayer:
        """The processed weights of the layer, gate signs folded."""
        return folded_weights(self.local, self.processing)[self.layer]

    def stored(self, kind: str, definition: str, compute: Callable[[Path], Mapping[str, object]]) -> Path:
        """The layer's artefact, so that an interrupted study goes on at the layer where it stopped.

        Args:
            kind: Kind of the artefact.
            definition: Definition and version.
            compute: Fills the folder it is given and returns facts for the manifest.
        """
        facts: dict[str, object] = {
            "model": self.local.identity(),
            "processing": self.processing,
            "fold_sign": True,
            "layer": self.layer,
        }

        def timed(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            found = compute(folder)
            return collect(stopwatch, **facts, **found, dtype="float32")

        return self.store.get_or_compute(ArtefactKey.of(kind, definition, **facts), timed)


def folded_weights(local: LocalModel, processing: str) -> MlpWeights:
    """The processed weights, with gate signs folded where there is a gate."""
    return mlp_weights(local, processing=processing, fold_sign=read_shape(local).gated_mlp)


def regions_of_layer(task: LayerTask) -> Path:
    """The artefact with the mismatched-pair regions of one layer."""

    def compute(folder: Path) -> dict[str, object]:
        write_table(folder / REGIONS, mismatched_region(task.weights()))
        return {}

    return task.stored("null-regions", NULL_DEFINITION, compute)


def weight_study(
    model: ModelSpec | LocalModel,
    *,
    processing: str | None = None,
    store: Store | None = None,
    engine: Engine | None = None,
) -> WeightStudy:
    """The weight study of a model.

    Args:
        model: What `rwcore.models.registry.find` returns, or a model already located.
        processing: ``as_published`` (the rule of the model's family) or ``raw``; the model's own if None.
        store: Where artefacts are kept; the user's cache if None.
        engine: What runs layer-wise tasks; this process if None.

    Raises:
        WeightsMissing: The weights are not on this machine.
    """
    local = model if isinstance(model, LocalModel) else locate(model)
    return WeightStudy(local, processing or local.spec.processing, store or Store(), engine or InProcess())
