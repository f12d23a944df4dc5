"""How far an obtained value may lie from the published one, and why: all kinds, told apart by ``kind``.

A tolerance turns an expected and an obtained value into a `Check`: Δ, the allowed Δ, their ratio, and whether
they agree (None: undecided, an interval straddles the limit). Every kind has a mandatory ``because``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat

from rwcore.claim.check import NOT_COMPARABLE, Check, ValueTolerance, check_of, distance, numbers
from rwcore.claim.deviation import FLOAT_NOISE, Band, Figure, Float, Rounded, Stored, Within
from rwcore.claim.problems import Strict, reject_bare
from rwcore.claim.sample import Sample
from rwcore.claim.sampled import Sampled, SampledMean
from rwcore.claim.values import (
    Interval,
    Row,
    Value,
    all_hold,
    any_nan,
    ends,
    is_collection,
    is_number,
    point,
    short,
)
from rwcore.errors import ClaimFileError

# A prediction interval from fewer runs says next to nothing about their spread.
MINIMUM_RUNS = 5


class Exact(ValueTolerance):
    """Equality of scalars or sequences; a bool, a number and a text are never equal."""

    kind: Literal["exact"]

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Ratio 0 when equal, infinite when not."""
        if isinstance(obtained, Interval):
            raise ClaimFileError(
                "tolerance 'exact' cannot be met by a sampled quantity (an interval)",
                remedy='use kind = "interval", or another kind',
            )
        if is_number(expected) and is_number(obtained):
            if any_nan(float(expected), float(obtained)):  # type: ignore[arg-type]
                return NOT_COMPARABLE
            return check_of(distance(float(expected), float(obtained)), 0.0, expected == obtained)  # type: ignore[arg-type]
        same = _family(expected) == _family(obtained) and expected == obtained
        return check_of(0.0, 0.0, True) if same else NOT_COMPARABLE

    @property
    def text(self) -> str:
        """In a few words."""
        return "exact"


def _family(value: Value) -> str:
    return "number" if is_number(value) else type(value).__name__


class Prediction(ValueTolerance):
    """A sampled value: the spread over runs, or a bootstrap interval, decides.

    With an `Interval` the published value must lie inside it. With runs (of the paper: ``runs``; ours: a list
    as the obtained value) the single value must lie in the prediction interval of one further run,
    mean ± t((1 + level) / 2, n − 1) · s · sqrt(1 + 1/n), the rule of CORE-Bench.

    Attributes:
        level: Level of the prediction interval, e.g. 0.95.
        runs: The published runs, if the paper has several.
        floor: Least half-width; identical runs have none. At least the noise of float32.
    """

    kind: Literal["interval"]
    level: Annotated[float, Field(gt=0, lt=1)]
    runs: Annotated[list[float], Field(min_length=MINIMUM_RUNS)] | None = None
    floor: NonNegativeFloat = 0.0

    def half_width(self, runs: Sequence[float]) -> float:
        """Half-width of the prediction interval of one further run."""
        from scipy.special import stdtrit

        n = len(runs)
        mean = math.fsum(runs) / n
        deviation = math.sqrt(math.fsum((run - mean) ** 2 for run in runs) / (n - 1))
        return float(stdtrit(n - 1, (1 + self.level) / 2)) * deviation * math.sqrt(1 + 1 / n)

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare a number with an interval or with runs."""
        if isinstance(obtained, Interval):
            wanted, _ = numbers(self.kind, expected, obtained)
            centre = obtained.estimate
            width = obtained.high - centre if wanted > centre else centre - obtained.low
        else:
            runs = self.runs or (list(obtained) if is_collection(obtained) else [])  # type: ignore[arg-type]
            if len(runs) < MINIMUM_RUNS or not all(is_number(run) for run in runs):
                raise ClaimFileError(
                    f"tolerance 'interval' needs an Interval or {MINIMUM_RUNS} runs, got {short(obtained)}",
                    remedy="check an Interval or a list with one value per seed, or give published `runs`",
                )
            centre, width = math.fsum(runs) / len(runs), self.half_width(runs)
            wanted, _ = numbers(self.kind, obtained if self.runs else expected, 0.0)
        if any_nan(wanted, centre, width):
            return NOT_COMPARABLE
        allowance = max(width, self.floor, FLOAT_NOISE["float32"] * abs(centre))
        delta = distance(wanted, centre)
        return check_of(delta, allowance, math.isfinite(delta) and delta <= allowance)

    @property
    def text(self) -> str:
        """In a few words."""
        return f"{100 * self.level:g} % interval"


class _Bound(ValueTolerance):
    kind: Any
    slack: NonNegativeFloat = 0.0
    upper: ClassVar[bool]

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare a number or an interval with the bound."""
        bound, got = numbers(self.kind, expected, obtained)
        low, high = ends(got)
        if any_nan(bound, low, high, point(got)):
            return NOT_COMPARABLE
        sign = 1.0 if self.upper else -1.0
        over = sorted((sign * (low - bound), sign * (high - bound)))
        ok = True if over[1] <= self.slack else False if over[0] > self.slack else None
        return check_of(max(0.0, sign * (point(got) - bound)), self.slack, ok)


