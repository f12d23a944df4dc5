"""The sparsity curve of one feature at one layer, as an artefact that any worker can make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rwcore.probing.sparsity import CurveOptions, sparsity_curve
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, Store, read_table, write_table
from rwcore.studies.probe_layers import read_kept
from rwcore.studies.probe_tasks import read_tasks

CURVE = "curve.parquet"


@dataclass(frozen=True)
class CurveTask:
    """What a worker needs, wherever it is.

    Attributes:
        store: Where the curve is kept.
        key: What it is a function of.
        kept: Folder of the activations (`rwcore.studies.probe_layers.keep_best`).
        tasks: Folder of the features.
        feature: Number of the feature.
        options: What the curve is drawn over.
    """

    store: Store
    key: ArtefactKey
    kept: Path
    tasks: Path
    feature: int
    options: CurveOptions


def probe_curve(task: CurveTask) -> Path:
    """The artefact with the curve; computed if it is not there.

    Raises:
        OptionError: A library is missing.
        StoreError: The activations are missing or damaged, or the store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        kept, feature = read_kept(task.kept), read_tasks(task.tasks)[task.feature]
        table = sparsity_curve(kept.x, feature, task.options)
        # Places among the kept neurons become numbers of neurons of the layer.
        numbers = kept.neurons.tolist()
        table["neurons"] = [
            " ".join(str(number) for number in sorted(numbers[int(place)] for place in places.split()))
            for places in table["neurons"]
        ]
        write_table(folder / CURVE, table)
        return collect(stopwatch, feature=feature.name)

    return task.store.get_or_compute(task.key, compute)


def read_curve(folder: Path) -> pd.DataFrame:
    """The curve; columns as `rwcore.probing.sparsity.COLUMNS`.

    Raises:
        StoreError: The file is missing or damaged.
    """
    return read_table(folder / CURVE)
