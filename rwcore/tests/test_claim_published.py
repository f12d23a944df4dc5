"""Published values: from files and inline, for one model and for several together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rwcore.claim.published import expected_for, read_csv
from rwcore.claim.review import check_paper
from rwcore.claim.schema import Claim, Expectation, Paper
from rwcore.errors import ClaimFileError

A, B = "org/a", "org/b"

COUNTS = """\
model,layer,class,count,source_file
org/a,0,S,1,t.tex
org/a,0,W,9,t.tex
org/a,1,S,2,t.tex
org/a,1,W,8,t.tex
org/b,0,S,5,t.tex
org/b,0,W,5,t.tex
"""

COUNT = {"values": "counts.csv", "value": "count"}


def make(expect: dict[str, Any], **more: Any) -> tuple[Paper, Claim, Expectation]:
    fields = {"scope": "published", "models": [A, B], "tolerance": {"kind": "exact", "because": "counts"}}
    claim = {"id": "C01", "statement": "s", "where": "w", "definition": "class_counts/1", "kind": "W"}
    paper = Paper.model_validate(
        {"slug": "p", "title": "t", "authors": "a", "year": 2025, "url": "u", "version_read": "v",
         "spec": "s", "claims_in_spec": 1, "claim": [{**claim, "expect": [{**fields, **expect}]}], **more}
    )  # fmt: skip
    return paper, paper.claims[0], paper.claims[0].expect[0]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    folder = tmp_path / "golden" / "p" / "published"
    folder.mkdir(parents=True)
    (folder / "counts.csv").write_text(COUNTS)
    (folder / "share.csv").write_text("model,share\norg/a,.5\norg/b,.25\n")
    (folder / "regions.csv").write_text("model,cosine,low,high\norg/a,gatelin,,0.07\norg/a,linout,-0.1,0.1\n")
    (folder / "beta.csv").write_text("d_model,high\n512,0.0866\n896,0.0655\n")
    (folder / "tokens.csv").write_text(
        'model,token,tied\norg/a,nan,True\norg/a," 1",False\norg/a,"a,""b",True\n'
    )
    return tmp_path / "golden"


def expected(golden: Path, expect: dict[str, Any], model: Any = A) -> Any:
    return expected_for(*make(expect), model, golden=golden)


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [tuple(frame.columns), *frame.itertuples(index=False, name=None)]


# --- inline --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "model", "value"),
    [
        ({"values": 0.5}, A, 0.5),
        ({"values": [1, 2]}, A, [1, 2]),
        ({"values": {A: 1, B: 2}}, B, 2),
        ({"values": {A: 1, B: 2}}, (B,), 2),
        ({"values": {A: "weakening", B: "x"}}, A, "weakening"),
        ({"values": {A: True, B: False}}, A, True),
        ({"values": 7, "together": True}, None, 7),
        ({"values": 7, "models": [], "scope": "synthetic"}, None, 7),
    ],
)
def test_inline_scalars_and_lists(golden: Path, expect: dict[str, Any], model: Any, value: Any) -> None:
    found = expected(golden, expect, model)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expect", "model", "table"),
    [
        (
            {"values": {A: {"S": 47, "W": 526}, B: {"S": 1, "W": 2}}, "key": "class", "value": "count"}, A,
            [("class", "count"), ("S", 47), ("W", 526)],
        ),
        (
            {"values": {A: {"0": 0.5, "10": 0.25}, B: {"0": 1}}, "key": "layer"}, A,
            [("layer", "value"), (0, 0.5), (10, 0.25)],
        ),
        (
            {"values": {A: 1, B: 2}, "together": True}, None,
            [("model", "value"), (A, 1), (B, 2)],
        ),
        (
            {"values": {A: {"S": 1}, B: {"S": 2, "W": 3}}, "key": "class", "together": True}, None,
            [("model", "class", "value"), (A, "S", 1), (B, "S", 2), (B, "W", 3)],
        ),
        (
            {"values": {"S": 966, "W": 8472}, "key": "class", "together": True}, None,
            [("class", "value"), ("S", 966), ("W", 8472)],
        ),
        (
            {"values": {"896": 0.0655, "4096": 0.0306}, "key": "d_model", "models": [], "scope": "synthetic"},
            None,
            [("d_model", "value"), (896, 0.0655), (4096, 0.0306)],
        ),
    ],
)  # fmt: skip
def test_inline_tables(
    golden: Path, expect: dict[str, Any], model: Any, table: list[tuple[Any, ...]]
) -> None:
    assert rows(expected(golden, expect, model)) == table


def test_several_models_make_a_table_and_so_does_one_taken_together(golden: Path) -> None:
    assert rows(expected(golden, {"values": {A: 1, B: 2}}, [A, B])) == [("model", "value"), (A, 1), (B, 2)]
    alone = {"values": {A: 1}, "models": [A], "together": True}
    assert rows(expected(golden, alone, None)) == [("model", "value"), (A, 1)]


def test_a_model_without_an_inline_value(golden: Path) -> None:
    with pytest.raises(ClaimFileError, match="did you mean 'org/a'"):
        expected(golden, {"values": {A: 1}, "models": [A]}, "org/aa")


def test_predicates_have_no_values(golden: Path) -> None:
    assert expected(golden, {"tolerance": None, "holds": {"kind": "at_least", "value": 0}}) is None


# --- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "model", "table"),
    [
        (
            {**COUNT, "key": ["layer", "class"]}, A,
            [("layer", "class", "count"), (0, "S", 1), (0, "W", 9), (1, "S", 2), (1, "W", 8)],
        ),
        (
            {**COUNT, "select": {"class": "W", "source_file": "t.tex"}}, A,
            [("layer", "count"), (0, 9), (1, 8)],
        ),
        (
            {**COUNT, "key": "class", "select": {"layer": 0}}, B,
            [("class", "count"), ("S", 5), ("W", 5)],
        ),
        (
            {**COUNT, "key": ["layer", "class"], "select": {"layer": [1, 2]}},
            A,
            [("layer", "class", "count"), (1, "S", 2), (1, "W", 8)],
        ),
        (
            {**COUNT, "key": "class", "select": {"layer": 0}, "together": True},
            None,
            [("model", "class", "count"), (A, "S", 1), (A, "W", 9), (B, "S", 5), (B, "W", 5)],
        ),
        (
            {**COUNT, "key": "layer", "select": {"model": "org/b", "class": "W"}},
            A,
            [("layer", "count"), (0, 5)],
        ),
        (
            {"values": "share.csv", "value": "share", "together": True}, None,
            [("model", "share"), (A, 0.5), (B, 0.25)],
        ),
        (
            {"values": "regions.csv", "value": "high", "key": "cosine"}, A,
            [("cosine", "high"), ("gatelin", 0.07), ("linout", 0.1)],
        ),
        (
            {"values": "beta.csv", "value": "high", "models": [], "scope": "synthetic"}, None,
            [("d_model", "high"), (512, 0.0866), (896, 0.0655)],
        ),
        (
            {"values": "tokens.csv", "value": "tied"}, A,
            [("token", "tied"), ("nan", True), (" 1", False), ('a,"b', True)],
        ),
    ],
)  # fmt: skip
def test_tables_from_files(
    golden: Path, expect: dict[str, Any], model: Any, table: list[tuple[Any, ...]]
) -> None:
    assert rows(expected(golden, expect, model)) == table


def test_one_row_without_keys_is_a_scalar(golden: Path) -> None:
    assert expected(golden, {"values": "share.csv", "value": "share"}, B) == 0.25
    weakening = {**COUNT, "select": {"layer": 0, "class": "W", "source_file": "t.tex"}}
    assert expected(golden, weakening, A) == 9


def test_a_frame_that_is_changed_does_not_change_the_next_one(golden: Path) -> None:
    expect = {**COUNT, "key": ["layer", "class"]}
    for frame in (expected(golden, expect), read_csv(golden / "p" / "published" / "counts.csv")):
        frame["count"] = 0
    assert expected(golden, expect)["count"].sum() == 20


def test_a_file_that_is_changed_is_read_again(golden: Path) -> None:
    file = golden / "p" / "published" / "share.csv"
    assert expected(golden, {"values": "share.csv", "value": "share"}) == 0.5
    file.write_text("model,share\norg/a,.75\n")
    os.utime(file, ns=(1, 1))
    assert expected(golden, {"values": "share.csv", "value": "share"}) == 0.75


@pytest.mark.parametrize(
    ("expect", "what"),
    [
        ({"values": "count.csv"}, "did you mean 'counts.csv'"),
        (
            {"values": "counts.csv", "value": "counts", "key": "layer"},
            "no column 'counts'; did you mean 'count'",
        ),
        ({**COUNT, "key": "layr"}, "did you mean 'layer'"),
        ({**COUNT, "select": {"clas": "S"}}, "did you mean 'class'"),
        ({**COUNT, "select": {"class": "X"}}, "no row has class = X"),
        ({**COUNT, "key": "layer"}, "several rows have the same layer"),
        (
            {**COUNT, "models": [A, "org/bb"], "together": True},
            "no rows for org/bb",
        ),
        (
            {"values": "regions.csv", "value": "low", "key": "cosine", "models": [A]},
            "has no value in 1 of 2 rows",
        ),
    ],
)
def test_mistakes_in_tables_are_named(golden: Path, expect: dict[str, Any], what: str) -> None:
    with pytest.raises(ClaimFileError) as caught:
        expected(golden, expect)
    assert what in caught.value.what
    assert ".csv" in str(caught.value.where)
    assert caught.value.remedy


def test_no_column_tells_rows_apart(golden: Path) -> None:
    (golden / "p" / "published" / "plain.csv").write_text("model,x\norg/a,1\norg/a,2\n")
    with pytest.raises(ClaimFileError, match="no column tells them apart"):
        expected(golden, {"values": "plain.csv", "value": "x"})


def test_the_line_of_a_gap_is_named(golden: Path) -> None:
    with pytest.raises(ClaimFileError) as caught:
        expected(golden, {"values": "regions.csv", "value": "low", "key": "cosine"})
    assert str(caught.value.where).endswith("regions.csv:2")


@pytest.mark.parametrize("text", ["", "a,b\n1\n", 'a\n"unclosed\n', "a,b\n1,2,3\n"])
def test_files_that_are_no_tables(golden: Path, text: str) -> None:
    file = golden / "p" / "published" / "bad.csv"
    file.write_text(text)
    with pytest.raises(ClaimFileError):
        read_csv(file)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [("1|2", "int"), ("1|", "float"), (".5|-1e-3", "float"), ("1_0|2", "str"), ("inf|1", "str"),
     ("True|false", "bool"), ("True|", "str"), ("nan|nan", "str"), (" 1|2", "str")],
)  # fmt: skip
def test_columns_are_what_all_their_cells_are(golden: Path, cells: str, kind: str) -> None:
    file = golden / "p" / "published" / "cells.csv"
    file.write_text("x,y\n" + "".join(f"{cell},0\n" for cell in cells.split("|")))
    assert {type(cell).__name__ for cell in read_csv(file)["x"].tolist()} == {kind}


# --- the review of a whole paper -----------------------------------------------------------------------


def test_a_review_lists_every_problem_at_once(golden: Path) -> None:
    claim = {"id": "C01", "statement": "s", "where": "w", "definition": "d/1", "kind": "W"}
    base = {"scope": "published", "tolerance": {"kind": "exact", "because": "x"}, "value": "count"}
    good = {**base, "models": [A], "values": "counts.csv", "key": ["layer", "class"]}
    paper, *_ = make(
        {"values": 1},
        claim=[
            {**claim, "expect": [good, {**good, "values": "missing.csv"}, {**good, "models": ["org/x"]}]},
            {**claim, "id": "C02", "expect": [{**good, "models": [A, B, "org/y"], "together": True}]},
        ],
    )
    problems = check_paper(paper, golden)
    assert len(problems) == 4
    for text, problem in zip(["claims_in_spec", "missing.csv", "org/x", "org/y"], problems, strict=True):
        assert text in problem


def test_a_review_of_a_good_paper_finds_nothing(golden: Path) -> None:
    paper, *_ = make({**COUNT, "key": ["layer", "class"]})
    assert check_paper(paper, golden) == []
