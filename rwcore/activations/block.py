"""A block of tokens and neurons: sums by quadrant, and the largest value of every row.

The inner loop of the pass. Its temporaries are few, reused, and small enough to stay in cache, and all four
quadrants are handled by one operation. What is done, and what not, follows from what an element costs on one
core of a CPU: comparing, multiplying, converting, adding up and taking the maximum of numbers cost 0.1 to 0.2
ns; making booleans, selecting by them, or a maximum together with its index 0.5 to 4 ns. So signs are numbers
0 and 1, padding is cleared by its bits, and positions are looked for in a chunk of each row only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from rwcore.activations.quadrants import QUADRANTS, QUANTITIES
from rwcore.activations.top import EMPTY

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
        positions: The first position it is at; -1 where there is no token in the quadrant, or where the value
            cannot enter a list.
        floors: |value| below which a value cannot enter its list.
    """

    values: Float[Tensor, "quantity quadrant batch neuron"]
    positions: Int64[Tensor, "quantity quadrant batch neuron"]
    floors: Float[Tensor, "quantity quadrant neuron"]

    @classmethod
    def none(cls, floors: Float[Tensor, "quantity quadrant neuron"], rows: int) -> Peaks:
        """Peaks of rows that have not been looked at."""
        size = (*floors.shape[:2], rows, floors.shape[2])
        absent = torch.full(size, EMPTY, dtype=torch.int64, device=floors.device)
        return cls(torch.zeros(size, device=floors.device), absent, floors)

    def part(self, rows: slice, neurons: slice) -> Peaks:
        """A view of some rows and neurons."""
        here = (slice(None), slice(None), rows, neurons)
        return Peaks(self.values[here], self.positions[here], self.floors[..., neurons])


class Scratch:
    """Memory for the temporaries of blocks of at most ``elements`` tokens × neurons."""

    def __init__(self, elements: int, device: torch.device) -> None:
        self._single = torch.empty(3, 4 * elements, device=device)
        # A GPU converts while it adds up, a CPU is faster in two steps.
        on_cpu = device.type == "cpu"
        self._double = torch.empty(4 * elements, dtype=torch.float64, device=device) if on_cpu else None

    def single(self, place: int, size: tuple[int, ...]) -> Tensor:
        """Four blocks of float32 numbers."""
        return self._single[place].narrow(0, 0, 4 * math.prod(size)).view(4, *size)

    def double(self, values: Float[Tensor, "*size"]) -> Float[Tensor, "*size"]:
        """The values as float64 numbers, until the next call."""
        if self._double is None:
            return values.to(torch.float64)
        return self._double.narrow(0, 0, values.numel()).view(values.shape).copy_(values)

    def total(self, values: Float[Tensor, "*plane batch pos neuron"]) -> Float[Tensor, "*plane neuron"]:
        """Sums over tokens, in float64."""
        if self._double is None:
            return values.sum(dim=(-3, -2), dtype=torch.float64)
        return self.double(values).sum(dim=(-3, -2))


def chunk_length(n_pos: int) -> int:
    """Length of the chunks that rows of ``n_pos`` positions are cut into: one that leaves little over.

    Chunks of about the square root of the length of a row cost least; 12 to 24 is good for 100 to 1000.
    """
    return n_pos if n_pos < 24 else min(range(12, 25), key=lambda length: -n_pos % length)


