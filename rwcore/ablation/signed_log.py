"""How differences are distributed, as counts in bins that are even in log |Δ| on both sides of zero.

Differences go over many powers of ten and to both sides, and most are small, so equal bins show one bar.
Counts have a fixed size however many differences there are, and those of parts of a corpus add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rwcore.errors import StoreError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Scale:
    """Where bins begin: magnitudes ``2^(k / per_octave)`` for k from ``low`` to ``high``.

    Attributes:
        low: The first edge; what is nearer to zero, and zero, is one bin in the middle.
        high: The last edge; the outermost bins also hold what lies beyond.
        per_octave: Bins from one magnitude to twice that.
    """

    low: int
    high: int
    per_octave: int

    @property
    def bins(self) -> int:
        """Bins on one side."""
        return self.high - self.low

    def edges(self) -> Float64[np.ndarray, " edge"]:
        """The magnitudes where bins begin, ascending, and the end of the last one."""
        edges: np.ndarray = np.exp2(np.arange(self.low, self.high + 1) / self.per_octave)
        return edges


# 2^-20 ≈ 1e-6 is finer than float32 metrics near 10 are; 2^7 = 128 nats is more than any vocabulary has.
NATS = Scale(-60, 21, 3)
# One rank is the smallest change; whole numbers need whole octaves, or bins without numbers lie between them.
RANKS = Scale(0, 18, 1)
SCALES: Mapping[str, Scale] = {"loss": NATS, "entropy": NATS, "log_scale": NATS, "rank": RANKS}


@dataclass(frozen=True, eq=False)
class SignedLogCounts:
    """The distribution of some differences.

    Attributes:
        scale: The bins.
        below: Negative differences by magnitude, the smallest first, each bin with its lower edge.
        above: Positive differences likewise.
        below_middle: Negative differences nearer to zero than the first edge.
        above_middle: Positive ones.
        zeros: Differences that are exactly 0.
        total: Sum of all differences, float64.
    """

    scale: Scale
    below: Int64[np.ndarray, " bin"]
    above: Int64[np.ndarray, " bin"]
    below_middle: int
    above_middle: int
    zeros: int
    total: float

    @property
    def n(self) -> int:
        """Number of differences."""
        return int(self.below.sum() + self.above.sum()) + self.middle

    @property
    def middle(self) -> int:
        """Differences nearer to zero than the first edge, and zeros."""
        return self.below_middle + self.zeros + self.above_middle

    @property
    def mean(self) -> float:
        """Mean of the differences; NaN of none."""
        return self.total / self.n if self.n else math.nan

    @property
    def negative(self) -> float:
        """Share of the differences below 0, however small; NaN of none."""
        return (int(self.below.sum()) + self.below_middle) / self.n if self.n else math.nan

    @property
    def positive(self) -> float:
        """Share of the differences above 0; NaN of none."""
        return (int(self.above.sum()) + self.above_middle) / self.n if self.n else math.nan

    def __add__(self, other: SignedLogCounts) -> SignedLogCounts:
        """The distribution of both together.

        Raises:
            StoreError: Their bins differ.
        """
        if self.scale != other.scale:
            raise StoreError(
                f"counts in different bins do not add up: {self.scale} and {other.scale}",
                remedy="count one metric with one scale",
            )
        return SignedLogCounts(
            self.scale,
            self.below + other.below,
            self.above + other.above,
            self.below_middle + other.below_middle,
            self.above_middle + other.above_middle,
            self.zeros + other.zeros,
            self.total + other.total,
        )

    def coarser(self, low: int) -> SignedLogCounts:
        """The same with a wider middle: bins below the edge number ``low`` become part of it.

        Args:
            low: The new first edge, not below the old one.
        """
        cut = max(0, low - self.scale.low)
        return SignedLogCounts(
            Scale(self.scale.low + cut, self.scale.high, self.scale.per_octave),
            self.below[cut:],
            self.above[cut:],
            self.below_middle + int(self.below[:cut].sum()),
            self.above_middle + int(self.above[:cut].sum()),
            self.zeros,
            self.total,
        )


def signed_log_counts(values: Float64[np.ndarray, " n"], scale: Scale = NATS) -> SignedLogCounts:
    """Count differences in bins of their sign and magnitude.

    A magnitude on an edge belongs to the bin that begins there. At most a million differences are looked at
    at a time, so that little more memory than that of ``values`` is needed.

    Args:
        values: Differences of one metric, e.g. `rwcore.ablation.compare.Differences.values`.
        scale: The bins; see `SCALES`.

    Raises:
        StoreError: A difference is not finite.
    """
    edges = scale.edges()
    sides = {sign: np.zeros(scale.bins + 1, np.int64) for sign in (-1, 1)}
    zeros, total = 0, []
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        if not np.isfinite(part).all():
            raise StoreError("a difference is not finite", remedy="compare runs with `compare.differences`")
        for sign, counts in sides.items():
            place = np.searchsorted(edges, sign * part[sign * part > 0], side="right")
            # Place 0 is nearer to zero than the first edge.
            counts += np.bincount(np.minimum(place, scale.bins), minlength=scale.bins + 1)
        zeros += int(np.count_nonzero(part == 0))
        total.append(float(part.sum()))
    return SignedLogCounts(
        scale, sides[-1][1:], sides[1][1:], int(sides[-1][0]), int(sides[1][0]), zeros, math.fsum(total)
    )


def cumulative(
    counts: SignedLogCounts,
) -> tuple[Float64[np.ndarray, " edge"], Float64[np.ndarray, " edge"]]:
    """The distribution function at the edges of the bins, where it is exact.

    Left of 0 it is the share of the differences that are at most the edge, right of 0 of those that are below
    it; 0 stands twice, before and after the jump of the unchanged predictions.

    Args:
        counts: The distribution.

    Returns:
        Edges, ascending, and shares at them, from 0 to 1; all NaN without differences. The ends are the
        outermost edges, though a difference may lie beyond them.
    """
    edges = counts.scale.edges()
    steps = [
        *counts.below[::-1].tolist(),
        counts.below_middle,
        counts.zeros,
        counts.above_middle,
        *counts.above.tolist(),
    ]
    # From -last on: one step between each edge and the next; the zeros are a step between 0 and 0.
    places = np.concatenate([-edges[::-1], [0.0, 0.0], edges])
    shares = np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])
    with np.errstate(invalid="ignore"):
        return places, shares / (counts.n or math.nan)
