"""Frequencies of neurons as claims ask for them: tables, and numbers made from them, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rwcore.claim.values import Interval

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.studies.frequencies import FrequencyStudy

Derive = Callable[["pd.DataFrame"], Mapping[str, float]]
"""Makes numbers, by name, from a table."""

CLASS_KEYS, CLASS_VALUES = ["class"], ["true", "baseline"]
CORRELATION_KEYS, CORRELATION_VALUES = ["quadrant", "cosine", "layer"], ["r"]

SHUFFLES = 99
"""Shuffles of the output vectors: with none as strong as the model, p is 1 %."""


def class_frequencies(study: FrequencyStudy, derive: Derive) -> tuple[pd.DataFrame, dict[str, Interval]]:
    """Mean frequency of gate > 0 by class and of its baseline, and numbers made from that table.

    Args:
        study: The pass over the text.
        derive: Is given ``class``, ``n``, ``true``, ``baseline``.

    Returns:
        The table, with ``true_low``, ``true_high``, ``baseline_low``, ``baseline_high``; and the numbers.
    """
    import pandas as pd

    from rwcore.activations.quadrants import SUMMARY
    from rwcore.neurons import NeuronSet, classes_with_baselines
    from rwcore.stats.classes import RW_CLASSES

    # Drawn once: which neurons are compared does not depend on how often they fire.
    chosen = list(classes_with_baselines(study.class_codes, RW_CLASSES))

    def table(found: Mapping[str, Tensor]) -> pd.DataFrame:
        def mean(neurons: NeuronSet) -> float:
            return float(found[SUMMARY][neurons.layer, neurons.neuron].mean()) if len(neurons) else math.nan

        rows = [(one.name, len(members), mean(members), mean(others)) for one, members, others in chosen]
        return pd.DataFrame(rows, columns=["class", "n", "true", "baseline"])

    return _over_documents(study, table, CLASS_KEYS, CLASS_VALUES, derive)


def frequency_correlations(
    study: FrequencyStudy, derive: Derive, *, pooled: bool
) -> tuple[pd.DataFrame, dict[str, Interval]]:
    """Correlations over neurons of frequencies with cosines, and numbers made from that table.

    Args:
        study: The pass over the text.
        derive: Is given ``quadrant``, ``cosine``, ``layer`` (text; ``all``), ``r``.
        pooled: Only the rows of the whole model.

    Returns:
        The table, with ``r_low`` and ``r_high``; and the numbers.
    """
    from rwcore.activations.reductions import correlations_of

    def table(found: Mapping[str, Tensor]) -> pd.DataFrame:
        return correlations_of(found, study.weights.cosines, pooled=pooled)

    return _over_documents(study, table, CORRELATION_KEYS, CORRELATION_VALUES, derive)


def shuffled(study: FrequencyStudy, derive: Derive) -> dict[str, list[float]]:
    """Numbers made from pooled correlations, after each shuffle of output vectors within layers.

    Frequencies stay those of the model; see `rwcore.activations.reductions.shuffled_cosines`.
    """
    from rwcore.activations.reductions import correlations_of, shuffled_cosines
    from rwcore.weights.mlp import mlp_weights

    layers = mlp_weights(study.weights.local, processing=study.weights.processing, fold_sign=False)
    frequencies = study.frequencies()
    found = [
        derive(correlations_of(frequencies, cosines, pooled=True))
        for cosines in shuffled_cosines((layers[number] for number in range(len(layers))), SHUFFLES)
    ]
    return {name: [numbers[name] for numbers in found] for name in found[0]}


def _over_documents(
    study: FrequencyStudy,
    table: Callable[[Mapping[str, Tensor]], pd.DataFrame],
    keys: Sequence[str],
    values: Sequence[str],
    derive: Derive,
) -> tuple[pd.DataFrame, dict[str, Interval]]:
    """A table and numbers made from it, with 95 % intervals over documents."""
    frame = table(study.frequencies())
    cells = [(column, place) for column in values for place in range(len(frame))]

    def reduce(found: Mapping[str, Tensor]) -> dict[str, float]:
        replicate = table(found)
        flat = {f"{column} {place}": float(replicate[column].iloc[place]) for column, place in cells}
        return flat | {f"derived {name}": number for name, number in derive(replicate).items()}

    estimates = study.intervals(reduce)
    intervals = {name: Interval(one.low, one.high, one.estimate) for name, one in estimates.items()}
    ends = {
        f"{column}_{end}": [getattr(intervals[f"{column} {place}"], end) for place in range(len(frame))]
        for column in values
        for end in ("low", "high")
    }
    numbers = {
        name.removeprefix("derived "): one for name, one in intervals.items() if name.startswith("derived ")
    }
    return frame.assign(**ends)[[*keys, *(c for c in frame if c not in keys), *ends]], numbers
