"""What claims ask about name movers and whoever steps in for them, against the study of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.heads.embeddings import effective_embedding
from rwcore.heads.ioi_queries import composition_ranks
from rwcore.heads.movers import effects_without
from rwcore.plugin.heads.behaviour import HeadBehaviour
from rwcore.plugin.heads.movers import BACKUP, NEGATIVE, PAPER_NAMES, MoverRepair
from rwcore.plugin.subjects import Kind
from rwcore.store import Store
from rwcore.studies.head_behaviour_tables import ioi_table
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus


@pytest.fixture(scope="module")
def repair(tmp_path_factory: pytest.TempPathFactory) -> MoverRepair:
    folder: Path = tmp_path_factory.mktemp("movers")
    local = local_model(build("gpt2", folder / "model"), id="tiny")
    weights = weight_study(local, store=Store(folder / "store"))
    return MoverRepair(HeadBehaviour(weights, lambda _: rows_corpus([[1, 5, 6]]), Kind.STAND_IN))


def test_contributions_are_those_of_the_study(repair: MoverRepair) -> None:
    table = repair.table.set_index("component")
    known = ioi_table(repair.behaviour.study.prompts)
    for row in known[known["layer"] > 0].to_dict("records"):
        before = table.loc[f"L{row['layer']}H{row['head']}", "before"]
        assert before == pytest.approx(row["contribution"], abs=1e-5)
    assert not table.index.str.startswith("L0").any()  # the movers' own layer
    assert {"MLP1", "MLP2"} < {*table.index}


def test_repair_is_what_changes_without_the_movers(repair: MoverRepair) -> None:
    before, _ = repair.effects
    prompts, model = repair.behaviour.study.inputs.prompts, repair.behaviour.bridge()
    after = effects_without(model, prompts, repair._readout, repair.movers, before.scale)
    found = repair.self_repair()
    change = found["change"].set_index("head")["value"]
    total = (after.heads[1:] - before.heads[1:]).mean(dim=2).sum() + (after.mlps[1:] - before.mlps[1:]).mean(
        dim=1
    ).sum()
    assert change.sum() == pytest.approx(float(total), abs=1e-4)
    assert change.abs().max() > 1e-4
    negative = {"L{}H{}".format(*repair.behaviour.named(name)) for name in NEGATIVE}
    assert found["share_of_negative_heads"] == pytest.approx(change[[*negative]].sum() / change.sum())


def test_attention_is_that_without_the_movers(repair: MoverRepair) -> None:
    _, after = repair.effects
    found = repair.attention().set_index("head")["value"]
    for name in NEGATIVE:
        layer, head = repair.behaviour.named(name)
        looks = after.attention_io[layer, head] - after.attention_s1[layer, head]
        assert found[name] == pytest.approx(float(looks.mean()))


def test_ranks_are_said_as_if_there_were_as_many_names(repair: MoverRepair) -> None:
    found = repair.composition()
    assert len(found["negative"]) == len(repair.movers) * len(NEGATIVE)
    assert len(found["backup"]) == len(repair.movers) * len(BACKUP)
    values = torch.tensor(found["backup"]["value"].to_numpy())
    assert ((values >= 1) & (values <= PAPER_NAMES)).all()
    # The first stays the first, the last becomes the last: ranks of 8 names in steps of 140 / 7.
    assert torch.allclose((values - 1) / 10, ((values - 1) / 10).round())
    model, study = repair.behaviour.bridge(), repair.behaviour.study
    names = torch.tensor([*study.inputs.words.names.numbers.values()])
    table = effective_embedding(model, study.options.embedding, names)
    mover = repair.movers[0]
    rank = composition_ranks(model, mover, table)[repair.behaviour.named("L10H2")]
    pair = found["backup"].set_index("pair")["value"][f"L{mover[0]}H{mover[1]} to L10H2"]
    assert pair == pytest.approx(1 + 20 * (float(rank) - 1))
