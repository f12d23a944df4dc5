"""From the notes of one claim test to results: compare, decide, explain."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from rwcore.claim.compare import evaluate
from rwcore.claim.known import is_known, read_known
from rwcore.claim.published import expected_for
from rwcore.claim.sample import Sample
from rwcore.claim.schema import Claim, Expectation
from rwcore.claim.tolerance import on_text, reason_of
from rwcore.claim.verdict import Decision, Verdict, decide
from rwcore.errors import ClaimFileError
from rwcore.plugin.checks import Checks
from rwcore.plugin.gates import other_text
from rwcore.plugin.options import DEFAULT_TOKENS, SETTINGS
from rwcore.plugin.parametrize import ANY_MODEL, subject_spec
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.report.results import MAX_ROWS, Result

if TYPE_CHECKING:
    from rwcore.claim.compare import Outcome


# There is no value to compare random weights with: the code ran, and that is all.
EXERCISED = Decision(Verdict.EXERCISED, True, "the code ran on random weights; no verdict")


@dataclass(frozen=True)
class Conclusion:
    """Results of one test, and what makes it fail."""

    results: list[Result]
    complaints: list[str]


def conclude(item: pytest.Item, checks: Checks, seconds: float) -> Conclusion:
    """Compare what a test obtained with every expectation that applies, and decide the verdicts."""
    spec = subject_spec(item)
    if spec is None or checks.quantities is None:
        raise ClaimFileError(
            "the test never called claim.check",
            where=item.nodeid,
            remedy="hand over what it obtained: claim.check(frame)",
        )
    known = read_known(item.path.parent)
    results, complaints = [], []
    for claim, number, expectation in checks.pairs:
        unlike = other_text(item.config, expectation, spec)
        if unlike is not None:
            results.append(_bare(item, checks, (claim, number, expectation), Verdict.NOT_RUN, unlike))
            continue
        if spec.kind is Kind.STAND_IN and expectation.scope == "published":
            outcome, decision = None, EXERCISED
        else:
            outcome = _compare(checks, expectation, spec, claim)
            decision = decide(
                expectation.scope,
                spec.kind.value,
                outcome,
                drifted=bool(checks.golden),
                known=is_known(known, claim.id, spec.models, number),
                invalid=expectation.invalid is not None,
            )
        results.append(_result(item, checks, (claim, number, expectation), spec, outcome, decision, seconds))
        if not decision.passes:
            complaints.append(f"{checks.paper.slug}/{claim.id} on {spec.id}: {decision.message}")
    _record_verdicts(checks, results)
    return Conclusion(results, [*complaints, *checks.golden])


def _record_verdicts(checks: Checks, results: list[Result]) -> None:
    """Compare the answers of statements about any model, null models among them, with the last accepted ones.

    A statement that holds or not is a result either way; only a change of the answer is a failure.
    """
    import pandas as pd

    answers = {True: "holds", False: "does not hold", None: "undecided"}
    rows = [
        {"claim": result.claim, "expectation": result.expectation, "answer": answers[result.agrees]}
        for result in results
        if result.scope in ANY_MODEL - {"identity"}
    ]
    if rows and checks.record_verdicts is not None:
        checks.record_verdicts(pd.DataFrame(rows))


def _compare(checks: Checks, expectation: Expectation, spec: SubjectSpec, claim: Claim) -> Outcome | None:
    """None where a published value is known to be wrong."""
    if expectation.invalid is not None:
        return None
    expected = expected_for(checks.paper, claim, expectation, spec.models)
    return evaluate(expectation, checks.quantities or {}, expected, _sample(checks))


def _sample(checks: Checks) -> Sample | None:
    """The text that the test has read, if it has read any."""
    return checks.subject.sample() if checks.subject is not None else None


def not_run(item: pytest.Item, checks: Checks, reason: str) -> list[Result]:
    """Results of a test that was not run."""
    return [_bare(item, checks, pair, Verdict.NOT_RUN, reason) for pair in checks.pairs]


def failed(item: pytest.Item, checks: Checks, error: str) -> list[Result]:
    """Results of a test that raised an exception."""
    return [_bare(item, checks, pair, Verdict.ERROR, error) for pair in checks.pairs]


Pair = tuple[Claim, int, Expectation]


def _common(item: pytest.Item, checks: Checks, pair: Pair, spec: SubjectSpec) -> dict[str, Any]:
    claim, number, expectation = pair
    rule = expectation.tolerance or expectation.holds
    return {
        "paper": checks.paper.slug,
        "claim": claim.id,
        "expectation": f"{expectation.scope}#{number}",
        "scope": expectation.scope,
        "model": spec.id,
        "subject_kind": spec.kind.value,
        "quantity": expectation.quantity,
        "tolerance": rule.text if rule is not None else "",
        "because": reason_of(expectation.tolerance) if expectation.tolerance is not None else None,
        "note": expectation.invalid or expectation.note,
        "node_id": item.nodeid,
        "rerun": rerun_command(item, spec),
    }


def _bare(item: pytest.Item, checks: Checks, pair: Pair, verdict: Verdict, reason: str) -> Result:
    spec = subject_spec(item)
    assert spec is not None
    return Result(**_common(item, checks, pair, spec), verdict=verdict, ran=False, reason=reason)


def _result(
    item: pytest.Item,
    checks: Checks,
    pair: Pair,
    spec: SubjectSpec,
    outcome: Outcome | None,
    decision: Decision,
    seconds: float,
) -> Result:
    facts = _common(item, checks, pair, spec)
    sample = _sample(checks)
    if sample is not None:
        facts["text"] = sample.text
    if outcome is not None:
        facts |= {
            "agrees": outcome.agrees,
            "expected": outcome.expected,
            "obtained": outcome.obtained,
            "delta_over_tolerance": outcome.worst_ratio,
            "margin": outcome.margin,
            "rows": [row.as_dict() for row in outcome.rows[:MAX_ROWS]],
            "n_rows": outcome.n,
        }
        tolerance = pair[2].tolerance
        if tolerance is not None:
            facts["tolerance"] = on_text(tolerance, sample).text
    return Result(
        **facts,
        verdict=decision.verdict,
        ran=True,
        seconds=round(seconds, 3),
        provenance=checks.subject.provenance() if checks.subject is not None else {},
    )


def rerun_command(item: pytest.Item, spec: SubjectSpec) -> str:
    """The command that repeats one check, whatever it was selected by."""
    words = ["pytest", item.nodeid]
    if spec.kind in {Kind.PACKAGED, Kind.OTHER, Kind.PAPER}:
        words += ["--rw-models", ",".join(spec.models)]
    settings = item.config.stash[SETTINGS]
    if settings.published_pages is not None and (spec.pages or spec.kind is Kind.PAPER):
        words += ["--rw-published-pages", str(settings.published_pages)]
    if settings.knowledge is not None and spec.kind in {Kind.OTHER, Kind.PAPER}:
        words += ["--rw-knowns", settings.knowledge.knowns, "--rw-passages", settings.knowledge.passages]
    if settings.features.path is not None and spec.kind is Kind.PAPER:
        words += ["--rw-features", str(settings.features.path)]
    tokens = settings.tokens
    if spec.kind in {Kind.OTHER, Kind.PAPER} and tokens != DEFAULT_TOKENS:
        words += ["--rw-full"] if tokens is None else ["--rw-tokens", str(tokens)]
    return shlex.join(words)
