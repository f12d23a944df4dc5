"""The study of what heads do: tables and summaries, and what is found in the store."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from fixtures.ioi_words import TOY_TEXTS
from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.errors import ModelError, OptionError
from rwcore.store import Store
from rwcore.studies import head_behaviour
from rwcore.studies.head_behaviour import BehaviourStudy
from rwcore.studies.head_behaviour_export import COLUMNS, behaviour_summary, behaviour_tables
from rwcore.studies.head_behaviour_runs import BehaviourOptions
from rwcore.studies.head_behaviour_tables import negative_heads, repair_table, score_summary
from rwcore.studies.weights import weight_study

OPTIONS = BehaviourOptions(sequences=8, length=10, prompts=16)


def study_of(folder, root, options=OPTIONS, texts=TOY_TEXTS):
    return BehaviourStudy(weight_study(local_model(folder), store=Store(root)), options=options, texts=texts)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    return study_of(plant_heads(root / "model"), root / "cache")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def tiny(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return study_of(build(request.param, root / "model"), root / "cache")


def test_tables_have_their_columns(tiny):
    tables = behaviour_tables(tiny)
    assert {name: tuple(table.columns) for name, table in tables.items()} == COLUMNS
    for name in ("scores.csv", "ioi.csv", "resting.csv"):
        assert len(tables[name]) == 12
    assert tables["lens_attention.csv"].empty  # no text
    with_bias = tiny.shape.family == "gpt2"
    assert tables["resting.csv"]["key_first"].notna().all() == with_bias
    for column in ("copy_suppression", "anti_induction"):
        assert (tables["scores.csv"][f"{column}_se"] > 0).all()
    assert tables["scores.csv"]["depth"].unique().tolist() == [0, 0.5, 1]


def test_the_planted_suppressor_is_the_negative_head(planted):
    tables = behaviour_tables(planted)
    scores = tables["scores.csv"].set_index(["layer", "head"])
    for column in ("copy_suppression", "anti_induction"):
        assert scores[column].idxmax() == SUPPRESSOR
        assert scores.loc[COPIER, column] < 0
        assert scores.loc[NEITHER, column] == pytest.approx(0, abs=1e-6)
    summary = behaviour_summary(planted, tables)
    assert summary["scores"]["negative_heads"][0] == "1.1"
    assert summary["scores"]["same_top_head"]
    assert summary["scores"]["top"]["copy_suppression"]["second_half"]
    assert summary["ioi"]["movers"] == ["1.1"]
    assert summary["ioi"]["accuracy"]["mean"] < 0.5  # the name that is said twice is copied more
    assert summary["repair"]["increase"] is None  # nothing comes behind


def test_repair(tiny):
    table = repair_table(tiny.prompts)
    first = int(tiny.prompts["ablated"][:, 0].max()) + 1
    assert set(table["layer"]) == set(range(first, 3))
    assert len(table) == (3 - first) * 5  # four heads and an MLP each
    assert table["share"].sum() == pytest.approx(1)
    assert (table["after"] - table["before"]).tolist() == pytest.approx(table["increase"].tolist())
    assert table["head"].isna().sum() == 3 - first
    head = table[table["head"].notna()].iloc[0]
    place = int(head["layer"]), int(head["head"])
    looked = (tiny.prompts["after_attention_io"] - tiny.prompts["after_attention_s1"])[place].mean()
    assert head["attention_after"] == pytest.approx(float(looked))


def test_summary_of_prompts(tiny):
    summary = behaviour_summary(tiny, behaviour_tables(tiny))["ioi"]
    right = (tiny.prompts["difference"] > 0).double().mean()
    assert summary["accuracy"]["mean"] == pytest.approx(float(right))
    assert summary["accuracy"]["low"] <= summary["accuracy"]["mean"] <= summary["accuracy"]["high"]
    assert summary["difference"]["low"] < summary["difference"]["mean"] < summary["difference"]["high"]
    assert summary["prompts"] == 16
    assert len(summary["movers"]) == 3


def scores_frame(copies, induction):
    count = len(copies)
    return pd.DataFrame(
        {"layer": range(count), "head": 0, "copy_suppression": copies, "anti_induction": induction}
    )


def test_correlation_is_over_heads_with_both_scores_positive():
    frame = scores_frame([1.0, 2.0, 3.0, -5.0, 4.0], [2.0, 4.0, 6.0, 9.0, -8.0])
    found = score_summary(frame)
    assert found["heads_both_positive"] == 3
    assert found["pearson_both_positive"] == pytest.approx(1)
    assert found["spearman_both_positive"] == pytest.approx(1)
    assert found["pearson_all"] < 0
    assert found["top"]["copy_suppression"] == {"head": "4.0", "score": 4.0, "second_half": True}
    assert found["top"]["anti_induction"]["head"] == "3.0"
    assert not found["same_top_head"]
    none = score_summary(scores_frame([1.0, -1.0], [2.0, -2.0]))
    assert none["pearson_both_positive"] is None


def test_negative_heads_are_among_the_best_by_both():
    frame = scores_frame([5.0, 4.0, 3.0, 2.0, 1.0], [0.1, 4.0, 0.2, 5.0, 3.0])
    assert negative_heads(frame) == ["1.0"]
    assert negative_heads(scores_frame([-1.0, -2.0], [-1.0, -2.0])) == []


def test_nothing_is_computed_twice(planted, monkeypatch):
    first, rows = planted.prompts, planted.rows
    again = study_of(planted.weights.local.path, planted.weights.store.root)
    for name in ("run_rows", "run_prompts"):
        monkeypatch.setattr(head_behaviour, name, None)
    assert torch.equal(again.prompts["heads"], first["heads"])
    assert torch.equal(again.rows["anti_induction"], rows["anti_induction"])
    other = study_of(
        planted.weights.local.path,
        planted.weights.store.root,
        BehaviourOptions(sequences=8, length=10, prompts=16, seed=1),
    )
    with pytest.raises(TypeError, match="not callable"):
        _ = other.prompts


def test_batches_move_no_more_than_rounding(planted):
    small = BehaviourStudy(
        planted.weights,
        options=OPTIONS,
        texts=TOY_TEXTS,
        forward=head_behaviour.ForwardOptions(token_budget=40),
    )
    assert torch.allclose(small.prompts["heads"], planted.prompts["heads"], atol=1e-5)
    assert torch.allclose(small.rows["anti_induction"], planted.rows["anti_induction"], atol=1e-5)


class TestRefused:
    def test_encoders(self, tmp_path):
        with pytest.raises(ModelError, match="no decoder"):
            study_of(build("bert", tmp_path / "model"), tmp_path)

    def test_own_names_on_a_tokenizer_of_other_words(self, tmp_path):
        with pytest.raises(OptionError, match="0 of 137 names"):
            BehaviourStudy(
                weight_study(local_model(build("gpt2", tmp_path / "model")), store=Store(tmp_path))
            )

    def test_rows_beyond_the_context(self, tmp_path):
        folder = build("gpt2", tmp_path / "model", context=32)
        with pytest.raises(OptionError, match="give at most 15"):
            study_of(folder, tmp_path, BehaviourOptions(length=16))

    @pytest.mark.parametrize(
        "changed", [{"sequences": 1}, {"length": 1}, {"prompts": 2}, {"embedding": "EE-Z"}]
    )
    def test_options(self, changed):
        with pytest.raises(OptionError):
            BehaviourOptions(**changed)

    def test_raw_weights(self, tmp_path):
        weights = weight_study(
            local_model(build("gpt2", tmp_path / "model")), store=Store(tmp_path), processing="raw"
        )
        with pytest.raises(OptionError, match="processed weights"):
            BehaviourStudy(weights, options=OPTIONS, texts=TOY_TEXTS)

    def test_numbers_that_are_not_finite(self, tmp_path):
        from fixtures.tiny import save, tiny_model

        model = tiny_model("gpt2")
        with torch.no_grad():
            model.transformer.h[1].attn.c_proj.weight[0, 0] = math.nan
        study = study_of(save(model, tmp_path / "model"), tmp_path)
        with pytest.raises(ModelError, match="anti_induction is not finite"):
            _ = study.rows
