"""What claims about attention heads ask of one model: a part for each group of claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.corpora.tokens import TokenCorpus
from rwcore.plugin.subjects import Kind

if TYPE_CHECKING:
    from rwcore.plugin.heads.behaviour import HeadBehaviour
    from rwcore.plugin.heads.circuits import HeadCircuits
    from rwcore.plugin.heads.confidence import Confidence
    from rwcore.plugin.heads.effects import HeadEffects
    from rwcore.plugin.heads.movers import MoverRepair
    from rwcore.plugin.heads.negative import NegativeHeads
    from rwcore.plugin.heads.repair import HeadRepair
    from rwcore.plugin.heads.suppression import PredictedSuppression
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
    def behaviour(self) -> HeadBehaviour:
        """Scores, keys and queries of heads; see `rwcore.plugin.heads.behaviour`."""
        from rwcore.plugin.heads.behaviour import HeadBehaviour

        return HeadBehaviour(self.weights, self.text, self.kind)

    @cached_property
    def circuits(self) -> HeadCircuits:
        """OV and QK circuits, and the best copy suppression head; see `rwcore.plugin.heads.circuits`."""
        from rwcore.plugin.heads.circuits import HeadCircuits

        return HeadCircuits(self.weights, self.behaviour, self.text, self.kind)

    @cached_property
    def predicted_suppression(self) -> PredictedSuppression:
        """Who suppresses what is already predicted; see `rwcore.plugin.heads.suppression`."""
        from rwcore.plugin.heads.suppression import PredictedSuppression

        return PredictedSuppression(self.weights, self.text(WEB_TEXT))

    @cached_property
    def effects(self) -> HeadEffects:
        """What heads do to predictions, and CSPA; see `rwcore.plugin.heads.effects`."""
        from rwcore.plugin.heads.effects import HeadEffects

        return HeadEffects(self.weights, self.text, self.kind)

    @cached_property
    def confidence(self) -> Confidence:
        """Entropy and calibration with and without heads; see `rwcore.plugin.heads.confidence`."""
        from rwcore.plugin.heads.confidence import Confidence

        return Confidence(self.effects)

    @cached_property
    def negative(self) -> NegativeHeads:
        """The heads that write most against predictions; see `rwcore.plugin.heads.negative`."""
        from rwcore.plugin.heads.negative import NegativeHeads

        return NegativeHeads(self.effects)

    @cached_property
    def movers(self) -> MoverRepair:
        """Who steps in for name movers; see `rwcore.plugin.heads.movers`."""
        from rwcore.plugin.heads.movers import MoverRepair

        return MoverRepair(self.behaviour)

    @cached_property
    def repair(self) -> HeadRepair:
        """Who repairs the loss of heads; see `rwcore.plugin.heads.repair`."""
        from rwcore.plugin.heads.repair import HeadRepair

        return HeadRepair(self.weights, self.text(PILE), self.kind)
