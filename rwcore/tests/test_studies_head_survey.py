"""The survey of heads as a study: kept, resumed, the same in parts, refused before anything runs."""

import dataclasses
import json

import pytest
import torch

from fixtures.planted_heads import CONTEXT, COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.errors import ModelError, OptionError
from rwcore.heads.effects import QUANTITIES, direct_effects
from rwcore.heads.paths import FROZEN, TOTAL, path_effects
from rwcore.heads.readout import Readout
from rwcore.heads.writers import Writer
from rwcore.models.load import load_bridge
from rwcore.store import Store
from rwcore.studies import batch_files
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_survey import HeadSurvey, SurveyOptions
from rwcore.studies.head_survey_tables import (
    calibration_tables,
    curve_table,
    helped_tokens,
    path_table,
)
from rwcore.studies.weights import weight_study
from rwcore.tests.head_models import batch_of, overall_means, repeating_rows

CPU = {"device": "cpu", "token_budget": 256}


def corpus_of(local, folder, rows=None):
    """Rows of the planted words as a corpus."""
    texts = [
        " ".join(f"w{token - 4}" for token in row[1:]) for row in (repeating_rows() if rows is None else rows)
    ]
    file = folder / "notes.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return prepare(dataclasses.replace(find(str(file)), max_length=CONTEXT), read_encoder(local))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    local = local_model(plant_heads(folder / "model"))
    return local, corpus_of(local, folder)


def survey_of(planted, folder, **options):
    local, corpus = planted
    parts = options.pop("parts", 1)
    return HeadSurvey(
        weight_study(local, store=Store(folder)),
        corpus,
        SurveyOptions(**options),
        ForwardOptions(**CPU),
        parts,
    )


@pytest.fixture(scope="module")
def survey(planted, tmp_path_factory):
    return survey_of(planted, tmp_path_factory.mktemp("store"), paths=2)


def test_who_is_negative(survey):
    table = survey.table[survey.table["kind"] == "head"].set_index(["layer", "head"])
    assert survey.negative(1) == [SUPPRESSOR]
    assert table.loc[SUPPRESSOR, "dla_predicted_high"] < 0
    assert table.loc[COPIER, "dla_predicted_low"] > 0
    assert abs(table.loc[NEITHER, "dla_predicted"]) < 1e-4
    assert table.loc[SUPPRESSOR, "entropy_change_with_head"] > 0


def test_numbers_are_those_of_one_batch(planted, survey):
    """What is kept in files, in the order of the corpus, equals a pass over all rows at once."""
    local, corpus = planted
    rows = torch.stack([corpus.row(number) for number in range(len(corpus))]).long()
    model, batch = load_bridge(local), batch_of(rows)
    means, readout = overall_means(model, batch), Readout.of(local)
    whole = direct_effects(model, batch, means, readout)
    kept = survey.effects.effects(slice(None))
    for name in QUANTITIES:
        assert torch.allclose(getattr(kept, name), getattr(whole.effects, name), atol=1e-4, equal_nan=True), (
            name
        )
    clean = survey.effects.gathered(["clean_loss"])["clean_loss"]
    assert torch.allclose(clean, whole.clean_loss, atol=1e-4, equal_nan=True)
    head = survey.chosen[0]
    again = path_effects(model, batch, [Writer(*head)], means, readout, paths=[TOTAL])
    name = f"{TOTAL}/{FROZEN}/kl"
    assert torch.allclose(
        survey.paths.gathered([name])[name][0], again.effects[TOTAL, FROZEN].kl[0], atol=1e-4
    )


