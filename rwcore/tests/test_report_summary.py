"""Counts of the report: what ran and what agrees never mix, and nothing is counted that should not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.claim.schema import Scope
from rwcore.claim.verdict import SubjectKind, Verdict
from rwcore.report import summary
from rwcore.report.results import Result, Results, read_results
from rwcore.report.verdicts import FAMILIES, STYLES

DATA = Path(__file__).parent / "data" / "report"


@pytest.fixture
def canned() -> Results:
    return read_results(DATA / "results.json")


def check(scope: str, kind: str, verdict: str, claim: str = "C1", model: str = "m") -> Result:
    return Result(
        paper="p",
        claim=claim,
        expectation=f"{scope}#0",
        scope=scope,
        model=model,
        subject_kind=kind,
        verdict=verdict,
        ran=verdict not in ("not run", "error"),
    )


def test_the_counts_of_the_canned_results_are_as_accepted(canned: Results) -> None:
    expected = json.loads((DATA / "summary.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(summary.summary_json(canned))) == expected


@pytest.mark.parametrize(
    ("scope", "kind", "verdict", "family", "agreement"),
    [
        ("published", "paper", "reproduced", "reproduction", True),
        ("published", "paper", "reproduced (drifted)", "reproduction", True),
        ("published", "paper", "known difference", "reproduction", False),
        ("published", "paper", "undecided", "reproduction", None),
        ("published", "paper", "not run", "reproduction", None),
        ("published", "stand-in", "exercised", "exercised", None),
        ("published", "stand-in", "not run", "exercised", None),
        ("published", "packaged", "exercised", "exercised", None),
        ("published", "packaged", "not run", "exercised", None),
        ("any-gated", "stand-in", "exercised", "exercised", None),
        ("any-gated", "packaged", "holds here", "here", True),
        ("any-gated", "paper", "does not hold here", "here", False),
        ("ours", "other", "not run", "here", None),
        ("data", "tables", "inconsistent", "data", False),
        ("data", "tables", "undecided", "data", None),
        ("identity", "stand-in", "correct", "identity", True),
        ("synthetic", "synthetic", "wrong", "identity", False),
    ],
)
def test_what_is_counted_where(
    scope: str, kind: str, verdict: str, family: str, agreement: bool | None
) -> None:
    result = check(scope, kind, verdict)
    assert summary.family(result) == family
    assert summary.agreement(result) is agreement


anything = st.lists(
    st.builds(
        check,
        st.sampled_from(get_args(Scope)),
        st.sampled_from(get_args(SubjectKind)),
        st.sampled_from([str(verdict) for verdict in Verdict]),
        st.sampled_from(["C1", "C2", "C3"]),
        st.sampled_from(["m", "n"]),
    ),
    max_size=12,
)


@given(anything)
def test_counts_add_up(results: list[Result]) -> None:
    targets = [one for one in results if one.verdict != "not a target"]
    whole = summary.tally(results)
    stopped = sum(one.verdict == "error" and not one.ran for one in targets)
    assert whole.checks == len(targets) == whole.ran + whole.not_run + stopped
    assert whole.ran == whole.agrees + whole.disagrees + whole.open
    assert whole.claims_agree <= whole.claims_ran <= whole.claims <= whole.checks
    parts = [summary.tally(one for one in results if summary.family(one) == name) for name in FAMILIES]
    assert sum(part.checks for part in parts) == whole.checks
    assert sum(part.agrees for part in parts) == whole.agrees
    exercised = parts[list(FAMILIES).index("exercised")]
    assert exercised.agrees == exercised.disagrees == exercised.claims_agree == 0


def test_a_claim_agrees_only_if_all_its_checks_that_ran_do() -> None:
    good = check("published", "paper", "reproduced", model="a")
    missing = check("published", "paper", "not run", model="b")
    assert summary.tally([good, missing]).claims_agree == 1
    for verdict in ("differs", "known difference", "undecided", "error"):
        assert summary.tally([good, check("published", "paper", verdict, model="c")]).claims_agree == 0
    assert summary.tally([missing]).claims_ran == 0
    assert summary.tally([good, check("published", "paper", "not a target", model="d")]).claims_agree == 1


def with_results(canned: Results, results: list[Result]) -> Results:
    return Results.model_construct(**{**dict(canned), "results": results})


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (
            [check("published", "paper", "not run")],
            "0 of 1 claims about published values ran: this is not a repro",
        ),
        (
            [check("published", "paper", "error")],
            "0 of 1 claims about published values ran: this is not a repro",
        ),
        ([check("any-gated", "packaged", "holds here")], "it is not a reproduction"),
        ([check("published", "stand-in", "exercised")], "it is not a reproduction"),
        (
            [check("published", "paper", "reproduced")],
            "1 of 1 claim about published values ran on the papers’ own",
        ),
    ],
)
def test_the_headline_never_claims_more_than_ran(canned: Results, results: list[Result], said: str) -> None:
    assert said in summary.headline(with_results(canned, results))


def test_the_report_says_what_the_packaged_model_is(canned: Results) -> None:
    told = dict(summary.what_ran(canned))
    assert "4-bit, dequantised, a small gated model that no paper used" in told["smollm2-135m-instruct-q4_1"]
    assert "no model is run" in told["Published tables"]


def test_attention_lists_errors_first_and_no_check_that_is_fine(canned: Results) -> None:
    listed = summary.attention(canned)
    assert listed[0].verdict == "error"
    fine = {"reproduced", "holds here", "consistent", "correct", "exercised", "not run", "not a target"}
    assert {str(one.verdict) for one in listed} == {str(verdict) for verdict in Verdict} - fine


def test_what_did_not_run_is_grouped_by_model_and_reason_with_its_commands() -> None:
    def missing(claim: str, model: str, reason: str, rerun: str) -> Result:
        changes = {"reason": reason, "rerun": rerun}
        return check("published", "paper", "not run", claim, model).model_copy(update=changes)

    groups = summary.not_run(
        [
            missing("C1", "b", "no weights", "fetch b"),
            missing("C2", "b", "no weights", "fetch b"),
            missing("C1", "a", "no weights", "fetch a"),
            missing("C2", "a", "no memory", "borrow"),
            check("published", "paper", "reproduced", model="b"),
            check("published", "paper", "error", model="b"),
        ]
    )
    assert [(one.model, one.reason, one.checks, one.commands) for one in groups] == [
        ("a", "no memory", 1, ["borrow"]),
        ("a", "no weights", 1, ["fetch a"]),
        ("b", "no weights", 2, ["fetch b"]),
    ]
    assert groups[2].claims == [("p", "C1"), ("p", "C2")]


def test_models_on_which_nothing_ran_share_a_line(canned: Results) -> None:
    rows = {(one.kind, one.model): one for one in summary.model_rows(canned)}
    assert ("paper", "org/gated-1B") in rows
    assert rows["paper", "org/plain-small"].tally.ran == 0  # the only one: named
    assert rows["tables", "2 models"].tally.checks == 2
    assert sum(one.tally.checks for one in rows.values()) == summary.tally(canned.results).checks


def test_counting_verdicts_follows_the_table_of_verdicts(canned: Results) -> None:
    counts = summary.verdict_counts(canned.results)
    assert list(counts) == [str(verdict) for verdict in STYLES]
    assert sum(counts.values()) == len(canned.results)


def test_plural() -> None:
    found: list[Any] = [summary.plural(number, "model") for number in (0, 1, 1234)]
    assert found == ["0 models", "1 model", "1,234 models"]
