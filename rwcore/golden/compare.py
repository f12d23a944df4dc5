"""Whether an obtained table is the recorded one: stricter than a comparison of the common columns.

The same columns on both sides, the same rows, unique keys, the same family of each column, no missing value
unless declared, integers exact unless something allows more, floats within measured noise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from rwcore.errors import GoldenError
from rwcore.golden.files import dump, family, key_columns, load, row_key
from rwcore.golden.noise import HOW_TO_MEASURE, ULP, NoiseTable

__all__ = ["Difference", "RecordedDiffers", "assert_same", "compare", "dump", "message"]

SHOWN = 20

# A neuron this near a threshold may change its class with the kernel.
COUNT, NEAR = "count", "near_1e-6"


class RecordedDiffers(GoldenError, AssertionError):
    """An obtained value is not the recorded one.

    An AssertionError too: pytest-regressions rewrites a file on --force-regen only after one.
    """


@dataclass(frozen=True)
class Difference:
    """One way in which two tables differ.

    Attributes:
        row: Key of the row; empty where it is about whole columns.
        column: The column; empty where it is about whole rows.
        recorded: The recorded value.
        obtained: The obtained value.
        delta: |obtained − recorded|; NaN where that has no meaning.
        allowed: What it may be.
        why: What is wrong, in a few words.
    """

    row: str
    column: str
    recorded: str
    obtained: str
    delta: float
    allowed: float
    why: str


def _structural(
    why: str, *, row: str = "", column: str = "", recorded: str = "", obtained: str = ""
) -> Difference:
    return Difference(row, column, recorded, obtained, math.nan, 0.0, why)


def compare(
    recorded: pd.DataFrame, obtained: pd.DataFrame, noise: NoiseTable | None = None
) -> list[Difference]:
    """All differences of two tables; empty if they are the same.

    Args:
        recorded: What we last accepted.
        obtained: What there is now.
        noise: What columns may move by.

    Raises:
        GoldenError: A float column has no measured noise.
    """
    noise = noise or NoiseTable()
    here, there = list(map(str, recorded.columns)), list(map(str, obtained.columns))
    found = [_structural("column is gone", column=name) for name in here if name not in there]
    found += [_structural("column is new", column=name) for name in there if name not in here]
    common = [name for name in here if name in there]
    for name in common:
        kinds = family(recorded[name]), family(obtained[name])
        if kinds[0] != kinds[1]:
            found.append(
                _structural("other kind of value", column=name, recorded=kinds[0], obtained=kinds[1])
            )
    keys = key_columns(recorded)
    if found and any(name not in there for name in keys):
        return found
    rows = [
        dict(zip(row_key(frame, keys), frame.to_dict(orient="records"), strict=True))
        for frame in (recorded, obtained)
    ]
    for side, frame in (("recorded", recorded), ("obtained", obtained)):
        twice = [key for key, count in Counter(row_key(frame, keys)).items() if count > 1]
        found += [_structural(f"several {side} rows", row=_row_text(keys, key)) for key in twice]
    found += [_structural("row is gone", row=_row_text(keys, key)) for key in rows[0] if key not in rows[1]]
    found += [_structural("row is new", row=_row_text(keys, key)) for key in rows[1] if key not in rows[0]]
    odd = {difference.column for difference in found}
    for name in common:
        if name not in keys and name not in odd:
            found += _column(name, family(recorded[name]), rows[0], rows[1], keys, noise)
    return found


def _row_text(keys: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{name}={cell}" for name, cell in zip(keys, key, strict=True))


def _column(
    name: str,
    kind: str,
    recorded: dict[tuple[Any, ...], dict[Any, Any]],
    obtained: dict[tuple[Any, ...], dict[Any, Any]],
    keys: Sequence[str],
    noise: NoiseTable,
) -> list[Difference]:
    measured = noise.columns.get(name)
    if kind == "float" and measured is None:
        raise GoldenError(
            f"column {name!r} has no measured noise, so nobody knows how exact it can be",
            where=str(noise.file or "noise.toml"),
            remedy=HOW_TO_MEASURE,
        )
    found = []
    for key, old in recorded.items():
        if key not in obtained:
            continue
        a, b = old[name], obtained[key][name]
        row = _row_text(keys, key)
        if kind in {"text", "bool"}:
            if a != b:
                found.append(_structural("differs", row=row, column=name, recorded=str(a), obtained=str(b)))
            continue
        gaps = math.isnan(a), math.isnan(b)
        if any(gaps):
            if measured is None or not measured.nan:
                why = "missing value, not declared (nan = true)"
            elif all(gaps):
                continue
            else:
                why = "missing on one side"
            found.append(_structural(why, row=row, column=name, recorded=_number(a), obtained=_number(b)))
            continue
        allowed = measured.allowance(a) if measured is not None and math.isfinite(a) else 0.0
        if kind == "float" and math.isfinite(a):
            allowed = max(allowed, ULP * abs(a))
        elif name == COUNT:
            allowed = max([allowed, *(float(row_[NEAR]) for row_ in (old, obtained[key]) if NEAR in row_)])
        delta = 0.0 if a == b else abs(a - b)
        if not delta <= allowed:
            found.append(Difference(row, name, _number(a), _number(b), delta, allowed, "differs"))
    return found


def _number(value: float) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def message(differences: Sequence[Difference], file: str, regenerate: str) -> str:
    """The differing rows as a table, and what to type.

    Args:
        differences: At least one difference.
        file: The recorded file.
        regenerate: The command that accepts the obtained values.
    """
    table = [
        [d.row, d.column, d.recorded, d.obtained, "" if math.isnan(d.delta) else f"{d.delta:.3g}",
         "" if math.isnan(d.delta) else f"{d.allowed:.3g}", d.why]
        for d in differences[:SHOWN]
    ]  # fmt: skip
    headers = ["row", "column", "recorded", "obtained", "Δ", "allowed", ""]
    more = f"\n… and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return (
        f"{len(differences)} difference(s) from the recorded values in {file}\n\n"
        f"{tabulate(table, headers=headers, disable_numparse=True)}{more}\n\n"
        f"If the new values are right, say why in the commit and type:\n    {regenerate}"
    )


def assert_same(obtained: Path, recorded: Path, *, noise: NoiseTable | None = None, regenerate: str) -> None:
    """Compare two files that `dump` wrote.

    Args:
        obtained: What there is now.
        recorded: What we last accepted.
        noise: What columns may move by.
        regenerate: The command that accepts the obtained values, e.g. ``pytest 'NODE' --force-regen``.

    Raises:
        RecordedDiffers: They differ; the message lists the differing rows.
        GoldenError: A file cannot be read, or a float column has no measured noise.
    """
    differences = compare(load(recorded), load(obtained), noise)
    if differences:
        raise RecordedDiffers(message(differences, str(recorded), regenerate))
