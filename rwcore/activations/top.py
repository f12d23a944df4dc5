"""The largest values with their places: one total order, so that merging is exact in any order.

An entry is a 64-bit key and a position. The key is
``bits(|value|) · 2³² + (2³¹ - 1 - row) · 2 + (value < 0)`` with the 31 bits of the float32 number |value|,
which order as the number itself does. A larger key is the better entry: |value| descending, then row
ascending. A row has one entry in a list, so that keys differ. Of equal values in a row the first position
counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int32, Int64
from torch import Tensor

ROWS = 2**31 - 1
EMPTY = -1  # below every key, and the row and position of an entry that is not there


def keys(values: Float[Tensor, "*entry"], rows: Int[Tensor, "*#entry"]) -> Int64[Tensor, "*entry"]:
    """The keys of values, which must be float32 and finite; a negative zero counts as zero.

    Args:
        values: Signed values.
        rows: Row of the corpus of each, from 0 to `ROWS`; broadcast.
    """
    bits = values.abs().view(torch.int32).to(torch.int64)
    return (bits << 32) + ((ROWS - rows.to(torch.int64)) << 1) + (values < 0)


def values_of(packed: Int64[Tensor, "*entry"]) -> Float[Tensor, "*entry"]:
    """Signed values of keys, float32; NaN where there is no entry."""
    size = (packed.clamp(min=0) >> 32).to(torch.int32).view(torch.float32)
    signed = torch.where((packed & 1) == 1, -size, size)
    return torch.where(packed == EMPTY, torch.nan, signed)


def rows_of(packed: Int64[Tensor, "*entry"]) -> Int64[Tensor, "*entry"]:
    """Rows of keys; -1 where there is no entry."""
    return torch.where(packed == EMPTY, EMPTY, ROWS - ((packed & 0xFFFFFFFF) >> 1))


@dataclass(frozen=True)
class TopLists:
    """The k best entries of each list and neuron, best first; the lists are those of `quadrants.LISTS`.

    Attributes:
        keys: See the module; -1 where fewer than k rows have a token in the quadrant.
        positions: Position in the row; -1 likewise.
    """

    keys: Int64[Tensor, "list neuron rank"]
    positions: Int32[Tensor, "list neuron rank"]

    @classmethod
    def empty(cls, lists: int, neurons: int, k: int, device: str | torch.device = "cpu") -> TopLists:
        """Lists without an entry."""
        size = (lists, neurons, k)
        return cls(
            torch.full(size, EMPTY, dtype=torch.int64, device=device),
            torch.full(size, EMPTY, dtype=torch.int32, device=device),
        )

    @property
    def values(self) -> Float[Tensor, "list neuron rank"]:
        """Signed values, float32; NaN where there is no entry."""
        return values_of(self.keys)

    @property
    def rows(self) -> Int64[Tensor, "list neuron rank"]:
        """Rows of the corpus; -1 where there is no entry."""
        return rows_of(self.keys)

    @property
    def k(self) -> int:
        """Length of a list."""
        return self.keys.shape[-1]


def best(
    packed: Int64[Tensor, "*list entry"], positions: Int32[Tensor, "*list entry"], k: int
) -> tuple[Int64[Tensor, "*list rank"], Int32[Tensor, "*list rank"]]:
    """The k largest keys, in order, with their positions. Keys differ, so there is one answer."""
    chosen = packed.topk(k, dim=-1)
    return chosen.values, positions.gather(-1, chosen.indices)


def merge_top(left: TopLists, right: TopLists) -> TopLists:
    """The k best of both; the same whichever is left. A row must not be in both."""
    packed = torch.cat([left.keys, right.keys], dim=-1)
    positions = torch.cat([left.positions, right.positions], dim=-1)
    return TopLists(*best(packed, positions, left.k))
