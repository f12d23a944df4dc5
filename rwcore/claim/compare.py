"""Whether an obtained quantity agrees with an expectation: row by row, worst row first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from rwcore.claim.check import Check
from rwcore.claim.problems import did_you_mean
from rwcore.claim.sample import Sample
from rwcore.claim.schema import Expectation
from rwcore.claim.tables import (
    Entry,
    cut_down,
    entries,
    fixed_columns,
    is_table,
    key_columns,
    key_text,
    same_families,
)
from rwcore.claim.tolerance import Tolerance, compares_sets, on_text
from rwcore.claim.values import Interval, Quantity, Scalar, Value, all_hold, is_collection, plain, short
from rwcore.errors import ClaimFileError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interval", "Outcome", "Row", "evaluate"]

SHOWN_ROWS = 10


@dataclass(frozen=True)
class Row:
    """One compared value.

    Attributes:
        key: Its key columns; empty for a scalar.
        expected: The published value or the wanted condition; None where the paper has no such row.
        obtained: Our value; None where we have no such row.
        delta: |obtained − expected|, or a margin below its threshold; NaN where that has no meaning.
        allowance: What the tolerance allows.
        ratio: Δ / allowance; at most 1 where they agree.
        ok: Whether they agree; None when undecided.
    """

    key: Mapping[str, Scalar]
    expected: Value
    obtained: Value
    delta: float
    allowance: float
    ratio: float
    ok: bool | None

    def as_dict(self) -> dict[str, Any]:
        """The row for ``results.json``: values that are not plain scalars as text."""
        return {
            "key": key_text(self.key),
            "expected": _json(self.expected),
            "obtained": _json(self.obtained),
            "delta": self.delta,
            "allowance": self.allowance,
            "ratio": self.ratio,
            "ok": self.ok,
        }


def _json(value: Value) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else short(value)


@dataclass(frozen=True)
class Outcome:
    """What a comparison says.

    Attributes:
        agrees: Whether every row agrees; None when none disagrees and one is undecided.
        rows: All rows, worst first.
        n: How many.
        worst_ratio: Largest Δ / allowance; None for a predicate.
        margin: Smallest margin of a predicate, positive where it holds; None for values.
        expected: The expected value in a few words.
        obtained: The obtained value in a few words.
        text: The result in words, with a table of the rows that do not agree.
    """

    agrees: bool | None
    rows: tuple[Row, ...]
    n: int
    worst_ratio: float | None
    margin: float | None
    expected: str
    obtained: str
    text: str


def evaluate(
    expectation: Expectation,
    obtained: Mapping[str, Quantity],
    expected: Quantity = None,
    sample: Sample | None = None,
) -> Outcome:
    """Compare what a test obtained with what an expectation says.

    Args:
        expectation: The expectation.
        obtained: Quantities by name.
        expected: The published value, from `rwcore.claim.published.expected_for`; unused with ``holds``.
        sample: The text the quantities were obtained on; tolerances may depend on its size.

    Raises:
        ClaimFileError: The quantity is not there or cannot be compared this way (wrong column, wrong kind).
    """
    try:
        if expectation.holds is not None:
            return _predicate(expectation, obtained)
        if expectation.tolerance is not None:
            return _values(expectation, on_text(expectation.tolerance, sample), obtained, expected)
    except ClaimFileError as error:
        if error.where is None:
            raise ClaimFileError(error.what, where=expectation.label, remedy=error.remedy) from error
        raise
    raise ClaimFileError(
        "there is nothing to compare with", where=expectation.label, remedy="add `tolerance` or `holds`"
    )


def _quantity(expectation: Expectation, obtained: Mapping[str, Quantity], name: str | None) -> Quantity:
    """The quantity of a name; without a name the only one, or the one called ``value``."""
    names = [key for key in obtained if not key.startswith("near_")]
    if name is None:
        name = "value" if "value" in obtained else names[0] if len(names) == 1 else None
    if name is None or name not in obtained:
        wanted = f"no quantity {name!r}{did_you_mean(name, names)}" if name else "several or no quantities"
        raise ClaimFileError(
            f"{wanted}: the test handed over {', '.join(names) or 'nothing'}",
            where=expectation.label,
            remedy='name one of them with `quantity = "…"`, or hand it over in claim.check(…)',
        )
    quantity = plain(obtained[name])
    return _cut(expectation, quantity) if is_table(quantity) else quantity


def _cut(expectation: Expectation, frame: pd.DataFrame) -> pd.DataFrame:
    frame = cut_down(frame, expectation.select, required=False, where=expectation.label)
    return cut_down(frame, expectation.select_obtained, required=True, where=expectation.label)


def _predicate(expectation: Expectation, obtained: Mapping[str, Quantity]) -> Outcome:
    holds = expectation.holds
    assert holds is not None

    def lookup(name: str | None) -> list[tuple[Mapping[str, Scalar], Value]]:
        quantity = _quantity(expectation, obtained, name or expectation.quantity)
        if not is_table(quantity):
            return [({}, quantity)]  # type: ignore[list-item]
        fixed = fixed_columns({**expectation.select, **expectation.select_obtained})
        keys = expectation.key or [
            key for key in key_columns(quantity, expectation.value) if key not in fixed
        ]
        found = entries(
            quantity, value=expectation.value, keys=keys, extras={}, side="obtained", label=expectation.label
        )
        if not found:
            raise ClaimFileError("the obtained table has no rows", remedy="hand over a table with rows")
        return [(entry.key, entry.value) for entry in found.values()]

    answers = sorted(
        holds.answers(lookup),
        key=lambda answer: (_rank(answer.ok), math.inf if answer.margin is None else answer.margin),
    )
    rows = [
        Row(
            answer.key,
            answer.wanted,
            answer.obtained,
            math.nan if answer.margin is None else max(0.0, -answer.margin),
            0.0,
            0.0 if answer.ok else math.inf,
            answer.ok,
        )
        for answer in answers
    ]
    margins = [answer.margin for answer in answers if answer.margin is not None]
    margin = None if not margins else math.nan if any(map(math.isnan, margins)) else min(margins)
    agrees = all_hold([answer.ok for answer in answers])
    words = {True: "holds", False: "does not hold", None: "undecided"}[agrees]
    got = _in_short(rows, "obtained", nearest=agrees is True and margin is not None)
    text = f"{words}: {holds.text} (obtained {got}" + (")" if margin is None else f"; margin {margin:.3g})")
    if len(rows) > 1:
        text += _failures(rows)
    return Outcome(agrees, tuple(rows), len(rows), None, margin, holds.text, got, text)


def _rank(ok: bool | None) -> int:
    return {False: 0, None: 1, True: 2}[ok]


def _values(
    expectation: Expectation, tolerance: Tolerance, obtained: Mapping[str, Quantity], expected: Quantity
) -> Outcome:
    quantity = _quantity(expectation, obtained, expectation.quantity)
    wanted, got = _sides(expectation, tolerance, plain(expected), quantity, obtained)
    same_families(wanted, got, expectation.label)
    common = [key for key in wanted if key in got]
    checks = tolerance.check_all(
        [wanted[key].value for key in common],
        [got[key].value for key in common],
        [got[key].row for key in common],
    ) if common else []  # fmt: skip
    rows = [_row(wanted[key], got[key], check) for key, check in zip(common, checks, strict=True)]
    rows += [_row(wanted[key], None, None) for key in wanted if key not in got]
    if not expectation.partial:
        rows += [_row(None, got[key], None) for key in got if key not in wanted]
    if not rows:
        raise ClaimFileError("both tables are empty: nothing was compared", remedy="correct `select`")
    rows.sort(
        key=lambda row: (_rank(row.ok), -row.ratio, -row.delta if row.delta == row.delta else -math.inf)
    )
    agrees = all_hold([row.ok for row in rows])
    worst = max(row.ratio for row in rows)
    return Outcome(
        agrees,
        tuple(rows),
        len(rows),
        worst,
        None,
        _in_short(rows, "expected"),
        _in_short(rows, "obtained"),
        _summary(rows, tolerance.text) + _failures(rows),
    )


def _sides(
    expectation: Expectation,
    tolerance: Tolerance,
    expected: Quantity,
    quantity: Quantity,
    obtained: Mapping[str, Quantity],
) -> tuple[dict[Any, Entry], dict[Any, Entry]]:
    """Both sides as rows; lists stay whole where they are sets, or runs of one number."""
    shapes = {name: _shape(value) for name, value in (("expected", expected), ("obtained", quantity))}
    whole = compares_sets(tolerance) or shapes == {"expected": "one value", "obtained": "list"}
    if whole and "table" not in shapes.values():
        return {(): Entry({}, expected, {})}, {(): Entry({}, quantity, {})}  # type: ignore[arg-type]
    if len(set(shapes.values())) > 1:
        raise ClaimFileError(
            f"the expected value is a {shapes['expected']}, the obtained one a {shapes['obtained']}",
            remedy="compare like with like: correct `values`, `key`, `quantity`, or what the test hands over",
        )
    value, label = expectation.value, expectation.label
    near = {name: plain(extra) for name, extra in obtained.items() if name.startswith("near_")}
    keys = [str(name) for name in expected.columns if name != value] if is_table(expected) else []
    return (
        entries(expected, value=value, keys=keys, extras={}, side="expected", label=label),
        entries(quantity, value=value, keys=keys, extras=near, side="obtained", label=label),
    )


def _shape(value: object) -> str:
    return "table" if is_table(value) else "list" if is_collection(value) else "one value"


def _row(wanted: Entry | None, got: Entry | None, check: Check | None) -> Row:
    entry = wanted or got
    assert entry is not None
    check = check or Check(math.nan, 0.0, math.inf, False)
    return Row(
        entry.key,
        wanted.value if wanted else None,
        got.value if got else None,
        check.delta,
        check.allowance,
        check.ratio,
        check.ok,
    )


def _in_short(rows: Sequence[Row], side: str, *, nearest: bool = False) -> str:
    """How many rows, and the first; ``nearest``: all hold, and that one has least to spare."""
    worst = rows[0]
    text = short(getattr(worst, side))
    if len(rows) == 1:
        return text
    place = f" at {key_text(worst.key)}" if worst.key else ""
    if nearest:
        return f"{len(rows)} values, nearest to the limit: {text}{place}"
    if worst.ok and worst.ratio == 0:
        return f"{len(rows)} values"
    return f"{len(rows)} values, worst: {text}{place}"


def _summary(rows: Sequence[Row], tolerance: str) -> str:
    good = sum(row.ok is True for row in rows)
    undecided = sum(row.ok is None for row in rows)
    worst = rows[0]
    text = f"{good} of {len(rows)} within tolerance ({tolerance})"
    if undecided:
        text += f", {undecided} undecided"
    if worst.ok and len(rows) > 1:
        text += f"; worst Δ/tolerance {worst.ratio:.2g} at {key_text(worst.key)}"
    elif worst.ok:
        text += f"; Δ/tolerance {worst.ratio:.2g}"
    return text


def _failures(rows: Sequence[Row]) -> str:
    """A table of the rows that do not agree; nothing if all do."""
    bad = [row for row in rows if row.ok is not True]
    if not bad:
        return ""
    lines = [
        [
            key_text(row.key),
            short(row.expected),
            short(row.obtained),
            f"{row.delta:.3g}",
            f"{row.allowance:.3g}",
            "undecided" if row.ok is None else "differs",
        ]
        for row in bad[:SHOWN_ROWS]
    ]
    headers = ["row", "expected", "obtained", "Δ", "allowed", ""]
    more = f"\n… and {len(bad) - SHOWN_ROWS} more" if len(bad) > SHOWN_ROWS else ""
    return "\n" + tabulate(lines, headers=headers, disable_numparse=True) + more
