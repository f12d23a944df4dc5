"""Means of what is sampled about a head, with their intervals, and places in an order of heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rwcore.ablation.bootstrap import intervals
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
