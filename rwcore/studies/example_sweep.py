"""Run a model over the rows that some neurons' examples need: killed at any moment, it goes on.

What is kept of each batch is a file of its own, so that parts of a sweep may be run anywhere, in any number,
and nothing is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.selected import KEPT, Selected, Selection, ranges, run_selected
from rwcore.corpora.batches import BatchPlan, batches, shard
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.runtime import configure, counting
from rwcore.store import read_arrays, write_arrays
from rwcore.studies.activation_pass import bridge

SELECTION = "selection.safetensors"


@dataclass(frozen=True)
class Sweep:
    """The files of a sweep.

    Attributes:
        folder: Where they are; the selection is there first.
        corpus: Folder of the rows (`TokenCorpus.save`).
        token_budget: Positions of a batch, padding included.
    """

    folder: Path
    corpus: Path
    token_budget: int

    @cached_property
    def selection(self) -> Selection:
        """What is kept.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return Selection(**read_arrays(self.folder / SELECTION))

    @cached_property
    def rows(self) -> TokenCorpus:
        """The rows of the whole corpus."""
        return TokenCorpus.load(self.corpus)

    @cached_property
    def plans(self) -> list[BatchPlan]:
        """The batches: of the needed rows only. Where all are needed they are those of the pass."""
        return batches(self.rows, token_budget=self.token_budget, only=self.selection.needed)

    def file(self, plan: BatchPlan) -> Path:
        """What is or will be kept of a batch."""
        return self.folder / f"batch_{plan.number:08d}.safetensors"

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


@dataclass(frozen=True)
class SweepTask:
    """A part of a sweep: what a worker needs, wherever it runs.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        sweep: The files.
        index: Number of the part.
        of: Number of parts.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    sweep: Sweep
    index: int
    of: int
    dtype: str
    device: str
    threads: int | None


def run_sweep(task: SweepTask) -> int:
    """Run the batches of a part that have no file yet.

    Returns:
        How many they were.

    Raises:
        ModelError: The model cannot be run as expected.
        StoreError: The disk is full or a folder cannot be written.
    """
    sweep = task.sweep
    plans = shard(sweep.plans, task.index, task.of)
    missing = [plan for plan in plans if not sweep.file(plan).exists()]
    if not missing:
        return 0
    configure(threads=task.threads)
    model = bridge(task.local, pick_device(task.device), task.dtype)
    sizes = {plan.number: int(sweep.rows.lengths[list(plan.rows)].sum()) for plan in plans}
    done = sum(sizes.values()) - sum(sizes[plan.number] for plan in missing)
    name = f"examples of {task.local.spec.id}" + (f", part {task.index}" if task.of > 1 else "")
    with counting(desc=name, total=sum(sizes.values()), unit="tok", done=done) as count:
        for plan in missing:
            kept = run_selected(model, plan.load(sweep.rows), sweep.selection)
            write_arrays(sweep.file(plan), {"sample": kept.sample, "spans": kept.spans})
            count(sizes[plan.number])
    return len(missing)
