"""Probes that claims about any model are asked on: of rows and of tokens of our own texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from rwcore.corpora.encoder import read_encoder
from rwcore.probing.datasets.catalogue import find_features
from rwcore.probing.datasets.offline import Offline
from rwcore.probing.logit_effects import capital_effects
from rwcore.probing.rw_classes import class_enrichment
from rwcore.stats.classes import class_codes, classes_of
from rwcore.studies.probe_contexts import context_tables
from rwcore.studies.probe_findings import found_neurons
from rwcore.studies.probe_tables import feature_table
from rwcore.studies.probes import DatasetProbes, ProbeOptions, ProbeStudy
from rwcore.studies.weights import WeightStudy

LANGUAGES = "language_rows"
PERFECT = 0.995
"""Test MCC of a neuron that tells a language as good as perfectly."""
FOUND = 0.9
"""Validation MCC of a neuron that tells a language alone."""
FAMILIES = ("strengthening", "proportional change", "orthogonal output", "weakening")
"""Ends of the names of classes: conditional and atypical ones belong to the same family."""
TESTED = 5
"""Context neurons that are ablated, as in the statement about them."""
END = "end_of_sentence"


@dataclass(frozen=True)
class LanguageProbes:
    """Which neurons of a model tell the language of a text, and what they do there.

    Attributes:
        weights: The weight study of the model.
    """

    weights: WeightStudy

    @cached_property
    def study(self) -> ProbeStudy:
        """The probes; nothing is computed before it is asked for."""
        data = find_features(LANGUAGES, read_encoder(self.weights.local))
        return ProbeStudy(self.weights, tuple(data), ProbeOptions(trials=0, kept=1))

    @cached_property
    def found(self) -> DatasetProbes:
        """What there is of the languages."""
        return self.study.found[0]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per language; see `rwcore.studies.probe_tables.feature_table`."""
        return feature_table(self.found.atlas, activations=self.study.best_activations(self.found))

    @property
    def perfect(self) -> int:
        """Languages whose best neuron on validation is as good as perfect on test."""
        return int((self.table["test_mcc"] >= PERFECT).sum())

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """What ablating the best neurons does to their language, and to every other, in test documents."""
        return context_tables(self.study, self.found, self.table, TESTED).contrasts

    @property
    def own_context(self) -> int:
        """How many of these neurons cost five times as much in their own language as in every other."""
        return int((self.contrasts["margin"] > 0).sum())

    @cached_property
    def classes(self) -> pd.DataFrame:
        """RW classes, in families, of neurons that tell a language alone, beside neurons of the same layers.

        Columns of `rwcore.probing.rw_classes.class_enrichment`, index ``class``.
        """
        cosines = self.weights.cosines
        names = [one.name for one in classes_of(cosines)]
        member = [
            (family, [code for code, name in enumerate(names) if name.endswith(family)])
            for family in FAMILIES
        ]
        found = found_neurons([self.found], FOUND)
        return class_enrichment(found, member, class_codes(cosines)).set_index("class")


@dataclass(frozen=True)
class OwnTextProbes:
    """Which neurons of a model tell single tokens of our own texts: one pass for all of these features.

    Attributes:
        weights: The weight study of the model.
    """

    weights: WeightStudy

    @cached_property
    def study(self) -> ProbeStudy:
        """The probes; nothing is computed before it is asked for.

        Without the texts that Python brings with it: answers must be the same with any Python.
        """
        texts = Offline(read_encoder(self.weights.local), own=True)
        data = (texts.pronouns(), texts.sentences(), texts.code())
        return ProbeStudy(self.weights, data, ProbeOptions(trials=0, kept=1))

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """By data set, one row per feature; see `rwcore.studies.probe_tables.feature_table`."""
        return {
            one.data.name: feature_table(one.atlas, activations=self.study.best_activations(one))
            for one in self.study.found
        }

    @property
    def genders(self) -> dict[str, float]:
        """Test MCC that a neuron has which tells a gender of pronouns best on validation, by feature.

        There are so few pronouns that dozens of neurons are perfect on validation, and nothing there tells
        them apart: the mean over all of them.
        """
        means = {}
        for atlas in (one.atlas for one in self.study.found if one.data.name == "pronouns"):
            for number, task in enumerate(atlas.tasks):
                quality = atlas.quality(number)
                equal = atlas.columns["test_mcc"][:, number][quality == quality.max()]
                means[task.name] = float(equal.double().mean())
        return means

    @property
    def code(self) -> pd.DataFrame:
        """The best neuron on validation of each language of code, index ``feature``."""
        return self.tables["code"].set_index("feature")

    @property
    def end_of_sentence(self) -> tuple[int, int, int]:
        """Layer, number and polarity (1 or −1) of the best neuron on validation of the ends of sentences."""
        rows = self.tables["sentences"].set_index("feature")
        layer, neuron, polarity = (rows[name][END] for name in ("layer", "neuron", "polarity"))
        return int(layer), int(neuron), 1 if polarity == "+" else -1

    @cached_property
    def end_effects(self) -> pd.DataFrame:
        """What this neuron does to the logits of tokens with and without a capital.

        See `rwcore.probing.logit_effects.effects_by_group`.
        """
        layer, neuron, sign = self.end_of_sentence
        return capital_effects(self.weights.local, layer, neuron, sign=sign)
