"""Quantities as rows: what a scalar, a list and a table have in common when they are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from rwcore.claim.problems import did_you_mean
from rwcore.claim.values import Interval, Quantity, Row, Scalar, Value, is_collection, is_number, plain, short
from rwcore.errors import ClaimFileError

if TYPE_CHECKING:
    import pandas as pd

Key: TypeAlias = tuple[Scalar, ...]


@dataclass(frozen=True)
class Entry:
    """One row of a quantity.

    Attributes:
        key: Its key columns.
        value: The value that is compared.
        row: The whole row.
    """

    key: Mapping[str, Scalar]
    value: Value
    row: Row


def is_table(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a DataFrame."""
    return hasattr(value, "columns") and hasattr(value, "itertuples")


def entries(
    quantity: Quantity, *, value: str, keys: Sequence[str], extras: Row, side: str, label: str
) -> dict[Key, Entry]:
    """The rows of a quantity by their keys.

    A scalar is one row without keys, a list one row per position, a table one row per key. A table may give
    its values as intervals, with the ends in ``<value>_low`` and ``<value>_high``.

    Args:
        quantity: What to take apart.
        value: Value column of a table.
        keys: Key columns of a table.
        extras: What the only row of a scalar carries besides its value.
        side: ``expected`` or ``obtained``, for messages.
        label: The expectation, for messages.

    Raises:
        ClaimFileError: A column is missing, or two rows have the same key.
    """
    if is_table(quantity):
        return _table_entries(quantity, value, keys, side, label)
    if isinstance(quantity, Set):
        raise ClaimFileError(
            f"the {side} value is a set, which has no order", where=label, remedy='use kind = "set"'
        )
    if is_collection(quantity):
        items = list(quantity)  # type: ignore[arg-type]
        return {
            (position,): Entry({"position": position}, plain(item), {}) for position, item in enumerate(items)
        }
    return {(): Entry({}, plain(quantity), extras)}


def _table_entries(
    frame: pd.DataFrame, value: str, keys: Sequence[str], side: str, label: str
) -> dict[Key, Entry]:
    for column in (*keys, value):
        if column not in frame.columns:
            raise ClaimFileError(
                f"the {side} table has no column {column!r}{did_you_mean(column, map(str, frame.columns))}",
                where=label,
                remedy=f"name one of its columns in `value` or `key`: {', '.join(map(str, frame.columns))}",
            )
    found: dict[Key, Entry] = {}
    for record in frame.to_dict(orient="records"):
        row = {str(name): _cell(cell) for name, cell in record.items()}
        key = {name: _key_cell(row[name]) for name in keys}
        index = tuple(key.values())
        if index in found:
            raise ClaimFileError(
                f"the {side} table has several rows for {key_text(key) or 'no key'}",
                where=label,
                remedy="name all key columns in `key`, or cut the table down with `select`",
            )
        found[index] = Entry(key, _with_interval(row, value), row)
    return found


def _with_interval(row: Mapping[str, Any], value: str) -> Value:
    low, high, estimate = row.get(f"{value}_low"), row.get(f"{value}_high"), row[value]
    if low is None or high is None or not is_number(estimate):
        return estimate  # type: ignore[no-any-return]
    return Interval(float(low), float(high), float(estimate))


def _cell(cell: Any) -> Any:
    """A Python scalar; NaN for anything pandas holds in place of a missing value."""
    return math.nan if cell is None or type(cell).__name__ in {"NAType", "NaTType"} else plain(cell)


def _key_cell(cell: Any) -> Scalar:
    # A bin edge that was computed, -0.6000000000000001, is the printed -0.6.
    return float(f"{cell:.9g}") if isinstance(cell, float) else cell


def key_columns(frame: pd.DataFrame, value: str) -> list[str]:
    """Key columns of a table: all but the value, its interval and the counts near a threshold."""
    others = {value, f"{value}_low", f"{value}_high"}
    return [str(name) for name in frame.columns if name not in others and not str(name).startswith("near_")]


def cut_down(frame: pd.DataFrame, select: Mapping[str, Any], *, required: bool, where: str) -> pd.DataFrame:
    """The rows of a table where every selected column has the wanted value, or one of a list.

    Args:
        frame: The table.
        select: Wanted values by column.
        required: Whether every selected column must be there.
        where: File or expectation, for messages.

    Raises:
        ClaimFileError: A column is missing, or no row is left.
    """
    for column, wanted in select.items():
        if column not in frame.columns:
            if not required:
                continue
            raise ClaimFileError(
                f"no column {column!r} to select by{did_you_mean(column, map(str, frame.columns))}",
                where=where,
                remedy=f"columns: {', '.join(map(str, frame.columns))}",
            )
        kept = frame[frame[column].isin(wanted if isinstance(wanted, list) else [wanted])]
        if kept.empty:
            present = ", ".join(sorted({short(plain(cell)) for cell in frame[column].head(1000)})[:12])
            raise ClaimFileError(
                f"no row has {column} = {short(wanted)}", where=where, remedy=f"values there: {present}"
            )
        frame = kept
    return frame


def fixed_columns(select: Mapping[str, Any]) -> set[str]:
    """Selected columns that have a single value afterwards and tell no rows apart."""
    return {column for column, wanted in select.items() if not isinstance(wanted, list) or len(wanted) == 1}


def key_text(key: Mapping[str, Scalar]) -> str:
    """``layer=3, class=weakening``."""
    return ", ".join(f"{name}={short(cell)}" for name, cell in key.items())


def same_families(expected: Mapping[Key, Entry], obtained: Mapping[Key, Entry], label: str) -> None:
    """Reject tables whose key columns hold texts on one side and numbers on the other: no row would match.

    Raises:
        ClaimFileError: They do.
    """
    if not expected or not obtained:
        return
    first, second = next(iter(expected.values())).key, next(iter(obtained.values())).key
    for name in first:
        if name in second and isinstance(first[name], str) is not isinstance(second[name], str):
            raise ClaimFileError(
                f"key column {name!r} is {short(first[name])!r} in the expected table and "
                f"{short(second[name])!r} in the obtained one: a text and a number",
                where=label,
                remedy="write the keys the way the statistic does",
            )
