"""Finished folders of ``rwcore probe``, read again and checked for whether they can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.errors import OptionError, StoreError
from rwcore.probing.datasets.features import FIXED
from rwcore.store import MANIFEST, hash_file, read_json
from rwcore.studies.probe_export import COLUMNS, SCHEMA

FEATURES, CURVES = "features.csv", "curves.csv"
AGAIN = "run `rwcore probe` again with this --out"
_NAMES = dict.fromkeys(("model", "dataset", "family", "feature", "method", "neurons", "status"), str)


@dataclass(frozen=True, eq=False)
class ProbeRun:
    """What ``rwcore probe`` has found of one model.

    Attributes:
        folder: Where it lies.
        manifest: Content of its ``manifest.json``.
        features: Content of ``features.csv``.
        curves: Content of ``curves.csv``; no rows with ``--no-curves``.
    """

    folder: Path
    manifest: Mapping[str, Any]
    features: pd.DataFrame
    curves: pd.DataFrame

    @property
    def model(self) -> str:
        """Id of the model."""
        return str(self.manifest["model"]["model"])

    @property
    def n_layers(self) -> int:
        """Layers of the model; where the manifest has no shape, layers that were probed."""
        return int(self._shape.get("n_layers", len(self.manifest["layers"])))

    @property
    def d_mlp(self) -> int:
        """Neurons of a layer."""
        return int(self.manifest["neurons"]) // len(self.manifest["layers"])

    @property
    def d_model(self) -> int | None:
        """Width of the residual stream; None where the manifest has no shape."""
        width = self._shape.get("d_model")
        return None if width is None else int(width)

    @property
    def neurons(self) -> int:
        """Neurons of the model: its size."""
        return self.n_layers * self.d_mlp

    @property
    def convention(self) -> str:
        """``fixed`` or ``as_published``."""
        return str(self.manifest["measure"]["convention"])

    @property
    def chosen_by(self) -> str:
        """The part of the examples that neurons and their number are chosen on."""
        return "validation" if self.convention == FIXED else "test"

    @property
    def seed(self) -> int | None:
        """Of the split; without, 0 (as published None, which is 42 for the split and 0 for the examples)."""
        seed = self.manifest["measure"]["seed"]
        return 0 if seed is None and self.convention == FIXED else seed

    @property
    def datasets(self) -> dict[str, Mapping[str, Any]]:
        """What the manifest says about each data set, by name."""
        return {one["name"]: one for one in self.manifest["datasets"]}

    @property
    def _shape(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest["model"].get("shape", {})
        return found


def read_probe_run(folder: Path) -> ProbeRun:
    """The probes in a folder, checked: whole, and with the tables that were written.

    Args:
        folder: What ``rwcore probe --out`` named.

    Raises:
        StoreError: The folder is missing, holds no probes, or is incomplete or damaged.
    """
    folder = folder.expanduser().resolve()
    name = "name what `rwcore probe --out` has written"
    if not folder.is_dir():
        raise StoreError("there is no such folder", where=str(folder), remedy=name)
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        reason = f"its manifest says {schema!r}, not {SCHEMA!r}" if schema else f"it has no {MANIFEST} of one"
        raise StoreError(f"the folder holds no probes: {reason}", where=str(folder), remedy=name)
    assert isinstance(manifest, dict)
    if not manifest.get("complete"):
        raise StoreError("the probes are not complete", where=str(folder), remedy=AGAIN)
    listed = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    for table in (FEATURES, CURVES):
        path = folder / table
        if not path.is_file():
            raise StoreError(
                f"the probes are not complete: {table} is missing", where=str(folder), remedy=AGAIN
            )
        if hash_file(path) != listed.get(table):
            raise StoreError("the table is not what was written", where=str(path), remedy=AGAIN)
    return ProbeRun(folder, manifest, _table(folder / FEATURES), _table(folder / CURVES))


def _table(path: Path) -> pd.DataFrame:
    """A table as it was written; a feature may be called ``None`` or ``12``."""
    kinds = {column: kind for column, kind in _NAMES.items() if column in COLUMNS[path.name]}
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])


def by_size(runs: Sequence[ProbeRun]) -> list[ProbeRun]:
    """The runs, that of the smallest model first, if they can be compared.

    Raises:
        OptionError: Fewer than two, a model twice, or runs of different conventions or seeds, or a data set
            is not pooled in the same way in all of them.
    """
    where = ", ".join(str(run.folder) for run in runs)
    if len(runs) < 2:
        raise OptionError(
            f"a trend needs two models or more, {len(runs)} given",
            where=where or "DIR",
            remedy="name the folders of other models beside it",
        )
    for names in ([run.model for run in runs], [run.manifest["model"]["content"] for run in runs]):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            both = [run for run, name in zip(runs, names, strict=True) if name == twice]
            raise OptionError(
                f"{' and '.join(dict.fromkeys(run.model for run in both))}: the same model more than once",
                where=", ".join(str(run.folder) for run in both),
                remedy="name one folder of each model",
            )
    _require_one(
        runs, "convention", {run.model: run.convention for run in runs}, "with or without --as-published"
    )
    _require_one(runs, "seed", {run.model: str(run.seed) for run in runs}, "with the same --seed")
    pooled: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, data in run.datasets.items():
            pooled.setdefault(name, {})[run.model] = data["aggregation"]
    for name, found in pooled.items():
        _require_one(runs, f"aggregation of {name}", found, "on data sets that are made in the same way")
    return sorted(runs, key=lambda run: run.neurons)


def _require_one(runs: Sequence[ProbeRun], what: str, found: Mapping[str, str], how: str) -> None:
    """Refuse runs that differ in something that decides what scores mean."""
    if len(set(found.values())) > 1:
        raise OptionError(
            f"the runs differ in their {what}: {', '.join(f'{one} {value}' for one, value in found.items())}",
            where=", ".join(str(run.folder) for run in runs if run.model in found),
            remedy=f"run `rwcore probe` for all of the models {how}",
        )


def differences(runs: Sequence[ProbeRun]) -> list[str]:
    """A sentence about each data set whose examples are not the same in all runs that have it.

    Examples are tokens or rows of them, so those of another tokenizer are never the same; whether the texts
    are is not known.
    """
    found = []
    for name in dict.fromkeys(name for run in runs for name in run.datasets):
        having = [run for run in runs if name in run.datasets]
        if len({run.datasets[name]["content_hash"] for run in having}) > 1:
            data = {run.model: run.datasets[name] for run in having}
            sizes = (
                f"{model} {one['examples']:,} of {one['corpus']['tokens']:,}" for model, one in data.items()
            )
            found.append(
                f"{name}: the examples are not the same in all models (another tokenizer, or other texts); "
                f"examples and tokens: {', '.join(sizes)}"
            )
    return found