def padded_length(n_pos: int) -> int:
    """Positions of whole chunks that hold ``n_pos`` positions."""
    length = chunk_length(n_pos)
    return -(-n_pos // length) * length


def add_block(
    gate: Float[Tensor, "batch pos neuron"],
    in_: Float[Tensor, "batch pos neuron"],
    act: Float[Tensor, "batch pos neuron"],
    keep: Int32[Tensor, "batch pos"] | None,
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
        keep: -1 (all bits set) for real tokens, 0 for padding, which may hold anything; None if all are real.
        groups: Group of documents of each row.
        sums: Of these neurons; added to.
        peaks: Of these rows and neurons; filled in. None if they are not wanted.
        scratch: Memory for temporaries, with `padded_length` positions to a row.
    """
    n_batch, n_pos, n_neurons = gate.shape
    size = (n_batch, padded_length(n_pos), n_neurons)
    values = scratch.single(0, size)
    for place, given in enumerate((gate, in_, act)):
        values[place, :, :n_pos].copy_(given)
    values[:3, :, n_pos:] = 0
    if keep is not None:
        # Bits, not a product: padding may hold NaN.
        values[:3, :, :n_pos].view(torch.int32).bitwise_and_(keep[..., None])
    torch.mul(values[2], values[1], out=values[3])
    sums.squares.add_(scratch.double(values).square_().sum(dim=(1, 2)))

    inside, masked = scratch.single(1, size), scratch.single(2, size)
    _find_inside(values, inside, masked)
    tokens = inside.sum(dim=2)  # exact: float32 counts to 2²⁴
    sums.group_counts.index_add_(0, groups, tokens.transpose(0, 1).to(torch.float64))
    counts = tokens.sum(dim=1, dtype=torch.float64)
    sums.gate_positive.add_(counts[0] + counts[1])
    for quantity in range(_QUANTITIES):
        torch.mul(values[quantity], inside, out=masked)
        sums.sums[:, quantity].add_(scratch.total(masked))
        if peaks is not None:
            _fill(peaks, quantity, values[quantity], inside, tokens, masked)
    n_real = n_batch * n_pos if keep is None else -int(keep.sum())
    if int(counts.sum()) < n_real * n_neurons:
        _add_rest(values, inside, sums, masked, scratch)


def _find_inside(
    values: Float[Tensor, "quantity batch pos neuron"],
    inside: Float[Tensor, "quadrant batch pos neuron"],
    signs: Float[Tensor, "sign batch pos neuron"],
) -> None:
    """1 where a token is in the quadrant, 0 elsewhere; padding is nowhere, as its gate is zero.

    Args:
        values: Gate and in come first.
        inside: Filled in.
        signs: Memory for gate > 0, gate < 0, in > 0, in < 0.
    """
    for place, source in enumerate((values[0], values[1])):
        torch.gt(source, 0, out=signs[2 * place])
        torch.lt(source, 0, out=signs[2 * place + 1])
    torch.mul(signs[:2, None], signs[2:], out=inside.view(2, 2, *inside.shape[1:]))


def _fill(
    peaks: Peaks,
    quantity: int,
    values: Float[Tensor, "batch pos neuron"],
    inside: Float[Tensor, "quadrant batch pos neuron"],
    tokens: Float[Tensor, "quadrant batch neuron"],
    masked: Float[Tensor, "quadrant batch pos neuron"],
) -> None:
    """The peaks of one quantity.

    Args:
        peaks: Filled in.
        quantity: Its number.
        values: Its values.
        inside: 1 inside each quadrant, 0 elsewhere.
        tokens: Number of tokens inside.
        masked: The values inside each quadrant, zero elsewhere; overwritten.
    """
    first = 2 if quantity == _ACT else 0  # act has no lists where gate is positive
    masked, inside, tokens = masked[first:].abs_(), inside[first:], tokens[first:]
    length = chunk_length(values.shape[1])
    chunks = masked.view(*masked.shape[:2], -1, length, masked.shape[3])
    tops = chunks.amax(dim=3)
    largest = tops.amax(dim=2)
    wanted = (largest >= peaks.floors[quantity, first:, None]) & (tokens > 0)
    if not bool(wanted.any()):
        return
    # The first position that has the maximum, by chunk and then in the chunk.
    chunk = _first(tops.eq_(largest[:, :, None]), 2)
    index = chunk[:, :, None, None].expand(*chunk.shape[:2], 1, length, chunk.shape[2])
    here = chunks.gather(2, index)[:, :, 0]
    position = chunk * length + _first(here.eq_(largest[:, :, None]), 2)
    # A value inside can be zero (act underflows, and that of ReLU is zero), as all those outside are.
    zero = wanted & (largest == 0)
    if bool(zero.any()):
        position = torch.where(zero, _first(inside, 2), position)
    peaks.positions[quantity, first:] = torch.where(wanted, position, EMPTY)
    peaks.values[quantity, first:] = values.expand_as(masked).gather(2, position[:, :, None])[:, :, 0]


def _first(marks: Float[Tensor, "*size"], dim: int) -> Int64[Tensor, "*smaller"]:
    """Index of the first 1 among zeros, along a dimension; `argmax` costs 40 times as much."""
    n = marks.shape[dim]
    down = torch.arange(n, 0, -1, dtype=torch.float32, device=marks.device)
    down = down.view(-1, *[1] * (marks.ndim - dim - 1))
    # Where there is none, because numbers are NaN, any index will do.
    return (n - (marks * down).amax(dim=dim).to(torch.int64)).clamp_(max=n - 1)


def _add_rest(
    values: Float[Tensor, "quantity batch pos neuron"],
    inside: Float[Tensor, "quadrant batch pos neuron"],
    sums: BlockSums,
    masked: Float[Tensor, "quantity batch pos neuron"],
    scratch: Scratch,
) -> None:
    """Sums over the tokens in no quadrant. Padding is among them, but all its numbers are zero."""
    outside = 1 - inside.sum(dim=0)
    sums.rest.add_(scratch.total(torch.mul(values, outside, out=masked)))
    sums.gate_positive.add_(masked[0].gt_(0).sum(dim=(0, 1), dtype=torch.float64))
