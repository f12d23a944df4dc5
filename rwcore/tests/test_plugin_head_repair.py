"""What claims ask about self-repair: which heads, with which intervals, and what planted heads answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fixtures.planted_heads import plant_heads
from fixtures.tiny import build, local_model
from rwcore.claim.values import Interval
from rwcore.corpora.tokens import TokenCorpus
from rwcore.heads.repair import Repairs
from rwcore.heads.repair_intervals import DrawnMeans, of_late_heads, token_values
from rwcore.models.spec import LocalModel
from rwcore.parallel import InProcess
from rwcore.plugin.heads.asked_repair import repair_of
from rwcore.plugin.heads.repair import ABLATED_HEADS, LAST_HEADS, LATE_HEADS, HeadRepair, beginning, spread
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.store import Store
from rwcore.studies.head_repair import RepairOptions, RepairStudy
from rwcore.studies.head_repair_tables import RepairTables
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus

ROWS = torch.randint(4, 64, (24, 24), generator=torch.Generator().manual_seed(0)).tolist()
SAID = [[1, *[word] * 11] for word in range(3, 23)]


def asked(
    local: LocalModel, root: Path, kind: Kind = Kind.STAND_IN, corpus: TokenCorpus | None = None
) -> HeadRepair:
    return HeadRepair(weight_study(local, store=Store(root)), corpus or rows_corpus(ROWS), kind)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> HeadRepair:
    folder = tmp_path_factory.mktemp("deep")
    return asked(local_model(build("llama", folder / "model", layers=9), id="deep"), folder, Kind.OTHER)


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> HeadRepair:
    folder = tmp_path_factory.mktemp("parallel")
    return asked(local_model(build("gpt_neox", folder / "model"), id="parallel"), folder)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> HeadRepair:
    folder = tmp_path_factory.mktemp("planted")
    local = local_model(plant_heads(folder / "model"), id="planted")
    return asked(local, folder, corpus=rows_corpus(SAID))


class TestWhichHeads:
    def test_late_ones_and_some_of_the_last_layer(self, deep: HeadRepair) -> None:
        late = [(layer, head) for layer in (6, 7) for head in range(4)]
        assert deep.heads == (*late, *((8, head) for head in range(LAST_HEADS)))

    def test_all_of_a_stand_in(self, parallel: HeadRepair) -> None:
        assert len(parallel.heads) == 12

    def test_at_equal_distances(self) -> None:
        assert spread(range(10), 4) == [0, 2, 5, 7]
        assert spread(range(3), 4) == [0, 1, 2]
        many = spread(range(500), LATE_HEADS)
        assert len(set(many)) == LATE_HEADS
        assert max(np.diff(many)) - min(np.diff(many)) <= 1

    def test_the_strongest_of_each_late_layer(self, deep: HeadRepair) -> None:
        table = RepairTables(deep.study).heads.query("selection == 'top' and layer < 8")
        best = table.loc[table.groupby("layer")["direct"].idxmax()]
        heads = [deep.study.heads[place] for place in deep._strongest]
        assert heads == [*zip(best["layer"], best["head"], strict=True)]
        assert len(heads) <= ABLATED_HEADS


class TestIntervals:
    def test_over_documents_and_around_the_value(self, deep: HeadRepair) -> None:
        for name, value in {**deep.late(), **deep.scale(), **deep.noise()}.items():
            assert isinstance(value, Interval), name
            assert value.low <= value.high
            assert value.low < value.high or value.estimate in (0, 1), name  # a share
        rows = RepairTables(deep.study).groups.query("selection == 'top' and group == 'late'")
        repaired = deep.late()["repaired"]
        assert isinstance(repaired, Interval)
        assert repaired.estimate == pytest.approx(float(rows["ratio"].iloc[0]), rel=1e-5)

    def test_a_model_of_few_layers_decides_nothing(self, tmp_path: Path) -> None:
        # Not even where all is well; what does not depend on layers is decided.
        local = local_model(build("llama", tmp_path / "model"), id="shallow")
        shallow = asked(local, tmp_path, Kind.OTHER)
        for value in shallow.late().values():
            assert isinstance(value, Interval)
            assert (value.low, value.high) == (-math.inf, math.inf)
            assert math.isfinite(value.estimate)
        assert isinstance(shallow.parts()["largest_error_of_parts"], float)

    def test_a_papers_model_has_values(self, parallel: HeadRepair) -> None:
        paper = HeadRepair(parallel.weights, parallel.corpus, Kind.PAPER)
        found = {**paper.late(), **paper.scale(), **paper.noise(), **paper.clipped()}
        assert all(isinstance(value, float) for value in found.values())
        assert "repaired_in_first_half" in found

    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_so_few_layers_have_one_before_the_last(self, layers: int, tmp_path: Path) -> None:
        local = local_model(build("llama", tmp_path / "model", layers=layers), id="flat")
        flat = asked(local, tmp_path, Kind.OTHER)
        assert {layer for layer, _ in flat.heads} == {*range(max(layers - 2, 0), layers)}
        for found in (flat.late(), flat.scale(), flat.neurons()):
            assert all(value.high == math.inf for value in found.values() if isinstance(value, Interval))
            assert any(isinstance(value, Interval) for value in found.values())

    def test_what_is_missing_in_a_model_of_few_layers_is_undecided(self, tmp_path: Path) -> None:
        shallow = asked(local_model(build("llama", tmp_path / "model"), id="shallow"), tmp_path, Kind.OTHER)
        (found,) = shallow._said({"anything": np.full(5, np.nan)}).values()
        assert isinstance(found, Interval)
        assert (found.low, found.high) == (-math.inf, math.inf)


class TestParts:
    def test_add_up(self, deep: HeadRepair, parallel: HeadRepair) -> None:
        for one in (deep, parallel):
            assert 0 < one.parts()["largest_error_of_parts"] < 1e-3
            assert one.identity()["largest_error"] >= one.parts()["largest_error_of_parts"]

    def test_in_parallel_blocks_the_mlp_beside_a_head_does_not_see_it(
        self, deep: HeadRepair, parallel: HeadRepair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert parallel.parts()["repair_by_unreached"] < 1e-5
        assert deep.parts()["repair_by_unreached"] == 0
        # It does in a sequential one, where this would be wrong.
        monkeypatch.setattr(HeadRepair, "_beside", True)
        assert deep.parts()["repair_by_unreached"] > 1e-3


class TestNeurons:
    def test_of_the_planted_model_erase_less(self, planted: HeadRepair) -> None:
        found = planted.neurons()
        anti, few = found["share_of_anti_erasure"], found["best_percent_over_uniform"]
        assert anti == 1 or (isinstance(anti, Interval) and anti.estimate == 1)
        # One neuron of 24 does it all: 24 times its share.
        estimate = few.estimate if isinstance(few, Interval) else few
        assert 20 < estimate <= 24
        assert found["rises"] == 0

    def test_chosen_by_the_outcome_are_more(self, deep: HeadRepair) -> None:
        # SRT4: tokens chosen by what MLPs repair flatter whatever is said about the neurons that repair.
        repairs = deep.study.results.repairs
        for place, tokens in enumerate(deep.study.results.selected):
            outcome = repairs.mlp[place].topk(len(tokens)).values
            assert outcome.mean() > repairs.mlp[place][tokens].mean()
        found = deep.neurons()
        by_effect, by_outcome = (found[f"share_of_anti_erasure{end}"] for end in ("", "_by_outcome"))
        assert isinstance(by_effect, Interval)
        assert isinstance(by_outcome, Interval)
        assert by_effect.estimate != by_outcome.estimate
        table = RepairTables(deep.study).sparsity.query("layer == 7")
        assert by_effect.estimate == pytest.approx(table["best_erases"].mean())
        assert by_outcome.estimate == pytest.approx(table["best_erases_by_outcome"].mean())
        assert found["largest_share_of_a_neuron"] == pytest.approx(table["most_frequent_share"].mean())
        assert found["largest_share_in_a_head"] == pytest.approx(table["most_frequent_share"].max())


def test_ablations_of_a_kind_are_those_of_its_study(deep: HeadRepair) -> None:
    found = deep.shrinking()
    strongest = tuple(deep.study.heads[place] for place in deep._strongest)
    for name, kind in (("mean", "mean"), ("zero", "zero"), ("resampled", "resample")):
        study = RepairStudy(deep.weights, deep.corpus, RepairOptions(heads=strongest, ablation=kind))
        table = RepairTables(study).heads.query("selection == 'top'").reset_index(drop=True)
        if name == "resampled":
            continue
        helped = deep.means["norm"][0][deep._strongest] > 0
        value = found[f"share_shrunk_{name}"]
        estimate = value.estimate if isinstance(value, Interval) else value
        wanted = table["share_norm_grows"][helped].mean() if helped.any() else math.nan
        assert estimate == pytest.approx(wanted, nan_ok=True)


def test_a_selection_repairs_more_than_all_tokens(planted: HeadRepair) -> None:
    table = planted.unselected()["loss_by_selection"]
    assert isinstance(table, pd.DataFrame)
    assert table["heads"].tolist() == ["late", "all"]


def test_strongest_heads_by_name(planted: HeadRepair) -> None:
    found = planted.strongest()
    assert found["first_by_direct_effect"] in {"L0H0", "L1H0"}
    direct = found["direct_effect"].set_index("head")["value"]
    assert direct.idxmax() == found["first_by_direct_effect"]
    assert abs(direct["L1H2"]) < 1e-3  # it writes where nobody reads
    loss = found["self_repair"].set_index("head")["value"] - found["logit"].set_index("head")["value"]
    assert (loss[["L0H0", "L1H0"]] > 0.1).all()


def test_statements_fail_where_heads_do_the_opposite() -> None:
    """The same numbers with the sign of repair turned: late heads are broken further, not repaired."""
    generator = torch.Generator().manual_seed(1)
    direct = 1 + torch.rand(9, 60, generator=generator)
    noise = 0.05 * torch.randn(9, 60, generator=generator)
    strength = torch.linspace(0.3, 0.5, 9)[:, None] * direct
    answers = {}
    for sign in (1, -1):
        norm = sign * strength + noise
        repairs = Repairs(
            direct=direct,
            ablated_direct=torch.zeros_like(direct),
            logit_change=norm - direct,
            heads=torch.zeros_like(direct),
            mlp=torch.zeros_like(direct),
            norm=norm,
            post_norm=torch.zeros_like(direct),
            scale_ratio=1 + 0.1 * norm,
        )
        means = DrawnMeans.of(token_values(repairs), torch.arange(60) // 4)
        answers[sign] = {name: float(of[0]) for name, of in of_late_heads(means).items()}
    assert answers[1]["share_repaired"] == 1
    assert answers[-1]["share_repaired"] == 0
    assert 0.2 < answers[1]["repaired"] < 0.9
    assert answers[-1]["repaired"] < 0
    assert answers[1]["share_helped_by_scale"] == 1
    assert answers[-1]["share_helped_by_scale"] == 0


def test_the_beginning_of_a_text() -> None:
    corpus = rows_corpus([[1] * 5, [2] * 4, [3] * 6, [4] * 3], document=[0, 0, 1, 2])
    found = beginning(corpus, 15)
    assert found.lengths.tolist() == [5, 4, 6]
    assert found.document.tolist() == [0, 0, 1]
    assert found.content_hash != corpus.content_hash
    assert len(beginning(corpus, 3)) == 2  # values are those of another row
    assert beginning(corpus, 100).content_hash == corpus.content_hash


def test_one_and_one_point_zero_are_the_same_share() -> None:
    # SRT12: in the published code two spellings of a percentage are two sets of files.
    assert str(RepairOptions(share=1)) == str(RepairOptions(share=1.0))


@pytest.mark.parametrize("family", ["bert", "mingpt"])
def test_models_whose_heads_or_text_cannot_be_read_are_not_asked(family: str, tmp_path: Path) -> None:
    local = local_model(build(family, tmp_path / family), id=family, family=family)
    spec = SubjectSpec(Kind.STAND_IN, family, (family,))
    subject = ModelSubject(spec, (local,), Store(tmp_path / "store"), InProcess(), recorded=True)
    with pytest.raises(pytest.skip.Exception, match=r"no decoder|no readable tokenizer"):
        repair_of(subject)
