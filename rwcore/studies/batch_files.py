"""Run a model over rows of a corpus and keep something of every batch: killed at any moment, it goes on.

What is kept of each batch is a file of its own, so that parts of a sweep may be run anywhere, in any number,
and nothing is written twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.batches import Batch, BatchPlan, batches, shard
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.runtime import configure, counting
from rwcore.store import write_arrays
from rwcore.studies.activation_pass import bridge


@dataclass(frozen=True)
class BatchFiles(ABC):
    """The files of a sweep.

    Attributes:
        folder: Where they are; what is selected is there first.
        corpus: Folder of the rows (`TokenCorpus.save`).
        token_budget: Positions of a batch, padding included.
    """

    folder: Path
    corpus: Path
    token_budget: int

    WHAT: ClassVar[str]
    """What is kept, for people who wait."""

    @property
    @abstractmethod
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows a model has to read, ascending."""

    @abstractmethod
    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Run a batch through a model; what its file will hold."""

    @cached_property
    def rows(self) -> TokenCorpus:
        """The rows of the whole corpus."""
        return TokenCorpus.load(self.corpus)

    @cached_property
    def plans(self) -> list[BatchPlan]:
        """The batches: of the needed rows only. Where all are needed they are those of the pass."""
        return batches(self.rows, token_budget=self.token_budget, only=self.needed)

    def file(self, plan: BatchPlan) -> Path:
        """What is or will be kept of a batch."""
        return batch_file(self.folder, plan.number)


def batch_file(folder: Path, number: int) -> Path:
    """Where what is kept of a batch stands."""
    return folder / f"batch_{number:08d}.safetensors"


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
    sweep: BatchFiles
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
    name = f"{sweep.WHAT} of {task.local.spec.id}" + (f", part {task.index}" if task.of > 1 else "")
    with counting(desc=name, total=sum(sizes.values()), unit="tok", done=done) as count:
        for plan in missing:
            write_arrays(sweep.file(plan), sweep.keep(model, plan.load(sweep.rows)))
            count(sizes[plan.number])
    return len(missing)
