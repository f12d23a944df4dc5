"""Sums of activations by class, streamed: what mean differences, F, t and standard deviations need.

Of every class c and neuron j, n_c, Σ (x - a_j) and Σ (x - a_j)², where the a_j are any values near the
activations: without them, the variance of a neuron far from zero would be lost in the sum of squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rwcore.probing.errors import ProbeError


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Sums over examples by class.

    Attributes:
        count: Examples of each class.
        total: Σ (x - shift).
        square: Σ (x - shift)².
        shift: What is taken off every activation first.
    """

    count: Int64[Tensor, " class"]
    total: Float64[Tensor, "class neuron"]
    square: Float64[Tensor, "class neuron"]
    shift: Float64[Tensor, " neuron"]

    def __add__(self, other: ClassMoments) -> ClassMoments:
        if not torch.equal(self.shift, other.shift):
            raise ProbeError(
                "sums about different values cannot be added",
                where="shift",
                remedy="use one shift for all batches",
            )
        return ClassMoments(
            self.count + other.count, self.total + other.total, self.square + other.square, self.shift
        )

    def pair(self, positive: Sequence[int], negative: Sequence[int]) -> ClassMoments:
        """Two classes, 0 negative and 1 positive, out of classes that share no example."""
        places = [list(negative), list(positive)]
        return ClassMoments(
            torch.stack([self.count[place].sum() for place in places]),
            torch.stack([self.total[place].sum(0) for place in places]),
            torch.stack([self.square[place].sum(0) for place in places]),
            self.shift,
        )

    def mean(self) -> Float64[Tensor, "class neuron"]:
        """Mean of each class; NaN of an empty one."""
        return self.shift + self.total / self.count[:, None]

    def variance(self) -> Float64[Tensor, " neuron"]:
        """Population variance over the examples of all classes."""
        n = self.count.sum()
        return (self.square.sum(0) / n - (self.total.sum(0) / n) ** 2).clamp(min=0)

    def within(self) -> Float64[Tensor, " neuron"]:
        """Σ over classes of the squared distances from the mean of the class."""
        spread = self.square - self.total**2 / self.count[:, None].clamp(min=1)
        return spread.clamp(min=0).sum(0)


def class_moments(
    x: Float[Tensor, "example neuron"],
    member: Bool[Tensor, "class example"],
    shift: Float64[Tensor, " neuron"] | None = None,
) -> ClassMoments:
    """The sums of some examples: two matrix products, float32 within the batch.

    Args:
        x: Activations.
        member: Which examples are of a class. Classes may share examples (several features at once), but
            those that `ClassMoments.pair` puts together must not.
        shift: Values near the activations, the same for all batches that will be added; the mean of these
            examples if not given.
    """
    if shift is None:
        shift = x.to(torch.float64).mean(0) if len(x) else torch.zeros(x.shape[1], dtype=torch.float64)
    centred = x.to(torch.float32) - shift.to(torch.float32)
    by_class = member.to(torch.float32)
    return ClassMoments(
        member.sum(1),
        (by_class @ centred).to(torch.float64),
        (by_class @ centred.square_()).to(torch.float64),
        shift.to(torch.float32).to(torch.float64),
    )


def binary_moments(x: Float[Tensor, "example neuron"], label: Bool[Tensor, " example"]) -> ClassMoments:
    """The sums of the two classes of one feature, 0 negative and 1 positive."""
    return class_moments(x, torch.stack([~label, label]))
