"""What each verdict looks like in a report and what it counts as: the only such table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rwcore.claim.verdict import Verdict

Family = Literal["reproduction", "here", "data", "identity", "exercised"]
Tone = Literal["agrees", "disagrees", "caution", "neutral", "error"]


@dataclass(frozen=True)
class VerdictStyle:
    """How a verdict is shown and counted.

    Attributes:
        css: CSS class; unique, as it is also the key that the page filters by.
        symbol: One sign that is different for every verdict, so that colour is never needed.
        tone: Which colour.
        counts_as: The column it is counted in; None where the scope of the expectation decides.
        agrees: Whether it counts as agreement (True), disagreement (False) or neither (None).
        meaning: One line for the legend.
    """

    css: str
    symbol: str
    tone: Tone
    counts_as: Family | None
    agrees: bool | None
    meaning: str


# Shape says what was asked (tick: the paper's own model, equals: its tables, circle: another real model,
# diamond: an identity); fill and colour say the answer.
# fmt: off
STYLES: dict[Verdict, VerdictStyle] = {
    Verdict.REPRODUCED: VerdictStyle(
        "reproduced", "✓", "agrees", "reproduction", True,
        "the paper’s own model gives the published value within the tolerance",
    ),
    Verdict.DRIFTED: VerdictStyle(
        "drifted", "≈", "caution", "reproduction", True,
        "the published value is met, but our own recorded value changed",
    ),
    Verdict.DIFFERS: VerdictStyle(
        "differs", "✗", "disagrees", "reproduction", False,
        "the paper’s own model gives another value",
    ),
    Verdict.KNOWN_DIFFERENCE: VerdictStyle(
        "known", "Δ", "caution", "reproduction", False,
        "another value, as is known and explained; never counted as reproduced",
    ),
    Verdict.HOLDS: VerdictStyle(
        "holds", "●", "agrees", "here", True,
        "the statement holds on this model, which the paper may not have used",
    ),
    Verdict.DOES_NOT_HOLD: VerdictStyle(
        "fails", "○", "disagrees", "here", False,
        "the statement does not hold on this model",
    ),
    Verdict.UNDECIDED: VerdictStyle(
        "undecided", "◐", "caution", None, None,
        "the interval of the measurement contains the threshold",
    ),
    Verdict.CONSISTENT: VerdictStyle(
        "consistent", "=", "agrees", "data", True,
        "the paper’s own tables agree with the statement; no model was run",
    ),
    Verdict.INCONSISTENT: VerdictStyle(
        "inconsistent", "≠", "disagrees", "data", False,
        "the paper’s own tables contradict the statement",
    ),
    Verdict.CORRECT: VerdictStyle(
        "correct", "◆", "agrees", "identity", True,
        "a mathematical identity or planted answer is met",
    ),
    Verdict.WRONG: VerdictStyle(
        "wrong", "◇", "disagrees", "identity", False,
        "a mathematical identity or planted answer is missed",
    ),
    Verdict.EXERCISED: VerdictStyle(
        "exercised", "·", "neutral", "exercised", None,
        "the code ran; this says nothing about the paper and is never counted",
    ),
    Verdict.NOT_A_TARGET: VerdictStyle(
        "no-target", "∅", "neutral", None, None,
        "the published value is known to be wrong",
    ),
    Verdict.NOT_RUN: VerdictStyle(
        "not-run", "–", "neutral", None, None,
        "something was missing; the report says which command makes it run",
    ),
    Verdict.ERROR: VerdictStyle(
        "error", "!", "error", None, None,
        "the check raised an exception",
    ),
}
# fmt: on

FAMILIES: dict[Family, tuple[str, str]] = {
    "reproduction": ("Reproduced", "published values on the papers’ own models"),
    "here": ("Holds here", "order and sign statements on other real models"),
    "data": ("Consistent", "the papers’ own tables; no model is run"),
    "identity": ("Correct", "identities and models with planted answers"),
    "exercised": ("Exercised", "the code runs on random or other models; nothing is shown, never counted"),
}

SCOPE_FAMILY: dict[str, Family] = {
    "published": "reproduction",
    "data": "data",
    "any-gated": "here",
    "any-decoder": "here",
    "ours": "here",
    "identity": "identity",
    "synthetic": "identity",
}
