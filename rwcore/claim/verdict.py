"""From a comparison to a verdict, and whether the test passes: the verdict table of the project."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from rwcore.claim.compare import Outcome
from rwcore.claim.schema import Scope

SubjectKind = Literal["paper", "tables", "packaged", "other", "stand-in", "synthetic"]


class Verdict(StrEnum):
    """What a report says about one expectation on one model."""

    REPRODUCED = "reproduced"
    DRIFTED = "reproduced (drifted)"
    DIFFERS = "differs"
    KNOWN_DIFFERENCE = "known difference"
    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    HOLDS = "holds here"
    DOES_NOT_HOLD = "does not hold here"
    UNDECIDED = "undecided"
    CORRECT = "correct"
    WRONG = "wrong"
    EXERCISED = "exercised"
    NOT_A_TARGET = "not a target"
    NOT_RUN = "not run"
    ERROR = "error"


@dataclass(frozen=True)
class Decision:
    """A verdict and what follows from it.

    Attributes:
        verdict: The verdict.
        passes: Whether the test passes.
        message: Why, and what to do if it does not pass.
    """

    verdict: Verdict
    passes: bool
    message: str


def decide(
    scope: Scope,
    subject_kind: SubjectKind,
    outcome: Outcome | None,
    *,
    drifted: bool = False,
    known: bool = False,
    invalid: bool = False,
) -> Decision:
    """The verdict on one expectation.

    Args:
        scope: Scope of the expectation.
        subject_kind: What the quantity was obtained from.
        outcome: The comparison; None when nothing was obtained.
        drifted: Whether our own recorded value changed.
        known: Whether ``known_differences.toml`` lists this claim and model.
        invalid: Whether the published value is known to be wrong.
    """
    if invalid:
        return Decision(
            Verdict.NOT_A_TARGET, True, "the published value is known to be wrong; it is no target"
        )
    if outcome is None:
        return Decision(Verdict.NOT_RUN, True, "nothing was obtained")
    if scope in {"identity", "synthetic"}:
        return _must_agree(outcome, Verdict.CORRECT, Verdict.WRONG)
    # A random model says nothing about a paper; a published value says nothing about another model.
    if subject_kind == "stand-in" or (scope == "published" and subject_kind != "paper"):
        return Decision(Verdict.EXERCISED, True, f"the code ran; no verdict ({outcome.text.splitlines()[0]})")
    if scope == "data":
        return _must_agree(outcome, Verdict.CONSISTENT, Verdict.INCONSISTENT)
    if scope == "published":
        return _published(outcome, drifted=drifted, known=known)
    return _anywhere(outcome)


def _must_agree(outcome: Outcome, right: Verdict, wrong: Verdict) -> Decision:
    if outcome.agrees is None:
        # Nothing here is sampled from a model, so there is no excuse for an interval that decides nothing.
        return Decision(Verdict.UNDECIDED, False, f"must be decided, but is not: {outcome.text}")
    return Decision(right if outcome.agrees else wrong, outcome.agrees, outcome.text)


def _published(outcome: Outcome, *, drifted: bool, known: bool) -> Decision:
    if outcome.agrees and known:
        remedy = "it is listed in known_differences.toml but no longer differs: remove that entry"
        return Decision(
            Verdict.DRIFTED if drifted else Verdict.REPRODUCED, False, f"{outcome.text}; {remedy}"
        )
    if outcome.agrees and drifted:
        remedy = "the paper is still met, but our recorded value changed: look why, then --force-regen"
        return Decision(Verdict.DRIFTED, False, f"{outcome.text}; {remedy}")
    if outcome.agrees:
        return Decision(Verdict.REPRODUCED, True, outcome.text)
    drift = "\nour recorded value changed: look why, then --force-regen" if drifted else ""
    if outcome.agrees is None:
        return Decision(Verdict.UNDECIDED, not drifted, outcome.text + drift)
    if known:
        return Decision(Verdict.KNOWN_DIFFERENCE, not drifted, outcome.text + drift)
    return Decision(Verdict.DIFFERS, False, outcome.text)


def _anywhere(outcome: Outcome) -> Decision:
    """A result either way; that an answer changed is noticed by the recorded values."""
    verdict = {True: Verdict.HOLDS, False: Verdict.DOES_NOT_HOLD, None: Verdict.UNDECIDED}[outcome.agrees]
    return Decision(verdict, True, outcome.text)
