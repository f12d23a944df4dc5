"""What probes of a model found, as tables: of features, neurons, layers, curves, controls and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from rwcore.errors import OptionError, require_least
from rwcore.probing.controls import COLUMNS as CONTROL_SCORES
from rwcore.probing.rw_classes import COLUMNS as ENRICHMENT
from rwcore.probing.rw_classes import FoundNeurons, class_enrichment
from rwcore.probing.sparsity import COLUMNS as CURVE_SCORES
from rwcore.stats.classes import class_codes, classes_of
from rwcore.studies.context_neurons import ContextTables
from rwcore.studies.probe_contexts import classes_of_text, context_tables
from rwcore.studies.probe_superposition import SuperpositionTables, require_bases, superposition_tables
from rwcore.studies.probe_tables import (
    FEATURE_COLUMNS,
    LAYER_COLUMNS,
    NEURON_COLUMNS,
    TOP,
    feature_table,
    layer_table,
    neuron_table,
)
from rwcore.studies.probes import DatasetProbes, ProbeStudy
from rwcore.studies.weights import WeightStudy

SKIPPED_COLUMNS = ("dataset", "family", "feature", "positives", "negatives", "why")
CURVE_COLUMNS = ("dataset", "feature", "layer", *CURVE_SCORES)
CONTROL_COLUMNS = ("dataset", "layer", *CONTROL_SCORES)
CLASS_COLUMNS = ("limit", *ENRICHMENT)
CLASS_LIMITS = (0.9, 0.8, 0.6)
"""Of the MCC that neurons are chosen by: from which on a neuron counts as found."""


@dataclass(frozen=True, eq=False)
class ProbeFindings:
    """What was found.

    Attributes:
        features: Content of ``features.csv``.
        neurons: Content of ``neurons.csv``.
        layers: Content of ``layers.csv``.
        curves: Content of ``curves.csv``.
        controls: Content of ``controls.csv``.
        classes: Content of ``classes.csv``.
        skipped: Content of ``skipped.csv``.
        probed: Neurons that were probed for every feature.
        contexts: Data sets with classes of text, and all about their best neurons; empty if that was not
            asked for.
        superposition: Neurons beside random bases; None if that was not asked for.
    """

    features: pd.DataFrame
    neurons: pd.DataFrame
    layers: pd.DataFrame
    curves: pd.DataFrame
    controls: pd.DataFrame
    classes: pd.DataFrame
    skipped: pd.DataFrame
    probed: int
    contexts: tuple[tuple[str, ContextTables], ...] = ()
    superposition: SuperpositionTables | None = None

    def of_contexts(self, name: str) -> pd.DataFrame:
        """One of the tables of `ContextTables` for all data sets, with a column ``dataset`` in front."""
        parts = []
        for dataset, tables in self.contexts:
            frame: pd.DataFrame = getattr(tables, name)
            parts.append(frame.assign(dataset=dataset)[["dataset", *frame.columns]])
        return pd.concat(parts, ignore_index=True)


def find(
    study: ProbeStudy,
    *,
    top: int = TOP,
    curves: bool = True,
    context: int | None = None,
    superposition: bool = False,
) -> ProbeFindings:
    """Run a study and put together what it found.

    Args:
        study: The study; what the store has is not computed again.
        top: Neurons of each feature in the table of neurons.
        curves: Also sparsity curves.
        context: Look more closely at so many neurons of each data set whose features are classes of text.
        superposition: Also compare neurons with random bases.

    Raises:
        OptionError: A number is too small, the model has no such layer, ``context`` is given and no data
            set has classes of text, or ``superposition`` and there are no random bases or no curves.
        RwcoreError: See `rwcore.studies.probes.ProbeStudy.found`.
    """
    require_least("--top", top, 1)
    if context is not None:
        require_least("--context", context, 1)
        if all(classes_of_text(data) is None for data in study.probed):
            raise OptionError(
                "the features are no classes of text: there is one, or a text may have several",
                where="--context",
                remedy="name features of which a text has one, such as languages or code",
            )
    if superposition:
        require_bases(study.options, curves=curves)
    found = study.found
    features = [_features(study, one) for one in found]
    curve_table = _together(found if curves else (), lambda one: _curves(study, one), CURVE_COLUMNS)
    return ProbeFindings(
        features=pd.concat(features, ignore_index=True)[[*FEATURE_COLUMNS]],
        neurons=_together(found, lambda one: neuron_table(one.atlas, top=top), NEURON_COLUMNS),
        layers=_together(found, lambda one: layer_table(one.atlas), LAYER_COLUMNS),
        curves=curve_table,
        controls=_together(found, _controls, CONTROL_COLUMNS),
        classes=class_table(study.weights, found),
        skipped=pd.DataFrame(_skipped(study), columns=[*SKIPPED_COLUMNS]),
        probed=len(study.layers) * found[0].atlas.width,
        contexts=tuple(
            (one.data.name, context_tables(study, one, table, context, baselines=1))
            for one, table in zip(found, features, strict=True)
            if context is not None and classes_of_text(one.data) is not None
        ),
        superposition=superposition_tables(study, curve_table) if superposition else None,
    )


def found_neurons(found: Sequence[DatasetProbes], limit: float) -> FoundNeurons:
    """The neurons that tell a feature alone.

    Args:
        found: What was found of each data set.
        limit: Smallest MCC, on validation (as published: on test).
    """
    pairs: list[tuple[int, int, int]] = []
    number = 0
    for one in found:
        mcc = one.atlas.columns[f"{one.atlas.chosen_by}_mcc"]
        for feature in range(len(one.atlas.tasks)):
            quality = torch.nan_to_num(mcc[:, feature], nan=-1.0)
            good = (quality >= limit).nonzero()
            best_first = torch.argsort(quality[quality >= limit], descending=True, stable=True)
            pairs += [
                (number, one.atlas.layers[place], neuron) for place, neuron in good[best_first].tolist()
            ]
            number += 1
    return FoundNeurons.of(pairs)


def class_table(weights: WeightStudy, found: Sequence[DatasetProbes]) -> pd.DataFrame:
    """RW classes of the neurons that tell a feature alone, beside neurons of the same layers.

    Args:
        weights: The weight study of the model.
        found: What was found of each data set.

    Returns:
        Columns `CLASS_COLUMNS`; a limit that no neuron reaches has no rows.
    """
    cosines = weights.cosines
    codes = class_codes(cosines)
    member = [(one.name, [code]) for code, one in enumerate(classes_of(cosines))]
    tables = []
    for limit in CLASS_LIMITS:
        neurons = found_neurons(found, limit)
        if len(neurons.neurons):
            tables.append(class_enrichment(neurons, member, codes).assign(limit=limit))
    if not tables:
        return pd.DataFrame(columns=[*CLASS_COLUMNS])
    return pd.concat(tables, ignore_index=True)[[*CLASS_COLUMNS]]


def _together(
    found: Sequence[DatasetProbes],
    make: Callable[[DatasetProbes], pd.DataFrame],
    columns: Sequence[str],
) -> pd.DataFrame:
    """One table of all data sets."""
    tables = [table for one in found if len(table := make(one))]
    if not tables:
        return pd.DataFrame(columns=[*columns])
    return pd.concat(tables, ignore_index=True)[[*columns]]


def _features(study: ProbeStudy, one: DatasetProbes) -> pd.DataFrame:
    controls = one.controls if len(one.controls) else None
    return feature_table(one.atlas, activations=study.best_activations(one), controls=controls)


def _curves(study: ProbeStudy, one: DatasetProbes) -> pd.DataFrame:
    return study.curves(one).assign(dataset=one.data.name)


def _controls(one: DatasetProbes) -> pd.DataFrame:
    return one.controls.assign(dataset=one.data.name)


def _skipped(study: ProbeStudy) -> Iterator[tuple[str, str, str, int, int, str]]:
    for data in study.datasets:
        for few in data.skipped:
            why = f"fewer than {few.least} examples of a class"
            yield data.name, few.family, few.name, few.positives, few.negatives, why
    for one in study.unsplit:
        yield one.dataset, one.family, one.name, one.positives, one.negatives, one.why
