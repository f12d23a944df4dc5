"""Sums that do not depend on the order they are added in: float64 rounded once to fixed-point int64.

A sum of float64 numbers depends on the order. Here the float64 sum of one batch is rounded to a multiple of a
declared unit, half to even, and those integers are added; so any split of the batches into shards, merged in
any order, gives the same result. Each batch contributes an error of at most half a unit; a batch without a
token in a quadrant contributes none, so that a mean is off by at most half a unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.errors import OptionError

_LIMIT = 2**62


@dataclass(frozen=True)
class Units:
    """The units of the sums, as numbers of binary places.

    With the defaults a sum of activations is a multiple of 2⁻²⁸ (3.7e-9) and may reach 1.7e10, a sum of
    squares a multiple of 2⁻¹⁶ (1.5e-5) and may reach 7.0e13.

    Attributes:
        sum_bits: The unit of sums of activations is ``2**-sum_bits``.
        square_bits: The unit of sums of their squares is ``2**-square_bits``.
    """

    sum_bits: int = 28
    square_bits: int = 16

    def __post_init__(self) -> None:
        for name, bits in (("sum_bits", self.sum_bits), ("square_bits", self.square_bits)):
            if not 0 <= bits <= 52:
                raise OptionError(f"{bits} binary places", where=name, remedy="use 0 to 52")


def to_fixed(sums: Float[Tensor, "*size neuron"], bits: int, where: str) -> Int64[Tensor, "*size neuron"]:
    """``round(sum · 2^bits)``, half to even.

    Args:
        sums: Finite float64 numbers.
        bits: Binary places that are kept.
        where: What they are sums of, for the error.

    Raises:
        OptionError: A number is too large.
    """
    scaled = sums * 2.0**bits
    if bool((scaled.abs() >= _LIMIT).any()):
        raise _overflow(bits, where)
    return scaled.round().to(torch.int64)


def add_fixed(
    left: Int64[Tensor, "*size neuron"], right: Int64[Tensor, "*size neuron"], bits: int, where: str
) -> Int64[Tensor, "*size neuron"]:
    """The sum of two fixed-point sums.

    Raises:
        OptionError: It is too large.
    """
    total = left + right  # both are below 2⁶², so this cannot wrap around
    if bool((total.abs() >= _LIMIT).any()):
        raise _overflow(bits, where)
    return total


def from_fixed(fixed: Int64[Tensor, "*size"], bits: int) -> Float[Tensor, "*size"]:
    """The sums as float64."""
    return fixed.to(torch.float64) * 2.0**-bits


def _overflow(bits: int, where: str) -> OptionError:
    return OptionError(
        f"a sum has reached {_LIMIT * 2.0**-bits:.3g}, the largest that fits with {bits} binary places",
        where=where,
        remedy="use a coarser unit (Units with fewer binary places)",
    )
