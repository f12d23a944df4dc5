"""Medians, quartiles and letter values of the cosines of each layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rwcore.stats.cosines import RWCosines

# All quantiles interpolate linearly between the sorted values at q·(n-1), in float64. Undefined neurons are
# left out and counted; a layer without a defined one gives NaN. "gatelin" is |cos(gate, in)| throughout.


def layer_medians(cosines: RWCosines) -> pd.DataFrame:
    """The median of each cosine in each layer; with an even number of neurons, the mean of the middle two.

    Returns:
        ``layer``, ``cosine`` (``gatelin``: |cos(gate, in)|, ``gateout``, ``linout``; only the last without
        a gate), ``median``, and ``undefined``, the number of neurons left out.

    Source: RW functionalities, figure of medians; section 4.1 of the specification.
    """
    rows = [(*key, _quantiles(values, [0.5])[0], undefined) for *key, values, undefined in _samples(cosines)]
    return _frame(rows, ["median"])


def quartiles(cosines: RWCosines) -> pd.DataFrame:
    """Five-number summary and outermost letter values of each cosine in each layer.

    Returns:
        ``layer``, ``cosine``, ``min``, ``whisker_low``, ``q1``, ``median``, ``q3``, ``whisker_high``,
        ``max``, ``whisker_tail_exp``, ``undefined``. The whiskers are the quantiles at ``2^-k`` and
        ``1 - 2^-k`` with ``k = whisker_tail_exp``, see `letter_values`.
    """
    depth = letter_value_depth(cosines.linout.shape[1])
    tail = 2.0**-depth
    points = [0.0, tail, 0.25, 0.5, 0.75, 1 - tail, 1.0]
    rows = [
        (*key, *_quantiles(values, points), depth, undefined) for *key, values, undefined in _samples(cosines)
    ]
    names = ["min", "whisker_low", "q1", "median", "q3", "whisker_high", "max", "whisker_tail_exp"]
    return _frame(rows, names)


def letter_value_depth(n_neurons: int) -> int:
    """How deep the letter values of a layer go: ``floor(log2 n) - 2``, at least 2 (the quartiles)."""
    return max(2, n_neurons.bit_length() - 3)


def letter_values(cosines: RWCosines) -> pd.DataFrame:
    """The box edges of a letter-value ("boxen") plot of each cosine in each layer.

    Returns:
        ``layer``, ``cosine``, ``lo2`` … ``lok`` (quantiles at ``2^-e``), ``hi2`` … ``hik`` (at ``1 - 2^-e``),
        ``undefined``; ``k`` is the `letter_value_depth` of the number of neurons of a layer.

    Source: RW functionalities, box plots; section 4.5 of the specification.
    """
    exponents = range(2, letter_value_depth(cosines.linout.shape[1]) + 1)
    points = [2.0**-e for e in exponents] + [1 - 2.0**-e for e in exponents]
    rows = [(*key, *_quantiles(values, points), undefined) for *key, values, undefined in _samples(cosines)]
    return _frame(rows, [f"lo{e}" for e in exponents] + [f"hi{e}" for e in exponents])


def _samples(cosines: RWCosines) -> Iterator[tuple[int, str, np.ndarray, int]]:
    arrays = {name: values.numpy().astype(np.float64) for name, values in cosines.present().items()}
    undefined = cosines.undefined().numpy()
    for layer in range(len(undefined)):
        for name, values in arrays.items():
            kept = values[layer][~undefined[layer]]
            yield layer, name, np.abs(kept) if name == "gatelin" else kept, int(undefined[layer].sum())


def _quantiles(values: np.ndarray, points: list[float]) -> list[float]:
    return np.quantile(values, points).tolist() if len(values) else [np.nan] * len(points)


def _frame(rows: list[tuple[object, ...]], names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["layer", "cosine", *names, "undefined"]).astype({"cosine": "str"})
