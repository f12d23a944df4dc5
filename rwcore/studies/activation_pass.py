"""Run one shard of a pass over a corpus: killed at any moment, it goes on from its last checkpoint.

A shard has a folder of its own. In it are checkpoints named by the number of batches that are done; the one
with all batches is the result. A new checkpoint is complete before the older one is deleted, so that there is
always one, and the statistics are sums that do not depend on where they were interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from rwcore.activations.accumulate import ActivationAccumulator, NotFinite
from rwcore.activations.artefact import MANIFEST, Activations, load, save
from rwcore.activations.capture import add_batch
from rwcore.activations.groups import GROUPS, group_of
from rwcore.activations.merge import check_same_pass
from rwcore.corpora.batches import BatchPlan, batches, shard
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, StoreError
from rwcore.models.device import pick_device
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import writing
from rwcore.studies.checkpoints import Checkpoints
from rwcore.weights.shape import read_shape


@dataclass(frozen=True)
class ShardTask:
    """One shard of a pass: what a worker needs, wherever it runs.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        corpus: Folder of the rows (`TokenCorpus.save`).
        folder: Where the shard keeps its checkpoints.
        identity: What decides the numbers, by name; a checkpoint with another one is refused.
        index: Number of the shard.
        of: Number of shards.
        k: Length of the lists of extremes.
        token_budget: Positions of a batch, padding included.
        dtype: Type the model runs in, e.g. ``float32``.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
        checkpoint_every: Batches between two checkpoints.
        plain: Whether the model may have no gates; see `rwcore.activations.capture.run_layers`.
    """

    local: LocalModel
    corpus: Path
    folder: Path
    identity: tuple[tuple[str, str], ...]
    index: int
    of: int
    k: int
    token_budget: int
    dtype: str
    device: str
    threads: int | None
    checkpoint_every: int
    plain: bool = False


def run_shard(task: ShardTask) -> Path:
    """The folder with the finished statistics of a shard; computed, or gone on with, if it is not there.

    Raises:
        StoreError: The checkpoint belongs to another pass (the message has each difference), is damaged, or
            cannot be written; the one before stays.
        ModelError: An activation is not finite; layer, document and position are named.
        NotGatedError: The MLPs of the model have no gate.
    """
    with writing(task.folder):
        task.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(task.folder.with_suffix(".lock")):
        kept = Checkpoints(task.folder, MANIFEST)
        corpus = TokenCorpus.load(task.corpus)
        plans = shard(batches(corpus, token_budget=task.token_budget), task.index, task.of)
        done = kept.newest()
        state = None if done is None else _resume(task, plans, done, kept.path(done))
        if done == len(plans):
            return kept.path(done)
        configure(threads=task.threads)
        return _run(task, corpus, plans, state, kept)


def _run(
    task: ShardTask,
    corpus: TokenCorpus,
    plans: list[BatchPlan],
    state: Activations | None,
    kept: Checkpoints,
) -> Path:
    stopwatch = Stopwatch()
    device = pick_device(task.device)
    model = bridge(task.local, device, task.dtype)
    first = len(state.batches) if state else 0
    if state is None:
        shape = read_shape(task.local)  # the bridge of OPT supposes four times its width
        accumulator = ActivationAccumulator(shape.n_layers, shape.d_mlp, task.k, device=device, groups=GROUPS)
    else:
        accumulator = ActivationAccumulator.resumed(state.layers, device)

    def keep(done: int) -> Path:
        run = collect(stopwatch, shard=task.index, of=task.of, first_batch=first, batches=done - first)
        now = _with(task, corpus, plans[:done], accumulator)
        save(kept.path(done), replace(now, runs=(*(state.runs if state else ()), run)))
        kept.keep_only(done)
        return kept.path(done)

    sizes = [int(corpus.lengths[list(plan.rows)].sum()) for plan in plans]
    name = f"activations of {task.local.spec.id}" + (f", shard {task.index}" if task.of > 1 else "")
    with counting(desc=name, total=sum(sizes), unit="tok", done=sum(sizes[:first])) as count:
        for number in range(first, len(plans)):
            batch = plans[number].load(corpus)
            try:
                groups = group_of(corpus.document[batch.rows])
                add_batch(model, batch, accumulator, groups, plain=task.plain)
            except NotFinite as error:
                raise _located(error, corpus) from error
            count(sizes[number])
            if (number + 1 - first) % task.checkpoint_every == 0 and number + 1 < len(plans):
                keep(number + 1)
    return keep(len(plans))


def _with(
    task: ShardTask, corpus: TokenCorpus, plans: list[BatchPlan], accumulator: ActivationAccumulator
) -> Activations:
    """The statistics of some batches."""
    rows = [row for plan in plans for row in plan.rows]
    return Activations(
        identity=dict(task.identity),
        shards=((task.index, task.of),),
        batches=tuple(sorted(plan.number for plan in plans)),
        rows=len(rows),
        layers=accumulator.statistics(),
        group_tokens=group_tokens(corpus, rows),
    )


def group_tokens(corpus: TokenCorpus, rows: Sequence[int]) -> tuple[int, ...]:
    """Number of tokens of each group of documents in some rows."""
    chosen = torch.tensor(rows, dtype=torch.int64)
    groups = group_of(corpus.document[chosen])
    return tuple(torch.bincount(groups, corpus.lengths[chosen], minlength=GROUPS).long().tolist())


@lru_cache(maxsize=1)
def bridge(local: LocalModel, device: str, dtype: str) -> Any:
    """The model, kept for the next shard in this process or on a worker."""
    return load_bridge(local, device, dtype=getattr(torch, dtype))


def _located(error: NotFinite, corpus: TokenCorpus) -> ModelError:
    """The error with the document in place of the row of the corpus."""
    where = f"document {int(corpus.document[error.row])} of {corpus.spec.id} (row {error.row})"
    return ModelError(
        error.what, where=f"layer {error.layer}, {where}, position {error.position}", remedy=error.remedy
    )


def _resume(task: ShardTask, plans: list[BatchPlan], done: int, folder: Path) -> Activations:
    state = load(folder)
    asked = replace(state, identity=dict(task.identity), shards=((task.index, task.of),))
    try:
        check_same_pass(state, asked)
    except StoreError as error:
        raise StoreError(
            f"what an interrupted pass has left cannot be gone on with: {error.what}",
            where=str(folder),
            remedy="run it as it was begun, or start again with --restart",
        ) from error
    if state.batches != tuple(sorted(plan.number for plan in plans[:done])):
        raise StoreError(
            f"the checkpoint has other batches than the first {done} of shard {task.index} of {task.of}",
            where=str(folder),
            remedy="start again with --restart",
        )
    return state
