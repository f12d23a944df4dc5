"""Count, moments and quantiles of values by group: of tokens, of classes of text, of anything numbered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

QUANTILES = {"min": 0.0, "p05": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "p95": 0.95, "max": 1.0}
STATISTICS = ("count", "mean", "std", *QUANTILES)


def group_summary(values: Float[Tensor, " n"], group: Int64[Tensor, " n"]) -> pd.DataFrame:
    """What the values of each group are like; one sort for all groups and quantiles.

    Quantiles are linear between neighbours, as those of numpy; the standard deviation is that of the values
    themselves, ``√(Σ (x - mean)² / n)``, so that it is 0 for a group of one. Sums are in float64.

    Args:
        values: Any finite numbers.
        group: Number of the group of each value.

    Returns:
        One row per group that occurs, ascending, with the columns ``group`` and `STATISTICS`.
    """
    found, numbers = values.numpy().astype(np.float64), group.numpy()
    order = np.lexsort((found, numbers))
    found, numbers = found[order], numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
    count = np.diff(starts, append=len(found))
    if not len(starts):
        return pd.DataFrame({"group": numbers, **dict.fromkeys(STATISTICS, found)})
    mean = np.add.reduceat(found, starts) / count
    spread = np.add.reduceat((found - np.repeat(mean, count)) ** 2, starts) / count
    columns = {"group": numbers[starts], "count": count, "mean": mean, "std": np.sqrt(spread)}
    quantiles = {name: _quantile(found, starts, count, share) for name, share in QUANTILES.items()}
    return pd.DataFrame({**columns, **quantiles})


def _quantile(
    ordered: Float64[np.ndarray, " n"], starts: NDArray[np.int64], count: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """A quantile of every group, whose values stand together in ascending order."""
    place = share * (count - 1)
    below = np.floor(place).astype(np.int64)
    low, high = ordered[starts + below], ordered[starts + np.minimum(below + 1, count - 1)]
    quantile: NDArray[np.float64] = low + (place - below) * (high - low)
    return quantile
