r"""How well calibrated predictions are, and what a head does to that.

The most probable tokens of every position (three, as published) are put into bins by their probability p,
bin i of n holding those with i/n ≤ p < (i+1)/n. With accuracy_i the share of bin i that came next and
c_i = (i + 0.5) / n the middle of the bin,

    f_i = accuracy_i - c_i ,    g_i = 0.5 - c_i ,    o = Σ f_i g_i / Σ g_i²

is 0 for calibrated predictions, 1 if half of every bin comes true (overconfident), negative if the model is
too timid. A head's marginal effect is ``1 - o_ablated / o_clean``: below 0 where it makes the model less
overconfident.

As published, one empty bin makes o undefined (NaN), and p = 1 is in no bin. ``fixed`` leaves empty bins out
of both sums, and says how many they are; p = 1 belongs to the last bin.

Source: copy suppression specification, section 12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.errors import require_choice
from rwcore.heads.readout import Change, Readout

BINS, TOP = 100, 3
PUBLISHED, FIXED = "published", "fixed"
CONVENTIONS = (FIXED, PUBLISHED)
_WIDTH = 8192
"""Entries of the vocabulary that are worked on together."""


@dataclass(frozen=True, eq=False)
class TopPredictions:
    """The most probable tokens at some positions.

    Attributes:
        token: Their numbers, the most probable first.
        probability: Of each.
    """

    token: Int64[Tensor, "token rank"]
    probability: Float[Tensor, "token rank"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often predictions of some probability come true.

    Attributes:
        total: Predictions in each bin.
        correct: Those that came next.
        certain: Predictions with probability 1 exactly, in no bin: how many, and how many came next.
    """

    total: Int64[Tensor, " bin"]
    correct: Int64[Tensor, " bin"]
    certain: Int64[Tensor, " 2"]

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            self.total + other.total, self.correct + other.correct, self.certain + other.certain
        )

    def binned(self, convention: str = FIXED) -> tuple[Int64[Tensor, " bin"], Int64[Tensor, " bin"]]:
        """Predictions in each bin, and those that came next.

        Raises:
            OptionError: There is no such convention.
        """
        require_choice("convention", convention, CONVENTIONS)
        total, correct = self.total.clone(), self.correct.clone()
        if convention == FIXED:
            total[-1] += self.certain[0]
            correct[-1] += self.certain[1]
        return total, correct


@dataclass(frozen=True)
class Overconfidence:
    """o, and how many bins it does not know about.

    Attributes:
        value: o; NaN as published if a bin is empty, and in any case if all are.
        empty_bins: Bins without predictions.
    """

    value: float
    empty_bins: int


@torch.no_grad()
def top_predictions(
    hidden: Float[Tensor, "token d_model"],
    readout: Readout,
    change: Change | None = None,
    *,
    count: int = TOP,
) -> TopPredictions:
    """The most probable tokens of normalised streams; logits of the whole vocabulary are not kept.

    It costs an unembedding: for a few heads, not for all of a large model.

    Args:
        hidden: The clean normalised stream.
        readout: On the same device.
        change: What is added to it (`rwcore.heads.effects`); None for the clean predictions.
        count: How many tokens.
    """
    if change is not None:
        moved = change.coefficients
        hidden = hidden + (moved if change.directions is None else moved @ change.directions)
    size = len(readout.rows)
    best = torch.empty(len(hidden), 0, device=hidden.device)
    number = torch.empty(len(hidden), 0, dtype=torch.int64, device=hidden.device)
    log_sum = torch.full((len(hidden),), -torch.inf, device=hidden.device)
    for first in range(0, size, _WIDTH):
        entries = slice(first, min(first + _WIDTH, size))
        logits = readout.capped(readout.logits(hidden, entries))
        log_sum = torch.logaddexp(log_sum, logits.logsumexp(dim=1))
        found = logits.topk(min(count, logits.shape[1]), dim=1)
        values = torch.cat([best, found.values], dim=1)
        numbers = torch.cat([number, found.indices + first], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :count]
        best, number = values.gather(1, order), numbers.gather(1, order)
    return TopPredictions(number, (best - log_sum[:, None]).exp().clamp(max=1.0))


def calibration(found: TopPredictions, targets: Int64[Tensor, " token"], *, bins: int = BINS) -> Calibration:
    """Count predictions by probability.

    Args:
        found: Predictions.
        targets: The next token; positions with -1 do not count.
        bins: How many bins of equal width.
    """
    there = targets >= 0
    p = found.probability[there].double().flatten()
    right = (found.token[there] == targets[there, None]).flatten()
    inside = p < 1
    number = (p * bins).floor().long()[inside].clamp(max=bins - 1)
    return Calibration(
        total=torch.bincount(number, minlength=bins).cpu(),
        correct=torch.bincount(number[right[inside]], minlength=bins).cpu(),
        certain=_pair(~inside, right),
    )


def overconfidence(found: Calibration, convention: str = FIXED) -> Overconfidence:
    """Overconfidence of counted predictions; see the head of this module.

    Args:
        found: Of `calibration`, summed over batches.
        convention: ``fixed`` or ``published``.

    Raises:
        OptionError: There is no such convention.
    """
    total, correct = found.binned(convention)
    there = total > 0
    empty = int((~there).sum())
    if not bool(there.any()) or (convention == PUBLISHED and empty):
        return Overconfidence(math.nan, empty)
    middle = (torch.arange(len(total), dtype=torch.float64) + 0.5) / len(total)
    accuracy = correct[there] / total[there].double()
    return Overconfidence(overconfidence_of(accuracy, middle[there]), empty)


def overconfidence_of(accuracy: Float[Tensor, " bin"], middle: Float[Tensor, " bin"]) -> float:
    """Overconfidence o of a curve: Σ f g / Σ g² with f = accuracy - middle, g = 1/2 - middle.

    Args:
        accuracy: Share of each bin that came true.
        middle: Probability in the middle of the bin.
    """
    f, g = accuracy - middle, 0.5 - middle
    return float(torch.linalg.vecdot(f, g) / torch.linalg.vecdot(g, g))


def marginal_overconfidence(clean: Overconfidence, ablated: Overconfidence) -> float:
    """1 - o_ablated / o_clean: below 0 where the head makes the model less overconfident."""
    return 1 - ablated.value / clean.value if clean.value else math.nan


def summed(found: Sequence[Calibration]) -> Calibration:
    """The counts of several batches together.

    Args:
        found: At least one.
    """
    total = found[0]
    for one in found[1:]:
        total = total + one
    return total


def _pair(chosen: Bool[Tensor, " n"], right: Bool[Tensor, " n"]) -> Int64[Tensor, " 2"]:
    return torch.stack([chosen.sum(), (chosen & right).sum()]).cpu()
