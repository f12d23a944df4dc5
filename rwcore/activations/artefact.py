"""The result of a pass over all or some of the batches of a corpus, and its folder.

A folder holds one safetensors file for each layer and ``activations.json``. It is written whole or not at
all, so that it serves as a checkpoint too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwcore.activations.fixed import Units
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.statistics import LayerStatistics
from rwcore.activations.top import EMPTY, keys
from rwcore.errors import StoreError
from rwcore.store import atomic_folder, hash_file, read_arrays, read_json, write_arrays, write_json

DEFINITION = "activations/1"
MANIFEST = "activations.json"


@dataclass(frozen=True)
class Activations:
    """Statistics of all layers of a model over some batches of a corpus.

    Attributes:
        identity: What a number depends on: model, processing, types, corpus, batching … Parts of one pass
            have the same.
        shards: The shards that are in it, as (index, of), sorted; ``((0, 1),)`` of an undivided pass.
        batches: Numbers of the batches that are in it, sorted.
        rows: Number of rows that are in it.
        layers: The statistics of each layer.
        group_tokens: Number of tokens of each group of documents (see `groups`).
        runs: What computed it: a record (`shard`, `first_batch`, `batches`, software, machine, time …) for
            each time a process was started, sorted by shard and first batch.
    """

    identity: Mapping[str, str]
    shards: tuple[tuple[int, int], ...]
    batches: tuple[int, ...]
    rows: int
    layers: tuple[LayerStatistics, ...]
    group_tokens: tuple[int, ...]
    runs: tuple[Mapping[str, Any], ...] = ()

    @property
    def tokens(self) -> int:
        """Number of tokens that are in it."""
        return self.layers[0].tokens if self.layers else 0

    @property
    def k(self) -> int:
        """Length of the lists of extremes."""
        return self.layers[0].top.k if self.layers else 0

    @property
    def units(self) -> Units:
        """Units of the sums."""
        return self.layers[0].units if self.layers else Units()


def save(folder: Path, activations: Activations) -> None:
    """Write the folder, in place of what was there.

    Raises:
        StoreError: It cannot be written; what was there stays.
    """
    with atomic_folder(folder) as temporary:
        files = {}
        for number, layer in enumerate(activations.layers):
            name = f"layer_{number:03d}.safetensors"
            write_arrays(temporary / name, _stored(layer))
            files[name] = hash_file(temporary / name)
        units = activations.units
        write_json(
            temporary / MANIFEST,
            {
                "definition": DEFINITION,
                "identity": dict(activations.identity),
                "shards": activations.shards,
                "batches": activations.batches,
                "rows": activations.rows,
                "tokens": activations.tokens,
                "group_tokens": activations.group_tokens,
                "runs": activations.runs,
                "k": activations.k,
                "sum_bits": units.sum_bits,
                "square_bits": units.square_bits,
                "quadrants": QUADRANTS,
                "quantities": QUANTITIES,
                "lists": ["_".join(which) for which in LISTS],
                "files": files,
            },
        )


def load(folder: Path) -> Activations:
    """Read the folder.

    Raises:
        StoreError: It is missing, damaged, or of another version.
    """
    manifest = read_json(folder / MANIFEST)
    where = str(folder / MANIFEST)
    try:
        if manifest["definition"] != DEFINITION:
            raise StoreError(
                f"made by definition {manifest['definition']}, this is {DEFINITION}",
                where=where,
                remedy="use the version that made it, or compute it again",
            )
        units = Units(manifest["sum_bits"], manifest["square_bits"])
        layers = tuple(
            _read(folder / name, expected, manifest["tokens"], units)
            for name, expected in sorted(manifest["files"].items())
        )
        return Activations(
            identity=dict(manifest["identity"]),
            shards=tuple((index, of) for index, of in manifest["shards"]),
            batches=tuple(manifest["batches"]),
            rows=manifest["rows"],
            layers=layers,
            group_tokens=tuple(manifest["group_tokens"]),
            runs=tuple(manifest["runs"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"not the manifest of a pass: {error!r}",
            where=where,
            remedy="delete the folder; compute it again",
        ) from error


def _stored(layer: LayerStatistics) -> dict[str, Tensor]:
    """Arrays that can be read without this library: extremes as values, rows and positions."""
    arrays = layer.to("cpu").to_arrays()
    del arrays["top_keys"]
    top = layer.top
    return arrays | {"top_values": top.values.cpu(), "top_rows": top.rows.to("cpu", torch.int32)}


def _read(file: Path, expected: str, tokens: int, units: Units) -> LayerStatistics:
    arrays: dict[str, Any] = read_arrays(file)
    if hash_file(file) != expected:
        raise StoreError(
            "the file is not the one that was written",
            where=str(file),
            remedy="delete the folder; compute it again",
        )
    rows = arrays.pop("top_rows")
    values = arrays.pop("top_values")
    arrays["top_keys"] = torch.where(rows == EMPTY, EMPTY, keys(values, rows))
    return LayerStatistics.from_arrays(arrays, tokens, units)
