"""Probes that claims about any model are asked on: the natural language of short rows of our own prose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from rwcore.corpora.encoder import read_encoder
from rwcore.probing.datasets.catalogue import find_features
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
