"""One run of a model over a corpus, clean or ablated: four numbers a token, kept in the store.

A run that was killed goes on at its last checkpoint and ends with the same bits: the batches are fixed
before, and the numbers of a token depend on its batch only. They are the same bits, too, whether the layers
before the first ablated one are computed or read (see `rwcore.studies.prefixes`).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.metrics import MetricsRecorder
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.ablation.saved import facts_of, load_ablation, save_ablation
from rwcore.corpora.batches import BatchPlan, batches
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, StoreError
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import ArtefactKey, Store, atomic_folder, read_arrays, read_json, write_arrays, write_json
from rwcore.studies.activation_pass import bridge
from rwcore.studies.checkpoints import Checkpoints
from rwcore.studies.prefixes import Prefix, beginning_with

DEFINITION = "ablation_run/1"
ARRAYS = "metrics.safetensors"
STATE = "state.json"
CLEAN = "clean"


@dataclass(frozen=True)
class RunTask:
    """One run: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where runs are kept.
        corpus: Folder of the rows (`TokenCorpus.save`).
        ablation: Folder of the ablation (`rwcore.ablation.saved.save_ablation`); None for the clean run.
        name: What the run is called in progress bars and errors.
        key: What the run is a function of.
        identity: The same as texts, and the software: a run begun with other versions does not go on.
        token_budget: Positions of a batch, padding included.
        epsilon: See `rwcore.ablation.head.predictions`.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
        checkpoint_every: Batches between two checkpoints.
        first_layer: The first layer with an ablated neuron; 0 if there is none.
        prefix: What the layers before that one give, or the first of them; None to compute all layers.
    """

    local: LocalModel
    store: Store
    corpus: Path
    ablation: Path | None
    name: str
    key: ArtefactKey
    identity: tuple[tuple[str, str], ...]
    token_budget: int
    epsilon: float
    dtype: str
    device: str
    threads: int | None
    checkpoint_every: int
    first_layer: int = 0
    prefix: Prefix | None = None


@dataclass(frozen=True)
class RunState:
    """What there is of a run.

    Attributes:
        metrics: Numbers of the batches that are done.
        runs: What computed them: a record for each time a process was started.
    """

    metrics: RunMetrics
    runs: tuple[dict[str, object], ...]


def ablation_hash(ablation: Ablation | None) -> str:
    """``sha256:…`` of everything that decides the effect of an ablation; ``clean`` for none."""
    if ablation is None:
        return CLEAN
    text = json.dumps(facts_of(ablation), sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def run(task: RunTask) -> Path:
    """The artefact with the metrics of a run; computed, or gone on with, if it is not there.

    Raises:
        StoreError: The checkpoint belongs to another run (the message has each difference), is damaged, or
            cannot be written.
        ModelError: A prediction is not finite; document and position are named.
        NotGatedError: A condition is asked of a model without a gate.
        OptionError: The ablation names a neuron that the model does not have, or a layer of the prefix.
    """

    def compute(folder: Path) -> dict[str, object]:
        corpus = TokenCorpus.load(task.corpus)
        state = _Runner(task, corpus).finish()
        state.metrics.require_fit(corpus, task.name)
        write_arrays(folder / ARRAYS, state.metrics.to_arrays())
        ablation = None if task.ablation is None else load_ablation(task.ablation)
        if ablation is not None:
            save_ablation(folder, ablation)
        return collect(None, model=task.local.identity(), name=task.name, runs=state.runs)

    return task.store.get_or_compute(task.key, compute)


def read_run(folder: Path) -> RunMetrics:
    """The metrics of a finished run.

    Raises:
        StoreError: The folder is damaged.
    """
    return RunMetrics.from_arrays(read_arrays(folder / ARRAYS))


class _Runner:
    """A run in this process, from its newest checkpoint to the end. The store holds the lock."""

    def __init__(self, task: RunTask, corpus: TokenCorpus) -> None:
        self._task, self._corpus = task, corpus
        self._kept = Checkpoints(task.store.work(task.key), STATE)
        self._plans = batches(corpus, token_budget=task.token_budget)
        self._stopwatch = Stopwatch()

    def finish(self) -> RunState:
        """Run what is missing."""
        task, first = self._task, self._kept.newest() or 0
        before = self._load(first) if first else None
        recorder = MetricsRecorder(self._corpus, before.metrics if before else None)
        earlier = before.runs if before else ()
        configure(threads=task.threads)
        model = bridge(task.local, pick_device(task.device), task.dtype)
        with ExitStack() as stack:
            if task.ablation is not None:
                stack.enter_context(ablating(model, self._ablation(task.ablation)))
            count = stack.enter_context(
                counting(desc=task.name, total=sum(self._sizes), unit="tok", done=sum(self._sizes[:first]))
            )
            for number in range(first, len(self._plans)):
                with beginning_with(model, task.prefix, number):
                    recorder.add(model, self._plans[number].load(self._corpus), epsilon=task.epsilon)
                count(self._sizes[number])
                done = number + 1
                if (done - first) % task.checkpoint_every == 0 and done < len(self._plans):
                    self._keep(done, RunState(recorder.metrics, (*earlier, self._record(first, done))))
        return RunState(recorder.metrics, (*earlier, self._record(first, len(self._plans))))

    def _ablation(self, folder: Path) -> Ablation:
        """The ablation, which must leave the layers of the prefix alone: there it would do nothing."""
        ablation, prefix = load_ablation(folder), self._task.prefix
        first = min(ablation.neurons.counts(), default=0)
        if prefix is not None and first < prefix.layers:
            raise OptionError(
                f"the ablation begins in layer {first}, and {prefix.layers} layers are not computed",
                where=self._task.name,
                remedy="run it with a shorter prefix, or with none",
            )
        return ablation

    @cached_property
    def _sizes(self) -> list[int]:
        return [self._tokens(plan) for plan in self._plans]

    def _tokens(self, plan: BatchPlan) -> int:
        return int(self._corpus.lengths[list(plan.rows)].sum())

    def _record(self, first: int, done: int) -> dict[str, object]:
        prefix = 0 if self._task.prefix is None else self._task.prefix.layers
        return collect(self._stopwatch, first_batch=first, batches=done - first, layers_read=prefix)

    def _keep(self, done: int, state: RunState) -> None:
        with atomic_folder(self._kept.path(done)) as folder:
            write_arrays(folder / ARRAYS, state.metrics.to_arrays())
            write_json(folder / STATE, {"identity": dict(self._task.identity), "runs": state.runs})
        self._kept.keep_only(done)

    def _load(self, done: int) -> RunState:
        folder = self._kept.path(done)
        facts = read_json(folder / STATE)
        asked, found = dict(self._task.identity), facts["identity"]
        differences = [
            f"{name}: {found.get(name, 'nothing')} and {asked.get(name, 'nothing')}"
            for name in sorted({*asked, *found})
            if asked.get(name) != found.get(name)
        ]
        if differences:
            raise StoreError(
                "what an interrupted run has left cannot be gone on with: " + "; ".join(differences),
                where=str(folder),
                remedy="run it as it was begun, or start again with --restart",
            )
        return RunState(read_run(folder), tuple(facts["runs"]))
