"""Statements that must hold on any model: a bound, an order, a set, an exact value.

A predicate answers yes, no or undecided (an interval contains the threshold), with a margin: the distance
from the threshold, positive in the direction of truth. Tables are asked row by row; every row must hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, NonNegativeFloat

from rwcore.claim.problems import Strict, reject_bare
from rwcore.claim.tolerance import overlap_of
from rwcore.claim.values import (
    Interval,
    Scalar,
    Value,
    any_nan,
    ends,
    is_collection,
    is_number,
    point,
    short,
)
from rwcore.errors import ClaimFileError


@dataclass(frozen=True)
class Answer:
    """What a predicate says about one row.

    Attributes:
        key: The key columns of the row; empty for a scalar.
        wanted: What was wanted, e.g. ``≥ 0``.
        obtained: What there was.
        margin: Distance from the threshold, positive where it holds; None where that has no meaning.
        ok: Whether it holds; None when undecided.
    """

    key: Mapping[str, Scalar]
    wanted: str
    obtained: Value
    margin: float | None
    ok: bool | None


Rows: TypeAlias = Sequence[tuple[Mapping[str, Scalar], Value]]
# Rows of a quantity, by its name (None: the only one); a scalar or list is one row without key.
Lookup: TypeAlias = Callable[[str | None], Rows]


class _Holds(Strict, ABC):
    quantity: str | None = None
    because: str | None = None

    @property
    @abstractmethod
    def wanted(self) -> str:
        """The condition, without the quantity."""

    @property
    def text(self) -> str:
        """The whole statement, e.g. ``smallest ≥ 0``."""
        return f"{self.quantity} {self.wanted}" if self.quantity else self.wanted


class _Threshold(_Holds):
    kind: Any
    value: float
    strict: bool = False
    upper: ClassVar[bool]

    def answers(self, lookup: Lookup) -> list[Answer]:
        """Compare every row with the threshold."""
        return [self._answer(key, got) for key, got in lookup(self.quantity)]

    def _answer(self, key: Mapping[str, Scalar], got: Value) -> Answer:
        sign = -1.0 if self.upper else 1.0
        number = _number(got, self.kind)
        margins = sorted(sign * (end - self.value) for end in ends(number))
        ok = _decide(margins[0], margins[1], self.strict)
        return Answer(key, self.wanted, got, sign * (point(number) - self.value), ok)

    @property
    def wanted(self) -> str:
        """E.g. ``> 0``."""
        sign = {(True, True): "<", (True, False): "≤", (False, True): ">", (False, False): "≥"}
        return f"{sign[self.upper, self.strict]} {self.value:g}"


class HoldsAtLeast(_Threshold):
    """The quantity is at least ``value`` (above it if ``strict``).

    Attributes:
        value: The threshold.
        strict: Whether equality is not enough.
    """

    kind: Literal["at_least"]
    upper = False


class HoldsAtMost(_Threshold):
    """The quantity is at most ``value`` (below it if ``strict``).

    Attributes:
        value: The threshold.
        strict: Whether equality is not enough.
    """

    kind: Literal["at_most"]
    upper = True


class HoldsOrdering(_Holds):
    """Quantities come in this order, largest first, each above the next by more than ``margin``.

    Attributes:
        order: Names of quantities; with ``quantity``, keys of the rows of that table.
        margin: The required lead.
    """

    kind: Literal["ordering"]
    order: Annotated[list[str], Field(min_length=2)]
    margin: NonNegativeFloat = 0.0

    def answers(self, lookup: Lookup) -> list[Answer]:
        """Compare each value with the next one."""
        values = [_number(self._find(name, lookup), self.kind) for name in self.order]
        answers = []
        names = zip(self.order, self.order[1:], strict=False)
        for (first, second), a, b in zip(names, values, values[1:], strict=False):
            least, most = ends(a)[0] - ends(b)[1] - self.margin, ends(a)[1] - ends(b)[0] - self.margin
            lead = point(a) - point(b) - self.margin
            ok = _decide(least, most, strict=True)
            wanted = f"{first} > {second}" + (f" + {self.margin:g}" if self.margin else "")
            answers.append(Answer({}, wanted, f"{short(a)}, {short(b)}", lead, ok))
        return answers

    def _find(self, name: str, lookup: Lookup) -> Value:
        if self.quantity is None:
            rows = lookup(name)
        else:
            rows = [row for row in lookup(self.quantity) if name in row[0].values()]
        if len(rows) != 1:
            table = f"rows {name!r} in table {self.quantity!r}" if self.quantity else f"rows in {name!r}"
            raise ClaimFileError(
                f"holds 'ordering' needs one value for {name!r}, but there are {len(rows)} {table}",
                remedy="name scalar quantities in `order`, or keys of a table that has one key column",
            )
        return rows[0][1]

    @property
    def wanted(self) -> str:
        """E.g. ``a > b > c``."""
        return " > ".join(self.order) + (f" by more than {self.margin:g}" if self.margin else "")


class HoldsSet(_Holds):
    """The quantity, a list, shares at least ``overlap`` with ``value``; see `overlap_of`.

    Attributes:
        value: The wanted members.
        overlap: Least overlap.
    """

    kind: Literal["set"]
    value: list[bool | int | float | str]
    overlap: Annotated[float, Field(gt=0, le=1)] = 1.0

    def answers(self, lookup: Lookup) -> list[Answer]:
        """Compare every list with the wanted one."""
        answers = []
        for key, got in lookup(self.quantity):
            margin = overlap_of(self.value, got) - self.overlap
            answers.append(Answer(key, self.wanted, got, margin, margin >= -1e-12))
        return answers

    @property
    def wanted(self) -> str:
        """E.g. ``overlap ≥ 0.8 with [a, b]``."""
        return ("= " if self.overlap == 1 else f"overlap ≥ {self.overlap:g} with ") + short(self.value)


class HoldsExact(_Holds):
    """The quantity equals ``value``; a truth value, a number and a text are never equal.

    Attributes:
        value: The wanted value.
    """

    kind: Literal["exact"]
    value: bool | int | float | str

    def answers(self, lookup: Lookup) -> list[Answer]:
        """Compare every row with the value."""
        return [self._answer(key, got) for key, got in lookup(self.quantity)]

    def _answer(self, key: Mapping[str, Scalar], got: Value) -> Answer:
        if is_collection(got) or isinstance(got, Interval):
            raise ClaimFileError(
                f"holds 'exact' compares one value, got {short(got)!r}", remedy="use another kind of `holds`"
            )
        if is_number(self.value) and is_number(got):
            return Answer(key, self.wanted, got, -abs(float(got) - float(self.value)), got == self.value)  # type: ignore[arg-type]
        return Answer(key, self.wanted, got, None, type(got) is type(self.value) and got == self.value)

    @property
    def wanted(self) -> str:
        """E.g. ``= 0``."""
        return f"= {short(self.value)}"


class HoldsAllOf(Strict):
    """Every one of several predicates.

    Attributes:
        of: The predicates.
        because: Optional.
    """

    kind: Literal["all_of"]
    of: Annotated[list[Holds], Field(min_length=1)]
    because: str | None = None

    def answers(self, lookup: Lookup) -> list[Answer]:
        """The answers of all, one after the other."""
        return [answer for member in self.of for answer in member.answers(lookup)]

    @property
    def text(self) -> str:
        """All statements, joined."""
        return " and ".join(member.text for member in self.of)


Holds = Annotated[
    HoldsAtLeast | HoldsAtMost | HoldsOrdering | HoldsSet | HoldsExact | HoldsAllOf,
    Field(discriminator="kind"),
    BeforeValidator(lambda value: reject_bare(value, "holds")),
]
HoldsAllOf.model_rebuild()


def _number(value: Value, kind: str) -> float | Interval:
    if isinstance(value, Interval):
        return value
    if not is_number(value):
        raise ClaimFileError(
            f"holds {kind!r} compares numbers, got {short(value)!r}",
            remedy='use kind = "exact" or kind = "set"',
        )
    return float(value)  # type: ignore[arg-type]


def _decide(least: float, most: float, strict: bool) -> bool | None:
    """Whether a margin that lies between two ends is above 0 (or not below it)."""
    if any_nan(least, most):
        return False
    if least > 0 or (least == 0 and not strict):
        return True
    if most < 0 or (most == 0 and strict):
        return False
    return None
