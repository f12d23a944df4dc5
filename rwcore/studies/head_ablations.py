"""What ablating heads does beside a survey: with all that follows, to calibration, and in which cases.

Each is one sweep over the text of a survey, with its means, kept in its store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import require_choice
from rwcore.heads.calibration import Calibration
from rwcore.heads.effects import Predictions, WriterEffects
from rwcore.heads.last_token import predictions_without
from rwcore.heads.mids import CONDITIONS, Cases, copy_suppression_cases
from rwcore.heads.paths import FROZEN, READINGS, TOTAL, path_moves
from rwcore.heads.readout import Readout
from rwcore.heads.run import run_heads
from rwcore.heads.writers import Writer, WriterMeans
from rwcore.models.device import pick_device
from rwcore.store import read_arrays
from rwcore.studies.activation_pass import bridge
from rwcore.studies.asked_heads import require_heads
from rwcore.studies.forward import as_processed
from rwcore.studies.head_survey import HeadSurvey
from rwcore.studies.head_survey_files import MEANS, CalibrationFiles, Head, WriterFiles

TOTALS_DEFINITION, CALIBRATION_DEFINITION, CASES_DEFINITION = (
    "head_totals/1",
    "head_calibration/1",
    "head_cases/1",
)
LOSS = "loss_increase"


@dataclass(frozen=True)
class TotalFiles(WriterFiles):
    """By how much the loss rises if heads are ablated and everything behind them is computed again.

    Attributes:
        heads: Which.
        reading: Of `rwcore.heads.paths.READINGS`: whether the final norm keeps its clean scale.
    """

    heads: tuple[Head, ...]
    reading: str

    WHAT: ClassVar[str] = "total effects of heads"

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """``loss_increase`` [head token], ``clean_loss`` [token], and which tokens."""
        writers = [Writer(*head) for head in self.heads]
        clean = Predictions.of(batch, run_heads(model, batch))
        readout, places = self.readout(model), self.places(batch)
        loss = torch.empty(len(writers), len(places))
        clean_loss = torch.empty(len(places))
        for moves in path_moves(model, batch, writers, self.replaced(model), [TOTAL]):
            changes = [getattr(clean, self.reading)(moved) for moved in moves.by_path[TOTAL]]
            found = clean.effects(changes, readout)
            effects = WriterEffects.of(found)
            self.check(effects.kl.cpu(), places)
            loss[[writers.index(one) for one in moves.writers]] = effects.loss_increase.cpu()
            clean_loss.copy_(found.clean_loss)
        return {LOSS: loss, "clean_loss": clean_loss, "token": places}


@dataclass(frozen=True)
class CaseFiles(WriterFiles):
    """Which predictions are cases of copy suppression, for a few heads.

    Attributes:
        heads: Which.
    """

    heads: tuple[Head, ...]

    WHAT: ClassVar[str] = "cases of copy suppression"

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """The conditions of `rwcore.heads.mids.Cases` [head token] as 0 and 1, and which tokens."""
        writers = [Writer(*head) for head in self.heads]
        found = copy_suppression_cases(model, batch, writers, self.replaced(model), self.readout(model))
        return {**{name: one.float() for name, one in vars(found).items()}, "token": self.places(batch)}


def total_losses(survey: HeadSurvey, heads: Sequence[Head], reading: str = FROZEN) -> Mapping[str, Tensor]:
    """Loss increases (ablated - clean) of heads if all that follows reacts.

    Args:
        survey: Its text and means.
        heads: Which.
        reading: ``frozen`` or ``recomputed``: the scale of the final norm.

    Returns:
        ``loss_increase`` [head token] and ``clean_loss`` [token] in the order of the corpus; NaN where there
        is no next token.

    Raises:
        OptionError: The model has no such head, or there is no such reading.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written.
    """
    require_choice("reading", reading, READINGS)
    chosen = _checked(survey, heads)
    key = survey.key("head-totals", TOTALS_DEFINITION, heads=chosen, reading=reading)

    def files(folder: Path) -> TotalFiles:
        return TotalFiles(folder, *survey.common, chosen, reading)

    return survey.swept(key, files).gathered([LOSS, "clean_loss"])


def calibrations(survey: HeadSurvey, heads: Sequence[Head]) -> dict[str, Calibration]:
    """Calibration of clean predictions (``clean``) and without the direct effect of each head (``10.7``).

    Args:
        survey: Its text and means.
        heads: Which.

    Raises:
        OptionError: The model has no such head.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written.
    """
    chosen = _checked(survey, heads)
    key = survey.key("head-calibration", CALIBRATION_DEFINITION, heads=chosen)

    def files(folder: Path) -> CalibrationFiles:
        return CalibrationFiles(folder, *survey.common, chosen)

    return survey.swept(key, files).calibrations()


def cases(survey: HeadSurvey, heads: Sequence[Head]) -> Cases:
    """Which predictions are cases of copy suppression, in the order of the corpus.

    Args:
        survey: Its text and means.
        heads: Which.

    Raises:
        OptionError: The model has no such head.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written.
    """
    chosen = _checked(survey, heads)
    key = survey.key("head-cases", CASES_DEFINITION, heads=chosen)

    def files(folder: Path) -> CaseFiles:
        return CaseFiles(folder, *survey.common, chosen)

    found = survey.swept(key, files).gathered(CONDITIONS)
    return Cases(**{name: values > 0 for name, values in found.items()})


def prompt_predictions(
    survey: HeadSurvey, tokens: Int64[Tensor, " pos"], head: Head
) -> Float[Tensor, "run vocab"]:
    """Probabilities of what follows a prompt, clean and without a head; not kept.

    Args:
        survey: Its means.
        tokens: The prompt, BOS included if the model has one.
        head: Which head.

    Raises:
        OptionError: The model has no such head, or there are no means for so long a prompt.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written.
    """
    _checked(survey, [head])
    device = pick_device(survey.forward.device)
    model = bridge(as_processed(survey.weights), device, survey.forward.dtype)
    means = (
        WriterMeans.zero(model) if survey.means is None else WriterMeans(**read_arrays(survey.means / MEANS))
    )
    readout = Readout.of(survey.weights.local, device)
    return predictions_without(model, tokens, Writer(*head), means, readout)


def _checked(survey: HeadSurvey, heads: Sequence[Head]) -> tuple[Head, ...]:
    require_heads(survey.weights, heads, "heads")
    return tuple(heads)
