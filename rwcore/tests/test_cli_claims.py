"""`rwcore claims`, `report` and `promote`."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rwcore.report.results import ClaimInfo, PaperInfo, Result, Results, Run, write_results
from rwcore.store import write_text
from rwcore.tests.command_line import assert_explained, documented, environment, rwcore
from rwcore.tests.demo_paper import TABLE, UNCHECKED, paper

_environment = pytest.fixture(autouse=True)(environment)
PAPER = paper(TABLE, UNCHECKED, claims_in_spec=4)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two papers: one with a test for one of its two claims, one that repeats an id."""
    for slug, text in (("one", PAPER), ("two", paper(TABLE, claims_in_spec=4))):
        write_text(tmp_path / "claims" / slug / "paper.toml", text)
    test = 'import pytest\n\n@pytest.mark.claim("C01")\ndef test_total(subject, claim):\n    pass\n'
    write_text(tmp_path / "claims" / "one" / "test_totals.py", test)
    (tmp_path / "golden").mkdir()
    monkeypatch.setenv("RWCORE_ROOT", str(tmp_path))
    return tmp_path


def test_claims_are_listed(checkout: Path) -> None:
    done = rwcore("claims")
    assert "C01 F the table says 3 and 5 data yes" in done.rows
    assert "C02 W nothing checks this no" in done.rows
    assert done.out.count("C01") == 2
    assert rwcore("claims", "--paper", "two").out.count("C01") == 1


