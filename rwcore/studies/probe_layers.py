"""One layer of a model against the features of a data set, as artefacts that any worker can make.

Three of them: the atlas, what all neurons of the layer know of every feature; what random directions and
shuffled labels come to there, of which a person may want more without waiting for the atlas again; and, of
one feature, the activations of the neurons that look best. The last are the only activations that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float16, Float32, Int64
from torch import Tensor

from rwcore.errors import RwcoreError
from rwcore.probing.atlas import layer_atlas
from rwcore.probing.controls import control_scores
from rwcore.probing.datasets.features import AS_PUBLISHED
from rwcore.probing.rankings import descending
from rwcore.probing.tasks import ProbeTask
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure
from rwcore.store import ArtefactKey, Store, read_arrays, write_arrays, write_table
from rwcore.studies.kept_examples import Examples
from rwcore.studies.probe_tasks import read_tasks

ATLAS, CONTROLS, KEPT = "atlas.safetensors", "controls.parquet", "kept.safetensors"


@dataclass(frozen=True)
class LayerTask:
    """One layer and data set: what a worker needs, wherever it is.

    Attributes:
        store: Where the artefact is kept.
        key: What it is a function of.
        examples: The finished pass.
        tasks: Folder of the features (`rwcore.studies.probe_tasks.keep_tasks`).
        dataset: Name of the data set.
        layer: Number of the layer.
        convention: ``fixed`` or ``as_published``.
        trials: Random bases that the neurons are compared with; only controls have them.
        seed: Of the controls.
        threads: CPU threads; None leaves them as they are.
    """

    store: Store
    key: ArtefactKey
    examples: Examples
    tasks: Path
    dataset: str
    layer: int
    convention: str
    trials: int
    seed: int
    threads: int | None


def probe_layer(task: LayerTask) -> Path:
    """The artefact with the atlas of a layer; computed if it is not there.

    Raises:
        ProbeError: An activation is not finite.
        StoreError: The examples are missing or damaged, or the store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        codes = "uniform" if task.convention == AS_PUBLISHED else "companded"
        x, features = _read(task)
        with _named(task):
            write_arrays(folder / ATLAS, layer_atlas(x, features, codes=codes).columns)
        return collect(stopwatch, layer=task.layer, examples=len(x), neurons=x.shape[1])

    return task.store.get_or_compute(task.key, compute)


def control_layer(task: LayerTask) -> Path:
    """The artefact with the controls of a layer; computed if it is not there.

    Raises:
        ProbeError: An activation is not finite.
        StoreError: The examples are missing or damaged, or the store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        x, features = _read(task)
        with _named(task):
            controls = control_scores(x, features, trials=task.trials, seed=task.seed + task.layer)
        write_table(folder / CONTROLS, controls)
        return collect(stopwatch, layer=task.layer, trials=task.trials)

    return task.store.get_or_compute(task.key, compute)


def _read(task: LayerTask) -> tuple[Float16[Tensor, "example neuron"], list[ProbeTask]]:
    configure(threads=task.threads)
    return task.examples.layer(task.dataset, task.layer), read_tasks(task.tasks)


@contextmanager
def _named(task: LayerTask) -> Iterator[None]:
    """Errors say in which layer."""
    try:
        yield
    except RwcoreError as error:
        where = f"layer {task.layer}" + (f", {error.where}" if error.where else "")
        raise type(error)(error.what, where=where, remedy=error.remedy) from error


@dataclass(frozen=True)
class KeepTask:
    """The best neurons of one feature and layer: what a worker needs, wherever it is.

    Attributes:
        store: Where the activations are kept.
        key: What they are a function of.
        examples: The finished pass.
        tasks: Folder of the features.
        atlas: Folder of the atlas of the layer.
        dataset: Name of the data set.
        feature: Number of the feature in the data set.
        layer: Number of the layer.
        count: How many neurons are kept; None for all.
        best: Number of the best neuron; its activations are kept whatever its mean difference is.
    """

    store: Store
    key: ArtefactKey
    examples: Examples
    tasks: Path
    atlas: Path
    dataset: str
    feature: int
    layer: int
    count: int | None
    best: int


@dataclass(frozen=True, eq=False)
class Kept:
    """Activations that are kept.

    Attributes:
        neurons: Numbers of the neurons, those of the largest mean difference on training examples first.
        x: Their activations at the labelled examples of the feature.
        best: The activations of the best neuron.
    """

    neurons: Int64[Tensor, " neuron"]
    x: Float16[Tensor, "labelled neuron"]
    best: Float16[Tensor, " labelled"]


def keep_best(task: KeepTask) -> Path:
    """The artefact with the activations of the neurons that look best; made if it is not there.

    Raises:
        StoreError: The examples are missing or damaged, or the store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        differences = read_arrays(task.atlas / ATLAS)["mean_dif"][task.feature]
        neurons = largest_differences(differences, task.count)
        wanted = torch.cat([neurons, torch.tensor([task.best])])
        feature = read_tasks(task.tasks)[task.feature]
        x = task.examples.layer(task.dataset, task.layer, wanted)[feature.example]
        arrays = {"neurons": neurons, "x": x[:, :-1].contiguous(), "best": x[:, -1].contiguous()}
        write_arrays(folder / KEPT, arrays)
        return {"feature": feature.name, "layer": task.layer, "neurons": len(neurons)}

    return task.store.get_or_compute(task.key, compute)


def largest_differences(differences: Float32[Tensor, " neuron"], count: int | None) -> Int64[Tensor, " best"]:
    """Neurons by the size of their mean difference, the largest first; of equal ones the lower number."""
    return descending(torch.nan_to_num(differences.abs(), nan=-1.0))[:count]


def read_kept(folder: Path) -> Kept:
    """The activations that were kept.

    Raises:
        StoreError: The file is missing or damaged.
    """
    return Kept(**read_arrays(folder / KEPT))
