"""Rows with planted neurons for tests of exact and sparse probing."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor


def planted_rows(
    rows: int,
    neurons: int,
    true: tuple[int, ...],
    *,
    shift: float = 1.0,
    common: float = 0.3,
    positive: float = 0.3,
    seed: int = 0,
) -> tuple[Float64[Tensor, "n neuron"], Bool[Tensor, " n"]]:
    """Normalised activations of correlated neurons, of which some are higher in positive rows.

    Args:
        rows: How many.
        neurons: How many.
        true: The neurons that carry the label, each a little less than the one before.
        shift: By how many standard deviations the first does.
        common: Correlation of the neurons.
        positive: Share of positive rows.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    label = generator.random(rows) < positive
    label[:2] = [True, False]
    shared = generator.standard_normal((rows, 1))
    x = (1 - common) ** 0.5 * generator.standard_normal((rows, neurons)) + common**0.5 * shared
    for place, neuron in enumerate(true):
        x[label, neuron] += shift * 0.9**place
    return torch.from_numpy(x / (10 * x.std(0))), torch.from_numpy(label)
