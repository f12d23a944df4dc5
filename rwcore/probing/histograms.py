"""How often each neuron had each code in each class: all that a probe of one neuron can see.

From counts one gets, exactly for the restored activations, logistic regressions, confusion counts and the
areas under both curves of every neuron; see `rwcore.probing.newton` and `rwcore.probing.scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.codes import CODES
from rwcore.probing.errors import ProbeError

# Places of a tile in `count_codes`: int64, 16 MiB, and as much again for what they are made of.
_TILE_VALUES = 1 << 21


@dataclass(frozen=True, eq=False)
class ClassHistograms:
    """Counts of codes by neuron and class.

    Attributes:
        values: What each code is restored as, ascending.
        counts: How many examples of a class have the code; of a binary feature, class 0 is negative and 1
            positive.
    """

    values: Float32[Tensor, "neuron code"]
    counts: Int32[Tensor, "neuron class code"]

    def __len__(self) -> int:
        return len(self.values)

    def __add__(self, other: ClassHistograms) -> ClassHistograms:
        if not torch.equal(self.values, other.values):
            raise ProbeError(
                "counts of different codes cannot be added", where="histograms", remedy="use one code book"
            )
        return ClassHistograms(self.values, self.counts + other.counts)

    def pair(self, positive: Sequence[int], negative: Sequence[int]) -> ClassHistograms:
        """Two classes, 0 negative and 1 positive, out of classes that share no example."""
        sums = [self.counts[:, list(of)].sum(1, dtype=torch.int32) for of in (negative, positive)]
        return ClassHistograms(self.values, torch.stack(sums, dim=1))

    def rows(self, start: int, stop: int) -> ClassHistograms:
        """Those of neurons start … stop - 1."""
        return ClassHistograms(self.values[start:stop], self.counts[start:stop])

    def neurons(self, numbers: Int64[Tensor, " chosen"]) -> ClassHistograms:
        """Those of some neurons, in the order given."""
        return ClassHistograms(self.values[numbers], self.counts[numbers])

    def examples(self) -> Int64[Tensor, " class"]:
        """Examples of each class, the same number for every neuron."""
        return self.counts[0].sum(1)

    def variance(self) -> Float64[Tensor, " neuron"]:
        """Population variance of the restored activations over the examples of all classes."""
        counts = self.counts.sum(1, dtype=torch.float64)
        values = self.values.to(torch.float64)
        n = counts.sum(1, keepdim=True)
        centred = values - (counts * values).sum(1, keepdim=True) / n
        return (counts * centred.square_()).sum(1) / n[:, 0]


def count_codes(
    codes: UInt8[Tensor, "example neuron"], cell: Int64[Tensor, " example"], cells: int
) -> Int32[Tensor, "neuron class code"]:
    """Count the codes of each neuron by class.

    Args:
        codes: See `rwcore.probing.codes.CodeBook.encode`.
        cell: Class of each example; examples with a negative number are not counted. A class may be anything
            that is counted apart, e.g. (part of the split, label).
        cells: Number of classes.

    Raises:
        OptionError: A class is not below ``cells``.
    """
    if len(cell) and int(cell.max()) >= cells:
        raise OptionError(f"class {int(cell.max())} of {cells}", where="cell", remedy="count from 0")
    kept = np.flatnonzero(cell.numpy() >= 0)
    base = cell.numpy()[kept] * CODES
    neurons = codes.shape[1]
    counts = np.empty((neurons, cells * CODES), np.int32)
    step = max(1, _TILE_VALUES // max(1, len(kept)))
    for start in range(0, neurons, step):
        # One neuron after the other in memory: its 256 counters of a class stay in the nearest cache.
        tile = np.ascontiguousarray(codes[:, start : start + step].numpy()[kept].T)
        places = tile + base
        places += np.arange(len(tile))[:, None] * (cells * CODES)
        counted = np.bincount(places.reshape(-1), minlength=len(tile) * cells * CODES)
        counts[start : start + step] = counted.reshape(len(tile), -1)
    return torch.from_numpy(counts.reshape(neurons, cells, CODES))
