"""Total effects, calibration and cases as studies: equal to one batch, kept, refused before anything runs."""

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.corpora.batches import BatchPlan
from rwcore.errors import OptionError
from rwcore.heads.calibration import calibration, top_predictions
from rwcore.heads.effects import Predictions
from rwcore.heads.last_token import predictions_without
from rwcore.heads.mids import CONDITIONS, copy_suppression_cases
from rwcore.heads.paths import FROZEN, READINGS, TOTAL, path_effects
from rwcore.heads.readout import Readout
from rwcore.heads.run import run_heads
from rwcore.heads.writers import Writer, WriterMeans
from rwcore.models.load import load_bridge
from rwcore.store import Store, read_arrays
from rwcore.studies import batch_files
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_ablations import calibrations, cases, prompt_predictions, total_losses
from rwcore.studies.head_survey import HeadSurvey, SurveyOptions
from rwcore.studies.head_survey_files import CLEAN, MEANS
from rwcore.studies.weights import weight_study
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=6, seed=3)
PROMPT = CORPUS.row(0)[:5].long()
HEADS = [(2, 1), (0, 3), (1, 0), (1, 2)]
WRITERS = [Writer(*head) for head in HEADS]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    local = local_model(build("llama", tmp_path_factory.mktemp("model")), id="tiny")
    weights = weight_study(local, store=Store(tmp_path_factory.mktemp("store")))
    return HeadSurvey(weights, CORPUS, SurveyOptions(paths=0), ForwardOptions(token_budget=40, device="cpu"))


@pytest.fixture(scope="module")
def parts(survey):
    """The model, its read-out, the means and all rows in one batch."""
    local = survey.weights.local
    means = WriterMeans(**read_arrays(survey.means / MEANS))
    return load_bridge(local), Readout.of(local), means, BatchPlan(0, tuple(range(len(CORPUS)))).load(CORPUS)


@pytest.mark.parametrize("reading", READINGS)
def test_total_effects_equal_those_of_one_batch(survey, parts, reading):
    model, readout, means, batch = parts
    found = total_losses(survey, HEADS, reading)
    wanted = path_effects(model, batch, WRITERS, means, readout, paths=(TOTAL,), readings=(reading,))
    loss = wanted.effects[TOTAL, reading].loss_increase
    assert torch.allclose(found["loss_increase"], loss, atol=1e-4, equal_nan=True)
    assert torch.allclose(found["clean_loss"], wanted.clean_loss, atol=1e-4, equal_nan=True)
    assert found["loss_increase"][:, :-1].abs().nan_to_num().max() > 1e-3


def test_calibration_equals_that_of_one_batch(survey, parts):
    model, readout, _, batch = parts
    found = calibrations(survey, HEADS)
    assert [*found] == [CLEAN, "2.1", "0.3", "1.0", "1.2"]
    clean = Predictions.of(batch, run_heads(model, batch))
    wanted = calibration(top_predictions(clean.hidden, readout), clean.target)
    assert torch.equal(found[CLEAN].total, wanted.total)
    assert torch.equal(found[CLEAN].correct, wanted.correct)
    assert not torch.equal(found["2.1"].total, wanted.total)


def test_cases_equal_those_of_one_batch(survey, parts):
    model, readout, means, batch = parts
    found = cases(survey, HEADS)
    wanted = copy_suppression_cases(model, batch, WRITERS, means, readout)
    for name in CONDITIONS:
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


def test_a_prompt_is_read_with_the_means_of_the_text(survey, parts):
    model, readout, means, _ = parts
    found = prompt_predictions(survey, PROMPT, HEADS[0])
    assert torch.allclose(found, predictions_without(model, PROMPT, WRITERS[0], means, readout))


def test_nothing_is_measured_twice(survey, monkeypatch):
    total_losses(survey, HEADS)

    def refuse(*_):
        raise AssertionError("a batch is run again")

    monkeypatch.setattr(batch_files, "bridge", refuse)
    again = HeadSurvey(survey.weights, CORPUS, survey.options, survey.forward)
    assert total_losses(again, HEADS, FROZEN)["loss_increase"].shape == (4, CORPUS.n_tokens)


def test_heads_and_readings_that_are_not_there_are_refused(survey):
    with pytest.raises(OptionError, match=r"no heads 9\.0"):
        cases(survey, [(9, 0)])
    with pytest.raises(OptionError, match="reading"):
        total_losses(survey, HEADS, "melted")
