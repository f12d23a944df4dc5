"""Ten fixed bins of cos(in, out): finer than the classes of neurons without a gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int8
from torch import Tensor

from rwcore.stats.classes import count_codes, near_counts
from rwcore.stats.cosines import RWCosines

N_BINS = 10


@dataclass(frozen=True)
class Bin:
    """A bin ``low ≤ cos < high`` (the last one closed) and its colour in figures."""

    low: float
    high: float
    rgba: tuple[float, float, float, float]


def _bin(j: int) -> Bin:
    position = -1 + 2 * j / (N_BINS - 1)
    fade = 1 - abs(position)
    blue = (fade, fade, 1.0, math.sqrt(abs(position)))
    yellow = (1.0, 1.0, fade, 1.0)
    # Whole numbers divided by 10 are the decimals of the tables, and not 0.6000000000000001.
    low, high = (2 * j - N_BINS) / 10, (2 * j + 2 - N_BINS) / 10
    return Bin(low, high, blue if position < 0 else yellow)


BINS = tuple(_bin(j) for j in range(N_BINS))


def half_coarse_codes(cosines: RWCosines) -> Int8[Tensor, "layer neuron"]:
    """The bin of every neuron's cos(in, out), as its index in `BINS`; -1 where the cosine is NaN.

    ``floor(5·x) + 5`` in float32, cut to 0..9: an edge that float32 does not hold is where ``5·x`` rounds
    to a whole number, 1 belongs to the last bin, and what rounding pushed beyond ±1 to the end bins.

    Source: RW functionalities, section 2.5 of the specification.
    """
    fifths = cosines.linout.to(torch.float32) * (N_BINS / 2)
    codes = (fifths.floor() + N_BINS // 2).clamp(0, N_BINS - 1)
    return codes.nan_to_num(-1).to(torch.int8)


def half_coarse_counts(cosines: RWCosines) -> pd.DataFrame:
    """The number of neurons in each of the ten bins of cos(in, out), in every layer.

    Returns:
        ``layer``, ``bin_low``, ``bin_high`` (all ten for each layer, ascending; a row with NaN edges comes
        last and only if the model has undefined neurons), ``count`` (adds up to the number of neurons),
        ``near_1e-6`` and ``near_1e-3``: how many neurons of the layer are that close to one of the nine
        inner edges (the same on all rows of a layer).
    """
    counts = count_codes(half_coarse_codes(cosines), N_BINS).numpy()
    edges = [(b.low, b.high) for b in BINS] + [(math.nan, math.nan)]
    if not counts[:, -1].any():
        edges, counts = edges[:-1], counts[:, :-1]
    linout = cosines.linout.double()
    inner = (linout * 5).round().clamp(1 - N_BINS // 2, N_BINS // 2 - 1) / 5
    near = near_counts((linout - inner).abs())
    n_layers, n_rows = counts.shape
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(n_layers), n_rows),
            "bin_low": np.tile([low for low, _ in edges], n_layers),
            "bin_high": np.tile([high for _, high in edges], n_layers),
            "count": counts.reshape(-1),
        }
        | {name: np.repeat(values, n_rows) for name, values in near.items()}
    )
