"""The kinds of value a claim can be about: scalars, lists, intervals, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True)
class Interval:
    """A sampled quantity: its estimate and a confidence interval.

    A comparison with an interval has three answers: yes, no, and undecided (None) when the interval
    contains the threshold.

    Attributes:
        low: Lower end.
        high: Upper end.
        estimate: Point estimate, in the unit of the ends.

    Raises:
        ValueError: The ends are the wrong way round.
    """

    low: float
    high: float
    estimate: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"an interval needs low <= high, not {self.low:g} and {self.high:g}")

    def __str__(self) -> str:
        return f"{self.estimate:.6g} [{self.low:.6g}, {self.high:.6g}]"


Value: TypeAlias = Scalar | Interval | Sequence[Scalar] | Set[Scalar] | None
Quantity: TypeAlias = "Value | pd.DataFrame"
Row: TypeAlias = Mapping[str, object]


def plain(value: Any) -> Any:
    """A Python scalar for a NumPy or tensor scalar, a list for a 1-d array; other values unchanged."""
    # Before all else: a float64 of NumPy is a float, but what it compares to is none of True and False.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if isinstance(value, bool | int | float | str | Interval | list | tuple | Set) or value is None:
        return value
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist") and not hasattr(value, "columns"):
        return value.tolist()
    return value


def is_number(value: object) -> bool:
    """Whether a value is an int or a float; a bool is not a number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_collection(value: object) -> bool:
    """Whether a value is a list, tuple or set of scalars."""
    return isinstance(value, list | tuple | Set)


def ends(value: float | Interval) -> tuple[float, float]:
    """Lower and upper end of what a value may be; the same number twice for a number."""
    return (value.low, value.high) if isinstance(value, Interval) else (float(value), float(value))


def point(value: float | Interval) -> float:
    """The estimate of an interval, or the number itself."""
    return value.estimate if isinstance(value, Interval) else float(value)


def any_nan(*numbers: float) -> bool:
    """Whether any of the numbers is not a number."""
    return any(math.isnan(number) for number in numbers)


def all_hold(answers: Sequence[bool | None]) -> bool | None:
    """Three-valued "and": one no is a no; otherwise one undecided leaves it undecided."""
    if any(answer is False for answer in answers):
        return False
    return None if any(answer is None for answer in answers) else True


def short(value: object) -> str:
    """A value in a few characters, for messages and reports."""
    if value is None:
        return "(missing)"
    if isinstance(value, float):
        return f"{value:.6g}"
    if is_collection(value):
        items = [short(item) for item in (sorted(value, key=str) if isinstance(value, Set) else value)]  # type: ignore[attr-defined]
        return "[" + ", ".join(items[:8]) + (", …" if len(items) > 8 else "") + "]"
    return str(value)