class AtMost(_Bound):
    """The published value is an upper bound.

    Attributes:
        slack: How far above it the obtained value may lie.
    """

    kind: Literal["at_most"]
    upper = True

    @property
    def text(self) -> str:
        """In a few words."""
        return "at most" + (f" (+{self.slack:g})" if self.slack else "")


class AtLeast(_Bound):
    """The published value is a lower bound.

    Attributes:
        slack: How far below it the obtained value may lie.
    """

    kind: Literal["at_least"]
    upper = False

    @property
    def text(self) -> str:
        """In a few words."""
        return "at least" + (f" (−{self.slack:g})" if self.slack else "")


class Ordering(ValueTolerance):
    """Values the paper separates by more than ``margin`` must come in the same order; their size is free.

    A scalar must have the sign of the published one.

    Attributes:
        margin: Published values closer than this count as tied and are not compared.
    """

    kind: Literal["ordering"]
    margin: NonNegativeFloat = 0.0

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare the sign of a scalar."""
        return self.check_all([expected, 0.0], [obtained, 0.0], [row, row])[0]

    def check_all(
        self, expected: Sequence[Value], obtained: Sequence[Value], rows: Sequence[Row]
    ) -> list[Check]:
        """Compare every row with every other; Δ is the largest amount by which two are swapped."""
        pairs = [numbers(self.kind, *pair) for pair in zip(expected, obtained, strict=True)]
        if not any(abs(a - b) > self.margin for a, _ in pairs for b, _ in pairs):
            raise ClaimFileError(
                "tolerance 'ordering' compares nothing: published values differ by no more than the margin",
                remedy="lower the margin",
            )
        return [self._one(index, pairs) for index in range(len(pairs))]

    def _one(self, index: int, pairs: Sequence[tuple[float, float | Interval]]) -> Check:
        wanted, got = pairs[index]
        answers: list[bool | None] = []
        worst = 0.0
        for other, theirs in pairs:
            if any_nan(wanted, other, *ends(got), *ends(theirs), point(got), point(theirs)):
                return NOT_COMPARABLE
            if abs(wanted - other) <= self.margin:
                continue
            first, second = (got, theirs) if wanted > other else (theirs, got)
            if ends(first)[0] > ends(second)[1]:
                answers.append(True)
            else:
                answers.append(None if ends(first)[1] > ends(second)[0] else False)
                worst = max(worst, point(second) - point(first))
        return check_of(worst, 0.0, all_hold(answers))

    @property
    def text(self) -> str:
        """In a few words."""
        return "same order" + (f" where they differ by more than {self.margin:g}" if self.margin else "")


def overlap_of(expected: Value, obtained: Value) -> float:
    """|E ∩ O| / max(|E|, |O|); 1 for two empty sets.

    Raises:
        ClaimFileError: One of them is not a list or set.
    """
    for value in (expected, obtained):
        if not is_collection(value):
            raise ClaimFileError(
                f"'set' compares lists or sets, got {short(value)!r}",
                remedy="give a list, or use another kind",
            )
    wanted, got = set(expected), set(obtained)  # type: ignore[arg-type]
    largest = max(len(wanted), len(got))
    return len(wanted & got) / largest if largest else 1.0


class SetOverlap(ValueTolerance):
    """Lists as sets: |E ∩ O| / max(|E|, |O|) must reach ``overlap``.

    Attributes:
        overlap: Least overlap, above 0 and at most 1.
    """

    kind: Literal["set"]
    overlap: Annotated[float, Field(gt=0, le=1)] = 1.0

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Δ is the missing overlap."""
        delta = 1.0 - overlap_of(expected, obtained)
        allowance = 1.0 - self.overlap
        return check_of(delta, allowance, delta <= allowance + 1e-12)

    @property
    def text(self) -> str:
        """In a few words."""
        return "same set" if self.overlap == 1 else f"overlap at least {100 * self.overlap:g} %"


