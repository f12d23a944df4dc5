"""Ablations of a model on a corpus: runs that share the clean one, compared prediction by prediction."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rwcore.ablation.compare import FIXED, REPORTED, compare_run, differences, paired_table
from rwcore.ablation.grid import Experiment
from rwcore.ablation.head import PUBLISHED_EPSILON
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.run_metrics import METRICS, RunMetrics
from rwcore.ablation.saved import save_ablation
from rwcore.ablation.signed_log import SCALES, signed_log_counts
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, RwcoreError
from rwcore.plots.ablation_names import RunCounts
from rwcore.store import ArtefactKey
from rwcore.studies.ablation_runs import CLEAN, DEFINITION, RunTask, ablation_hash, read_run, run
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import ForwardOptions, as_processed, forward_fields, identity_of, keep_rows
from rwcore.studies.frequencies import FrequencyStudy, gate_signs
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Found = TypeVar("Found")


@dataclass(frozen=True)
class Failure:
    """A run that could not be made; the others of a grid go on.

    Attributes:
        name: The run.
        error: What was wrong.
        where: Where.
        remedy: What to do.
    """

    name: str
    error: str
    where: str | None
    remedy: str | None


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
        import torch

        shape = read_shape(self.weights.local)
        if shape.gated_mlp:
            return gate_signs(self.weights)
        return torch.ones(shape.n_layers, shape.d_mlp, dtype=torch.int8)

    def ablation(self, experiment: Experiment) -> Ablation:
        """What is done in an experiment, with means and signs of the model.

        Raises:
            OptionError: A mean ablation has no means, or those of another model.
        """
        summary = None
        if experiment.intervention.mode == "mean":
            summary = self._means().summary
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

        A run that fails is reported in its place, and the others go on.
        """
        tasks: list[RunTask | Failure] = []
        for experiment in experiments:
            name = name_of(experiment)
            try:
                tasks.append(self._task(self.ablation(experiment), name))
            except RwcoreError as error:
                tasks.append(_failure(name, error))
        found = iter(self._map(attempt, [task for task in tasks if isinstance(task, RunTask)]))
        return [task if isinstance(task, Failure) else next(found) for task in tasks]

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

    def _means(self) -> FrequencyStudy:
        if self.means is None:
            raise OptionError(
                "mean ablation needs the means of the neurons",
                where="--mode mean",
                remedy="give an activation study of this model",
            )
        ours, theirs = self.weights.local.identity(), self.means.weights.local.identity()
        if ours["content"] != theirs["content"]:
            raise OptionError(
                f"the means are those of {theirs['model']}, another model than {ours['model']}",
                where="--mode mean",
                remedy=f"run `rwcore activations {ours['model']} …` first",
            )
        return self.means

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
        folder = None if ablation is None else self._saved(ablation)
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
        )

    @cached_property
    def _rows(self) -> Path:
        """The rows, written once for all runs."""
        return keep_rows(self.corpus, self.weights.store)

    def _saved(self, ablation: Ablation) -> Path:
        """The artefact from which a worker reads what it is to do."""

        def compute(folder: Path) -> dict[str, object]:
            save_ablation(folder, ablation)
            return {"neurons": len(ablation.neurons), "intervention": ablation.intervention.label}

        key = ArtefactKey.of("ablation", DEFINITION, ablation=ablation_hash(ablation))
        return self.weights.store.get_or_compute(key, compute)


def name_of(experiment: Experiment) -> str:
    """A run in a few words, for progress bars and errors."""
    words = [experiment.label.set, experiment.intervention.label]
    return " ".join([*words, "baseline"] if experiment.label.baseline else words)


def attempt(task: RunTask) -> Path | Failure:
    """Make a run. Whatever goes wrong is returned, so that the other runs of a grid go on."""
    try:
        return run(task)
    except RwcoreError as error:
        return _failure(task.name, error)
    except Exception as error:  # of libraries: no memory left on a GPU, for instance
        return Failure(task.name, f"{type(error).__name__}: {error}", None, None)


def _failure(name: str, error: RwcoreError) -> Failure:
    return Failure(name, error.what, error.where, error.remedy)
