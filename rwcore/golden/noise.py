"""How much recorded values move when nothing changes but the CPU kernel: ``golden/<paper>/noise.toml``.

Form::

    [columns.median]
    abs = 2.4e-07
    rel = 1.1920929e-07
    because = "largest difference between avx2 and default in 3 files, times 4; at least one float32 ulp"
    measured_on = ["avx2", "default"]
    date = 2025-11-21
    nan = false            # whether missing values are allowed
"""

from __future__ import annotations

import datetime
import itertools
import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

from rwcore.errors import GoldenError
from rwcore.golden.files import family, key_columns, load, row_key
from rwcore.store import write_text

FILE = "noise.toml"

# A difference between two kernels is one draw; another machine may be a few times worse.
SAFETY = 4.0
ULP = 2.0**-23  # one unit in the last place of a float32, relative

HOW_TO_MEASURE = "run `rwcore promote --noise --models packaged,stand-in`"


class ColumnNoise(BaseModel):
    """What a column may move by: max(abs, rel · |recorded value|).

    Attributes:
        abs: Absolute, in the unit of the column.
        rel: Relative to the recorded value.
        because: How it was found.
        measured_on: The kernels compared.
        date: Day of the measurement.
        nan: Whether the column may have missing values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    abs: NonNegativeFloat
    rel: NonNegativeFloat
    because: Annotated[str, Field(min_length=1)]
    measured_on: Annotated[list[str], Field(min_length=2)]
    date: datetime.date
    nan: bool = False

    def allowance(self, recorded: float) -> float:
        """The largest allowed |Δ| from a recorded value."""
        return max(self.abs, self.rel * abs(recorded))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    columns: dict[str, ColumnNoise] = Field(default_factory=dict)


@dataclass(frozen=True)
class NoiseTable:
    """Noise of the columns of a paper's recorded values.

    Attributes:
        columns: Noise by column name.
        file: Where it was read from, for messages.
    """

    columns: Mapping[str, ColumnNoise] = field(default_factory=dict)
    file: Path | None = None


def read_noise(folder: Path) -> NoiseTable:
    """The noise table in one paper's folder of ``golden/``; an empty one if there is no file.

    Raises:
        GoldenError: The file is malformed.
    """
    file = folder / FILE
    if not file.is_file():
        return NoiseTable(file=file)
    try:
        table = _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GoldenError(f"not valid TOML: {error}", where=str(file), remedy=HOW_TO_MEASURE) from error
    except ValidationError as error:
        lines = [f"{' → '.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise GoldenError("; ".join(lines), where=str(file), remedy=HOW_TO_MEASURE) from error
    return NoiseTable(table.columns, file)


def write_noise(folder: Path, table: NoiseTable) -> None:
    """Write the noise table of a paper, whole or not at all."""
    lines = [
        "# Noise of recorded values between CPU kernels; written by `rwcore promote --noise`, not by hand."
    ]
    for name, column in sorted(table.columns.items()):
        lines += [
            "",
            f"[columns.{_quoted(name)}]",
            f"abs = {column.abs!r}",
            f"rel = {column.rel!r}",
            f"because = {_quoted(column.because)}",
            f"measured_on = [{', '.join(map(_quoted, column.measured_on))}]",
            f"date = {column.date.isoformat()}",
            f"nan = {str(column.nan).lower()}",
        ]
    write_text(folder / FILE, "\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, except for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def measure(
    folders: Mapping[str, Path],
    *,
    allow_nan: Collection[str] = (),
    steps: Mapping[str, float] | None = None,
    date: datetime.date | None = None,
) -> NoiseTable:
    """Noise of every value column from the same recorded files made under several CPU kernels.

    Per column: abs = 4 · the largest difference of any two kernels in any file; rel = one float32 ulp for
    floats, 0 for integers (an integer that no kernel moved stays exact).

    Args:
        folders: Folder of recorded files by kernel, at least two.
        allow_nan: Columns that may have missing values (in the same rows under every kernel).
        steps: Columns that count something, such as a share of the likeliest tokens, with the change that one
            near tie makes. A few kernels may break all ties alike; another machine need not.
        date: Day of the measurement; today if None.

    Raises:
        GoldenError: Fewer than two kernels, or their files differ in more than values.
    """
    if len(folders) < 2:
        raise GoldenError("noise is measured between at least two kernels", remedy=HOW_TO_MEASURE)
    names = {kernel: _files(folder) for kernel, folder in folders.items()}
    kernels = sorted(folders)
    largest: dict[str, float] = {}
    rel: dict[str, float] = {}
    for first, second in itertools.combinations(kernels, 2):
        if names[first] != names[second]:
            odd = ", ".join(sorted(names[first] ^ names[second]))
            raise GoldenError(
                f"{first} and {second} have different files: {odd}", remedy="run the same tests"
            )
        for name in sorted(names[first]):
            a, b = load(folders[first] / name), load(folders[second] / name)
            for column, delta in _differences(a, b, allow_nan, f"{name} ({first}, {second})").items():
                largest[column] = max(largest.get(column, 0.0), delta)
                rel[column] = max(rel.get(column, 0.0), ULP if family(a[column]) == "float" else 0.0)
    steps = steps or {}
    files = len(names[kernels[0]])
    because = (
        f"largest difference between {' and '.join(kernels)} in {files} file(s), times {SAFETY:g}; "
        "floats at least one float32 ulp"
    )
    day = date if date is not None else datetime.datetime.now(datetime.UTC).date()
    return NoiseTable(
        {
            column: ColumnNoise(
                abs=max(SAFETY * delta, steps.get(column, 0.0)), rel=rel[column],
                because=because + ("; at least one near tie" if column in steps else ""),
                measured_on=kernels, date=day, nan=column in allow_nan,
            )
            for column, delta in largest.items()
        }
    )  # fmt: skip


def _files(folder: Path) -> set[str]:
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*.csv")}
    if not found:
        raise GoldenError("no recorded files", where=str(folder), remedy=HOW_TO_MEASURE)
    return found


def _differences(
    first: pd.DataFrame, second: pd.DataFrame, allow_nan: Collection[str], where: str
) -> dict[str, float]:
    """Largest |Δ| of every value column of two frames of the same shape."""
    keys = key_columns(first)
    same = list(first.columns) == list(second.columns) and row_key(first, keys) == row_key(second, keys)
    if not same or any(family(first[name]) != family(second[name]) for name in first.columns):
        raise GoldenError("rows or columns differ, not only values", where=where, remedy="run the same code")
    found: dict[str, float] = {}
    for name in map(str, first.columns):
        kind = family(first[name])
        if name in keys or kind == "text":
            continue
        if kind == "bool":
            if not first[name].equals(second[name]):
                raise GoldenError(
                    f"truth values of {name!r} differ", where=where, remedy="record no such column"
                )
            continue
        a, b = (frame[name].to_numpy(dtype=np.float64) for frame in (first, second))
        gaps = np.isnan(a) | np.isnan(b)
        if gaps.any() and (name not in allow_nan or not np.array_equal(np.isnan(a), np.isnan(b))):
            raise GoldenError(
                f"column {name!r} has missing values", where=where, remedy="name it in allow_nan, or mend it"
            )
        apart = np.where((a == b) | gaps, 0.0, np.abs(a - b))
        found[name] = float(apart.max())
    return found
