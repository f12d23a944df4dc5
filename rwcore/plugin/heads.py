"""What claims about attention heads ask of one model: a part for each group of claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.corpora.tokens import TokenCorpus
from rwcore.plugin.subjects import Kind

if TYPE_CHECKING:
    from rwcore.plugin.head_suppression import PredictedSuppression
    from rwcore.studies.weights import WeightStudy

WEB_TEXT, PILE = "openwebtext-10k", "pile-10k-128"
"""The texts of the two papers."""


@dataclass(frozen=True)
class HeadNumbers:
    """The heads of one model.

    Attributes:
        weights: The weight study of the model.
        text: Gives rows by the id of the paper's corpus: that corpus to the paper's own models, the
            beginnings of our own documents to any other.
        kind: What kind of subject the model is.
    """

    weights: WeightStudy
    text: Callable[[str], TokenCorpus]
    kind: Kind

    @cached_property
    def predicted_suppression(self) -> PredictedSuppression:
        """Who suppresses what is already predicted; see `rwcore.plugin.head_suppression`."""
        from rwcore.plugin.head_suppression import PredictedSuppression

        return PredictedSuppression(self.weights, self.text(WEB_TEXT))
