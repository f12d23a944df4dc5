"""Randomness regions: which cosines vectors have that do not belong together.

Two answers, because weights with common directions are far from isotropic: the distribution of the cosine
of two random directions (`beta_region`), and the cosines between the vectors of *different* neurons of a
layer (`mismatched_region`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int32, Int64
from scipy.special import betainccinv
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.stats.cosines import COSINES, layer_vectors, weight_statistics
from rwcore.weights.layer import MlpLayer

TILE = 1024
SAMPLE_ROWS = 256
MAX_KEPT = 2**22
N_BUCKETS = 2**16

# Keys are whole numbers of 32 bits; the largest one marks pairs that do not count.
_KEY_MIN, _KEY_MAX, _EXCLUDED = -(2**31), 2**31 - 2, 2**31 - 1
_ALL_BUT_SIGN = 2**31 - 1


def beta_region(d_model: int, p: float = 0.05) -> tuple[float, float]:
    """Where the cosine of two independent isotropic vectors lies with probability 1 - p.

    The cosine is distributed as ``2·Beta(a, a) - 1`` with ``a = (d_model - 1)/2``; the region is its
    quantiles at ``p/2`` and ``1 - p/2``. The upper one is also the bound of |cos| at probability 1 - p.

    Raises:
        OptionError: ``p`` is not between 0 and 1.

    Source: RW functionalities, randomness regions; section 3.1 of the specification.
    """
    _check(p)
    a = (d_model - 1) / 2
    # The tail is asked for directly: 1 - p/2 would lose digits for small p.
    high = 2 * float(betainccinv(a, a, p / 2)) - 1
    return -high, high


def mismatched_region(layer: MlpLayer, p: float = 0.05) -> pd.DataFrame:
    """Where the cosines between vectors of different neurons of a layer lie, with probability 1 - p.

    For two kinds of vectors a, b, over all ordered pairs of neurons ``m ≠ n``, the values ``cos(a_m, b_n)``
    have the quantiles at ``p/2`` and ``1 - p/2`` (gateout, linout), or their absolute values the quantile
    at ``1 - p`` (gatelin). Linear interpolation between the exact order statistics of the float32 cosines.

    The products are made in tiles of 1024 x 1024 and not kept. Memory does not grow with the number of
    neurons: 8 KiB times d_model for the inputs of a tile, about 30 MiB for a tile and its selection, and at
    most 16 MiB of candidates for each quantile; with undefined neurons also a copy of the others.

    Args:
        layer: The weights of a layer. Folding gate signs changes gateout, and linout a little, since it
            turns neurons round that are then paired with unturned ones; published regions are folded.
        p: Probability outside the region.

    Returns:
        One row per cosine (only linout without a gate): ``layer``, ``cosine``, ``low`` (NaN for gatelin),
        ``high``, ``undefined``: the number of neurons left out because one of their vectors is zero or
        not finite. ``low`` and ``high`` are NaN with fewer than two neurons.

    Raises:
        OptionError: ``p`` is not between 0 and 1.
        WeightsError: The matrices of the layer differ in shape.

    Source: RW functionalities, randomness regions; section 3.2 of the specification.
    """
    _check(p)
    vectors = layer_vectors(layer)
    norms = {name: norm[0].to(layer.in_.device) for name, norm in weight_statistics([layer]).norms().items()}
    defined = torch.stack([norm.isfinite() & (norm > 0) for norm in norms.values()]).all(dim=0)
    undefined = int((~defined).sum())
    if undefined:
        vectors = {name: matrix[defined] for name, matrix in vectors.items()}
        norms = {name: norm[defined] for name, norm in norms.items()}
    rows = []
    for name, (a, b) in COSINES.items():
        if a not in vectors:
            continue
        pairs = _Pairs(vectors[a], vectors[b], norms[a], norms[b], absolute=name == "gatelin")
        levels = [1 - p] if pairs.absolute else [p / 2, 1 - p / 2]
        *low, high = mismatched_quantiles(pairs, levels)
        rows.append((layer.index, name, low[0] if low else math.nan, high, undefined))
    return pd.DataFrame(rows, columns=["layer", "cosine", "low", "high", "undefined"]).astype(
        {"cosine": "str"}
    )


def _check(p: float) -> None:
    if not 0 < p < 1:
        raise OptionError(f"there is no region with probability {p} outside", remedy="give p between 0 and 1")


@dataclass(frozen=True)
class _Pairs:
    """All cosines between vectors of different neurons, made anew whenever they are asked for.

    Cosines are handled as *keys*: the bits of a float32, changed so that whole numbers order as the floats.
    """

    a: Float[Tensor, "neuron d_model"]
    b: Float[Tensor, "neuron d_model"]
    norm_a: Float[Tensor, " neuron"]
    norm_b: Float[Tensor, " neuron"]
    absolute: bool

    def __len__(self) -> int:
        return len(self.a) * (len(self.a) - 1)

    def tiles(self) -> Iterator[Int32[Tensor, "row column"]]:
        """The keys of all pairs, tile by tile; those of matched pairs are larger than any other."""
        for first in range(0, len(self.a), TILE):
            rows = slice(first, first + TILE)
            a = self.a[rows] / self.norm_a[rows, None]
            for start in range(0, len(self.b), TILE):
                columns = slice(start, start + TILE)
                keys = self._keys(a @ (self.b[columns] / self.norm_b[columns, None]).T)
                if first == start:
                    keys.fill_diagonal_(_EXCLUDED)
                yield keys

    def sample(self, size: int) -> Int32[Tensor, " pair"]:
        """The sorted keys of random pairs, drawn independently from all pairs; always the same ones."""
        n_neurons = len(self.a)
        generator = torch.Generator().manual_seed(0)
        left = torch.randint(n_neurons, (size,), generator=generator)
        right = (left + torch.randint(1, n_neurons, (size,), generator=generator)).remainder(n_neurons)
        cosines = torch.empty(size, device=self.a.device)
        for start in range(0, size, SAMPLE_ROWS):
            part = slice(start, start + SAMPLE_ROWS)
            m, n = left[part], right[part]
            products = torch.linalg.vecdot(self.a[m], self.b[n])
            cosines[part] = products / (self.norm_a[m] * self.norm_b[n])
        return self._keys(cosines).sort().values

    def _keys(self, cosines: Float[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
        # Adding zero turns -0 into 0, so that equal floats have equal keys.
        bits = (cosines.abs_() if self.absolute else cosines.add_(0.0)).view(torch.int32)
        return bits.bitwise_xor_((bits >> 31).bitwise_and_(_ALL_BUT_SIGN))


def _cosine(key: int) -> float:
    bits = np.int32(key ^ ((key >> 31) & _ALL_BUT_SIGN))
    return float(bits.view(np.float32))


class _Window:
    """A range of keys in which the value of some rank is looked for during one pass over the pairs.

    Keys inside are kept as long as they are few, and counted in buckets when they become too many (the
    window was far too wide, or many cosines are equal).
    """

    def __init__(self, low: int, high: int, device: torch.device) -> None:
        self.low, self.high = low, high
        self.below = self.inside = 0
        # One block, not a list of what each tile gave: small tensors that stay between large ones that
        # come and go would keep the allocator from reusing their memory. Unused pages are never touched.
        self._kept = torch.empty(MAX_KEPT, dtype=torch.int32, device=device)
        self._buckets: Tensor | None = None
        self._bucket_width = -(-(high - low + 1) // N_BUCKETS)

    def add(self, keys: Int32[Tensor, "row column"]) -> None:
        """Take note of a tile."""
        self.below += int((keys < self.low).sum())
        found = keys[(keys >= self.low) & (keys <= self.high)]
        earlier, self.inside = self.inside, self.inside + len(found)
        if self._buckets is None and self.inside <= MAX_KEPT:
            self._kept[earlier : self.inside] = found
            return
        if self._buckets is None:
            self._buckets = self._bucket_counts(self._kept[:earlier])
        self._buckets += self._bucket_counts(found)

    def _bucket_counts(self, keys: Int32[Tensor, " pair"]) -> Int64[Tensor, " bucket"]:
        return ((keys.long() - self.low) // self._bucket_width).bincount(minlength=N_BUCKETS)

    def narrow(self, rank: int) -> tuple[int, int]:
        """The smallest range of keys known to hold the value of this rank (0 is the smallest value)."""
        place = rank - self.below
        if place < 0:
            return _KEY_MIN, self.low - 1
        if place >= self.inside:
            return self.high + 1, _KEY_MAX
        if self._buckets is None:
            key = int(np.partition(self._kept[: self.inside].cpu().numpy(), place)[place])
            return key, key
        bucket = int((self._buckets.cumsum(0) <= place).sum())
        low = self.low + bucket * self._bucket_width
        return low, min(low + self._bucket_width - 1, self.high)


def mismatched_quantiles(pairs: _Pairs, levels: list[float]) -> list[float]:
    """Quantiles of the cosines of mismatched pairs, linear interpolation.

    A sample says about where the quantile must be (five standard errors), one pass over all pairs counts
    what lies below and keeps what lies inside. Should the value be outside or the window too full, further
    passes narrow it; the result is exact either way.

    Args:
        pairs: The pairs.
        levels: Levels between 0 and 1.
    """
    total = len(pairs)
    if total == 0:
        return [math.nan] * len(levels)
    sample = pairs.sample(min(max(total // 1024, 2**13), 2**16))
    positions = [level * (total - 1) for level in levels]
    wanted: dict[int, tuple[int, int]] = {}
    for level, position in zip(levels, positions, strict=True):
        margin = 5 * math.sqrt(level * (1 - level) / len(sample))
        first, last = (math.floor((level + sign * margin) * len(sample)) for sign in (-1, 1))
        low = int(sample[min(first, len(sample) - 1)]) if first >= 0 else _KEY_MIN
        high = int(sample[last]) if last < len(sample) else _KEY_MAX
        wanted |= dict.fromkeys({math.floor(position), math.ceil(position)}, (low, high))
    values: dict[int, float] = {}
    while wanted:
        windows = {span: _Window(*span, pairs.a.device) for span in set(wanted.values())}
        for keys in pairs.tiles():
            for window in windows.values():
                window.add(keys)
        narrowed = {rank: windows[span].narrow(rank) for rank, span in wanted.items()}
        values |= {rank: _cosine(low) for rank, (low, high) in narrowed.items() if low == high}
        wanted = {rank: span for rank, span in narrowed.items() if rank not in values}
    return [
        values[math.floor(x)] + (x - math.floor(x)) * (values[math.ceil(x)] - values[math.floor(x)])
        for x in positions
    ]
