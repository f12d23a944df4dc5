"""Context neurons: what chosen neurons do in each class of text, and what is lost there without them.

Activations come from one sweep over the rows for all neurons (`rwcore.studies.token_values`), losses from one
ablated run a neuron (`rwcore.studies.ablations`): a process that was killed goes on with either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
import pandas as pd

from rwcore.ablation.compare import CONVENTIONS, FIXED, RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Intervention
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import require_choice, require_least
from rwcore.neurons import NeuronSet
from rwcore.probing.context import class_histogram, class_summary, row_summary, token_disambiguation
from rwcore.probing.context_losses import class_losses, own_against_others, row_losses
from rwcore.probing.text_classes import TextClasses
from rwcore.studies.ablation_runs import read_run
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.failures import Failure
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.token_values import Pair, TokenValues, token_values
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

LABELS = ("layer", "neuron", "about", "baseline")


@dataclass(frozen=True)
class ContextNeuron:
    """A neuron that is said to be about a class of text.

    Attributes:
        layer: Its layer.
        neuron: Its number.
        about: The class.
        baseline: Whether it is a random neuron of the same layer, which nobody says that of.
    """

    layer: int
    neuron: int
    about: str
    baseline: bool = False

    @property
    def pair(self) -> Pair:
        """Layer and number."""
        return self.layer, self.neuron


@dataclass(frozen=True, eq=False)
class ContextTables:
    """What is known about some context neurons; every table begins with `LABELS`.

    Attributes:
        activations: `rwcore.probing.context.class_summary` of each neuron.
        histograms: `rwcore.probing.context.class_histogram`.
        rows: `rwcore.probing.context.row_summary`.
        tokens: `rwcore.probing.context.token_disambiguation`.
        row_losses: `rwcore.probing.context_losses.row_losses`.
        losses: `rwcore.probing.context_losses.class_losses`.
        contrasts: One row per neuron: the fields of `rwcore.probing.context_losses.Contrast`, and ``holds``.
        failures: The ablations that could not be made.
    """

    activations: pd.DataFrame
    histograms: pd.DataFrame
    rows: pd.DataFrame
    tokens: pd.DataFrame
    row_losses: pd.DataFrame
    losses: pd.DataFrame
    contrasts: pd.DataFrame
    failures: tuple[Failure, ...]


@dataclass(frozen=True, eq=False)
class ContextStudy:
    """Context neurons of one model on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        classes: The class of text of each row.
        options: How the model is run.
        convention: ``fixed``, or ``as_published``: see `rwcore.probing.context_losses.row_losses`; the
            contrast is then one of sums of rows.

    Raises:
        OptionError: There is no such convention.
        ProbeError: The classes are those of another corpus.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    classes: TextClasses
    options: ForwardOptions = field(default_factory=ForwardOptions)
    convention: str = FIXED

    def __post_init__(self) -> None:
        require_choice("convention", self.convention, CONVENTIONS)
        self.classes.of_tokens(self.corpus)

    def without(self, neurons: Sequence[Pair]) -> Iterator[RunMetrics | Failure]:
        """The model without each neuron: its post is 0 at every position, BOS included.

        Args:
            neurons: Layer and number of each; one run each.

        Yields:
            In the order of the neurons, one at a time in memory; for a run that failed, how.
        """
        for found in self._ablations.runs([_zeroed(pair) for pair in neurons]):
            yield found if isinstance(found, Failure) else read_run(found)

    def clean(self) -> RunMetrics:
        """The model as it is.

        Raises:
            RwcoreError: The run cannot be made.
        """
        return self._ablations.clean()

    def with_baselines(
        self, neurons: Sequence[ContextNeuron], count: int = 1, *, seed: int = 0
    ) -> list[ContextNeuron]:
        """Neurons, each followed by random other neurons of its layer.

        Args:
            neurons: The context neurons.
            count: Random neurons for each; none of them is among ``neurons``.
            seed: Of the draws.

        Raises:
            OptionError: A layer has too few other neurons.
        """
        pairs = {one.pair for one in neurons}
        found: list[ContextNeuron] = []
        for number, one in enumerate(neurons):
            left = [neuron for neuron in range(self._shape.d_mlp) if (one.layer, neuron) not in pairs]
            require_least("other neurons of the layer", len(left), count)
            drawn = np.random.default_rng((seed, number)).choice(left, count, replace=False)
            found += [one, *(ContextNeuron(one.layer, int(other), one.about, True) for other in drawn)]
        return found

    def tables(self, neurons: Sequence[ContextNeuron]) -> ContextTables:
        """All that is known about some neurons.

        Args:
            neurons: With the class that each is said to be about.

        Raises:
            OptionError: The model has no such neuron.
            ProbeError: There is no such class of text.
            ModelError: As for `token_values`, or the clean run cannot be made.
            StoreError: As for `token_values`.
        """
        for one in neurons:
            self.classes.place(one.about)
        pairs = [one.pair for one in neurons]
        values = token_values(self.weights, self.corpus, pairs, self.options)
        names = [each.name for each in fields(ContextTables) if each.name != "failures"]
        parts: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
        failures: list[Failure] = []
        clean = self.clean()
        for one, found in zip(neurons, self.without(pairs), strict=True):
            frames = self._activation_tables(one, values[one.pair])
            if isinstance(found, Failure):
                failures.append(found)
            else:
                frames |= self._loss_tables(one, clean, found)
            for name, frame in frames.items():
                for place, column in enumerate(LABELS):
                    frame.insert(place, column, getattr(one, column))
                parts[name].append(frame)
        tables = {
            name: pd.concat(found, ignore_index=True) if found else pd.DataFrame()
            for name, found in parts.items()
        }
        return ContextTables(**tables, failures=tuple(failures))

    def _activation_tables(self, one: ContextNeuron, values: TokenValues) -> dict[str, pd.DataFrame]:
        corpus, classes = self.corpus, self.classes
        return {
            "activations": class_summary(values, corpus, classes),
            "histograms": class_histogram(values, corpus, classes, one.about),
            "rows": row_summary(values, corpus, classes),
            "tokens": token_disambiguation(values, corpus, classes, one.about),
        }

    def _loss_tables(
        self, one: ContextNeuron, clean: RunMetrics, ablated: RunMetrics
    ) -> dict[str, pd.DataFrame]:
        rows = row_losses(clean, ablated, self.corpus, self.classes, convention=self.convention)
        contrast = own_against_others(
            rows, one.about, per="prediction" if self.convention == FIXED else "row"
        )
        facts = {each.name: getattr(contrast, each.name) for each in fields(contrast) if each.name != "own"}
        return {
            "row_losses": rows,
            "losses": class_losses(rows, one.about),
            "contrasts": pd.DataFrame([{**facts, "holds": contrast.holds}]),
        }

    @cached_property
    def _shape(self) -> ModelShape:
        return read_shape(self.weights.local)

    @cached_property
    def _ablations(self) -> AblationStudy:
        return AblationStudy(self.weights, self.corpus, None, self.options)


def _zeroed(pair: Pair) -> Experiment:
    """The ablation of one neuron."""
    name = f"{pair[0]}.{pair[1]}"
    return Experiment(NeuronSet.of(name, [pair]), Intervention("zero"), RunLabel(name, "zero"))
