"""Known differences: the list, whom it covers, and entries that cover nobody."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from rwcore.claim.known import is_known, known_problems, read_known
from rwcore.claim.review import check_paper
from rwcore.claim.schema import Paper
from rwcore.errors import ClaimFileError

ENTRY = """\
[[difference]]
claim = "C01"
model = "org/a"
what = "2 neurons change class"
since = 2025-11-21
revisit = "when the authors publish their cosines"
"""


@pytest.fixture
def paper() -> Paper:
    exact = {"kind": "exact", "because": "counts"}
    published = {"scope": "published", "models": ["org/a", "org/b"], "values": 1, "tolerance": exact}
    tables = {**published, "scope": "data", "models": ["org/c"]}
    claim = {"statement": "s", "where": "w", "definition": "d/1", "kind": "W"}
    return Paper.model_validate(
        {
            "slug": "p", "title": "t", "authors": "a", "year": 2025, "url": "u", "version_read": "v",
            "spec": "s", "claims_in_spec": 2,
            "claim": [
                {**claim, "id": "C01", "expect": [published, tables]},
                {**claim, "id": "C02", "expect": [{**published, "invalid": "a misprint"}]},
            ],
        }
    )  # fmt: skip


def write(folder: Path, text: str) -> Path:
    (folder / "known_differences.toml").write_text(text)
    return folder


def test_no_file_means_no_known_difference(tmp_path: Path) -> None:
    assert read_known(tmp_path) == []


def test_entries_are_read(tmp_path: Path) -> None:
    (row,) = read_known(write(tmp_path, ENTRY + 'issue = "#12"\nexpect = 0\n'))
    assert row.since == datetime.date(2025, 11, 21)
    assert (row.issue, row.expect) == ("#12", 0)


def test_an_entry_covers_its_claim_and_model_only(tmp_path: Path) -> None:
    known = read_known(write(tmp_path, ENTRY))
    assert is_known(known, "C01", "org/a")
    assert is_known(known, "C01", "org/a", 3)
    assert is_known(known, "C01", ["org/b", "org/a"])
    assert not is_known(known, "C01", "org/b")
    assert not is_known(known, "C02", "org/a")
    one = read_known(write(tmp_path, ENTRY + "expect = 1\n"))
    assert is_known(one, "C01", "org/a", 1)
    assert not is_known(one, "C01", "org/a", 0)


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ('what = "2 neurons change class"\n', "", "difference[0] → what", "is missing"),
        ("since", "sinse", "difference[0] → sinse", "did you mean 'since'?"),
        ("2025-11-21", '"yesterday"', "difference[0] → since", "date"),
        ("[[difference]]", "[[diference]]", "diference", "did you mean 'difference'?"),
        ("[[difference]]", "[[difference]", ":1", "TOML"),
    ],
)
def test_malformed_entries_are_named(tmp_path: Path, old: str, new: str, place: str, what: str) -> None:
    with pytest.raises(ClaimFileError) as caught:
        read_known(write(tmp_path, ENTRY.replace(old, new)))
    assert "known_differences.toml" in str(caught.value)
    assert place in str(caught.value)
    assert what in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"C01"', '"C011"', "no claim 'C011'; did you mean 'C01'?"),
        ('"org/a"', '"org/aa"', "no published value for org/aa; did you mean 'org/a'?"),
        ('"org/a"', '"org/c"', "no published value for org/c"),  # the paper's own tables are no model
        ('"C01"', '"C02"', "no published value"),  # known to be wrong, so no target
        ("since", "expect = 1\nsince", "expect[1] of C01 has no published target"),
    ],
)
def test_entries_that_cover_nobody_are_problems(
    tmp_path: Path, paper: Paper, old: str, new: str, what: str
) -> None:
    known = read_known(write(tmp_path, ENTRY.replace(old, new)))
    (problem,) = known_problems(paper, known)
    assert what in problem.what
    assert problem.remedy
    (text,) = check_paper(paper, tmp_path, known)
    assert "known_differences.toml" in text


def test_a_good_list_has_no_problems_and_a_double_entry_is_one(tmp_path: Path, paper: Paper) -> None:
    assert known_problems(paper, read_known(write(tmp_path, ENTRY))) == []
    (problem,) = known_problems(paper, read_known(write(tmp_path, ENTRY * 2)))
    assert "twice" in problem.what