class AllOf(Strict):
    """Every one of several tolerances; the tightest decides.

    Attributes:
        of: The tolerances, each with its own reason.
        because: Optional here.
    """

    kind: Literal["all_of"]
    of: Annotated[list[Tolerance], Field(min_length=1)]
    because: str | None = None

    def check_all(
        self, expected: Sequence[Value], obtained: Sequence[Value], rows: Sequence[Row]
    ) -> list[Check]:
        """Of each row the worst check."""
        columns = [member.check_all(expected, obtained, rows) for member in self.of]
        checks = []
        for row in zip(*columns, strict=True):
            ok = all_hold([check.ok for check in row])
            worst = max(row, key=lambda check: (check.ok is False, check.ok is None, check.ratio))
            checks.append(Check(worst.delta, worst.allowance, worst.ratio, ok))
        return checks

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """The worst check."""
        return self.check_all([expected], [obtained], [row])[0]

    @property
    def text(self) -> str:
        """In a few words."""
        return " and ".join(member.text for member in self.of)


Tolerance = Annotated[
    Exact
    | Rounded
    | Figure
    | Float
    | Within
    | Stored
    | Sampled
    | SampledMean
    | Band
    | Prediction
    | AtMost
    | AtLeast
    | Ordering
    | SetOverlap
    | AllOf,
    Field(discriminator="kind"),
    BeforeValidator(lambda value: reject_bare(value, "tolerance")),
]
AllOf.model_rebuild()


def reason_of(tolerance: Tolerance) -> str:
    """The reasons of a tolerance, joined."""
    if isinstance(tolerance, AllOf):
        return tolerance.because or "; ".join(reason_of(member) for member in tolerance.of)
    return tolerance.because


def compares_sets(tolerance: Tolerance) -> bool:
    """Whether a tolerance takes lists as wholes instead of item by item."""
    if isinstance(tolerance, AllOf):
        return all(compares_sets(member) for member in tolerance.of)
    return isinstance(tolerance, SetOverlap)


def on_text(tolerance: Tolerance, sample: Sample | None) -> Tolerance:
    """A tolerance for values from some text: the sampled kinds take the width that its size allows.

    Args:
        tolerance: As written in the claim file.
        sample: The text; None where none was read (weights, published tables).
    """
    if isinstance(tolerance, AllOf):
        return tolerance.model_copy(update={"of": [on_text(member, sample) for member in tolerance.of]})
    return tolerance.on(sample) if isinstance(tolerance, Sampled | SampledMean) else tolerance  # type: ignore[return-value]
