"""Every row of the verdict table."""

from __future__ import annotations

from typing import Any

import pytest

from rwcore.claim.compare import Outcome
from rwcore.claim.verdict import Verdict, decide


def outcome(agrees: bool | None) -> Outcome:
    return Outcome(agrees, (), 1, None, 0.1, "expected", "obtained", "text of the comparison\nand its table")


YES, NO, UNSURE = outcome(True), outcome(False), outcome(None)


@pytest.mark.parametrize(
    ("scope", "kind", "result", "flags", "verdict", "passes"),
    [
        # published model, value within tolerance
        ("published", "paper", YES, {}, "reproduced", True),
        # … but our recorded value changed
        ("published", "paper", YES, {"drifted": True}, "reproduced (drifted)", False),
        # published model, outside
        ("published", "paper", NO, {}, "differs", False),
        ("published", "paper", NO, {"drifted": True}, "differs", False),
        ("published", "paper", NO, {"known": True}, "known difference", True),
        ("published", "paper", NO, {"known": True, "drifted": True}, "known difference", False),
        # … fails when it no longer differs
        ("published", "paper", YES, {"known": True}, "reproduced", False),
        ("published", "paper", YES, {"known": True, "drifted": True}, "reproduced (drifted)", False),
        # an interval decides nothing
        ("published", "paper", UNSURE, {}, "undecided", True),
        ("published", "paper", UNSURE, {"known": True}, "undecided", True),
        ("published", "paper", UNSURE, {"drifted": True}, "undecided", False),
        # the published tables themselves
        ("data", "tables", YES, {}, "consistent", True),
        ("data", "tables", NO, {}, "inconsistent", False),
        ("data", "tables", NO, {"known": True}, "inconsistent", False),
        ("data", "tables", UNSURE, {}, "undecided", False),
        # statements on any model
        *[
            (scope, kind, *row)
            for scope in ("any-gated", "any-decoder", "ours")
            for kind in ("packaged", "other", "paper")
            for row in (
                (YES, {}, "holds here", True),
                (NO, {}, "does not hold here", True),
                (UNSURE, {}, "undecided", True),
                (YES, {"drifted": True}, "holds here", True),
            )
        ],
        # identities and planted answers, on whatever they are asked of
        *[
            (scope, kind, *row)
            for scope, kind in (
                ("identity", "stand-in"), ("identity", "packaged"), ("identity", "paper"),
                ("synthetic", "synthetic"),
            )
            for row in (
                (YES, {}, "correct", True),
                (NO, {}, "wrong", False),
                (UNSURE, {}, "undecided", False),
            )
        ],
        # a stand-in with random weights
        *[
            (scope, "stand-in", result, {}, "exercised", True)
            for scope in ("published", "any-gated", "any-decoder", "ours")
            for result in (YES, NO, UNSURE)
        ],
        ("published", "stand-in", NO, {"known": True, "drifted": True}, "exercised", True),
        # a published value says nothing about another model
        ("published", "packaged", NO, {}, "exercised", True),
        ("published", "other", YES, {}, "exercised", True),
        # a published value known to be wrong
        ("published", "paper", None, {"invalid": True}, "not a target", True),
        ("published", "paper", YES, {"invalid": True}, "not a target", True),
        ("data", "tables", NO, {"invalid": True}, "not a target", True),
        # nothing was obtained
        ("published", "paper", None, {}, "not run", True),
        ("any-gated", "packaged", None, {}, "not run", True),
    ],
)  # fmt: skip
def test_verdict_table(
    scope: Any, kind: Any, result: Outcome | None, flags: dict[str, Any], verdict: str, passes: bool
) -> None:
    decision = decide(scope, kind, result, **flags)
    assert decision.verdict == Verdict(verdict)
    assert decision.passes is passes
    assert decision.message


def test_a_failure_says_what_to_do() -> None:
    assert "remove that entry" in decide("published", "paper", YES, known=True).message
    assert "--force-regen" in decide("published", "paper", YES, drifted=True).message
    assert "text of the comparison" in decide("published", "paper", NO).message


def test_only_agreement_on_the_papers_own_model_is_called_reproduced() -> None:
    kinds = ["paper", "tables", "packaged", "other", "stand-in", "synthetic"]
    scopes = ["published", "data", "any-gated", "any-decoder", "identity", "synthetic", "ours"]
    flags = [{"drifted": d, "known": k} for d in (False, True) for k in (False, True)]
    reproduced = {
        (scope, kind, result.agrees)
        for scope in scopes
        for kind in kinds
        for result in (YES, NO, UNSURE)
        for more in flags
        if decide(scope, kind, result, **more).verdict in {Verdict.REPRODUCED, Verdict.DRIFTED}  # type: ignore[arg-type]
    }
    assert reproduced == {("published", "paper", True)}
