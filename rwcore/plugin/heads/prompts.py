"""Single prompts of the paper on which a head matters: what the model predicts with it and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from rwcore.corpora.encoder import TextEncoder, read_encoder
from rwcore.models.vocabulary import vocabulary
from rwcore.plugin.heads.effects import NAMED, HeadEffects
from rwcore.studies.head_ablations import prompt_predictions
from rwcore.studies.head_survey import HeadSurvey, SurveyOptions

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus

LOVE_AND_WAR, LOVE = "All's fair in love and", " love"
PAGES_TEXT, PAGES_ROW = "openwebtext-10k-61", 36
PLACE, PIER = " will open at", " Pier"


@dataclass(frozen=True)
class HeadPrompts:
    """Prompts with and without the direct effect of L10H7.

    Attributes:
        effects: Of the model's heads.
    """

    effects: HeadEffects

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer."""
        return read_encoder(self.effects.weights.local)

    def love_and_war(self) -> dict[str, object]:
        """What follows "All's fair in love and" (C45).

        ``top_token`` is what is most probable without the head, ``rise_of_love`` the probability of " love"
        without the head minus that with it.
        """
        bos = self.encoder.bos("model")
        (prompt,), (love,) = self.encoder.encode([LOVE_AND_WAR]), self.encoder.encode([LOVE])
        tokens = torch.tensor([*([] if bos is None else [bos]), *prompt])
        clean, without = self._predictions(self.effects.around, tokens)
        words = vocabulary(self.effects.weights.local, len(clean))
        return {
            "top_token": words[int(without.argmax())],
            "top_token_clean": words[int(clean.argmax())],
            "rise_of_love": float(without[love[0]] - clean[love[0]]),
        }

    def page_example(self) -> dict[str, object] | None:
        """Probability of " Pier" behind "will open at" (C75); None if the text does not have the place.

        The place is looked for in all rows, that of the page first. Small models that cannot spell it get the
        beginning of that row.
        """
        corpus = self.effects.text(PAGES_TEXT)
        (place,), (pier,) = self.encoder.encode([PLACE]), self.encoder.encode([PIER])
        before = [ids[0] for ids in self.encoder.encode([PIER, PIER.lower()])]
        tokens = place_in(corpus, place, PAGES_ROW, before)
        if tokens is None and self.effects.weights.local.spec.id != "gpt2":
            tokens = corpus.row(min(PAGES_ROW, len(corpus) - 1))[: len(place) + 1].long()
        if tokens is None:
            return None
        options = SurveyOptions(means=self.effects.means, paths=0)
        survey = HeadSurvey(self.effects.weights, corpus, options)
        clean, without = self._predictions(survey, tokens)
        return {"clean": float(clean[pier[0]]), "ablated": float(without[pier[0]])}

    def _predictions(self, survey: HeadSurvey, tokens: Int64[Tensor, " pos"]) -> tuple[Tensor, Tensor]:
        clean, without = prompt_predictions(survey, tokens, self.effects.named_head(NAMED))
        return clean, without


def place_in(
    corpus: TokenCorpus, wanted: list[int], row: int, before: Sequence[int]
) -> Int64[Tensor, " pos"] | None:
    """The beginning of a row up to the first place where some tokens follow each other.

    Args:
        corpus: The rows.
        wanted: The tokens.
        row: Where they should be; other rows are looked at in the order of their distance.
        before: One of these tokens stands earlier in the row: it is what a head may suppress.
    """
    for number in sorted(range(len(corpus)), key=lambda one: (abs(one - row), one)):
        ids = corpus.row(number).long()
        windows = ids.unfold(0, len(wanted), 1) if len(ids) >= len(wanted) else ids[:0, None]
        found = (windows == torch.tensor(wanted)).all(dim=1).nonzero()[:, 0]
        if len(found) and torch.isin(ids[: int(found[0])], torch.tensor(before)).any():
            return ids[: int(found[0]) + len(wanted)]
    return None