def test_one_claim_in_full(checkout: Path) -> None:
    done = rwcore("claims", "one/c01")
    for part in (
        "the table says 3 and 5",
        "table 1",
        "totals/1",
        "pytest claims/one/test_totals.py::test_total",
        "org/a, org/b",
        "org/a: 3; org/b: 5",
        "exact",
        "integers",
        "100 s on two cores",
    ):
        assert part in done.out
    assert "needs a statistic that does not exist yet" in rwcore("claims", "C02").out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("C01",), ("one/C01 or two/C01",)),
        (("C03",), ("no claim 'C03'", "did you mean")),
        (("--paper", "onee"), ("no paper 'onee'", "did you mean 'one'")),
        (("C02", "--coverage"), ("--coverage",)),
    ],
)
def test_claims_that_cannot_be_shown(checkout: Path, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    assert_explained(rwcore("claims", *words), *parts)


def test_coverage_counts_automated_claims_and_says_why_not(checkout: Path) -> None:
    done = rwcore("claims", "--coverage")
    assert "one 4 2 1 25%" in done.rows
    assert "two 4 1 0 0%" in done.rows
    assert "one C02 needs a statistic that does not exist yet" in done.rows


def test_claims_as_json_have_the_documented_keys(checkout: Path) -> None:
    listed = json.loads(rwcore("claims", "--json").out)
    assert [(one["paper"], one["id"], one["automated"]) for one in listed] == [
        ("one", "C01", True),
        ("one", "C02", False),
        ("two", "C01", False),
    ]
    assert all(set(one) == set(documented("`rwcore claims --json`")) for one in listed)
    assert json.loads(rwcore("claims", "one/C01", "--json").out) == listed[0]
    coverage = json.loads(rwcore("claims", "--coverage", "--json").out)
    assert set(coverage) == set(documented("`rwcore claims --coverage --json`"))
    assert coverage["papers"][0]["automated"] == 1
    assert [one["claim"] for one in coverage["not_automated"]] == ["one/C02", "two/C01"]


def test_a_malformed_claim_file_is_explained(checkout: Path) -> None:
    text = PAPER.replace('tolerance = { kind = "exact", because = "integers" }', "tolerance = 0.1")
    write_text(checkout / "claims" / "one" / "paper.toml", text)
    assert_explained(rwcore("claims"), "paper.toml", "C01", "bare number")


def test_outside_a_checkout_claims_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWCORE_ROOT", str(tmp_path))
    assert_explained(rwcore("claims"), "RWCORE_ROOT")


def results(model: str, *, ran: bool, hour: int) -> Results:
    """A run of one check on one model."""
    at = datetime.datetime(2026, 1, 1, hour, tzinfo=datetime.UTC)
    verdict = (
        {"verdict": "holds here", "agrees": True} if ran else {"verdict": "not run", "reason": "no weights"}
    )
    return Results(
        runs=[Run(started=at, finished=at, command="pytest claims")],
        papers=[PaperInfo(slug="one", title="A paper", authors="Somebody", year=2026, claims_in_spec=4)],
        claims=[
            ClaimInfo(
                paper="one", id="C01", statement="s", where="w", definition="d/1", kind="W", automated=True
            )
        ],
        results=[
            Result(
                paper="one", claim="C01", expectation="any-gated#0", scope="any-gated", model=model,
                subject_kind="other", ran=ran, expected="> 0", obtained="1", rerun=f"rwcore fetch {model}",
                **verdict,
            )
        ],
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Three results files: a model that did not run, the same when it ran, another model."""
    given = {
        "skipped": results("org/a", ran=False, hour=3),
        "ran": results("org/a", ran=True, hour=1),
        "other": results("org/b", ran=False, hour=2),
    }
    for name, one in given.items():
        write_results(tmp_path / name / "results.json", one)
    return {name: tmp_path / name for name in given}


def test_reports_are_merged(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "merged"
    done = rwcore(
        "report", "merge", runs["skipped"] / "results.json", runs["ran"], runs["other"], "--out", out
    )
    assert done.code == 0
    assert "2 checks of 3 runs" in done.out
    assert str(out / "index.html") in done.out
    merged = json.loads((out / "results.json").read_text())
    assert {one["model"]: one["ran"] for one in merged["results"]} == {"org/a": True, "org/b": False}
    assert set(merged) == set(documented("`results.json`"))
    assert all(
        set(one) == set(documented("`results.json`: an entry of `results`")) for one in merged["results"]
    )
    top = {path.name for path in out.iterdir() if path.is_file()}
    assert top == {"results.json", "report.md", "index.html"}
    assert (out / "claims" / "one" / "C01.html").is_file()


def test_a_report_is_shown(runs: dict[str, Path], tmp_path: Path) -> None:
    rwcore("report", "merge", runs["ran"], runs["other"], "--out", tmp_path / "merged")
    done = rwcore("report", "show", tmp_path / "merged")
    assert done.code == 0
    assert "holds here 1" in done.rows
    assert "org/a other 1 1 0 0" in done.rows
    assert "org/b other 0 0 0 1" in done.rows
    assert "org/b 1 no weights rwcore fetch org/b" in done.rows
    assert done.out.splitlines()[0] in (tmp_path / "merged" / "report.md").read_text()
    shown = json.loads(rwcore("report", "show", tmp_path / "merged", "--json").out)
    assert set(shown) == set(documented("`rwcore report show --json`"))


def test_a_file_that_holds_no_results_is_explained(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": "something/1"}')
    assert_explained(rwcore("report", "show", tmp_path), "something/1", str(tmp_path / "results.json"))
    assert_explained(rwcore("report", "merge", tmp_path, "--out", tmp_path / "out"), "something/1")
    assert not (tmp_path / "out").exists()


def pretend(monkeypatch: pytest.MonkeyPatch, do: Callable[[list[str]], int]) -> None:
    """Put a function in the place of pytest."""
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        if "pytest" not in command:
            return real(command, **options)
        assert command[:3] == [sys.executable, "-m", "pytest"]
        return subprocess.CompletedProcess(command, do(command[3:]))

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize("code", [0, 1])
def test_promote_new_records_what_is_missing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    there = checkout / "golden" / "one" / "recorded" / "total"
    write_text(there / "old.csv", "a\n1\n")

    def record(options: list[str]) -> int:
        assert options == ["claims", "-q", "--rw-models", "packaged", "--rw-paper", "one", "--rw-new-only"]
        write_text(there / "new.csv", "a\n1\n")
        return code

    pretend(monkeypatch, record)
    done = rwcore("promote", "--new", "--models", "packaged", "--paper", "one")
    assert done.code == code
    assert "recorded golden/one/recorded/total/new.csv" in done.out
    assert "1 recorded, 1 were there" in done.out


def test_promote_changed_shows_what_changed_and_writes_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout / "golden" / "one" / "recorded" / "total"
    write_text(folder / "a.csv", "class,count\nweakening,10\nstrengthening,3\n")
    write_text(folder / "b.csv", "class,count\nweakening,1\n")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def compare(options: list[str]) -> int:
        obtained = Path(options[options.index("--rw-obtained") + 1]) / "one" / "recorded" / "total"
        write_text(obtained / "a.csv", "class,count\nweakening,12\nstrengthening,3\n")
        write_text(obtained / "b.csv", "class,count\nweakening,1\n")
        return 1

    pretend(monkeypatch, compare)
    done = rwcore("promote", "--changed")
    assert done.code == 1
    assert "class=weakening count 10 12 2 0" in done.rows
    assert "strengthening" not in done.out
    assert "1 of 2 recorded files differ" in done.out
    assert "--force-regen" in done.out
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("words", [("--new", "--changed"), ("--new", "--noise"), ("--models", "packaged")])
def test_promote_does_one_thing(checkout: Path, words: tuple[str, ...]) -> None:
    assert_explained(rwcore("promote", *words), "--new, --changed and --noise")
