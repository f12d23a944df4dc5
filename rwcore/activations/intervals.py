"""Intervals over documents: how far a number would move with another sample of texts.

Tokens of one document are not independent, so documents are what is sampled. The delete-a-group jackknife
leaves out each of G groups of documents in turn and computes the number θ again from what is left:

    SE² = (G - 1)/G · Σ_g (θ_(g) - θ̄)²,   interval = θ ± t_{G-1} · SE,

θ̄ being the mean of the θ_(g). If θ is a mean over groups of equal size this is the textbook interval of the
mean of G numbers, exactly.

Source: Kott, "The delete-a-group jackknife", Journal of Official Statistics 17 (2001), pages 521-526.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import stdtrit
from torch import Tensor

from rwcore.errors import OptionError

LEVEL = 0.95

Source = TypeVar("Source")


@dataclass(frozen=True)
class Estimate:
    """A number and its interval.

    Attributes:
        estimate: The number, from all documents.
        low: Lower end of the interval; NaN if there are fewer than two groups, or if the number is NaN
            without one of them.
        high: Upper end; NaN likewise.
        standard_error: NaN likewise.
        groups: Number of groups of documents behind it.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    groups: int


@overload
def jackknife(
    reduce: Callable[[Source], float], whole: Source, without: Iterable[Source], level: float = LEVEL
) -> Estimate: ...


@overload
def jackknife(
    reduce: Callable[[Source], Mapping[str, float]],
    whole: Source,
    without: Iterable[Source],
    level: float = LEVEL,
) -> dict[str, Estimate]: ...


def jackknife(
    reduce: Callable[[Source], float | Mapping[str, float]],
    whole: Source,
    without: Iterable[Source],
    level: float = LEVEL,
) -> Estimate | dict[str, Estimate]:
    """A number, or several by name, with intervals over documents.

    Args:
        reduce: Computes the number from frequencies (or whatever the source is).
        whole: From all documents.
        without: The same without each group of documents in turn; one at a time is in memory.
        level: Coverage of the intervals.

    Raises:
        OptionError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise OptionError(f"an interval of level {level}", where="level", remedy="use e.g. 0.95")
    found = reduce(whole)
    if isinstance(found, Mapping):
        each = [_several(reduce(source)) for source in without]
        return {name: _estimate(value, [one[name] for one in each], level) for name, value in found.items()}
    return _estimate(found, [_one(reduce(source)) for source in without], level)


def frequencies_without(
    counts: Int[Tensor, "layer quadrant neuron"],
    group_counts: Int[Tensor, "layer group quadrant neuron"],
    group_tokens: Sequence[int],
) -> Iterator[Float[Tensor, "layer quadrant neuron"]]:
    """Shares of the tokens in each quadrant without each group of documents in turn, float64.

    Args:
        counts: Tokens in each quadrant.
        group_counts: The same of each group.
        group_tokens: Number of tokens of each group; a group without tokens is passed over.
    """
    tokens = sum(group_tokens)
    for group, number in enumerate(group_tokens):
        if number:
            rest = (counts - group_counts[:, group]).to(torch.float64)
            yield rest / (tokens - number or torch.nan)


def _estimate(estimate: float, without: Sequence[float], level: float) -> Estimate:
    groups = len(without)
    if groups < 2:
        return Estimate(estimate, math.nan, math.nan, math.nan, groups)
    # (G - 1)/G · Σ (θ_(g) - θ̄)² is (G - 1) times their variance.
    error = math.sqrt((groups - 1) * float(np.var(np.array(without, dtype=np.float64))))
    half = float(stdtrit(groups - 1, (1 + level) / 2)) * error
    return Estimate(estimate, estimate - half, estimate + half, error, groups)


def _one(found: float | Mapping[str, float]) -> float:
    assert not isinstance(found, Mapping)
    return found


def _several(found: float | Mapping[str, float]) -> Mapping[str, float]:
    assert isinstance(found, Mapping)
    return found
