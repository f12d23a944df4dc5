"""Tables of people, and the facts about those whom texts name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from rwcore.errors import CorpusError, OptionError
from rwcore.probing.datasets.catalogue import find_features
from rwcore.probing.datasets.people_table import PUBLISHED, people_datasets, read_people
from rwcore.tests.corpus_makers import encoder

ROWS: list[dict[str, Any]] = [
    {"name": "Ann Little", "fame": 9, "occupation": ["Q177220"], "sex_or_gender": "female",
     "date_of_birth": "1950-01-02", "town": "Rome"},
    {"name": "Bob van Dyke", "fame": 5, "occupation": ["actor", "baseball player"],
     "sex_or_gender": "Q6581097", "date_of_birth": "1850", "date_of_death": "+1912-06-23T00:00:00Z",
     "town": "Rome"},
    {"name": "Dan Strong", "fame": 3, "occupation": ["Q82955"], "sex_or_gender": "male",
     "political_party": ["Q29468"], "date_of_death": "1999"},
    {"name": "Eve Summers", "fame": 7, "occupation": [], "sex_or_gender": "female",
     "political_party": ["Republican Party"]},
    {"name": "Ann Little", "fame": 11, "occupation": ["singer"], "sex_or_gender": None, "town": "Paris"},
]  # fmt: skip
COLUMNS = list(dict.fromkeys(name for row in ROWS for name in row))


def write(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """The same table in each kind of file."""
    chosen = ROWS if rows is None else rows
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in chosen) + "\n\n", encoding="utf-8")
        return path
    if path.suffix == ".parquet":
        pd.DataFrame(chosen).to_parquet(path)
        return path
    texts = [
        {name: ";".join(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in chosen
    ]
    pd.DataFrame(texts).to_csv(path, index=False, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_kind_of_file_has_the_same_people(tmp_path: Path, suffix: str) -> None:
    people = {person.name: person for person in read_people(write(tmp_path / f"people{suffix}"))}
    assert {name: person.fame for name, person in people.items()} == {
        "Ann Little": 11,
        "Bob van Dyke": 5,
        "Dan Strong": 3,
        "Eve Summers": 7,
    }
    properties: dict[str, Mapping[str, tuple[str, ...]]] = {n: p.properties for n, p in people.items()}
    # Of equal names the most famous; ids become names; what follows from other columns is there.
    assert properties["Ann Little"] == {"occupation": ("singer",), "town": ("Paris",)}
    assert properties["Bob van Dyke"] == {
        "occupation": ("actor", "baseball player", "athlete"),
        "occupation_athlete": ("baseball player",),
        "sex_or_gender": ("male",),
        "is_alive": ("false",),
        "town": ("Rome",),
    }
    # Who died late is neither alive nor dead; parties count only of politicians.
    assert properties["Dan Strong"] == {
        "occupation": ("politician",),
        "sex_or_gender": ("male",),
        "political_party": ("Republican Party",),
    }
    assert properties["Eve Summers"] == {"sex_or_gender": ("female",)}


def test_a_column_of_ones_own_is_not_derived(tmp_path: Path) -> None:
    rows = [
        {"name": "Ann Little", "is_alive": True, "date_of_death": "1900"},
        {"name": "Bob van Dyke", "is_alive": False},
    ]
    for suffix in (".jsonl", ".csv"):
        people = read_people(write(tmp_path / f"a{suffix}", rows))
        assert [person.properties["is_alive"] for person in people] == [("true",), ("false",)]
        assert [person.fame for person in people] == [0, 0]


def test_values_of_other_kinds(tmp_path: Path) -> None:
    rows = [{"name": "Ann Little", "fame": 3, "year": 1950.0, "born": date(1950, 1, 2), "town": None},
            {"name": "Bob van Dyke", "fame": 2, "year": None, "born": None, "town": "Rome"}]  # fmt: skip
    one, two = read_people(write(tmp_path / "a.parquet", rows))
    assert one.properties == {"year": ("1950",), "born": ("1950-01-02",)}
    assert two.properties == {"town": ("Rome",)}


def texts(folder: Path, names: list[str]) -> Path:
    path = folder / "texts.jsonl"
    lines = [{"text": f"Once there was {name}, said text {n}."} for n, name in enumerate(names)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def crowd(folder: Path, count: int = 24) -> tuple[Path, Path]:
    """A table of people whose sex, town and birth follow from their number, and texts that name each."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    people = [
        {"name": f"Person {letters[n].upper()}{letters[n] * 5}", "fame": n,
         "sex_or_gender": "female" if n % 2 else "male", "town": "Rome" if n % 3 else f"Town {n}",
         "occupation": ["actor"] if n < 2 else []}
        for n in range(count)
    ]  # fmt: skip
    table = write(folder / "people.jsonl", people)
    return table, texts(folder, [person["name"] for person in people])


