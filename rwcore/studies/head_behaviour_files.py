"""Sweep of a corpus: whether heads look at what the logit lens predicts, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.lens_attention import lens_attention
from rwcore.heads.readout import Readout
from rwcore.models.spec import LocalModel
from rwcore.store import read_arrays
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.head_cspa_files import FUNCTION
from rwcore.studies.sweeps import INPUTS


@dataclass(frozen=True)
class LensFiles(BatchFiles):
    """Counts of `rwcore.heads.lens_attention` of each batch; which tokens are function words is there first.

    Attributes:
        local: The model.
    """

    local: LocalModel

    WHAT: ClassVar[str] = "lens and attention"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.heads.lens_attention.lens_attention`."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        function = read_arrays(self.folder / INPUTS)[FUNCTION]
        return lens_attention(model, batch, self._readouts[device], function)

    def read(self) -> dict[str, Int64[Tensor, "layer head"] | Float64[Tensor, "layer head"]]:
        """The sums over all batches, in their order.

        Raises:
            StoreError: A file is missing or damaged.
        """
        total: dict[str, Tensor] = {}
        for plan in self.plans:
            for name, values in read_arrays(self.file(plan)).items():
                total[name] = total.get(name, 0) + values
        return total
