"""The residual stream after the first layers, kept for all runs of a grid that ablate nothing before.

A prefix is large (d_model numbers a token), quick to make and of use to one grid only: it is made before the
runs and removed after them. A process that is killed leaves it, and the next one goes on with it. Runs give
the same bits with and without it, so a run whose prefix is gone computes all layers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from rwcore.ablation.prefix import BlockOutput, run_first_layers, skipping
from rwcore.corpora.batches import batches
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import StoreError
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import MANIFEST, ArtefactKey, Store, read_arrays, write_arrays, writing
from rwcore.studies.activation_pass import bridge

KIND = "ablation-prefix"
DEFINITION = "ablation_prefix/1"

PREFIX_BYTES = 4 * 2**30
"""What all prefixes of a grid may take on disk together."""

FILE_LAYERS = 1
"""What reading or writing a prefix is counted as, in layers: about that on a GPU with a fast disk."""


@dataclass(frozen=True)
class Prefix:
    """What the first layers of a model give for the batches of a corpus.

    Attributes:
        folder: Where it is, a file a batch.
        layers: How many layers.
    """

    folder: Path
    layers: int

    def read(self, number: int, device: torch.device) -> BlockOutput | None:
        """What the last of the layers returned for a batch; None if the prefix is gone.

        Raises:
            StoreError: The file is damaged.
        """
        path = _file(self.folder, number)
        try:
            arrays = read_arrays(path)
        except StoreError:
            if path.exists():
                raise
            return None
        # A copy: arrays of a file may lie anywhere in memory, and sums may depend on how they are aligned.
        return BlockOutput(arrays["hidden"].to(device, copy=True), int(arrays["members"]))

    def write(self, number: int, output: BlockOutput) -> None:
        """Keep what the last of the layers returned for a batch, whole or not at all.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        arrays = {"hidden": output.hidden.cpu(), "members": torch.tensor(output.members)}
        write_arrays(_file(self.folder, number), arrays)