def test_a_data_set_for_each_property_with_enough_rows(tmp_path: Path) -> None:
    table, corpus = crowd(tmp_path)
    found = people_datasets(f"people:{table}@{corpus}", encoder(), least=4)
    assert found is not None
    by_name = {data.name: data for data in found}
    # There are two actors; every third person has a town of their own, and Rome has no other to compare with.
    assert list(by_name) == [f"sex_or_gender of people in {corpus}"]
    data = by_name[f"sex_or_gender of people in {corpus}"]
    assert data.aggregation == "max"
    assert {one.name for one in data.features} == set(PUBLISHED["sex_or_gender"].classes)
    # Most famous first: 23 is female.
    assert data.feature("female").label.tolist() == [n % 2 == 1 for n in reversed(range(24))]
    assert torch.equal(data.feature("male").label, ~data.feature("female").label)


def test_other_columns_have_the_values_that_many_have(tmp_path: Path) -> None:
    table, corpus = crowd(tmp_path)
    lines = [json.loads(line) for line in table.read_text().strip().splitlines()]
    for n, line in enumerate(lines):
        line["town"] = ["Rome", "Paris"][n // 12]
        line["notes"] = f"note {n}"
    write(table, lines)
    found = people_datasets(f"people:{table}@{corpus}", encoder(), least=6) or []
    names = [data.name.partition(" ")[0] for data in found]
    assert names == ["sex_or_gender", "town"]
    assert {one.name for one in found[1].features} == {"Rome", "Paris"}
    assert found[1].feature("Paris").label.tolist() == [True] * 12 + [False] * 12


def test_by_name_on_the_command_line(tmp_path: Path) -> None:
    table, corpus = crowd(tmp_path)
    (data,) = find_features(f"people:{table}@{corpus}", encoder(), least=4)
    assert data.name.startswith("sex_or_gender of people in ")
    with pytest.raises(OptionError) as caught:
        find_features("nothing", encoder())
    assert "people:TABLE@CORPUS" in str(caught.value.remedy)


def test_what_is_not_about_people_is_left_to_others() -> None:
    assert people_datasets("languages", encoder()) is None
    assert people_datasets("peoples:a.csv@b", encoder()) is None
    assert people_datasets("people", encoder()) is None


@pytest.mark.parametrize("text", ["people:", "people:a.csv", "people:a.csv@", "people:a.txt@b.jsonl"])
def test_no_table_or_no_texts(text: str) -> None:
    with pytest.raises(OptionError, match="whose facts, and in which texts") as caught:
        people_datasets(text, encoder())
    assert "people:TABLE@CORPUS" in str(caught.value.remedy)


def test_too_few_people_are_named(tmp_path: Path) -> None:
    table, corpus = crowd(tmp_path, 4)
    with pytest.raises(CorpusError, match="sex_or_gender: female 2, male 2") as caught:
        people_datasets(f"people:{table}@{corpus}", encoder(), least=3)
    assert "--least" in str(caught.value.remedy)
    (tmp_path / "other.jsonl").write_text(json.dumps({"text": "Nobody is here."}) + "\n")
    with pytest.raises(CorpusError, match="female 0, male 0"):
        people_datasets(f"people:{table}@{tmp_path / 'other.jsonl'}", encoder(), least=1)


@pytest.mark.parametrize(
    ("name", "content", "what", "where"),
    [
        ("a.csv", "name,fame,sex_or_gender\nAnn Little,many,female\n", "'many' is no number", "line 2: fame"),
        ("a.csv", "person,fame\nAnn Little,1\n", "None is no name", "line 2: name"),
        ("a.csv", "name,town\nAnn Little\n", "number of columns", "line 2"),
        ("a.csv", "name,town\nAnn Little,Rome,2\n", "number of columns", "line 2"),
        ("a.csv", 'name,town\n"Ann Little,Rome\n', "cannot be read", "a.csv"),
        ("a.csv", "name,town\nCher,Rome\n", "eight characters and a space", "a.csv"),
        ("a.csv", "name,fame\nAnn Little,3\n", "nothing is known", "a.csv"),
        ("a.jsonl", '{"name": "Ann Little"}\n{"name"\n', "not JSON", "line 2"),
        ("a.jsonl", "[1]\n", "no object", "line 1"),
        ("a.jsonl", '{"name": "Ann Little", "town": {"a": 1}}\n', "no text, number", "line 1: town"),
        ("a.jsonl", '{"name": " ", "town": "Rome"}\n', "no name", "line 1: name"),
        ("a.jsonl", '{"name": "Ann Little", "fame": null, "town": "Rome"}\n', "None is no number", "fame"),
        ("a.parquet", "no parquet", "cannot be read", "a.parquet"),
        ("a.tsv", "", "ends with .csv, .jsonl, .parquet", "a.tsv"),
    ],
)
def test_damaged_tables(tmp_path: Path, name: str, content: str, what: str, where: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=what) as caught:
        read_people(tmp_path / name)
    assert where in str(caught.value.where)
    assert "sex_or_gender" in str(caught.value.remedy)


def test_a_table_that_is_not_there_or_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_people(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("name,town\nAnn Müller,Köln\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="cannot be read"):
        read_people(tmp_path / "latin.csv")
