"""Correlation of two quantities over neurons."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr
from torch import Tensor


def pearson(x: Float[Tensor, " neuron"], y: Float[Tensor, " neuron"]) -> tuple[float, float, int]:
    """Pearson's r, its two-sided p, and the number of neurons for which both are finite.

    r and p are NaN where fewer than two neurons are left or one of the quantities does not vary.
    """
    a, b = x.double().numpy(), y.double().numpy()
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan"), float("nan"), len(a)
    found = pearsonr(a, b)
    return float(found.statistic), float(found.pvalue), len(a)
