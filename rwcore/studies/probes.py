"""Which neurons of a model know which features, one or many together: a pass, an atlas, curves.

The model reads the texts of all data sets over one corpus once. What neurons do at the labelled examples lies
in files until every layer has its atlas; then only the activations of the neurons that look best stay, and
curves over the number of neurons are made from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from jaxtyping import Float16
from torch import Tensor

from rwcore.errors import OptionError, require_choice, require_least
from rwcore.probing.atlas import COLUMNS
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.exact import Convention
from rwcore.probing.sparsity import CurveOptions
from rwcore.probing.tasks import CONVENTIONS, Unsplit
from rwcore.store import MANIFEST, ArtefactKey, Store, read_arrays, read_table
from rwcore.studies.example_pass import example_pass
from rwcore.studies.forward import ForwardOptions, forward_fields
from rwcore.studies.kept_examples import Examples
from rwcore.studies.probe_curves import CurveTask, probe_curve, read_curve
from rwcore.studies.probe_layers import (
    ATLAS,
    CONTROLS,
    KeepTask,
    Kept,
    LayerTask,
    control_layer,
    keep_best,
    probe_layer,
    read_kept,
)
from rwcore.studies.probe_tables import Atlas, best_neurons
from rwcore.studies.probe_tasks import DEFINITION as TASKS_DEFINITION
from rwcore.studies.probe_tasks import keep_tasks, read_tasks, read_unsplit
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

DEFINITION = "probes/1"
CURVE_DEFINITION = "sparsity_curve/1"
BEST = "best"
KEPT = 512

Task = TypeVar("Task")


@dataclass(frozen=True)
class ProbeOptions:
    """What is measured, and how.

    Attributes:
        convention: ``fixed``; or ``as_published``: rows are split at random, activations have 8 bits and
            what is chosen is chosen on test.
        seed: Of the split and the controls; None for 0, of the split as published for 42.
        trials: Random bases that neurons are compared with; 0 for no controls.
        kept: Neurons of a layer whose activations are kept for a feature, those of the largest mean
            difference on training examples; None for all.
        layers: Layers that are probed; None for all.
        curves: Layers that have curves: ``best`` for each feature's best layer, or numbers.
        curve: What the curves are drawn over.

    Raises:
        OptionError: There is no such convention, or a number is too small.
    """

    convention: Convention = "fixed"
    seed: int | None = None
    trials: int = 1
    kept: int | None = KEPT
    layers: tuple[int, ...] | None = None
    curves: str | tuple[int, ...] = BEST
    curve: CurveOptions = field(default_factory=CurveOptions)

    def __post_init__(self) -> None:
        require_choice("convention", self.convention, CONVENTIONS)
        require_least("random bases", self.trials, 0)
        if self.kept is not None:
            require_least("kept neurons", self.kept, 1)
        if isinstance(self.curves, str):
            require_choice("curves", self.curves, (BEST,))


@dataclass(frozen=True, eq=False)
class DatasetProbes:
    """What was found of one data set.

    Attributes:
        data: The data set.
        atlas: What all neurons know of its features.
        controls: What random directions and shuffled labels come to, layer by layer; see
            `rwcore.probing.controls`. Empty if they were not asked for.
    """

    data: FeatureDataset
    atlas: Atlas
    controls: pd.DataFrame


@dataclass(frozen=True)
class ProbeStudy:
    """Probes of one model.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        datasets: The features; see `rwcore.probing.datasets.catalogue.find_features`.
        options: What is measured.
        forward: How the model is run.
        parts: Parts of the pass that the engine may run at the same time; they decide no number.
    """

    weights: WeightStudy
    datasets: tuple[FeatureDataset, ...]
    options: ProbeOptions = field(default_factory=ProbeOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    parts: int = 1

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that are probed.

        Raises:
            OptionError: The model has no such layer.
        """
        count = read_shape(self.weights.local).n_layers
        wanted = tuple(range(count)) if self.options.layers is None else self.options.layers
        curves = () if isinstance(self.options.curves, str) else self.options.curves
        wrong = sorted({one for one in (*wanted, *curves) if not 0 <= one < count})
        if wrong or not wanted or {*curves} - {*wanted}:
            raise OptionError(
                f"no such layers, or none: {', '.join(map(str, wrong or sorted({*curves} - {*wanted})))}",
                where="--layers",
                remedy=f"give layers from 0 to {count - 1}, curves only of layers that are probed",
            )
        return tuple(sorted({*wanted}))

    @cached_property
    def unsplit(self) -> tuple[Unsplit, ...]:
        """The features that cannot be probed, because a part of their split has one class only."""
        return tuple(one for data in self.datasets for one in read_unsplit(self.tasks(data)))

    @cached_property
    def probed(self) -> tuple[FeatureDataset, ...]:
        """The data sets with a feature that can be probed; those without are left out.

        Raises:
            OptionError: There is none.
        """
        found = tuple(data for data in self.datasets if read_tasks(self.tasks(data)))
        if not found:
            raise OptionError(
                "no feature has both classes in train, validation and test: "
                + "; ".join(f"{one.dataset}, {one.name}: {one.why}" for one in self.unsplit),
                where=", ".join(data.name for data in self.datasets),
                remedy="give examples of both classes from more documents",
            )
        return found

    @cached_property
    def found(self) -> tuple[DatasetProbes, ...]:
        """What there is of every data set of `probed`; computed where the store does not have it.

        Raises:
            OptionError: The model has no such layer, or no feature can be split.
            RwcoreError: See `rwcore.studies.example_pass` and `rwcore.studies.probe_layers.probe_layer`.
        """
        made = {one.data.name: one for group in self._corpora for one in self._measured(group)}
        return tuple(made[data.name] for data in self.probed)

    def kept(self, probes: DatasetProbes, feature: int, layer: int) -> Kept:
        """The activations that were kept of a feature and layer."""
        return read_kept(self._store.path(self.kept_key(probes, feature, layer)))

    def kept_key(self, probes: DatasetProbes, feature: int, layer: int) -> ArtefactKey:
        """What the activations that were kept of a feature and layer are a function of."""
        named = {"layer": layer, "feature": probes.atlas.tasks[feature].name, "kept": self.options.kept}
        return ArtefactKey.of("probe-neurons", DEFINITION, **self._fields(probes.data), **named)

    def curves(self, probes: DatasetProbes) -> pd.DataFrame:
        """The sparsity curves of a data set's features at the layers of `ProbeOptions.curves`.

        Returns:
            The columns of `rwcore.probing.sparsity.COLUMNS` behind ``feature`` and ``layer``, with numbers of
            neurons of the layer.
        """
        atlas, data = probes.atlas, probes.data
        pairs = self.pairs(atlas)
        curve = replace(self.options.curve, convention=self.options.convention)
        tasks = [
            CurveTask(
                self._store,
                ArtefactKey.of(
                    "probe-curves",
                    CURVE_DEFINITION,
                    kept=dict(self.kept_key(probes, feature, layer).fields),
                    curve=asdict(curve),
                ),
                self._store.path(self.kept_key(probes, feature, layer)),
                self.tasks(data),
                feature,
                curve,
            )
            for feature, layer in pairs
        ]
        folders = self.weights.engine.map(probe_curve, tasks, desc=f"sparsity curves of {data.name}")
        parts = [
            read_curve(folder).assign(feature=atlas.tasks[feature].name, layer=layer)
            for folder, (feature, layer) in zip(folders, pairs, strict=True)
        ]
        table = pd.concat(parts, ignore_index=True)
        return table[["feature", "layer", *table.columns.drop(["feature", "layer"])]]

    def best_activations(self, probes: DatasetProbes) -> dict[str, Float16[Tensor, " labelled"]]:
        """Of the best neuron of every feature, what it does at the labelled examples.

        Features whose best layer has no curves, so that nothing was kept of it, are not there.
        """
        best = best_neurons(probes.atlas)
        kept = {(number, layer) for number, layer in self.pairs(probes.atlas)}
        return {
            task.name: self.kept(probes, number, best[task.name][0]).best
            for number, task in enumerate(probes.atlas.tasks)
            if (number, best[task.name][0]) in kept
        }

    @property
    def _store(self) -> Store:
        return self.weights.store

    @property
    def _corpora(self) -> Iterable[list[FeatureDataset]]:
        """Data sets over one corpus together: the model reads it once."""
        groups: dict[str, list[FeatureDataset]] = {}
        for data in self.probed:
            groups.setdefault(data.corpus.content_hash, []).append(data)
        return groups.values()

    def _measured(self, group: Sequence[FeatureDataset]) -> list[DatasetProbes]:
        """What is found of data sets over one corpus, with the activations that curves need."""
        passed: list[Examples] = []

        def examples() -> Examples:
            """The pass, made when it is needed."""
            if not passed:
                passed.append(
                    example_pass(
                        self.weights,
                        group,
                        self.forward,
                        layers=self.layers,
                        convention=self.options.convention,
                        parts=self.parts,
                    )
                )
            return passed[0]

        found = [self._probed(data, examples) for data in group]
        for one in found:
            self._keep(one, examples)
        for pass_ in passed:
            pass_.discard()
        return found

    def _probed(self, data: FeatureDataset, examples: Callable[[], Examples]) -> DatasetProbes:
        self._layers(data, examples, probe_layer, self._layer_key, "probes")
        folders = [self._store.path(self._layer_key(data, layer)) for layer in self.layers]
        arrays = [read_arrays(one / ATLAS) for one in folders]
        atlas = Atlas(
            self.weights.local.spec.id,
            tuple(read_tasks(self.tasks(data))),
            self.layers,
            read_shape(self.weights.local).n_layers,
            {name: torch.stack([one[name] for one in arrays]) for name in COLUMNS},
            data.aggregation,
        )
        return DatasetProbes(data, atlas, self._controls(data, examples))

    def _controls(self, data: FeatureDataset, examples: Callable[[], Examples]) -> pd.DataFrame:
        if not self.options.trials:
            return pd.DataFrame()
        self._layers(data, examples, control_layer, self._control_key, "controls")
        folders = [self._store.path(self._control_key(data, layer)) for layer in self.layers]
        tables = [
            read_table(one / CONTROLS).assign(layer=layer)
            for one, layer in zip(folders, self.layers, strict=True)
        ]
        return pd.concat(tables, ignore_index=True)

    def _layers(
        self,
        data: FeatureDataset,
        examples: Callable[[], Examples],
        function: Callable[[LayerTask], Path],
        key: Callable[[FeatureDataset, int], ArtefactKey],
        desc: str,
    ) -> None:
        """Make the artefacts of the layers that have none."""
        missing = [
            LayerTask(
                self._store,
                key(data, layer),
                examples(),
                self.tasks(data),
                data.name,
                layer,
                self.options.convention,
                self.options.trials,
                self.options.seed or 0,
                self.forward.threads,
            )
            for layer in self.layers
            if not self._there(key(data, layer))
        ]
        self._map(function, missing, f"{desc} for {data.name}")

    def _keep(self, probes: DatasetProbes, examples: Callable[[], Examples]) -> None:
        atlas, data = probes.atlas, probes.data
        missing = [
            KeepTask(
                self._store,
                self.kept_key(probes, feature, layer),
                examples(),
                self.tasks(data),
                self._store.path(self._layer_key(data, layer)),
                data.name,
                feature,
                layer,
                self.options.kept,
                int(atlas.quality(feature)[self.layers.index(layer)].argmax()),
            )
            for feature, layer in self.pairs(atlas)
            if not self._there(self.kept_key(probes, feature, layer))
        ]
        self._map(keep_best, missing, f"best neurons for {data.name}")

    def pairs(self, atlas: Atlas) -> list[tuple[int, int]]:
        """Numbers of features and of the layers where they have curves."""
        best, curves = best_neurons(atlas), self.options.curves
        return [
            (number, layer)
            for number, task in enumerate(atlas.tasks)
            for layer in ((best[task.name][0],) if isinstance(curves, str) else curves)
        ]

    def _map(self, function: Callable[[Task], Path], tasks: Sequence[Task], desc: str) -> None:
        if tasks:
            self.weights.engine.map(function, tasks, desc=desc)

    def tasks(self, data: FeatureDataset) -> Path:
        """Folder of the features of a data set, split."""
        return keep_tasks(data, self._store, convention=self.options.convention, seed=self.options.seed)

    def _there(self, key: ArtefactKey) -> bool:
        return (self._store.path(key) / MANIFEST).exists()

    def _fields(self, data: FeatureDataset) -> dict[str, object]:
        """What decides the numbers of a data set."""
        return {
            **forward_fields(self.weights, data.corpus, self.forward),
            "data": data.content_hash,
            "tasks": TASKS_DEFINITION,
            "convention": self.options.convention,
            "seed": self.options.seed,
        }

    def _layer_key(self, data: FeatureDataset, layer: int) -> ArtefactKey:
        return ArtefactKey.of("probes", DEFINITION, **self._fields(data), layer=layer)

    def _control_key(self, data: FeatureDataset, layer: int) -> ArtefactKey:
        fields = {**self._fields(data), "layer": layer, "trials": self.options.trials}
        return ArtefactKey.of("probe-controls", DEFINITION, **fields)
