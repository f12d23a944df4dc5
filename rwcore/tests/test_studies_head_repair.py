"""Whole studies of self-repair: batches together, found again, gone on with after a kill; tables of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.planted_heads import COPIER, PREDICTOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import BatchPlan
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError
from rwcore.heads.readout import Readout
from rwcore.heads.repair import MEAN, RESAMPLE, ZERO
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.store import Store
from rwcore.studies import head_repair_files
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_repair import LATER, RepairOptions, RepairStudy
from rwcore.studies.head_repair_files import with_company
from rwcore.studies.head_repair_tables import ORDINARY, TOP, RepairTables, clipping_bias
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.pass_makers import random_corpus
from rwcore.tests.repair_reference import slow_repair

CORPUS = random_corpus(rows=20, seed=3)
FORWARD = ForwardOptions(token_budget=40, device="cpu")
OPTIONS = RepairOptions(heads=((1, 0), (2, 3)), ablation=ZERO, share=0.1)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("model")), id="tiny")


def studied(
    local: LocalModel, root: Path, corpus: TokenCorpus = CORPUS, parts: int = 1, **options: Any
) -> RepairStudy:
    chosen = RepairOptions(**{**vars(OPTIONS), **options})
    return RepairStudy(weight_study(local, store=Store(root)), corpus, chosen, FORWARD, parts=parts)


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> RepairStudy:
    return studied(local, tmp_path_factory.mktemp("store"))


def test_every_token_stands_where_it_is_in_the_corpus(study: RepairStudy, local: LocalModel) -> None:
    model, readout = load_bridge(local), Readout.of(local)
    found = study.results
    for row in (0, 7, 19):
        batch = BatchPlan(0, (row,)).load(CORPUS)
        first = int(CORPUS.offsets[row])
        there = (found.token >= first) & (found.token < int(CORPUS.offsets[row + 1]))
        assert int(there.sum()) == int(CORPUS.lengths[row]) - 1
        for place, head in enumerate(study.heads):
            for name, values in slow_repair(model, batch, head, readout, ablation=ZERO).items():
                mine = getattr(found.repairs, name)[place][there].double()
                assert torch.allclose(mine, values, atol=2e-4), name


def test_selected_tokens_have_the_largest_direct_effects(study: RepairStudy) -> None:
    found = study.results
    for place, chosen in enumerate(found.selected):
        direct = found.repairs.direct[place]
        assert len(chosen) == int(0.1 * len(direct))
        others = torch.ones_like(direct, dtype=torch.bool)
        others[chosen] = False
        assert direct[chosen].min() >= direct[others].max() - 1e-5
        details = found.details_of(place)
        assert torch.allclose(details.gain, found.neurons.gain[place][chosen], atol=1e-5)
        assert (details.neuron // study.shape.d_mlp == 2).all()


def test_a_killed_study_goes_on(
    study: RepairStudy, local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, count = head_repair_files.run_repair, 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(head_repair_files, "run_repair", dying)
    with pytest.raises(KeyboardInterrupt):
        _ = studied(local, tmp_path).results
    again = studied(local, tmp_path).results
    batches = count - 1  # one was begun twice
    for name, values in vars(study.results.repairs).items():
        assert torch.equal(values, getattr(again.repairs, name))
    assert torch.equal(study.results.details.curve, again.details.curve)
    monkeypatch.setattr(head_repair_files, "run_repair", None)  # would fail: nothing is run again
    assert torch.equal(studied(local, tmp_path).results.token, again.token)
    assert batches > 3


def test_parts_decide_no_number(study: RepairStudy, local: LocalModel, tmp_path: Path) -> None:
    found = studied(local, tmp_path, parts=3).results
    assert torch.equal(found.repairs.norm, study.results.repairs.norm)


def test_later_mlps(local: LocalModel, tmp_path: Path) -> None:
    found = studied(local, tmp_path, mlps=LATER)
    first = found.results.details_of(0)
    assert torch.allclose(first.change, found.results.repairs.mlp[0][found.results.selected[0]], atol=2e-4)
    assert set(RepairTables(found).neurons.query("layer == 1")["neuron_layer"]) == {1, 2}


def test_tables(study: RepairStudy) -> None:
    tables = RepairTables(study, top=5)
    heads = tables.heads.set_index(["selection", "layer", "head"])
    assert len(heads) == 6
    assert heads.loc[("all", 1, 0), "tokens"] == len(study.results.token)
    assert heads.loc[(TOP, 1, 0), "direct"] > heads.loc[("all", 1, 0), "direct"]
    kept = tables.selected(ORDINARY)
    assert kept is not None
    assert all(study.ordinary[places].all() for places in kept)
    assert tables.neurons.groupby(["layer", "head"]).size().max() <= 5
    assert (tables.sparsity["top_percent_share"] >= 1 / study.shape.d_mlp).all()
    assert tables.classes["neurons"].sum() == len(tables.repairing().neurons)
    assert set(tables.groups["selection"]) == {"top", "top_ordinary", "all"}
    repairs, tokens = study.results.repairs, study.results.selected[0]
    direct = repairs.direct[0][tokens]
    parts = sum(
        float((one[0][tokens] / direct).clamp(0, 1).mean())
        for one in (repairs.norm, repairs.mlp, repairs.heads)
    )
    whole = float((repairs.repair[0][tokens] / direct).clamp(0, 1).mean())
    assert clipping_bias(tables, 0) == pytest.approx(parts - whole, abs=1e-5)


def test_erasing_neurons_of_the_planted_model_are_found(tmp_path: Path) -> None:
    planted = local_model(plant_heads(tmp_path / "model"), id="planted")
    rows = [[1, *[word] * 11] for word in range(3, 23)]
    found = studied(
        planted, tmp_path / "store", rows_corpus(rows), heads=(PREDICTOR, COPIER), ablation=RESAMPLE
    )
    tables = RepairTables(found)
    heads = tables.heads.query("selection == 'top'")
    assert (heads["repair_mlp"] > 0).all()
    assert (heads["anti_erasure"] > 0.9).all()
    assert (heads["best_erases"] == 1).all()
    assert set(tables.neurons.query("tokens > 3")["class"]) == {"weakening"}


class TestCompany:
    def test_a_row_alone_joins_its_neighbour(self) -> None:
        rows = [(0,), (1, 2), (3,), (4,), (5, 6), (7,)]
        found = with_company([BatchPlan(number, of) for number, of in enumerate(rows)])
        assert [plan.rows for plan in found] == [(0, 1, 2), (3, 4), (5, 6, 7)]
        assert [plan.number for plan in found] == [0, 1, 2]

    def test_one_row(self) -> None:
        assert with_company([BatchPlan(0, (4,))]) == [BatchPlan(0, (4,))]


class TestRefused:
    def test_head(self, local: LocalModel, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=r"no heads 3\.0"):
            studied(local, tmp_path, heads=((3, 0),))

    def test_one_row(self, local: LocalModel, tmp_path: Path) -> None:
        corpus = rows_corpus([[1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]])
        with pytest.raises(OptionError, match="one row"):
            studied(local, tmp_path, corpus, ablation=RESAMPLE)
        assert studied(local, tmp_path, corpus, ablation=MEAN).results.repairs.norm.shape == (2, 11)

    def test_too_few_tokens(self, local: LocalModel, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="a share of"):
            _ = studied(local, tmp_path, rows_corpus([[1, 5], [1, 6]])).results

    def test_encoder(self, tmp_path: Path) -> None:
        with pytest.raises((ModelError, OptionError)):
            studied(local_model(build("bert", tmp_path / "bert")), tmp_path)

    @pytest.mark.parametrize(
        "options", [{"ablation": "none"}, {"share": 0.0}, {"mlps": "first"}, {"heads": "early"}]
    )
    def test_options(self, options: dict[str, Any]) -> None:
        with pytest.raises(OptionError):
            RepairOptions(**options)
