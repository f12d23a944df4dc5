"""The best neurons of classes of text, more closely: what they do in each class, and what they cost.

A neuron was chosen on validation documents; here only test documents count, so that what made it the best one
does not speak for it a second time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from rwcore.errors import OptionError, require_least
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.errors import ProbeError
from rwcore.probing.text_classes import UNLABELLED, TextClasses, classes_of_features
from rwcore.studies.context_neurons import ContextNeuron, ContextStudy, ContextTables
from rwcore.studies.probe_tables import best_neurons
from rwcore.studies.probes import DatasetProbes, ProbeStudy


def classes_of_text(data: FeatureDataset) -> TextClasses | None:
    """The classes of rows that the features of a data set are; None if it has one, or a row may have two."""
    try:
        classes = classes_of_features(data)
    except ProbeError:
        return None
    return classes if len(classes.names) > 1 else None


def held_out(probes: DatasetProbes, classes: TextClasses) -> TextClasses:
    """The classes of the rows that have a test example; the others are of no class."""
    tested = torch.zeros(len(classes.row), dtype=torch.bool)
    for task in probes.atlas.tasks:
        tested[probes.data.row[task.example[task.split.test]]] = True
    return TextClasses(classes.names, torch.where(tested, classes.row, UNLABELLED))


def context_neurons(probes: DatasetProbes, features: pd.DataFrame, count: int) -> list[ContextNeuron]:
    """The best neurons of the features that are told best, each neuron for one feature.

    Args:
        probes: What was found of a data set.
        features: See `rwcore.studies.probe_tables.feature_table`, of this data set.
        count: How many neurons, at most.
    """
    best = best_neurons(probes.atlas)
    by = [f"{probes.atlas.chosen_by}_mcc", "test_mcc"]
    ordered = features.sort_values(by, ascending=False, kind="stable")
    chosen: dict[tuple[int, int], str] = {}
    for name in ordered["feature"]:
        chosen.setdefault(best[name], name)
    return [ContextNeuron(*pair, name) for pair, name in list(chosen.items())[:count]]


def context_tables(
    study: ProbeStudy, probes: DatasetProbes, features: pd.DataFrame, count: int, *, baselines: int = 0
) -> ContextTables:
    """All about the best neurons of a data set.

    Args:
        study: The study that found them.
        probes: What it found.
        features: As for `context_neurons`.
        count: How many neurons, at most.
        baselines: Random neurons of the same layer beside each.

    Raises:
        OptionError: A row of the data set may have two of its features, or a number is too small.
        RwcoreError: See `rwcore.studies.context_neurons.ContextStudy.tables`.
    """
    require_least("--context", count, 1)
    classes = classes_of_text(probes.data)
    if classes is None:
        raise OptionError(
            f"the features of {probes.data.name!r} are not classes of which a text has one",
            where="--context",
            remedy="name features of which a text has one, such as languages or code",
        )
    contexts = ContextStudy(
        study.weights,
        probes.data.corpus,
        held_out(probes, classes),
        study.forward,
        study.options.convention,
    )
    neurons: Sequence[ContextNeuron] = context_neurons(probes, features, count)
    return contexts.tables(contexts.with_baselines(neurons, baselines) if baselines else neurons)
