"""Intervals of ratios of sums over documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from rwcore.ablation.bootstrap import DRAWS, LEVEL, bootstrap_means
from rwcore.claim.values import Interval

Share = Interval | float
Statistic = Callable[[Float64[np.ndarray, "*draw column"]], Float64[np.ndarray, "*draw"]]


def ratio_interval(sums: Float64[np.ndarray, "document column"], statistic: Statistic) -> Share:
    """A ratio of sums over documents, with the interval over documents drawn with replacement.

    Args:
        sums: Of every document and column, [document column].
        statistic: Gives the ratio from the means of the columns, along the last axis.

    Returns:
        The number alone if there is one document only or the ratio is not defined.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.mean(axis=0)))
        drawn = statistic(bootstrap_means(sums, np.ones(sums.shape, dtype=np.int64), draws=DRAWS))
    drawn = drawn[np.isfinite(drawn)]
    if len(sums) < 2 or not np.isfinite(value) or not len(drawn):
        return value
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high, value)
