"""Facts: our own, those of files in the published layout, and those of the hub's cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.attributes.facts import Fact, as_prompt, read_facts
from rwcore.corpora.own_texts import knowns
from rwcore.errors import CorpusError
from rwcore.tests.hub_sets import COMMIT, lay_out, offline_hub

hub = pytest.fixture(offline_hub)

# The first object of ROME's file, and one whose subject begins its sentence with a small letter.
PUBLISHED = {
    "known_id": 0,
    "subject": "Vinson Massif",
    "attribute": "Antarctica",
    "template": "{} is located in the continent",
    "prediction": " of Antarctica. It is the largest of the three",
    "prompt": "Vinson Massif is located in the continent of",
    "relation_id": "P30",
}
SMALL = {**PUBLISHED, "known_id": 7, "subject": "macOS", "template": "{}, a product of "}
FILTERED = {name: PUBLISHED[name] for name in ("known_id", "subject", "attribute", "prompt", "relation_id")}


def saved(path: Path, *entries: Mapping[str, Any]) -> str:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return str(path)


def test_our_own_facts_are_those_a_reader_knows() -> None:
    facts, own = read_facts("handmade"), knowns()
    assert len(facts) == len(own) >= 60
    assert [fact.id for fact in facts] == [str(number) for number in range(1, len(own) + 1)]
    for fact, known in zip(facts, own, strict=True):
        assert (fact.subject, fact.relation, fact.attribute) == (known.subject, known.relation, known.answer)
        assert fact.prompt.strip().lower() == known.prompt.lower()
        assert fact.prompt[0] == " " != fact.prompt[-1]
    assert facts[0] == Fact("1", "Portugal", "capital", " The capital of Portugal is", "Lisbon")


def test_the_published_layout(tmp_path: Path) -> None:
    assert read_facts(saved(tmp_path / "known.json", PUBLISHED, SMALL)) == [
        Fact("0", "Vinson Massif", "P30", " Vinson Massif is located in the continent", "Antarctica"),
        Fact("7", "macOS", "P30", " MacOS, a product of", "Antarctica"),
    ]


def test_a_file_that_was_filtered_has_prompts(tmp_path: Path) -> None:
    own = {**FILTERED, "prompt": " Vinson Massif lies in "}
    (fact,) = read_facts(saved(tmp_path / "known.json", own))
    assert fact.prompt == " Vinson Massif lies in"


@pytest.mark.parametrize("name", ["known.jsonl", "known.json"])
@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n"])
def test_one_object_per_line_whatever_the_file_is_called(tmp_path: Path, name: str, between: str) -> None:
    lines = between.join(json.dumps(entry) for entry in (PUBLISHED, SMALL))
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert [fact.id for fact in read_facts(str(tmp_path / name))] == ["0", "7"]


def test_a_fact_without_an_id_is_called_by_its_number(tmp_path: Path) -> None:
    entry = {name: value for name, value in PUBLISHED.items() if name != "known_id"}
    assert [fact.id for fact in read_facts(saved(tmp_path / "f.json", entry, entry))] == ["1", "2"]


def test_a_subject_may_come_several_times_and_need_not_be_ascii(tmp_path: Path) -> None:
    entries = [{**PUBLISHED, "known_id": n, "subject": "Ásgeir Ásgeirsson"} for n in range(3)]
    facts = read_facts(saved(tmp_path / "f.json", *entries))
    assert [fact.prompt for fact in facts] == [" Ásgeir Ásgeirsson is located in the continent"] * 3


@pytest.mark.parametrize(
    ("text", "subject", "prompt"),
    [
        ("iPod was made by", "iPod", " IPod was made by"),
        ("the iPod was made by", "iPod", " the iPod was made by"),
        ("émile Zola wrote", "émile Zola", " Émile Zola wrote"),
        ("  The capital of Peru is \n", "Peru", " The capital of Peru is"),
        ("McDonald", "McDonald", " McDonald"),
    ],
)
def test_prompts(text: str, subject: str, prompt: str) -> None:
    assert as_prompt(text, subject) == prompt


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1))
def test_a_prompt_that_was_made_stays_as_it_is(text: str, subject: str) -> None:
    made = as_prompt(text, subject)
    assert as_prompt(made, subject) == made or made[1:].startswith(subject)
    assert made.startswith(" ")
    assert made == made.rstrip()


# --- the hub -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["", "@main", f"@{COMMIT}"])
def test_facts_of_the_hub_come_from_its_cache(hub: Path, at: str) -> None:
    lay_out(hub, {"data/known.json": json.dumps([PUBLISHED]).encode()}, "org/facts")
    assert [fact.id for fact in read_facts(f"hf://datasets/org/facts{at}/data/known.json")] == ["0"]


def test_what_is_not_in_the_cache_is_named_with_the_command_that_downloads_it(hub: Path) -> None:
    lay_out(hub, {"known.json": json.dumps([PUBLISHED]).encode()}, "org/facts")
    for source, command in {
        "hf://datasets/org/other/a.json": "hf download org/other a.json --repo-type dataset",
        "hf://datasets/org/facts/b/a.json": "hf download org/facts b/a.json --repo-type dataset",
        "hf://datasets/org/facts@v2/known.json": "hf download org/facts known.json --repo-type dataset "
        "--revision v2",
    }.items():
        with pytest.raises(CorpusError, match="not on this machine") as caught:
            read_facts(source)
        assert caught.value.remedy == command


@pytest.mark.parametrize(
    "source", ["hf://org/facts/a.json", "hf://datasets/org/facts", "hf://datasets/a.json"]
)
def test_names_that_are_no_file_of_the_hub(hub: Path, source: str) -> None:
    with pytest.raises(CorpusError, match="names no file"):
        read_facts(source)


def test_a_name_the_hub_does_not_allow(hub: Path) -> None:
    with pytest.raises(CorpusError, match="not a name the hub allows"):
        read_facts("hf://datasets/org/fa cts/a.json")


# --- what cannot be ------------------------------------------------------------------------------------


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in FILTERED.items() if name != key}


@pytest.mark.parametrize(
    ("entry", "key", "part"),
    [
        (without("subject"), ": subject", "Field required"),
        (without("attribute"), ": attribute", "Field required"),
        (without("relation_id"), ": relation_id", "Field required"),
        (without("prompt"), "", "neither a 'template' nor a 'prompt'"),
        ({**PUBLISHED, "template": "It lies in"}, "", "no {} for the subject"),
        ({**PUBLISHED, "subject": " "}, ": subject", "match pattern"),
        ({**PUBLISHED, "attribute": 3}, ": attribute", "valid string"),
        ({**PUBLISHED, "attribute": "half \ud800"}, ": attribute", "unicode"),
        ({**PUBLISHED, "known_id": 1.5}, ": known_id", "valid integer"),
        ("no object", "", "valid dictionary"),
    ],
)
def test_a_damaged_entry_is_named(tmp_path: Path, entry: Any, key: str, part: str) -> None:
    path = tmp_path / "known.json"
    with pytest.raises(CorpusError) as caught:
        read_facts(saved(path, SMALL, entry))
    assert part in str(caught.value)
    assert caught.value.where == f"{path}: entry 2{key}"


def test_two_facts_with_one_id(tmp_path: Path) -> None:
    # Equal ones too: everything that is counted would count them twice.
    with pytest.raises(CorpusError, match="two facts with the id '0'") as caught:
        read_facts(saved(tmp_path / "f.json", PUBLISHED, SMALL, PUBLISHED))
    assert "entry 3" in str(caught.value.where)


@pytest.mark.parametrize(
    ("data", "where", "part"),
    [
        (b"[]", "f.json", "there are no facts"),
        (b"\n \n", "f.json", "there are no facts"),
        (b"[{]", "f.json", "not JSON"),
        (json.dumps(PUBLISHED).encode() + b"\n\n{oops\n", "f.json: line 3", "not JSON"),
        ("[{'é'}]".encode("latin-1"), "f.json", "cannot be read"),
        (b"[" * 100_000, "f.json", "not JSON"),
    ],
)
def test_damaged_files(tmp_path: Path, data: bytes, where: str, part: str) -> None:
    (tmp_path / "f.json").write_bytes(data)
    with pytest.raises(CorpusError, match=part) as caught:
        read_facts(str(tmp_path / "f.json"))
    assert str(caught.value.where).endswith(where)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(CorpusError, match="cannot be read") as caught:
            read_facts(str(path))
        assert "handmade" in str(caught.value.remedy)