def test_tables(survey):
    paths = path_table(survey)
    assert len(paths) == 2 * 4 * 2
    assert list(dict.fromkeys(zip(paths["layer"], paths["head"], strict=True))) == survey.chosen
    frozen = paths[paths["reading"] == "frozen"].set_index(["layer", "head", "path"])
    direct = survey.table.set_index(["layer", "head"]).loc[SUPPRESSOR, "loss_increase"]
    assert frozen.loc[(*SUPPRESSOR, "direct"), "loss_increase"] == pytest.approx(direct, abs=1e-5)
    helped = helped_tokens(survey, [SUPPRESSOR], 3)
    assert helped["loss_increase"].is_monotonic_decreasing
    assert (helped["loss_ablated"] - helped["loss_clean"]).tolist() == pytest.approx(
        helped["loss_increase"].tolist(), abs=1e-5
    )
    first = helped.iloc[0]
    row = survey.corpus.row(int(first["row"]))
    assert first["next"] == f"w{int(row[first['position'] + 1]) - 4}"
    assert first["context"].endswith(f"w{int(row[first['position']]) - 4}")
    curves = curve_table(survey, survey.chosen)
    assert curves.groupby(["layer", "head"])["effect_share"].max().tolist() == [1, 1]
    bins, overconfident = calibration_tables(survey)
    followed = int(survey.effects.gathered(["clean_loss"])["clean_loss"].isfinite().sum())
    assert bins.groupby("without")["predictions"].sum().tolist() == [3 * followed] * 3
    assert {*overconfident["convention"]} == {"published", "fixed"}


def test_parts_decide_no_number(planted, survey, tmp_path):
    apart = survey_of(planted, tmp_path, paths=2, parts=3)
    assert apart.table.equals(survey.table)
    assert path_table(apart).equals(path_table(survey))


def test_a_killed_sweep_goes_on(planted, survey, tmp_path, monkeypatch):
    real, written = batch_files.write_arrays, []

    def dying(path, arrays):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        real(path, arrays)

    monkeypatch.setattr(batch_files, "write_arrays", dying)
    with pytest.raises(KeyboardInterrupt):
        _ = survey_of(planted, tmp_path).table
    monkeypatch.undo()
    times = [path.stat().st_mtime_ns for path in written]
    again = survey_of(planted, tmp_path)
    kept = [again.effects.folder / path.name for path in written]
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert again.table.equals(survey.table)


def test_zero_ablation_needs_no_means(planted, tmp_path):
    assert survey_of(planted, tmp_path, means="zero", paths=0).means is None
    assert survey_of(planted, tmp_path, means="zero", paths=0).paths is None


def test_means_of_positions(planted, tmp_path):
    found = survey_of(planted, tmp_path, means="position", paths=0)
    assert found.effects.replaced(None).mlp.ndim == 3
    assert found.negative(1) == [SUPPRESSOR]


class TestRefused:
    def test_heads_that_are_not_there(self, planted, tmp_path):
        with pytest.raises(OptionError, match=r"has no heads 2\.0, 1\.3"):
            survey_of(planted, tmp_path, paths=((2, 0),), held=((1, 3),))

    def test_held_heads_without_paths(self):
        with pytest.raises(OptionError, match="no paths are followed"):
            SurveyOptions(paths=0, held=((0, 0),))

    def test_baseline(self):
        with pytest.raises(OptionError, match="there is no 'median'"):
            SurveyOptions(means="median")

    def test_means_of_positions_of_unequal_rows(self, planted, tmp_path):
        local, _ = planted
        rows = repeating_rows()
        uneven = corpus_of(local, tmp_path, [rows[0], rows[1][:9]])
        with pytest.raises(OptionError, match="different lengths"):
            survey_of((local, uneven), tmp_path, means="position")

    def test_encoders(self, planted, tmp_path):
        _, corpus = planted
        local = local_model(build("bert", tmp_path / "bert"))
        study = weight_study(local, store=Store(tmp_path), processing="as_published")
        with pytest.raises(ModelError, match="no decoder"):
            HeadSurvey(study, corpus)

    def test_raw_weights(self, planted, tmp_path):
        local, corpus = planted
        with pytest.raises(OptionError, match="processed weights"):
            HeadSurvey(weight_study(local, store=Store(tmp_path), processing="raw"), corpus)
