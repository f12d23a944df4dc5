"""Features with their splits as an artefact, where workers find them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.splits import PARTS, Split
from rwcore.probing.tasks import ProbeTask, Unsplit, probe_tasks
from rwcore.store import ArtefactKey, Store, read_arrays, read_json, write_arrays, write_json

DEFINITION = "probe_tasks/1"
ARRAYS, NAMES = "tasks.safetensors", "tasks.json"
_FIELDS = ("example", "label", "group")
_NAMED = ("dataset", "family", "name")


def keep_tasks(data: FeatureDataset, store: Store, *, convention: str, seed: int | None) -> Path:
    """The features of a data set, split; see `rwcore.probing.tasks.probe_tasks`.

    Raises:
        OptionError: There is no such convention.
        StoreError: The store cannot be written.
    """
    key = ArtefactKey.of(
        "probe-tasks", DEFINITION, data=data.content_hash, name=data.name, convention=convention, seed=seed
    )

    def compute(folder: Path) -> dict[str, object]:
        tasks, unsplit = probe_tasks(data, convention=convention, seed=seed)
        # Features may share their examples, and a file must not.
        arrays = {
            f"{number}/{name}": values.clone().contiguous()
            for number, task in enumerate(tasks)
            for name, values in {
                **{field: getattr(task, field) for field in _FIELDS},
                **task.split.parts(),
            }.items()
        }
        write_arrays(folder / ARRAYS, arrays)
        named = [{field: getattr(task, field) for field in _NAMED} for task in tasks]
        write_json(folder / NAMES, {"tasks": named, "unsplit": [asdict(one) for one in unsplit]})
        return {"features": len(tasks)}

    return store.get_or_compute(key, compute)


def read_tasks(folder: Path) -> list[ProbeTask]:
    """The features that can be probed.

    Raises:
        StoreError: A file is missing or damaged.
    """
    arrays = read_arrays(folder / ARRAYS)
    return [
        ProbeTask(
            dataset=named["dataset"],
            family=named["family"],
            name=named["name"],
            example=arrays[f"{number}/example"],
            label=arrays[f"{number}/label"],
            group=arrays[f"{number}/group"],
            split=Split(*(arrays[f"{number}/{part}"] for part in PARTS)),
        )
        for number, named in enumerate(_names(folder)["tasks"])
    ]


def read_unsplit(folder: Path) -> list[Unsplit]:
    """The features that cannot be split.

    Raises:
        StoreError: A file is missing or damaged.
    """
    return [Unsplit(**one) for one in _names(folder)["unsplit"]]


def _names(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = read_json(folder / NAMES)
    return found
