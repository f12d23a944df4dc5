"""Probes that claims about superposition are asked on: pairs of words, beside random bases.

The paper's model is probed as published, in the paper's text. Any model is asked of the pairs that Python's
help has as terms; the stand-ins, which know letters and no words, of pairs of letters in our own texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.registry import find
from rwcore.errors import CorpusError
from rwcore.plugin.subjects import Kind
from rwcore.probing.controls import DIRECTIONS
from rwcore.probing.datasets.catalogue import find_features
from rwcore.probing.datasets.compound_words import compound_words
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.source import read_source
from rwcore.probing.sparsity import TELESCOPIC, CurveOptions
from rwcore.probing.splits import PUBLISHED_SEED
from rwcore.probing.superposition import neuron_wins, rank_curves
from rwcore.studies.probe_superposition import superposition_tables
from rwcore.studies.probes import DatasetProbes, ProbeOptions, ProbeStudy
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    from rwcore.plugin.model_subject import ModelSubject

WORDS = "compound_words"
EARLY = (1, 2, 3, 4)
"""The layers that the claims are about; one of them is about layer 0."""
LETTERS = ("th", "he", "in", "er", "an", "re", "on", "at", "en", "nd")
"""Frequent pairs of English letters."""
FEWEST = 5
"""Pairs without which there is no share of pairs to speak of."""
PUBLISHED_BASES, BASES = 5, 3
_WINDOWS, _TOKENS = 60, 8000


@dataclass(frozen=True)
class CompoundProbes:
    """Which neurons of the first layers tell pairs of words, and whether random directions do as well.

    Attributes:
        weights: The weight study of the model.
        data: The pairs.
        options: How they are probed.
    """

    weights: WeightStudy
    data: FeatureDataset
    options: ProbeOptions

    @cached_property
    def study(self) -> ProbeStudy:
        """The probes; nothing is computed before it is asked for."""
        return ProbeStudy(self.weights, (self.data,), self.options)

    @cached_property
    def found(self) -> DatasetProbes:
        """What there is of the pairs."""
        return self.study.found[0]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """The rank curves of every layer; see `rwcore.probing.superposition.rank_curves`."""
        by = f"{self.found.atlas.chosen_by}_f1"
        return rank_curves(self.found.controls, by=by, within=["layer"])

    @property
    def share_of_pairs(self) -> float:
        """Share of the pairs whose best neuron beats the mean best direction (F1), in layers 1 to 4."""
        early = self.ranks[self.ranks["layer"].isin(EARLY)]
        return float(neuron_wins(early)["wins"].mean())

    @property
    def best_direction(self) -> float:
        """The largest test MCC of a random direction, of any pair."""
        scores = self.found.controls
        return float(scores.loc[scores["control"] == DIRECTIONS, "test_mcc"].max())

    def directions(self, feature: str, layer: int) -> pd.DataFrame:
        """The mean F1 of random directions, columns ``rank`` and ``value``.

        Args:
            feature: A pair; the first one if there is none of the name.
            layer: The layer.
        """
        names = [task.name for task in self.found.atlas.tasks]
        of_pair = self.ranks["feature"] == (feature if feature in names else names[0])
        rows = self.ranks[of_pair & (self.ranks["layer"] == layer) & (self.ranks["control"] == DIRECTIONS)]
        return rows[["rank", "mean"]].rename(columns={"mean": "value"}).reset_index(drop=True)

    @cached_property
    def excess(self) -> pd.Series[float]:
        """By which share the log loss of k random directions is larger than that of k neurons, by k.

        The median over pairs and layers 1 to 4.
        """
        loss = superposition_tables(self.study).loss
        return loss.groupby("k")["percent"].median() / 100

    def excess_at(self, k: int) -> float:
        """`excess` at k, or at the next smaller one that the model has neurons for."""
        return float(self.excess[self.excess.index <= k].iloc[-1])


def own_pairs(subject: ModelSubject) -> CompoundProbes:
    """Pairs that need no download; a model whose tokenizer knows too few of them is not asked."""
    import pytest

    if subject.kind is Kind.STAND_IN:
        return _of_letters(subject)
    weights = subject.weight_study()
    try:
        (data,) = find_features(WORDS, read_encoder(weights.local), tokens=_TOKENS)
    except CorpusError as error:
        pytest.skip(error.what)
    if len(data.features) < FEWEST:
        pytest.skip(
            f"the tokenizer knows both words of {len(data.features)} pairs as tokens of their own, "
            f"and {FEWEST} pairs are needed"
        )
    return CompoundProbes(weights, data, ProbeOptions(trials=BASES, layers=_first(weights), curves=()))


def papers_pairs(subject: ModelSubject) -> CompoundProbes | None:
    """The paper's pairs as published, for its own model; None if their text is not here.

    Stand-ins take the same path with pairs of letters; other models have none.
    """
    if subject.kind is Kind.STAND_IN:
        return _of_letters(subject)
    if subject.kind is not Kind.PAPER or subject.paper_probes.texts.missing(WORDS) is not None:
        return None
    weights = subject.weight_study()
    options = ProbeOptions(
        convention="as_published",
        seed=PUBLISHED_SEED,
        trials=PUBLISHED_BASES,
        kept=None,
        layers=_first(weights),
        curves=_first(weights)[1:],
        curve=CurveOptions(methods=(TELESCOPIC,)),
    )
    return CompoundProbes(weights, subject.paper_probes.data(WORDS), options)


def _of_letters(subject: ModelSubject) -> CompoundProbes:
    weights = subject.weight_study()
    data = compound_words(
        read_source(find("handmade"), read_encoder(weights.local)),
        pairs=[(pair[0], pair[1]) for pair in LETTERS],
        positives=_WINDOWS,
        negatives=_WINDOWS,
        least=_WINDOWS // 2,
    )
    options = ProbeOptions(
        trials=BASES,
        kept=None,
        layers=_first(weights),
        curves=_first(weights)[1:],
        curve=CurveOptions(methods=(TELESCOPIC,)),
    )
    return CompoundProbes(weights, data, options)


def _first(weights: WeightStudy) -> tuple[int, ...]:
    """The layers that the claims are about, as far as the model has them."""
    return tuple(layer for layer in (0, *EARLY) if layer < read_shape(weights.local).n_layers)
