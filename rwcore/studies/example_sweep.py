"""The values of some neurons around their examples, and of a sample of rows, kept batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.selected import KEPT, Selected, Selection, ranges, run_selected
from rwcore.corpora.batches import Batch
from rwcore.store import read_arrays
from rwcore.studies.batch_files import BatchFiles

SELECTION = "selection.safetensors"


@dataclass(frozen=True)
class Sweep(BatchFiles):
    """The files of a sweep over the rows that some neurons' examples need; the selection is there first."""

    WHAT: ClassVar[str] = "examples"

    @cached_property
    def selection(self) -> Selection:
        """What is kept.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return Selection(**read_arrays(self.folder / SELECTION))

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows of the selection."""
        return self.selection.needed

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """The sample and the spans of a batch; see `Selected`."""
        kept = run_selected(model, batch, self.selection)
        return {"sample": kept.sample, "spans": kept.spans}

    def read(self, first: int, last: int) -> Selected:
        """What was kept of some neurons in all batches.

        Args:
            first: Place of the first neuron in the selection.
            last: Place behind the last one.

        Returns:
            The sample in the order of its rows, and the spans of these neurons in theirs.

        Raises:
            StoreError: A file is missing or damaged.
        """
        chosen, lengths = self.selection, self.rows.lengths
        place, _, start, end = chosen.spans.T
        wanted = (place >= first) & (place < last)
        sizes = (end - start) * wanted
        sample = torch.empty(len(KEPT), int(lengths[chosen.rows].sum()), last - first)
        spans = torch.empty(len(KEPT), int(sizes.sum()))
        for plan in self.plans:
            here, arrays = torch.tensor(plan.rows), read_arrays(self.file(plan))
            _fill(
                sample, torch.isin(chosen.rows, here), lengths[chosen.rows], arrays["sample"][..., first:last]
            )
            inside = torch.isin(chosen.spans[:, 1], here)
            ours = wanted[inside].repeat_interleave((end - start)[inside])
            _fill(spans, inside, sizes, arrays["spans"][:, ours])
        return Selected(sample, spans)


def _fill(
    target: Float[Tensor, "quantity token *neuron"],
    chosen: Tensor,
    sizes: Tensor,
    values: Float[Tensor, "quantity part *neuron"],
) -> None:
    """Put the values of some parts where they belong; all parts stand one behind the other."""
    starts = sizes.cumsum(dim=0) - sizes
    target[:, ranges(starts[chosen], sizes[chosen])] = values
