"""What one comparison says, and what all tolerance kinds share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from rwcore.claim.problems import Strict, complaint
from rwcore.claim.values import Interval, Row, Value, is_number, short
from rwcore.errors import ClaimFileError


def _said(reason: str) -> str:
    if not reason.strip():
        raise complaint("is empty: every tolerance says why it is as wide as it is", 'because = "…"')
    return reason


Reason = Annotated[str, AfterValidator(_said)]


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        delta: How far off, in the unit of the value; NaN when that has no meaning.
        allowance: How far off it may be.
        ratio: Δ / allowance; 0 for Δ = 0, infinite for a disagreement without allowance.
        ok: Whether they agree; None when undecided.
    """

    delta: float
    allowance: float
    ratio: float
    ok: bool | None


def check_of(delta: float, allowance: float, ok: bool | None) -> Check:
    """A `Check` whose ratio and verdict cannot contradict each other."""
    if delta == 0 and ok is not False:
        ratio = 0.0
    elif math.isnan(delta) or not allowance > 0:
        ratio = math.inf
    else:
        ratio = delta / allowance
    if ok is True:
        ratio = min(ratio, 1.0)
    elif ok is False and ratio <= 1:
        ratio = math.inf
    return Check(delta, allowance, ratio, ok)


NOT_COMPARABLE = Check(math.nan, 0.0, math.inf, False)


class ValueTolerance(Strict, ABC):
    """What all kinds share."""

    because: Reason

    @abstractmethod
    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare one value; ``row`` is the whole obtained row, for kinds that need more than the value."""

    def check_all(
        self, expected: Sequence[Value], obtained: Sequence[Value], rows: Sequence[Row]
    ) -> list[Check]:
        """Compare the rows of a table."""
        return [self.check(*triple) for triple in zip(expected, obtained, rows, strict=True)]

    @property
    @abstractmethod
    def text(self) -> str:
        """The tolerance in a few words."""


def distance(first: float, second: float) -> float:
    """|first − second|; 0 for equal infinities."""
    return 0.0 if first == second else abs(first - second)


def numbers(kind: str, expected: Value, obtained: Value) -> tuple[float, float | Interval]:
    """Both values as numbers.

    Raises:
        ClaimFileError: One of them is not a number.
    """
    for side, value in (("expected", expected), ("obtained", obtained)):
        if not is_number(value) and not (side == "obtained" and isinstance(value, Interval)):
            raise ClaimFileError(
                f"tolerance {kind!r} compares numbers, but the {side} value is {short(value)!r}",
                remedy='use kind = "exact" or kind = "set", or compare a number',
            )
    return float(expected), obtained if isinstance(obtained, Interval) else float(obtained)  # type: ignore[arg-type]
