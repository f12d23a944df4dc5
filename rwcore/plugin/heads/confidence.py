"""Whether heads make predictions less certain, and less overconfident: what claims ask of one model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from rwcore.heads.calibration import FIXED, PUBLISHED, marginal_overconfidence, overconfidence
from rwcore.heads.cspa_scores import LEAST_EFFECT
from rwcore.heads.writers import Writer
from rwcore.plugin.heads.effects import FOLLOWED, PAPERS_MODEL, Head, HeadEffects, writer_head
from rwcore.plugin.heads.numbers import WEB_TEXT
from rwcore.plugin.heads.tables import by_head, first_heads, head_name
from rwcore.studies.head_ablations import calibrations
from rwcore.studies.head_survey import HeadSurvey, SurveyOptions
from rwcore.studies.head_survey_files import CLEAN


@dataclass(frozen=True)
class Confidence:
    """Entropy and calibration with and without the heads of one model; direct effects.

    Attributes:
        effects: The model's heads and its text.
    """

    effects: HeadEffects

    def entropies(self) -> dict[str, object]:
        """Entropy of predictions with a head minus without it (C53, C54)."""
        effects = self.effects
        effects.note_text()
        table, entropy = effects.survey_of_heads, "entropy_change_with_head"
        ranks = table.set_index("head")[entropy].rank(ascending=False, method="min")
        return {
            "entropy": by_head(table, entropy),
            "raise_most": first_heads(table, entropy, 3),
            "share_lowering": float(((table[entropy] < 0) & (table["kl"] >= LEAST_EFFECT)).mean()),
            "rank_of_reference": math.nan if effects.silent else int(ranks[head_name(effects.head)]),
            "raised_by_reference": float(table.set_index("head")[entropy][head_name(effects.head)]),
        }

    def calibration(self) -> dict[str, object]:
        """Overconfidence of predictions, and what heads do to it (C55, C56).

        All heads of the paper's model; of any other the reference head, and the late heads whose ablation
        changes predictions most. The head that lowers it most is the one without which it is highest.
        """
        effects = self.effects
        effects.note_text()
        convention = PUBLISHED if effects.weights.local.spec.id == PAPERS_MODEL else FIXED
        heads = self._calibrated()
        text = HeadSurvey(
            effects.weights, effects.text(WEB_TEXT), SurveyOptions(means=effects.means, paths=0)
        )
        counted = calibrations(text, heads)
        found = {name: overconfidence(one, convention) for name, one in counted.items()}
        clean = found[CLEAN]
        names = [head_name(head) for head in heads]
        without = pd.Series([found[str(Writer(*head))].value for head in heads], names)
        relative = [marginal_overconfidence(clean, found[str(Writer(*head))]) for head in heads]
        table = pd.DataFrame({"head": names, "value": relative})
        rank = without.rank(ascending=False, method="min")[head_name(effects.head)]
        unknown = effects.silent or math.isnan(rank)
        quantities: dict[str, object] = {
            "rank_by_overconfidence": math.nan if unknown else int(rank),
            "more_without_reference": without[head_name(effects.head)] - clean.value,
        }
        if effects.named:
            runs = {"clean": clean.value} | {
                f"without {name}": without[head_name(effects.named_head(name))] for name in ("L10H7", "L9H9")
            }
            quantities |= {
                "relative": table,
                "lower_most": first_heads(table, "value", 2, lowest=True),
                "overconfidence": pd.DataFrame({"run": [*runs], "value": [*runs.values()]}),
                "without_L10H7": runs["without L10H7"],
                "without_L10H7_over_clean": runs["without L10H7"] / clean.value,
            }
        return quantities

    def _calibrated(self) -> list[Head]:
        effects = self.effects
        if effects.named:
            return [writer_head(one) for one in effects.around.writers if one.head is not None]
        table = effects.late_survey().nlargest(FOLLOWED, "kl")
        heads = [*zip(table["layer"], table["number"], strict=True)]
        return [effects.head, *(head for head in heads if head != effects.head)]
