"""The files of a finished pass over the examples of data sets, read one layer at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float16, Int64
from torch import Tensor

from rwcore.errors import OptionError, StoreError, require_choice
from rwcore.probing.capture import PLACE, ROWS, TOKENS
from rwcore.probing.datasets.features import NONE
from rwcore.store import read_arrays, read_json
from rwcore.studies.batch_files import batch_file

SELECTION, FACTS = "selection.safetensors", "pass.json"


@dataclass(frozen=True)
class Examples:
    """The finished pass of one corpus.

    Attributes:
        folder: Where its files are, until they are discarded.
    """

    folder: Path

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        return dict(read_json(self.folder / FACTS))

    @cached_property
    def _selection(self) -> dict[str, Tensor]:
        return read_arrays(self.folder / SELECTION)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were kept, ascending."""
        return tuple(self._facts["layers"])

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(self._facts["datasets"])

    @property
    def finished(self) -> bool:
        """Whether every file is there."""
        return (
            (self.folder / FACTS).exists()
            and (self.folder / SELECTION).exists()
            and all(batch_file(self.folder, number).exists() for number in range(self._facts["batches"]))
        )

    def layer(
        self, dataset: str, layer: int, neurons: Int64[Tensor, " chosen"] | None = None
    ) -> Float16[Tensor, "example neuron"]:
        """The activations of one layer at the examples of a data set, in their order.

        Args:
            dataset: Its name.
            layer: Number of the layer.
            neurons: The neurons that are wanted, in this order; all if None.

        Raises:
            OptionError: The pass has no such data set or layer, or the layer no such neuron.
            StoreError: A file is missing or damaged; it is named.
        """
        require_choice("data set of the pass", dataset, self.datasets)
        require_choice("layer of the pass", str(layer), [str(one) for one in self.layers])
        aggregation = self._facts["datasets"][dataset]
        kind, name = (TOKENS, TOKENS) if aggregation == NONE else (ROWS, f"{ROWS}/{dataset}")
        # Of examples that are rows, what was kept with the selection is which tokens are valid.
        token = self._selection[dataset] if aggregation == NONE else None
        size = self._facts["rows"] if token is None else len(token)
        found: Tensor | None = None
        seen = torch.zeros(size, dtype=torch.bool)
        for number in range(self._facts["batches"]):
            path = batch_file(self.folder, number)
            place, values = _read(path, f"{kind}/{PLACE}", f"{name}/{layer}")
            if token is not None:
                example = torch.searchsorted(token, place).clamp(max=size - 1)
                ours = token[example] == place
                # The file is mapped: the rows of other data sets are never read.
                place, values = example[ours], values[ours]
            if neurons is not None:
                values = values[:, _within(neurons, values.shape[1], layer)]
            if found is None:
                found = values.new_empty(size, values.shape[1])
            found[place], seen[place] = values, True
        if found is None or not bool(seen.all()):
            raise StoreError(
                f"{int((~seen).sum())} of {size} examples of {dataset} are in none of the files of the pass",
                where=str(self.folder),
                remedy="delete the folder; the pass is run again",
            )
        return found

    def discard(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _within(neurons: Int64[Tensor, " chosen"], width: int, layer: int) -> Int64[Tensor, " chosen"]:
    if len(neurons) and not 0 <= int(neurons.min()) <= int(neurons.max()) < width:
        raise OptionError(
            f"layer {layer} has neurons 0 to {width - 1}, not {int(neurons.min())} to {int(neurons.max())}",
            where="neurons",
            remedy="give neurons that it has",
        )
    return neurons


def _read(path: Path, *names: str) -> list[Tensor]:
    """Some arrays of a file; the others are not read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return [file.get_tensor(name) for name in names]
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"cannot read activations: {error}",
            where=str(path),
            remedy="delete the file; the pass computes it again",
        ) from error