@dataclass(frozen=True)
class PrefixTask:
    """Prefixes of one model and corpus: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where prefixes are kept.
        corpus: Folder of the rows (`TokenCorpus.save`).
        keys: What each prefix is a function of, with the number of its layers, ascending.
        token_budget: Positions of a batch, padding included.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    store: Store
    corpus: Path
    keys: tuple[tuple[int, ArtefactKey], ...]
    token_budget: int
    dtype: str
    device: str
    threads: int | None


def plan_prefixes(
    starts: Sequence[int], size: int, *, made: Sequence[int] = (), limit: int = PREFIX_BYTES
) -> tuple[int, ...]:
    """Which prefixes are worth their files.

    A run begins with the longest prefix that ends before its first ablated layer, and a prefix is made from
    the one below it. Prefixes are chosen one by one, each time the one that saves most layers, until none
    saves any more or there is no room.

    Args:
        starts: First ablated layer of each run that is to be made; 0 for a run that needs all layers.
        size: Bytes of a prefix.
        made: Prefixes that are there already; they cost nothing, but take room.
        limit: Bytes of all prefixes together.

    Returns:
        Their layers, ascending, with those that were there; none if there are no runs.
    """
    if not starts:
        return ()
    chosen, saved = sorted(made), _saved(sorted(made), starts, made)
    while (len(chosen) + 1) * size <= limit:
        trials = [sorted([*chosen, start]) for start in sorted({*starts} - {0, *chosen})]
        best = max(trials, key=lambda trial: _saved(trial, starts, made), default=chosen)
        if _saved(best, starts, made) <= saved:
            break
        chosen, saved = best, _saved(best, starts, made)
    return tuple(chosen)


def longest_before(layers: Sequence[int], start: int) -> int:
    """The longest prefix for a run that ablates nothing before layer ``start``; 0 if there is none."""
    return max((layer for layer in layers if layer <= start), default=0)


def _saved(chosen: Sequence[int], starts: Sequence[int], made: Sequence[int]) -> int:
    """Layers over the whole corpus that are not computed, minus those that making the prefixes takes."""
    begins = [longest_before(chosen, start) for start in starts]
    gain = sum(layers - FILE_LAYERS for layers in begins if layers)
    for layers in chosen:
        if layers not in made:
            below = longest_before(chosen, layers - 1)
            gain -= layers - below + FILE_LAYERS * (2 if below else 1)
    return gain


def prefix_bytes(corpus: TokenCorpus, token_budget: int, d_model: int, dtype: str) -> int:
    """Bytes of a prefix: every position of every batch, padding included."""
    lengths = corpus.lengths
    positions = sum(
        len(plan.rows) * int(lengths[list(plan.rows)].max())
        for plan in batches(corpus, token_budget=token_budget)
    )
    return positions * d_model * int(getattr(torch, dtype).itemsize)


def make_prefixes(task: PrefixTask) -> tuple[Prefix, ...]:
    """The prefixes of a task, computed, or gone on with, where they are not there; each from the one before.

    Whatever goes wrong (a disk that is too small, for instance) ends it, and the prefixes up to there are
    returned: runs can do without, and say what is wrong if it is wrong for them too.
    """
    found: list[Prefix] = []
    for layers, key in task.keys:
        below = found[-1] if found else None
        try:
            folder = task.store.get_or_compute(key, partial(_compute, task, layers, key, below))
        except Exception:
            discard(task.store, key)  # the room it takes may be what the runs need
            break
        found.append(Prefix(folder, layers))
    return tuple(found)


def discard(store: Store, key: ArtefactKey) -> None:
    """Remove a prefix and what there is of one, unless somebody is making it."""
    folder, work = store.path(key), store.work(key)
    if folder.exists() or work.exists():
        with suppress(Timeout), FileLock(folder.with_suffix(".lock"), timeout=0):
            # Without its manifest it is no artefact any more, even if this process is killed here.
            (folder / MANIFEST).unlink(missing_ok=True)
            for each in (folder, work):
                shutil.rmtree(each, ignore_errors=True)


@contextmanager
def beginning_with(model: Any, prefix: Prefix | None, number: int) -> Iterator[None]:
    """Take the first layers of a batch from a prefix, if there is one.

    Args:
        model: What `rwcore.models.load.load_bridge` returns.
        prefix: Of this model; None to compute everything.
        number: Of the batch that is run inside the ``with`` block.

    Raises:
        StoreError: The prefix is damaged.
    """
    output = None if prefix is None else prefix.read(number, next(model.parameters()).device)
    if prefix is None or output is None:
        yield
        return
    with skipping(model, prefix.layers, output):
        yield


def _compute(
    task: PrefixTask, layers: int, key: ArtefactKey, below: Prefix | None, folder: Path
) -> dict[str, object]:
    """Fill the folder of a prefix. The store holds the lock."""
    stopwatch = Stopwatch()
    corpus = TokenCorpus.load(task.corpus)
    plans = batches(corpus, token_budget=task.token_budget)
    work = task.store.work(key)
    begun = Prefix(work, layers)
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    missing = [plan for plan in plans if not _file(work, plan.number).exists()]
    configure(threads=task.threads)
    model = bridge(task.local, pick_device(task.device), task.dtype)
    name = f"first {layers} layers of {task.local.spec.id}"
    with counting(desc=name, total=len(plans), unit="batch", done=len(plans) - len(missing)) as count:
        for plan in missing:
            with beginning_with(model, below, plan.number):
                output = run_first_layers(model, plan.load(corpus), layers)
            begun.write(plan.number, output)
            count(1)
    with writing(folder):
        for plan in plans:
            os.replace(_file(work, plan.number), _file(folder, plan.number))
    facts = {"layers": layers, "batches": len(plans), "batches_before": len(plans) - len(missing)}
    return collect(stopwatch, model=task.local.identity(), **facts)


def _file(folder: Path, number: int) -> Path:
    return folder / f"batch_{number:08d}.safetensors"
