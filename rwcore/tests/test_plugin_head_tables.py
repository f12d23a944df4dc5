"""Published tables about heads: ranks, names, groups of layers, overconfidence."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.golden.paths import published_dir
from rwcore.plugin.heads.tables import (
    Ranks,
    first_heads,
    head_rows,
    late,
    overconfidence,
    repaired,
    self_repair,
    share,
)
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.tables import TablesSubject


def tables(*models: str) -> TablesSubject:
    return TablesSubject(
        SubjectSpec(Kind.TABLES, "tables", models, "copy_suppression"), published_dir("copy_suppression")
    )


@given(st.lists(st.integers(0, 150), min_size=1, max_size=60))
def test_ranks_are_those_of_a_plain_list(ranks: list[int]) -> None:
    found = Ranks(tuple(ranks.count(rank) for rank in range(100)), len(ranks))
    assert found.beyond == sum(rank >= 100 for rank in ranks)
    for below, value in found.shares_below().to_numpy().tolist():
        assert value == sum(rank < below for rank in ranks) / len(ranks)
    assert found.least_mean == pytest.approx(sum(min(rank, 100) for rank in ranks) / len(ranks))
    median = sorted(ranks)[(len(ranks) - 1) // 2]
    if median < 100:
        assert found.median == median
    else:
        with pytest.raises(ValueError, match="not among the first 100"):
            _ = found.median


def test_rows_have_the_ids_of_the_registry_and_names_of_heads() -> None:
    heads = head_rows(tables("gpt2"), "copy_suppression_anti_induction_vs_cs_heads_over_0.02")
    assert set(heads["model"]) == {"gpt2"}
    assert first_heads(heads, "copy_suppression_ioi", 2) == ["L10H7", "L11H10"]
    assert first_heads(heads, "anti_induction", 1, lowest=True) == ["L11H5"]
    unregistered = head_rows(tables("solu-10l"), "copy_suppression_anti_induction_vs_cs_model_summary")
    assert unregistered["model"].tolist() == ["solu-10l"]


@pytest.mark.parametrize(("model", "first", "last"), [("gpt2", 8, 10), ("gpt2-medium", 16, 22)])
def test_late_layers(model: str, first: int, last: int) -> None:
    table = self_repair(tables(model))
    assert sorted(late(table)["layer"].unique()) == list(range(first, last + 1))


def test_sums_and_shares_by_model() -> None:
    table = pd.DataFrame(
        {"model": ["b", "b", "a"], "sr": [1.0, 2.0, -1.0], "loss": [2.0, 4.0, 2.0], "part": [3.0, 0.0, 1.0]}
    )
    assert repaired(table).to_dict() == {"b": 0.5, "a": -0.5}
    assert repaired(table, "part").to_dict() == {"b": 0.5, "a": 0.5}
    assert share(table, table["sr"] > 1.5).to_dict() == {"b": 0.5, "a": 0.0}


def test_overconfidence_of_known_curves() -> None:
    middle = pd.Series([(i + 0.5) / 100 for i in range(100)])
    curves = pd.DataFrame({"bin_mid": middle, "calibrated": middle, "half": 0.5, "timid": 2 * middle - 0.5})
    found = [overconfidence(curves, run) for run in ("calibrated", "half", "timid")]
    assert found == pytest.approx([0, 1, -1])
