"""Which claims have a test: markers read off the test files."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from rwcore.claim.coverage import coverage, marked_claims
from rwcore.claim.schema import Paper, load_paper
from rwcore.errors import ClaimFileError

HEAD = """\
title = "t"
authors = "a"
year = 2025
url = "u"
version_read = "v"
spec = "s"
claims_in_spec = 4
"""


def claim(id_: str, more: str = "") -> str:
    return f'\n[[claim]]\nid = "{id_}"\nstatement = "s"\nwhere = "w"\ndefinition = "d/1"\nkind = "W"\n{more}'


EXPECT = '\n[[claim.expect]]\nscope = "identity"\nholds = { kind = "exact", value = 0 }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paper = tmp_path / "p"
    paper.mkdir()
    manual = claim("C04", 'not_automated = "needs eyes"\n')
    text = HEAD + claim("C01") + EXPECT + claim("C02") + EXPECT + claim("C03") + EXPECT + manual
    (paper / "paper.toml").write_text(text)
    return paper


def write(folder: Path, source: str, name: str = "test_s5.py") -> Paper:
    (folder / name).write_text(dedent(source))
    return load_paper(folder)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("@pytest.mark.claim('C01', 'C02')\ndef test_x(): pass", [("C01", "test_x"), ("C02", "test_x")]),
        ("@mark.claim('C01')\n@pytest.mark.slow\ndef test_x(): pass", [("C01", "test_x")]),
        ("@pytest.mark.claim('C01')\nclass TestX:\n  def test_y(self): pass\n  def helper(self): pass",
         [("C01", "TestX::test_y")]),
        ("class TestX:\n  pytestmark = [mark.slow, mark.claim('C01')]\n  def test_y(self): pass",
         [("C01", "TestX::test_y")]),
        ("pytestmark = pytest.mark.claim('C01')\ndef test_x(): pass\ndef test_y(): pass",
         [("C01", "test_x"), ("C01", "test_y")]),
        ("pytestmark: list = [pytest.mark.claim('C01')]\n@pytest.mark.claim('C02')\ndef test_x(): pass",
         [("C01", "test_x"), ("C02", "test_x")]),
        ("@mark.claim('C01')\ndef helper(): pass\n# @pytest.mark.claim('C02')\ndef test_x(): pass", []),
        ("@pytest.mark.other('C01')\ndef test_x(): 'pytest.mark.claim(\"C02\")'", []),
    ],
)  # fmt: skip
def test_markers_are_found(folder: Path, source: str, found: list[tuple[str, str]]) -> None:
    write(folder, source)
    assert [(mark.id, mark.test) for mark in marked_claims(folder)] == found


def test_rows_say_what_is_checked_and_why_the_rest_is_not(folder: Path) -> None:
    paper = write(folder, "@pytest.mark.claim('C01', 'C02')\ndef test_x(): pass")
    result = coverage([paper], folder.parent)
    assert result.problems == ()
    assert [(row.id, row.automated, row.tests) for row in result.rows] == [
        ("C01", True, ("test_s5.py::test_x",)),
        ("C02", True, ("test_s5.py::test_x",)),
        ("C03", False, ()),
        ("C04", False, ()),
    ]
    assert [row.reason for row in result.rows][2:] == [
        'no test is marked @pytest.mark.claim("C03")',
        "needs eyes",
    ]
    assert {(row.paper, row.kind) for row in result.rows} == {("p", "W")}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("@mark.claim('C011')\ndef test_x(): pass", "no claim 'C011' in paper.toml; did you mean 'C01'?"),
        ("@pytest.mark.claim('C01', 'C01')\ndef test_x(): pass", "several times"),
        ("@pytest.mark.claim('C01')\ndef test_x(): pass\n@pytest.mark.claim('C01')\ndef test_y(): pass",
         "several times: test_s5.py::test_x, test_s5.py::test_y"),
        ("@pytest.mark.claim('C04')\ndef test_x(): pass", "says it is not automated"),
        ("IDS = ['C01']\n@pytest.mark.claim(*IDS)\ndef test_x(): pass", "not a literal"),
        ("@pytest.mark.claim(1)\ndef test_x(): pass", "not a literal"),
    ],
)  # fmt: skip
def test_wrong_markers_are_problems_with_their_line(folder: Path, source: str, what: str) -> None:
    (problem,) = coverage([write(folder, source)], folder.parent).problems
    assert what in problem.what
    assert problem.path.startswith("p/test_s5.py:")
    assert problem.remedy


def test_a_claim_in_two_files_is_a_problem(folder: Path) -> None:
    write(folder, "@pytest.mark.claim('C01')\ndef test_x(): pass", "test_s6.py")
    (problem,) = coverage(
        [write(folder, "@pytest.mark.claim('C01')\ndef test_x(): pass")], folder.parent
    ).problems
    assert "test_s5.py::test_x, test_s6.py::test_x" in problem.what


def test_a_test_file_that_is_not_python(folder: Path) -> None:
    write(folder, "def test_x(:")
    with pytest.raises(ClaimFileError, match="not Python"):
        marked_claims(folder)
