r"""Are the neurons that detect a feature alone of particular RW classes?

Of the neurons found, n_c are of class c. Chance is as many neurons drawn from the same layers without
replacement, so that classes that are frequent in the layers where features are found do not look special:

    expected_c = mean over draws of n*_c,   ratio_c = n_c / expected_c,
    p_c = (1 + draws at least as far from expected_c as n_c) / (1 + draws).

Intervals of the share n_c/n and of the ratio are over features: a feature that many neurons detect must not
decide alone. A neuron that detects several features counts once in n_c, and belongs to the feature it was
found for first.

Source: ours; classes as in Gerstner and Schütze's RW functionalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int8, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, intervals
from rwcore.errors import OptionError
from rwcore.neurons import NeuronSet

COLUMNS = ("class", "neurons", "share", "low", "high", "expected", "ratio", "ratio_low", "ratio_high", "p")


@dataclass(frozen=True, eq=False)
class FoundNeurons:
    """Neurons that were found, each once.

    Attributes:
        neurons: The neurons.
        feature: Number of the feature that each was found for.
    """

    neurons: NeuronSet
    feature: Int64[np.ndarray, " neuron"]

    @classmethod
    def of(cls, found: Sequence[tuple[int, int, int]]) -> FoundNeurons:
        """From (feature, layer, neuron), the first feature of a neuron counting."""
        first: dict[tuple[int, int], int] = {}
        for feature, layer, neuron in found:
            first.setdefault((layer, neuron), feature)
        return cls(NeuronSet.of("found", list(first)), np.array(list(first.values()), dtype=np.int64))


def class_enrichment(
    found: FoundNeurons,
    member: Sequence[tuple[str, Sequence[int]]],
    codes: Int8[Tensor, "layer neuron"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """How often the found neurons are of each class, beside what chance gives.

    Args:
        found: The neurons.
        member: Name of each class, or group of classes, and the codes that belong to it.
        codes: Class of every neuron of the model; see `rwcore.stats.classes.class_codes`.
        draws: Of neurons from the same layers, and of features.
        seed: Of both.

    Returns:
        One row per class, columns `COLUMNS`; NaN for ratios of a class that chance never meets.

    Raises:
        OptionError: Nothing was found, or the model has no such neuron.
    """
    if not len(found.neurons):
        raise OptionError(
            "no neuron was found", where="found neurons", remedy="ask for more features, or a lower score"
        )
    found.neurons.require_within(*codes.shape)
    known = codes.numpy()
    mine = known[found.neurons.layer, found.neurons.neuron]
    inside = np.stack([np.isin(mine, numbers) for _, numbers in member], axis=1)
    chance = _same_layers(found.neurons, member, known, draws, seed)
    count, expected = inside.sum(0), chance.mean(0)
    far = np.abs(chance - expected) >= np.abs(count - expected) - 1e-9
    sums, counts = _by_feature(inside, found.feature)
    shares = intervals(sums, counts, draws=draws, seed=seed)
    n = len(mine)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_share = np.where(expected > 0, n / expected, np.nan)
    return pd.DataFrame(
        {
            "class": [name for name, _ in member],
            "neurons": count,
            "share": count / n,
            "low": [one.low for one in shares],
            "high": [one.high for one in shares],
            "expected": expected,
            "ratio": count / n * per_share,
            "ratio_low": np.array([one.low for one in shares]) * per_share,
            "ratio_high": np.array([one.high for one in shares]) * per_share,
            "p": (1 + far.sum(0)) / (1 + draws),
        },
        columns=[*COLUMNS],
    )


def _by_feature(
    inside: np.ndarray, feature: Int64[np.ndarray, " neuron"]
) -> tuple[Float64[np.ndarray, "feature class"], Int64[np.ndarray, "feature class"]]:
    """Sums and numbers of neurons of each feature."""
    _, place = np.unique(feature, return_inverse=True)
    sums = np.zeros((place.max() + 1, inside.shape[1]))
    np.add.at(sums, place, inside)
    counts = np.repeat(np.bincount(place)[:, None], inside.shape[1], axis=1).astype(np.int64)
    return sums, counts


def _same_layers(
    neurons: NeuronSet,
    member: Sequence[tuple[str, Sequence[int]]],
    codes: np.ndarray,
    draws: int,
    seed: int,
) -> Float64[np.ndarray, "draw class"]:
    """Members of each class among as many neurons of the same layers."""
    generator = np.random.default_rng(seed)
    counted = np.zeros((draws, len(member)))
    for layer, size in neurons.counts().items():
        belongs = np.stack([np.isin(codes[layer], numbers) for _, numbers in member], axis=1)
        for draw in range(draws):
            counted[draw] += belongs[generator.choice(len(belongs), size, replace=False)].sum(0)
    return counted
