"""Refits of a probe on chosen neurons, as functions: any probe can stand in where neurons are searched.

What searches for neurons (thresholding, pruning, random directions) works on normalised activations, so
these do not normalise again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float64

from rwcore.probing.logistic import LogisticProbe, fit_logistic

ELASTIC_PASSES = 1000
Weights = Float64[np.ndarray, " k"]
Fit = Callable[[Float64[np.ndarray, "n k"], Bool[np.ndarray, " n"]], tuple[Weights, float]]
ElasticFit = Callable[
    [Float64[np.ndarray, "n k"], Bool[np.ndarray, " n"], float, float], tuple[Weights, float]
]


def logistic_fit(x: Float64[np.ndarray, "n k"], label: Bool[np.ndarray, " n"]) -> tuple[Weights, float]:
    """Weights and intercept of the balanced logistic regression with L2 and C = 1, solved to the optimum."""
    return _plain(fit_logistic(torch.from_numpy(x), torch.from_numpy(label), normalised=False))


def elastic_fit(
    x: Float64[np.ndarray, "n k"], label: Bool[np.ndarray, " n"], c: float, l1_share: float
) -> tuple[Weights, float]:
    """Weights, many of them 0, and intercept of the one with both norms: at most 1000 passes of SAGA."""
    return _plain(
        fit_logistic(
            torch.from_numpy(x),
            torch.from_numpy(label),
            C=c,
            l1_share=l1_share,
            as_published=True,
            passes=ELASTIC_PASSES,
            normalised=False,
        )
    )


def _plain(probe: LogisticProbe) -> tuple[Weights, float]:
    return probe.weight.numpy(), probe.intercept
