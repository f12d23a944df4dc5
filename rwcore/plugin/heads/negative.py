"""The heads that write most against predictions, and how much of what they do is copy suppression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.claim.values import Interval
from rwcore.heads.cspa import NEGATIVE
from rwcore.heads.cspa_scores import LEAST_EFFECT
from rwcore.plugin.heads.intervals import ratio_interval
from rwcore.plugin.heads.tables import head_name

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.plugin.heads.effects import HeadEffects

COUNT = 5


@dataclass(frozen=True)
class NegativeHeads:
    """Of the last third of the layers, the heads with the lowest attribution to the predicted token.

    Attributes:
        effects: Effects of all heads of the model, and CSPA of these.
    """

    effects: HeadEffects

    @cached_property
    def table(self) -> pd.DataFrame:
        """The heads, the most negative one first; columns of the survey, and ``number`` of the head."""
        heads = self.effects.late_survey()
        return heads.nsmallest(COUNT, "dla_predicted")

    def attribution(self) -> pd.DataFrame:
        """Columns head and value: mean direct logit attribution to the predicted token; logits."""
        return self._by_head("dla_predicted", self.table)

    def explained(self) -> pd.DataFrame:
        """Columns head and value: the share of the head's effect that is copy suppression."""
        scan = self.effects.scan.table
        scan = scan[scan["variant"] == NEGATIVE].set_index(["layer", "head"])
        return self._by_head("explained", scan.loc[self._heads].reset_index())

    def explained_together(self) -> float | Interval:
        """1 - D_CSPA / D_MA with the divergences of all of them added up; NaN if they do nothing."""
        study = self.effects.scan
        places = [study.heads.index(head) for head in self._heads]
        variant = 1 + study.options.variants.index(NEGATIVE)
        kl = study.documents.sums[:, places][..., 0].sum(dim=1).numpy()
        if not kl[:, 0].sum() / int(study.documents.tokens.sum()) >= COUNT * LEAST_EFFECT:
            return math.nan
        return ratio_interval(kl[:, [0, variant]], lambda of: 1 - of[..., 1] / of[..., 0])

    @property
    def _heads(self) -> list[tuple[int, int]]:
        return [(int(layer), int(number)) for layer, number in self.table[["layer", "number"]].to_numpy()]

    def _by_head(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """A quantity of these heads with its intervals."""
        import pandas as pd

        ends = zip(*(table[f"{name}{end}"] for end in ("_low", "_high", "")), strict=True)
        values = [of if low != low else Interval(low, high, of) for low, high, of in ends]
        return pd.DataFrame({"head": [head_name(head) for head in self._heads], "value": values})
