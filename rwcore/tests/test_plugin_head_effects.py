"""What claims ask of heads, on the planted model: which head is meant, and what is said of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from fixtures.planted_heads import SUPPRESSOR, plant_heads
from fixtures.tiny import local_model
from rwcore.claim.values import Interval
from rwcore.corpora.tokens import TokenCorpus
from rwcore.plugin.heads.confidence import Confidence
from rwcore.plugin.heads.effects import HeadEffects
from rwcore.plugin.heads.intervals import ratio_interval
from rwcore.plugin.heads.prompts import HeadPrompts, place_in
from rwcore.plugin.heads.tables import head_name, named_head
from rwcore.plugin.subjects import Kind
from rwcore.plugin.text import first_rows
from rwcore.store import Store
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.test_studies_head_survey import corpus_of


@pytest.fixture(scope="module")
def corpus(weights: WeightStudy, tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    found: TokenCorpus = corpus_of(weights.local, tmp_path_factory.mktemp("text"))
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    folder = tmp_path_factory.mktemp("planted")
    local = local_model(plant_heads(folder / "model"), id="planted-heads", family="gpt2")
    return weight_study(local, store=Store(folder / "store"))


@pytest.fixture(scope="module")
def effects(weights: WeightStudy, corpus: TokenCorpus) -> HeadEffects:
    return HeadEffects(weights, lambda _: corpus, Kind.OTHER)


@pytest.fixture(scope="module")
def stand_in(weights: WeightStudy, corpus: TokenCorpus) -> HeadEffects:
    return HeadEffects(weights, lambda _: corpus, Kind.STAND_IN)


def test_the_reference_head_is_the_planted_suppressor(effects: HeadEffects) -> None:
    assert not effects.named
    assert effects.late == ((1, 0), (1, 1), (1, 2))
    assert effects.head == SUPPRESSOR
    assert len(effects.scan.corpus) == 8
    found = effects.explained()
    assert found["reference_head"] == "L1H1"
    highest = found["highest_explained"]
    assert isinstance(highest, Interval)
    assert 0.1 < highest.low < highest.estimate < highest.high <= 1
    assert found["share_above_tenth"] == pytest.approx(1 / 3)


def test_parts_are_differences_of_what_is_explained(effects: HeadEffects) -> None:
    table = effects.closer.table.set_index("variant")["explained"]
    found = effects.parts()
    for name, one, other in (("lead_of_qk", "qk", "ov"), ("lead_of_ov", "ov", "both")):
        lead = found[name]
        assert isinstance(lead, Interval)
        assert lead.estimate == pytest.approx(table[one] - table[other], abs=1e-9)
    both = effects.explained()["both_minus_negative"]
    assert isinstance(both, Interval)
    assert both.estimate == pytest.approx(table["both"] - table["negative"], abs=1e-9)


def test_the_strongest_tokens(effects: HeadEffects) -> None:
    found = effects.strongest()
    table = effects.closer.table.set_index("variant")
    line = effects.closer.line(effects.head)
    last = line[line["variant"] == "negative"].iloc[-1]
    assert found["explained_overall"] == pytest.approx(table["explained"]["negative"], abs=1e-6)
    assert found["explained_in_top_percentile"] == pytest.approx(last["explained"], abs=1e-6)
    assert found["kl_mean_ablated"] == pytest.approx(table["kl_mean_ablation"]["negative"], rel=1e-4)
    assert found["kl_cspa"] == pytest.approx(table["kl"]["negative"], rel=1e-4)
    gain = found["gain_in_top_percentile"]
    assert isinstance(gain, Interval)
    assert gain.estimate == pytest.approx(last["explained"] - table["explained"]["negative"], abs=1e-6)


def test_losses_are_those_of_the_survey(effects: HeadEffects) -> None:
    found = effects.losses()
    survey = effects.around.table
    row = survey[(survey["layer"] == 1) & (survey["head"] == 1)].iloc[0]
    for name, column in (
        ("top_twentieth", "largest_share"),
        ("share_helped", "helped_by_ablation"),
        ("loss_increase", "loss_increase"),
    ):
        value = found[name]
        assert isinstance(value, Interval)
        assert value.estimate == pytest.approx(row[column], abs=2e-4), name


def test_the_suppressor_has_cases_where_it_matters(effects: HeadEffects) -> None:
    found = effects.cases()
    share, everywhere = found["share"], found["share_at_random"]
    assert isinstance(share, Interval)
    assert isinstance(everywhere, Interval)
    assert share.low > everywhere.high


def test_entropy_and_calibration_rank_the_reference_head(effects: HeadEffects) -> None:
    entropies = Confidence(effects).entropies()
    assert entropies["rank_of_reference"] == 1  # it alone flattens what the others predict
    assert entropies["raise_most"][0] == "L1H1"  # type: ignore[index]
    assert 0 <= entropies["share_lowering"] <= 1  # type: ignore[operator]
    assert Confidence(effects).calibration()["rank_by_overconfidence"] in (1, 2, 3)
    share = effects.repaired()["share_smaller"]
    assert isinstance(share, float)
    assert math.isnan(share) or 0 <= share <= 1


def test_nothing_is_said_of_a_head_that_does_nothing(effects: HeadEffects) -> None:
    silent = HeadEffects(effects.weights, effects.text, Kind.OTHER)
    vars(silent)["head"] = (0, 2)  # plants leave it without an output
    assert silent.silent
    assert not effects.silent
    for part, name in (
        (silent.explained(), "highest_explained"),
        (silent.explained(), "both_minus_negative"),
        (silent.parts(), "lead_of_qk"),
        (silent.strongest(), "gain_in_top_percentile"),
        (silent.losses(), "share_helped"),
        (silent.cases(), "share"),
        (Confidence(silent).entropies(), "rank_of_reference"),
        (Confidence(silent).calibration(), "rank_by_overconfidence"),
    ):
        assert math.isnan(part[name]), name  # type: ignore[arg-type]


def test_stand_ins_of_the_papers_family_have_named_heads(stand_in: HeadEffects) -> None:
    assert stand_in.named
    assert stand_in.head == (0, 1)  # L10H7 of two layers and three heads
    assert "explained_elsewhere" in stand_in.explained()
    assert len(Confidence(stand_in).entropies()["entropy"]) == 6  # type: ignore[arg-type]
    assert "without_L10H7_over_clean" in Confidence(stand_in).calibration()
    assert set(stand_in.paths()["loss"]["paths"]) == {  # type: ignore[index]
        "direct", "indirect", "indirect_excluding_L11H10", "both",
    }  # fmt: skip
    assert len(stand_in.totals()["relative_increase"]) == 6  # type: ignore[arg-type]


def test_names_of_heads(weights: WeightStudy) -> None:
    assert named_head(weights, "L1H2") == (1, 2)
    assert named_head(weights, "L11H10") == (1, 1)
    assert head_name((10, 7)) == "L10H7"


def test_prompts_are_read_with_and_without_a_head(stand_in: HeadEffects) -> None:
    found = HeadPrompts(stand_in)
    assert -1 <= found.love_and_war()["rise_of_love"] <= 1  # type: ignore[operator]
    example = found.page_example()
    assert example is not None
    assert 0 <= example["clean"] <= 1  # type: ignore[operator]


def test_a_place_is_found_in_the_nearest_row(corpus: TokenCorpus) -> None:
    rows = torch.tensor([1, 5, 6, 7, 1, 6, 7, 8, 1, 9, 6, 7], dtype=torch.int32)
    three = dataclasses.replace(
        corpus, tokens=rows, document=torch.arange(3), offsets=torch.tensor([0, 4, 8, 12])
    )
    for row, wanted in ((0, [1, 5, 6, 7]), (1, [1, 6, 7]), (9, [1, 9, 6, 7])):
        found = place_in(three, [6, 7], row, [1])
        assert found is not None
        assert found.tolist() == wanted
    assert place_in(three, [7, 6], 0, [1]) is None
    assert place_in(three, [1] * 9, 0, [1]) is None
    later = place_in(three, [6, 7], 0, [9, 8])  # what it may suppress stands before it
    assert later is not None
    assert later.tolist() == [1, 9, 6, 7]


def test_first_rows(corpus: TokenCorpus) -> None:
    found = first_rows(corpus, 2)
    assert len(found) == 2
    assert torch.equal(found.row(1), corpus.row(1))
    assert found.n_tokens == int(corpus.lengths[:2].sum())
    assert len(first_rows(corpus, 10_000)) == len(corpus)


def test_an_interval_of_a_ratio() -> None:
    generator = np.random.default_rng(0)
    sums = np.stack([generator.normal(2, 1, 400), generator.normal(4, 1, 400)], axis=1)
    found = ratio_interval(sums, lambda of: of[..., 0] / of[..., 1])
    assert isinstance(found, Interval)
    assert found.estimate == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum())
    assert found.low < 0.5 < found.high
    # The error of a mean of 400 ratios of this spread, both ways.
    assert found.high - found.low == pytest.approx(4 * np.sqrt(1 + 0.25) / 4 / 20, rel=0.2)


def test_a_ratio_without_an_interval() -> None:
    assert ratio_interval(np.array([[1.0, 2.0]]), lambda of: of[..., 0] / of[..., 1]) == 0.5
    assert math.isnan(ratio_interval(np.zeros((3, 2)), lambda of: of[..., 0] / of[..., 1]))  # type: ignore[arg-type]
