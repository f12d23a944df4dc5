"""Means of rates layer by layer, and the same for other draws of subjects.

Prompts about one subject are not independent, so subjects are drawn as wholes, the same ones for all
quantities (see `rwcore.ablation.bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, SEED, bootstrap_means, sums_by_document

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity after every layer.

    Attributes:
        mean: Over prompts; NaN where none has it.
        n: Prompts that have it.
        draws: Means of other draws of subjects; NaN where less than two subjects have it.
    """

    mean: Float64[np.ndarray, " layer"]
    n: Int64[np.ndarray, " layer"]
    draws: Float64[np.ndarray, "draw layer"]


def known_rates(rates: Tensor) -> Floats:
    """Rates in float64, NaN where there is none; see `rwcore.attributes.rates.rates`."""
    found: Floats = rates.double().numpy()
    return np.where(found >= 0, found, math.nan)


def curves(
    quantities: Sequence[Floats], subject: NDArray[np.int64], *, draws: int = DRAWS, seed: int = SEED
) -> list[Curve]:
    """The curve of each quantity, all from the same draws.

    Args:
        quantities: ``[prompt layer]`` each, of the same prompts and layers; NaN where there is no number.
        subject: Number of each prompt's subject.
        draws: Bootstrap draws.
        seed: Of the draws.
    """

    def columns() -> Iterator[tuple[Floats, NDArray[np.int64]]]:
        for quantity in quantities:
            for column in quantity.T:
                there = ~np.isnan(column)
                yield column[there], subject[there]

    sums, counts = sums_by_document(columns())
    drawn = bootstrap_means(sums, counts, draws=draws, seed=seed)
    # One subject has no other draw.
    drawn[:, (counts > 0).sum(axis=0) < 2] = math.nan
    n = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / n
    width = quantities[0].shape[1]
    starts = range(0, width * len(quantities), width)
    parts = (slice(start, start + width) for start in starts)
    return [Curve(means[part], n[part], drawn[:, part]) for part in parts]
