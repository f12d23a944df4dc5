"""Who suppresses what is already predicted, as claims of our own ask it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.claim.values import Interval
from rwcore.studies.head_suppression import WEAKENING, SuppressionStudy

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.studies.weights import WeightStudy


@dataclass(frozen=True)
class PredictedSuppression:
    """Suppression of predicted tokens in one model.

    Attributes:
        weights: The weight study of the model.
        corpus: Rows of text.
    """

    weights: WeightStudy
    corpus: TokenCorpus

    @cached_property
    def study(self) -> SuppressionStudy:
        """The study; nothing is computed before it is asked for."""
        return SuppressionStudy(self.weights, self.corpus)

    def weakening(self) -> dict[str, float | Interval]:
        """How much weakening neurons suppress, and which part of what they write, beside random neurons."""
        study = self.study
        table = study.table(study.options.choice, {WEAKENING: study.weakening})
        row = table[table["group"] == WEAKENING].iloc[0]
        return {
            "suppression_ratio": _interval(row, "ratio", "over_random"),
            "against_ratio": _interval(row, "against_ratio", "against_ratio"),
        }

    def overlap(self) -> dict[str, float | Interval]:
        """Whether negative heads and weakening neurons suppress at the same positions."""
        row = self.study.overlap.iloc[0]
        return {
            "lift": _interval(row, "lift", "lift"),
            "lift_ratio": _interval(row, "lift_ratio", "lift_ratio"),
            "correlation": _interval(row, "correlation", "correlation"),
            "correlation_excess": _interval(row, "correlation_excess", "correlation_excess"),
        }


def _interval(row: pd.Series, estimate: str, ends: str) -> float | Interval:
    """With its interval, if there is one."""
    value, low, high = (float(row[name]) for name in (estimate, f"{ends}_low", f"{ends}_high"))
    return value if low != low or high != high else Interval(low, high, value)
