"""A sweep over what heads and neurons write against what is already predicted, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError
from rwcore.heads.readout import Readout
from rwcore.heads.suppression import NeuronGroups, Suppression, asked_positions, suppression
from rwcore.models.spec import LocalModel
from rwcore.store import read_arrays
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.sweeps import INPUTS

CODES, RANDOM = "codes", "random"
PLACE, NEURONS = "place", "neurons"


@dataclass(frozen=True)
class SuppressionFiles(BatchFiles):
    """What is written to predicted tokens at the positions of each batch; `INPUTS` are there first.

    Attributes:
        local: The model.
        classes: How many classes neurons have, the undefined ones left out.
        least_probability: Predictions below it do not count.
    """

    local: LocalModel
    classes: int
    least_probability: float

    WHAT: ClassVar[str] = "suppression"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    @cached_property
    def groups(self) -> NeuronGroups:
        """Which neurons are added up.

        Raises:
            StoreError: `INPUTS` are missing or damaged.
        """
        inputs = read_arrays(self.folder / INPUTS)
        return NeuronGroups(inputs[CODES], self.classes, inputs[RANDOM].bool())

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """What `read` puts together: `Suppression`, and the number of each position in the corpus."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        found = suppression(
            model,
            batch,
            self._readouts[device],
            self.groups,
            least_probability=self.least_probability,
        )
        asked = asked_positions(batch)
        positions = torch.arange(asked.shape[1])
        places = (self.rows.offsets[batch.rows][:, None] + positions)[asked]
        self._check(found, places)
        return {**vars(found), PLACE: places}

    def _check(self, found: Suppression, places: Tensor) -> None:
        sums = found.heads.sum(dim=(1, 2)) + found.net.sum(dim=(1, 2))
        bad = (~sums.isfinite()).nonzero()[:, 0]
        if len(bad):
            place = int(places[bad[0]])
            row = int(torch.searchsorted(self.rows.offsets, place, right=True)) - 1
            raise ModelError(
                f"what is written is not finite ({len(bad)} of {len(sums)} positions in this batch)",
                where=f"document {int(self.rows.document[row])} of {self.rows.spec.id} (row {row}), "
                f"position {place - int(self.rows.offsets[row])}",
                remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
            )

    def read(self) -> dict[str, Tensor]:
        """All batches: positions in the order of the corpus, sums over neurons' positions added up.

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [read_arrays(self.file(plan)) for plan in self.plans]
        neurons = torch.stack([part.pop(NEURONS) for part in parts]).sum(dim=0)
        order = torch.cat([part[PLACE] for part in parts]).argsort()
        joined = {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}
        return {**joined, NEURONS: neurons}
