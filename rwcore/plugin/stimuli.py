"""Single neurons on a text, as claims ask for them: at words and n-grams, ablated, and beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rwcore.claim.values import Interval
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import ModelError
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.probing.datasets.features import FeatureDataset
    from rwcore.studies.stimuli import StimulusStudy
    from rwcore.studies.token_values import Pair
    from rwcore.studies.weights import WeightStudy

PILE = "pile-test"
"""The text of the published numbers."""


@dataclass(frozen=True)
class NeuronsOnText:
    """Pre-activations of single neurons of a model on a text.

    Attributes:
        study: The study.
        data: The data set that the text is the rows of, if it is one.
        stand_in: Whether the model only stands in for another one, which has more neurons and reads words.
    """

    study: StimulusStudy
    data: FeatureDataset | None
    stand_in: bool

    @classmethod
    def of(cls, weights: WeightStudy, text: TokenCorpus | FeatureDataset, *, stand_in: bool) -> NeuronsOnText:
        """The neurons of a model on a text, or on the rows of a data set."""
        from rwcore.probing.datasets.features import FeatureDataset
        from rwcore.studies.stimuli import StimulusStudy

        data = text if isinstance(text, FeatureDataset) else None
        corpus = text.corpus if isinstance(text, FeatureDataset) else text
        return cls(StimulusStudy(weights, corpus), data, stand_in)

    def top_words(self, neuron: Pair, count: int) -> list[str]:
        """The words with the largest mean, the largest first."""
        found = self.study.exciting(self._values(neuron), count)
        return [text.strip() for text in found["text"]]

    def mean_max_correlation(self, neuron: Pair) -> float:
        """Of the mean and the largest value over tokens; see `rwcore.probing.superposition`."""
        from rwcore.probing.superposition import mean_max_correlation

        return mean_max_correlation(self.study.summary(self._values(neuron)))

    def percent_above(self, neuron: Pair, threshold: float) -> Interval:
        """Percent of the tokens at which the neuron is above a threshold."""
        above = 100.0 * (self._values(neuron) > threshold).double()
        return self._mean(above, self.study.counted)

    def mean_at(self, neuron: Pair, texts: Mapping[str, str], *, key: str, least: int) -> pd.DataFrame:
        """Mean of a neuron at the last token of some texts, wherever they stand in the rows.

        Args:
            neuron: Layer and number.
            texts: By their names.
            key: What the column of the names is called.
            least: Occurrences of each text; the test is skipped where there are fewer.

        Returns:
            The names, and ``value``, with intervals over documents.
        """
        import pandas as pd

        # Whether there are enough of them is known before the model has read anything.
        ends = {name: self._ends(text, least) for name, text in texts.items()}
        values = self._values(neuron)
        means = {name: self._mean(values, where) for name, where in ends.items()}
        return pd.DataFrame({key: [*means], "value": [*means.values()]})

    def cost_after(self, neuron: Pair, text: str, *, least: int) -> Interval:
        """How much the loss of the token after a text rises, in nats, if a neuron is set to 0 everywhere.

        Raises:
            ModelError: A run cannot be made.
        """
        import torch

        from rwcore.probing.text_classes import UNLABELLED, TextClasses
        from rwcore.studies.context_neurons import ContextStudy
        from rwcore.studies.failures import Failure

        where, study = self._ends(text, least), self.study
        unlabelled = TextClasses((), torch.full((len(study.corpus),), UNLABELLED))
        runs = ContextStudy(study.weights, study.corpus, unlabelled, study.forward)
        (ablated,) = runs.without([self._there(neuron)])
        if isinstance(ablated, Failure):
            raise ModelError(ablated.error, where=ablated.where, remedy=ablated.remedy)
        increase = ablated.loss.double() - runs.clean().loss.double()
        return self._mean(increase, where & ~increase.isnan())

    def medians(self, neuron: Pair, feature: str, *, names: tuple[str, str], key: str) -> pd.DataFrame:
        """Median of a neuron at the examples of a feature of the data set, with it and without it.

        Args:
            neuron: Layer and number.
            feature: Name of the feature.
            names: What examples without and with it are called in the table.
            key: What the column of these names is called.

        Returns:
            The names, and ``value``.
        """
        import pandas as pd

        assert self.data is not None
        assert self.data.token is not None  # a feature of rows has no single token
        (found,) = (one for one in self.data.features if one.name == feature)
        values = self._values(neuron)[self.data.token[found.example]]
        medians = [float(values[found.label == has].median()) for has in (False, True)]
        return pd.DataFrame({key: names, "value": medians})

    def correlations(self, one: Pair, other: Pair, feature: str, *, name: str) -> pd.DataFrame:
        """Correlation of two neurons over the tokens of rows with a feature of the data set, and of others.

        Args:
            one: A neuron.
            other: Another one.
            feature: Name of the feature, such as a language.
            name: What the rows with it are called in the table; the others are ``elsewhere``.

        Returns:
            ``text`` and ``value``, with intervals over documents.
        """
        import pandas as pd

        from rwcore.probing.text_classes import classes_of_features
        from rwcore.studies.stimuli import TextSide

        assert self.data is not None  # a text without features has no such rows
        side = TextSide(classes_of_features(self.data), feature)
        values = self.study.values([self._there(one), self._there(other)])
        rows = self.study.correlations(values, side).set_index("where").loc[["inside", "outside"]]
        found = [_interval(low, high, r) for r, low, high in rows[["r", "low", "high"]].to_numpy().tolist()]
        return pd.DataFrame({"text": [name, "elsewhere"], "value": found})

    def _there(self, neuron: Pair) -> Pair:
        """The neuron; a stand-in is smaller: its numbers start again from 0 at its end."""
        if not self.stand_in:
            return neuron
        shape = read_shape(self.study.weights.local)
        return neuron[0] % shape.n_layers, neuron[1] % shape.d_mlp

    def _values(self, neuron: Pair) -> Tensor:
        there = self._there(neuron)
        return self.study.values([there])[there]

    def _ends(self, text: str, least: int) -> Tensor:
        """The tokens at which a text ends within a row; for a stand-in, which reads letters, its last one."""
        import pytest

        from rwcore.probing.datasets.labelled_rows import pooled

        corpus = self.study.corpus
        (ids,) = read_encoder(self.study.weights.local).encode([text])
        ids = ids[-1:] if self.stand_in else ids
        found = pooled(corpus, len(ids))
        for back, number in enumerate(reversed(ids)):
            found &= corpus.tokens.roll(back) == number
        count = int(found.sum())
        if count < least and not self.stand_in:
            pytest.skip(
                f"{text!r} is {count} times in {corpus.n_tokens:,} tokens of {corpus.spec.id}, and "
                f"{least} are needed: --rw-full, or more --rw-tokens"
            )
        return found

    def _mean(self, values: Tensor, where: Tensor) -> Interval:
        """The mean of the values there, with its 95 % interval over documents."""
        from rwcore.ablation.bootstrap import intervals, sums_by_document

        corpus = self.study.corpus
        document = corpus.document.repeat_interleave(corpus.lengths)[where].numpy()
        found: np.ndarray = values[where].double().numpy()
        (one,) = intervals(*sums_by_document([(found, document)]))
        return _interval(one.low, one.high, float(found.mean()))


def _interval(low: float, high: float, estimate: float) -> Interval:
    """An interval; one document says nothing about others, so that any value is possible."""
    if math.isnan(low) or math.isnan(high):
        return Interval(-math.inf, math.inf, estimate)
    return Interval(low, high, estimate)
