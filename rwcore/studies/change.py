"""How far the weights of a model moved between two checkpoints: computed once, found in the store after."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.models.locate import locate
from rwcore.models.spec import LocalModel, ModelSpec
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import progress
from rwcore.stats.change import Flip, change_correlations, change_cosines
from rwcore.stats.classes import class_codes, classes_of
from rwcore.stats.transitions import class_transitions
from rwcore.store import MANIFEST, ArtefactKey, Store, read_arrays, read_json, write_arrays
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.weights.fold import RAW
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import ModelShape, read_shape

DEFINITION = "checkpoint_change/1"
ARRAYS = "changes.safetensors"


@dataclass(frozen=True)
class ChangeStudy:
    """What changed between two checkpoints of one model.

    Changes are those of the weights as stored; cosines and classes are those of the weight studies.

    Attributes:
        first: Weight study of the earlier checkpoint.
        last: Weight study of the later one.
        flip: See `rwcore.stats.change.change_cosines`.
        store: Where artefacts are kept.
    """

    first: WeightStudy
    last: WeightStudy
    flip: Flip
    store: Store

    @cached_property
    def changes(self) -> dict[str, Tensor]:
        """Cosine between each vector and what became of it: ``gate``, ``in``, ``out``, [layer neuron]."""
        arrays = read_arrays(self.store.get_or_compute(self._key, self._compute) / ARRAYS)
        return {name: arrays[name] for name in ("gate", "in", "out") if name in arrays}

    @property
    def _key(self) -> ArtefactKey:
        identities = {"first": self.first.local.identity(), "last": self.last.local.identity()}
        return ArtefactKey.of("change", DEFINITION, **identities, processing=RAW, flip=self.flip)

    def _compute(self, folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        weights = [mlp_weights(study.local, processing=RAW) for study in (self.first, self.last)]
        name = f"change of {self.last.local.spec.id}"
        # By number: a bar over the layers themselves would hold one while the next is read.
        numbers = progress(range(len(weights[0])), desc=name, total=len(weights[0]), unit="layer")
        earlier = (weights[0][number] for number in numbers)
        write_arrays(folder / ARRAYS, change_cosines(earlier, weights[1], flip=self.flip))
        return collect(
            stopwatch,
            first=self.first.local.identity(),
            last=self.last.local.identity(),
            processing=RAW,
            flip=self.flip,
            dtype="float32",
        )

    def correlations(self) -> pd.DataFrame:
        """Changes against the cosines of the later checkpoint, layer by layer.

        See `rwcore.stats.change.change_correlations`.
        """
        return change_correlations(self.changes, self.last.cosines)

    def transitions(self) -> pd.DataFrame:
        """Which class the neurons of each class went to; see `rwcore.stats.transitions.class_transitions`."""
        first, last = self.first.cosines, self.last.cosines
        return class_transitions(class_codes(first), class_codes(last), classes_of(last))

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the changes."""
        _ = self.changes
        return dict(read_json(self.store.path(self._key) / MANIFEST))


def change_study(
    first: ModelSpec | LocalModel | WeightStudy,
    last: ModelSpec | LocalModel | WeightStudy,
    *,
    flip: Flip = "none",
    processing: str | None = None,
    store: Store | None = None,
) -> ChangeStudy:
    """The change study of two checkpoints of one model.

    Args:
        first: The earlier checkpoint: what `rwcore.models.registry.find` returns, such as
            ``org/name@step0-tokens0B``; a model already located; or its weight study.
        last: The later one.
        flip: ``none``; or ``own`` for the published artefact, see `rwcore.stats.change.change_cosines`.
        processing: Of the cosines and classes; the model's own if None. Changes are always of raw weights.
        store: Where artefacts are kept; the user's cache if None.

    Raises:
        WeightsMissing: A checkpoint is not on this machine.
        WeightsError: The two are not of one shape.
    """
    kept = store or Store()

    def study_of(model: ModelSpec | LocalModel | WeightStudy) -> WeightStudy:
        if isinstance(model, WeightStudy):
            return model
        local = model if isinstance(model, LocalModel) else locate(model)
        return weight_study(local, processing=processing, store=kept)

    study = ChangeStudy(study_of(first), study_of(last), flip, kept)
    check_one_shape(study.first.local, study.last.local)
    return study


def check_one_shape(first: LocalModel, last: LocalModel, *, where: str | None = None) -> None:
    """Refuse two models whose neurons cannot be paired.

    Args:
        first: One model.
        last: The other.
        where: The option that asked for it.

    Raises:
        WeightsError: They differ in layers, neurons per layer, width or gates; both are named.
    """
    shapes = [read_shape(local) for local in (first, last)]
    if sizes(shapes[0]) != sizes(shapes[1]):
        raise WeightsError(
            f"{first.spec.id} ({describe(shapes[0])}) and {last.spec.id} ({describe(shapes[1])}) are not of "
            "one shape: their neurons cannot be paired",
            where=where,
            remedy="name two checkpoints of one model, such as org/name@step1000 and org/name",
        )


def describe(shape: ModelShape) -> str:
    """The sizes of an MLP stack in words."""
    gated = "gated" if shape.gated_mlp else "not gated"
    return f"{shape.n_layers} layers × {shape.d_mlp} neurons, width {shape.d_model}, {gated}"


def sizes(shape: ModelShape) -> tuple[int, int, int, bool]:
    """What two models must share for their neurons to be paired: layers, neurons, width, gate."""
    return shape.n_layers, shape.d_mlp, shape.d_model, shape.gated_mlp
