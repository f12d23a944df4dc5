"""A block of tokens and neurons: sums by quadrant, and the largest value of every row.

The inner loop of the pass. Its temporaries are few, reused, and small enough to stay in cache, and all four
quadrants are handled by one operation. Signs are kept as float32 numbers 0 and 1, never as booleans: on a
CPU, comparing in place, multiplying, adding up and taking the maximum of float32 numbers cost 0.05 to 0.15 ns
an element; making booleans, selecting by them, or a maximum together with its index 0.5 to 2 ns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.quadrants import QUADRANTS, QUANTITIES

_QUADRANTS, _QUANTITIES = len(QUADRANTS), len(QUANTITIES)
_ACT = QUANTITIES.index("act")


@dataclass(frozen=True)
class BlockSums:
    """Sums over tokens, all float64.

    Attributes:
        group_counts: Tokens of each group of documents in each quadrant.
        gate_positive: Tokens with gate > 0.
        sums: Σ of each quantity over each quadrant.
        rest: Σ of each quantity over the tokens in no quadrant.
        squares: Σ of squares over all tokens.
    """

    group_counts: Float[Tensor, "group quadrant neuron"]
    gate_positive: Float[Tensor, " neuron"]
    sums: Float[Tensor, "quadrant quantity neuron"]
    rest: Float[Tensor, "quantity neuron"]
    squares: Float[Tensor, "quantity neuron"]

    @classmethod
    def zeros(cls, neurons: int, groups: int, device: torch.device) -> BlockSums:
        """Sums over no tokens."""
        sizes = ((groups, _QUADRANTS), (), (_QUADRANTS, _QUANTITIES), (_QUANTITIES,), (_QUANTITIES,))
        return cls(*(torch.zeros(*size, neurons, dtype=torch.float64, device=device) for size in sizes))

    def columns(self, neurons: slice) -> BlockSums:
        """A view of some neurons."""
        return BlockSums(*(getattr(self, field.name)[..., neurons] for field in fields(self)))


@dataclass(frozen=True)
class Peaks:
    """The largest |value| of every row, neuron, quantity and quadrant.

    Attributes:
        values: The value, with its sign; float32.
        countdown: Number of positions from the peak to the end of the batch's rows, the peak's included: the
            first position of a row of n has n, the last has 1. 0 where there is no token in the quadrant, or
            where the value cannot enter a list.
        floors: |value| below which a value cannot enter its list.
    """

    values: Float[Tensor, "quantity quadrant batch neuron"]
    countdown: Float[Tensor, "quantity quadrant batch neuron"]
    floors: Float[Tensor, "quantity quadrant neuron"]

    @classmethod
    def none(cls, floors: Float[Tensor, "quantity quadrant neuron"], rows: int) -> Peaks:
        """Peaks of rows that have not been looked at."""
        size = (*floors.shape[:2], rows, floors.shape[2])
        return cls(torch.zeros(size, device=floors.device), torch.zeros(size, device=floors.device), floors)

    def part(self, rows: slice, neurons: slice) -> Peaks:
        """A view of some rows and neurons."""
        here = (slice(None), slice(None), rows, neurons)
        return Peaks(self.values[here], self.countdown[here], self.floors[..., neurons])


class Scratch:
    """Memory for the temporaries of blocks of at most ``elements`` tokens × neurons."""

    def __init__(self, elements: int, device: torch.device) -> None:
        self._single = torch.empty(4, 4 * elements, device=device)
        self._double = torch.empty(4 * elements, dtype=torch.float64, device=device)

    def single(self, place: int, size: tuple[int, ...]) -> Tensor:
        """Four blocks of float32 numbers."""
        return self._single[place].narrow(0, 0, 4 * size[0] * size[1] * size[2]).view(4, *size)

    def double(self, size: tuple[int, ...]) -> Tensor:
        """Four blocks of float64 numbers."""
        return self._double.narrow(0, 0, 4 * size[0] * size[1] * size[2]).view(4, *size)


def add_block(
    gate: Float[Tensor, "batch pos neuron"],
    in_: Float[Tensor, "batch pos neuron"],
    act: Float[Tensor, "batch pos neuron"],
    real: Float[Tensor, "batch pos"] | None,
    groups: Int64[Tensor, " batch"],
    sums: BlockSums,
    peaks: Peaks | None,
    scratch: Scratch,
) -> None:
    """Add the sums of a block, and fill in the peaks of its rows.

    Args:
        gate: w_gate · x.
        in_: w_in · x.
        act: The activation function of gate.
        real: 1 for real tokens, 0 for padding, which may hold anything; None if all are real.
        groups: Group of documents of each row.
        sums: Of these neurons; added to.
        peaks: Of these rows and neurons; filled in. None if they are not wanted.
        scratch: Memory for temporaries.
    """
    size = tuple(gate.shape)
    values = scratch.single(0, size)
    for place, given in enumerate((gate, in_, act)):
        values[place].copy_(given)
    if real is not None:
        # A selection, not a product: padding may hold NaN.
        values[:3].masked_fill_((real == 0)[..., None], 0)
    torch.mul(values[2], values[1], out=values[3])
    wide = scratch.double(size).copy_(values)
    sums.squares.add_(wide.mul_(wide).sum(dim=(1, 2)))

    inside = _inside(values, scratch.single(1, size))
    tokens = inside.sum(dim=2)  # exact: float32 counts to 2²⁴
    counts = tokens.sum(dim=1, dtype=torch.float64)
    sums.group_counts.index_add_(0, groups, tokens.transpose(0, 1).to(torch.float64))
    sums.gate_positive.add_(counts[0] + counts[1])

    masked, ranked = scratch.single(2, size), scratch.single(3, size)
    if peaks is not None:
        n_pos = size[1]
        down = torch.arange(n_pos, 0, -1, dtype=torch.float32, device=gate.device)[:, None]
        torch.mul(inside, down, out=ranked)
    for quantity in range(_QUANTITIES):
        torch.mul(values[quantity], inside, out=masked)
        sums.sums[:, quantity].add_(scratch.double(size).copy_(masked).sum(dim=(1, 2)))
        if peaks is not None:
            _fill(peaks, quantity, values[quantity], masked, ranked)
    n_real = size[0] * size[1] if real is None else int(real.sum())
    if int(counts.sum()) < n_real * size[2]:
        _add_rest(values, inside, sums, masked, scratch)


def _inside(
    values: Float[Tensor, "quantity batch pos neuron"], out: Float[Tensor, "quadrant batch pos neuron"]
) -> Float[Tensor, "quadrant batch pos neuron"]:
    """1 where a token is in the quadrant, 0 elsewhere; padding is nowhere, as its gate is zero."""
    gate, in_ = values[0], values[1]
    # Pairs of quadrants: by the sign of gate, then of in.
    for place, source in ((0, gate), (3, in_)):
        out[place].copy_(source)
    torch.lt(gate, 0, out=out[2])
    torch.lt(in_, 0, out=out[1])
    out[0].gt_(0)
    out[3].gt_(0)
    # Now gate+, in-, gate-, in+, which makes the four products in this order.
    plus_plus = out[0] * out[3]
    minus_minus = out[2] * out[1]
    out[1].mul_(out[0])
    out[2].mul_(out[3])
    out[0].copy_(plus_plus)
    out[3].copy_(minus_minus)
    return out


def _fill(
    peaks: Peaks,
    quantity: int,
    values: Float[Tensor, "batch pos neuron"],
    masked: Float[Tensor, "quadrant batch pos neuron"],
    ranked: Float[Tensor, "quadrant batch pos neuron"],
) -> None:
    """The peaks of one quantity.

    Args:
        peaks: Filled in.
        quantity: Its number.
        values: Its values.
        masked: The values inside each quadrant, zero elsewhere; overwritten.
        ranked: Countdown of positions inside each quadrant, zero elsewhere.
    """
    first = 2 if quantity == _ACT else 0  # act has no lists where gate is positive
    masked, ranked = masked[first:].abs_(), ranked[first:]
    largest = masked.amax(dim=2)
    if masked.device.type == "cpu" and not bool((largest >= peaks.floors[quantity, first:, None]).any()):
        return
    # The first position that has the maximum. `ranked` is zero outside the quadrant, where the maximum may
    # be reached as well: a value inside can be zero (act underflows, and that of ReLU is zero).
    countdown = masked.eq_(largest[:, :, None]).mul_(ranked).amax(dim=2)
    n_pos = values.shape[1]
    positions = (n_pos - countdown.to(torch.int64)).clamp_(max=n_pos - 1)
    peaks.countdown[quantity, first:] = countdown
    peaks.values[quantity, first:] = values.expand_as(masked).gather(2, positions[:, :, None])[:, :, 0]


def _add_rest(
    values: Float[Tensor, "quantity batch pos neuron"],
    inside: Float[Tensor, "quadrant batch pos neuron"],
    sums: BlockSums,
    masked: Float[Tensor, "quantity batch pos neuron"],
    scratch: Scratch,
) -> None:
    """Sums over the tokens in no quadrant. Padding is among them, but all its numbers are zero."""
    outside = 1 - inside.sum(dim=0)
    wide = scratch.double(tuple(outside.shape))
    sums.rest.add_(wide.copy_(torch.mul(values, outside, out=masked)).sum(dim=(1, 2)))
    sums.gate_positive.add_(masked[0].gt_(0).sum(dim=(0, 1), dtype=torch.float64))
