"""Means of what is sampled about a head, with their intervals, and places in an order of heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from rwcore.ablation.bootstrap import LEVEL, bootstrap_means, intervals
from rwcore.claim.values import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NO_HEAD = math.nan
"""What is said about a head that a model does not have: no statement about it holds."""


def mean_of(values: ArrayLike, counts: ArrayLike | None = None) -> float | Interval:
    """Sum of values over sum of counts, with what another sample of them would give.

    Args:
        values: One of each thing that was drawn, or the sum over what belongs to it.
        counts: How many belong to it; 1 if None.

    Returns:
        A number where all is alike, NaN if nothing was counted. Of one thing alone the interval is endless:
        nothing is decided by it.
    """
    sums = np.asarray(values, dtype=float).reshape(-1, 1)
    numbers = np.ones(sums.shape, np.int64)
    if counts is not None:
        numbers = np.asarray(counts, dtype=np.int64).reshape(-1, 1)
    if not numbers.sum() > 0:
        return NO_HEAD
    estimate = float(sums.sum() / numbers.sum())
    with np.errstate(divide="ignore"):  # draws without anything to count are left out
        (found,) = intervals(sums, numbers)
    if math.isnan(found.low):
        return Interval(-math.inf, math.inf, estimate)
    return estimate if found.low == found.high else Interval(found.low, found.high, estimate)


def size_of(value: float | Interval) -> float | Interval:
    """The absolute value of a mean with its interval."""
    if not isinstance(value, Interval):
        return abs(value)
    ends = abs(value.low), abs(value.high)
    low = 0.0 if value.low <= 0 <= value.high else min(ends)
    return Interval(low, max(ends), abs(value.estimate))


def place(values: ArrayLike, number: int) -> int:
    """Place of one of several values, 1 for the largest; of equal ones all have the first place."""
    every = np.asarray(values, dtype=float)
    return 1 + int((every > every[number]).sum())


def place_of_mean(values: Float64[np.ndarray, "head sample"], number: int) -> float | Interval:
    """Place of the mean of one head among those of all, with what another sample would give.

    Args:
        values: Of every head, of the same things that were drawn.
        number: Row of the head.
    """
    means = bootstrap_means(values.T, np.ones(values.T.shape, np.int64))
    places = 1 + (means > means[:, [number]]).sum(axis=1)
    low, high = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    estimate = place(values.mean(axis=1), number)
    return float(estimate) if low == high else Interval(low, high, estimate)
