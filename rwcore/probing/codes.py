"""Activations as 256 codes, so that counts of codes can stand for activations.

Uniform codes, as published: with l and h the smallest and the largest activation of a neuron,

    code = round((x - l)/s),  s = (h - l)/255,  restored as code·s + l; |error| <= s/2 (and float16 rounding).

A neuron with rare large activations has few such codes where most of its activations are. Companded codes are
equally spaced in f(x) = sign(x)·log(1 + |x|/a), a being the median |x| of a sample: fine near zero, coarse in
the tails. With v the restored value,

    |x - v| <= (|v| + a)·(e^{s/2} - 1),  s = (f(h) - f(l))/255.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), code of the 8-bit store.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.normalise import refuse_non_finite

CODES = 256
KINDS = ("companded", "uniform")
# A neuron is rarely below a thousandth of its largest activation everywhere but once; a smaller knee would
# spend the codes on values that no probe can tell apart.
_SMALLEST_KNEE = 1e-3
_NEURON_TILE = 512


@dataclass(frozen=True, eq=False)
class CodeBook:
    """How the activations of some neurons become codes.

    Attributes:
        low: Restored value of code 0.
        high: Restored value of code 255; activations outside [low, high] get the code of the nearer end.
        knee: Where companding sets in; infinite for uniform codes.
        half: Restored values are rounded to float16, as published.
    """

    low: Float32[Tensor, " neuron"]
    high: Float32[Tensor, " neuron"]
    knee: Float32[Tensor, " neuron"]
    half: bool = False

    def encode(self, x: Float[Tensor, "example neuron"]) -> UInt8[Tensor, "example neuron"]:
        """The code of every activation; 0 for a neuron without a range.

        Raises:
            ProbeError: An activation is not finite.
        """
        refuse_non_finite(x)
        low = self._bent(self.low)
        step = (self._bent(self.high) - low) / (CODES - 1)
        step = torch.where(step > 0, step, 1.0)
        bent = self._bent(x.to(torch.float32))
        return bent.sub_(low).div_(step).round_().clamp_(0, CODES - 1).to(torch.uint8)

    def values(self) -> Float32[Tensor, "neuron code"]:
        """The activation that each code is restored as, ascending."""
        low, high = (self._bent(end).to(torch.float64)[:, None] for end in (self.low, self.high))
        bent = low + (high - low) / (CODES - 1) * torch.arange(CODES, dtype=torch.float64)
        knee = self.knee.to(torch.float64)[:, None]
        value = torch.where(knee.isinf(), bent, bent.sign() * torch.expm1(bent.abs()) * knee).to(
            torch.float32
        )
        return value.to(torch.float16).to(torch.float32) if self.half else value

    def restore(self, codes: UInt8[Tensor, "example neuron"]) -> Float32[Tensor, "example neuron"]:
        """The activations that codes stand for."""
        return self.values().T.contiguous().gather(0, codes.to(torch.int64))

    def _bent(self, x: Tensor) -> Tensor:
        """f(x), a new tensor; x itself where codes are uniform."""
        uniform = self.knee.isinf()
        if bool(uniform.all()):
            return x.clone()
        bent = torch.copysign((x.abs() / self.knee).log1p_(), x)
        return torch.where(uniform, x, bent) if bool(uniform.any()) else bent


def code_book(
    sample: Float[Tensor, "example neuron"], *, kind: str = "companded", margin: float = 0.0
) -> CodeBook:
    """The codes that fit some activations.

    Args:
        sample: Of every neuron: all activations there are, or a sample of them.
        kind: One of `KINDS`.
        margin: By which share of its length the range is made longer at both ends, for activations that the
            sample does not show.

    Raises:
        OptionError: There is no such kind, or the sample is empty.
        ProbeError: An activation is not finite.
    """
    if kind not in KINDS or not len(sample):
        raise OptionError(
            f"codes of kind {kind!r} from {len(sample)} examples",
            where="codes",
            remedy=f"one of {', '.join(KINDS)}",
        )
    refuse_non_finite(sample)
    x = sample.to(torch.float32)
    low, high = torch.aminmax(x, dim=0)
    beyond = margin * (high - low)
    low, high = low - beyond, high + beyond
    if kind == "uniform":
        return CodeBook(low, high, torch.full_like(low, torch.inf))
    middle = torch.cat([part.abs().median(dim=0).values for part in torch.split(x, _NEURON_TILE, dim=1)])
    largest = torch.maximum(low.abs(), high.abs())
    knee = torch.maximum(middle, _SMALLEST_KNEE * largest)
    return CodeBook(low, high, torch.where(knee > 0, knee, 1.0))


def published_code_book(x: Float[Tensor, "example neuron"]) -> CodeBook:
    """Uniform codes over exactly the range of these activations, restored in float16, as the original does.

    Raises:
        OptionError: There are no examples.
        ProbeError: An activation is not finite.
    """
    book = code_book(x, kind="uniform")
    return CodeBook(book.low, book.high, book.knee, half=True)
