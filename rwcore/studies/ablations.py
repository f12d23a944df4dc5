"""Ablations of a model on a corpus: runs that share the clean one, compared prediction by prediction."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

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
from rwcore.studies.ablation_runs import DEFINITION, RunTask, ablation_hash, read_run, run
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import ForwardOptions, as_processed, forward_fields, identity_of, keep_rows
from rwcore.studies.frequencies import FrequencyStudy, gate_signs
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


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
        return read_run(run(self._task(None, "clean")))

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
        able = [task for task in tasks if isinstance(task, RunTask)]
        try:
            found = iter(
                self.weights.engine.map(attempt, able, desc=f"ablations of {self.weights.local.spec.id}")
            )
        finally:
            bridge.cache_clear()  # the model; workers keep theirs for the next run
        return [task if isinstance(task, Failure) else next(found) for task in tasks]

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
        folder = None
        if ablation is not None:
            folder = self._shared / "ablations" / key.digest
            folder.mkdir(parents=True, exist_ok=True)
            save_ablation(folder, ablation)
        return RunTask(
            local=as_processed(self.weights),
            store=store,
            corpus=keep_rows(self.corpus, self._shared / "corpus"),
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
    def _shared(self) -> Path:
        """What the tasks of this study read, wherever they run."""
        fields = forward_fields(self.weights, self.corpus, self.options)
        return self.weights.store.work(ArtefactKey.of("ablation-tasks", DEFINITION, **fields))


def name_of(experiment: Experiment) -> str:
    """A run in a few words, for progress bars and errors."""
    words = [experiment.label.set, experiment.intervention.label]
    return " ".join([*words, "baseline"] if experiment.label.baseline else words)


def attempt(task: RunTask) -> Path | Failure:
    """Make a run; an error that rwcore explains is returned, so that a grid goes on."""
    try:
        return run(task)
    except RwcoreError as error:
        return _failure(task.name, error)


def _failure(name: str, error: RwcoreError) -> Failure:
    return Failure(name, error.what, error.where, error.remedy)
