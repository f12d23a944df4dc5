"""Ablations of a model on a corpus: runs that share the clean one, compared prediction by prediction."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rwcore.ablation.compare import FIXED, REPORTED, compare_run, differences, paired_table
from rwcore.ablation.grid import Experiment
from rwcore.ablation.head import PUBLISHED_EPSILON
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.run_metrics import METRICS, RunMetrics
from rwcore.ablation.signed_log import SCALES, signed_log_counts
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import RwcoreError
from rwcore.plots.ablation_names import RunCounts
from rwcore.store import MANIFEST, ArtefactKey, Store
from rwcore.studies.ablation_runs import CLEAN, DEFINITION, RunTask, ablation_hash, read_run, run
from rwcore.studies.ablation_values import keep_ablation, means_of, signs_of
from rwcore.studies.activation_pass import bridge
from rwcore.studies.failures import Failure, attempting, failure_of
from rwcore.studies.forward import ForwardOptions, as_processed, forward_fields, identity_of, keep_rows
from rwcore.studies.frequencies import FrequencyStudy
from rwcore.studies.prefixes import DEFINITION as PREFIX
from rwcore.studies.prefixes import (
    KIND,
    PrefixTask,
    discard,
    longest_before,
    make_prefixes,
    plan_prefixes,
    prefix_bytes,
)
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a grid has found.

    Attributes:
        table: Columns as `rwcore.ablation.compare.COLUMNS`.
        counts: How the differences of each metric are distributed, by run.
        failures: The runs that could not be made.
    """

    table: pd.DataFrame
    counts: Mapping[str, Sequence[RunCounts]]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class AblationStudy:
    """Runs of one model on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        means: Where mean ablation takes its values from: the frequencies of the same model. None if no run
            needs them.
        options: How the model is run.
        convention: ``fixed``, or ``as_published``: entropies with the original's 1e-8, differences with its
            quirks.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    means: FrequencyStudy | None = None
    options: ForwardOptions = field(default_factory=ForwardOptions)
    convention: str = FIXED

    @cached_property
    def signs(self) -> Tensor:
        """σ of every neuron; +1 where the model has no gate."""
        return signs_of(self.weights)

    @cached_property
    def _shape(self) -> ModelShape:
        return read_shape(self.weights.local)

    def ablation(self, experiment: Experiment) -> Ablation:
        """What is done in an experiment, with means and signs of the model.

        Raises:
            OptionError: A mean ablation has no means, or those of another model.
        """
        summary = None
        if experiment.intervention.mode == "mean":
            summary = means_of(self.weights, self.means)
        return Ablation.of(experiment.neurons, experiment.intervention, signs=self.signs, summary=summary)

    def clean(self) -> RunMetrics:
        """The metrics without ablation.

        Raises:
            RwcoreError: The run cannot be made.
        """
        (found,) = self._map(run, [self._task(None, CLEAN)])
        return read_run(found)

    def runs(self, experiments: Sequence[Experiment]) -> list[Path | Failure]:
        """The artefacts of experiments, in their order; computed on the engine if the store has them not.

        A run that fails is reported in its place, and the others go on. Layers before the first ablated one
        are computed once for several runs where that saves time.
        """
        tasks: list[RunTask | Failure] = []
        for experiment in experiments:
            name = name_of(experiment)
            try:
                tasks.append(self._task(self.ablation(experiment), name))
            except RwcoreError as error:
                tasks.append(failure_of(name, error))
        keys = self._prefix_keys()
        if self.options.restart:
            self._discard(keys)
        planned = self._with_prefixes([task for task in tasks if isinstance(task, RunTask)], keys)
        found = iter(self._map(attempting(run), planned))
        self._discard(keys)  # not where a process is stopped before: the next one goes on with them
        return [task if isinstance(task, Failure) else next(found) for task in tasks]

    def _with_prefixes(self, tasks: Sequence[RunTask], keys: Mapping[int, ArtefactKey]) -> list[RunTask]:
        """The tasks, each with the longest prefix that it can begin with; what is worth it is made first."""
        store, options = self.weights.store, self.options
        waiting = {task.key: task.first_layer for task in tasks if not _there(store, task.key)}
        chosen = plan_prefixes(
            tuple(waiting.values()),
            prefix_bytes(self.corpus, options.positions, self._shape.d_model, options.dtype),
            made=[layers for layers, key in keys.items() if _there(store, key)],
        )
        if not chosen:
            return [*tasks]
        task = PrefixTask(
            local=as_processed(self.weights),
            store=store,
            corpus=self._rows,
            keys=tuple((layers, keys[layers]) for layers in chosen),
            token_budget=options.positions,
            dtype=options.dtype,
            device=options.device,
            threads=options.threads,
        )
        # The model stays for the runs.
        name = f"first layers of {self.weights.local.spec.id}"
        (found,) = self.weights.engine.map(make_prefixes, [task], desc=name)
        made = {prefix.layers: prefix for prefix in found}
        return [
            replace(task, prefix=made.get(longest_before(tuple(made), task.first_layer))) for task in tasks
        ]

    def _prefix_keys(self) -> dict[int, ArtefactKey]:
        """What prefixes of all lengths are functions of: whatever may move a bit, for they are not kept."""
        fields = forward_fields(self.weights, self.corpus, self.options)
        whole = ArtefactKey.of(KIND, PREFIX, **fields, threads=self.options.threads)
        same = identity_of(whole)
        lengths = range(1, self._shape.n_layers)
        return {layers: ArtefactKey.of(KIND, PREFIX, **same, layers=layers) for layers in lengths}

    def _discard(self, keys: Mapping[int, ArtefactKey]) -> None:
        for key in keys.values():
            discard(self.weights.store, key)

    def _map(self, function: Callable[[RunTask], Found], tasks: Sequence[RunTask]) -> list[Found]:
        """Make runs on the engine, the clean one too: this machine may have no GPU."""
        try:
            return self.weights.engine.map(function, tasks, desc=f"ablations of {self.weights.local.spec.id}")
        finally:
            bridge.cache_clear()  # the model; workers keep theirs for the next run

    def compare(self, experiments: Sequence[Experiment]) -> Comparison:
        """Clean minus ablated of every experiment and metric; one run at a time is in memory."""
        clean = self.clean()
        rows, failures = [], []
        counts: dict[str, list[RunCounts]] = {name: [] for name in REPORTED.values()}
        for experiment, found in zip(experiments, self.runs(experiments), strict=True):
            if isinstance(found, Failure):
                failures.append(found)
                continue
            ablated = read_run(found)
            rows += compare_run(experiment.label, clean, ablated, self.corpus, convention=self.convention)
            for metric in METRICS:
                part = differences(clean, ablated, self.corpus, metric, convention=self.convention)
                binned = signed_log_counts(part.values, SCALES[part.metric])
                counts[part.metric].append(RunCounts(experiment.label, binned))
        return Comparison(paired_table(rows), counts, tuple(failures))

    def _task(self, ablation: Ablation | None, name: str) -> RunTask:
        options = self.options
        epsilon = 0.0 if self.convention == FIXED else PUBLISHED_EPSILON
        fields = forward_fields(self.weights, self.corpus, options)
        key = ArtefactKey.of(
            "ablation-run", DEFINITION, **fields, ablation=ablation_hash(ablation), epsilon=epsilon
        )
        store = self.weights.store
        if options.restart:
            shutil.rmtree(store.work(key), ignore_errors=True)
        folder = None if ablation is None else keep_ablation(ablation, store)
        return RunTask(
            local=as_processed(self.weights),
            store=store,
            corpus=self._rows,
            ablation=folder,
            name=name,
            key=key,
            identity=tuple(sorted(identity_of(key).items())),
            token_budget=options.positions,
            epsilon=epsilon,
            dtype=options.dtype,
            device=options.device,
            threads=options.threads,
            checkpoint_every=options.checkpoint_every,
            first_layer=0 if ablation is None else min(ablation.neurons.counts(), default=0),
        )

    @cached_property
    def _rows(self) -> Path:
        """The rows, written once for all runs."""
        return keep_rows(self.corpus, self.weights.store)


def _there(store: Store, key: ArtefactKey) -> bool:
    return (store.path(key) / MANIFEST).exists()


def name_of(experiment: Experiment) -> str:
    """A run in a few words, for progress bars and errors."""
    words = [experiment.label.set, experiment.intervention.label]
    return " ".join([*words, "baseline"] if experiment.label.baseline else words)
