"""Recorded tables on disk: tidy CSV that a person can review and that reads back without loss.

Floats have 9 significant digits (float32 survives) and always a point, an exponent, ``nan`` or ``inf``, so
that the family of a column can be read off its cells: truth values, integers, floats, texts.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from rwcore.errors import GoldenError
from rwcore.store import write_text

Family = Literal["bool", "int", "float", "text"]

# Columns that say what a row is about; so do all columns of texts.
KEY_COLUMNS = (
    "model",
    "layer",
    "head",
    "neuron",
    "position",
    "class",
    "cosine",
    "vector",
    "bin_low",
    "bin_high",
)

_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]+|[0-9]+(\.[0-9]+)?e[+-]?[0-9]+|inf)|nan")


def family(column: pd.Series[Any]) -> Family:
    """What the cells of a column are.

    Raises:
        GoldenError: They are something else, or texts with gaps.
    """
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind):
        return "bool"
    if pd.api.types.is_integer_dtype(kind):
        return "int"
    if pd.api.types.is_float_dtype(kind):
        return "float"
    if all(isinstance(cell, str) for cell in column):
        return "text"
    raise GoldenError(
        f"column {str(column.name)!r} holds neither numbers, truth values nor texts ({kind})",
        remedy="record plain columns; leave rows without a value out",
    )


def key_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that say what a row is about, in the order of the frame.

    Raises:
        GoldenError: There is none, and more than one row.
    """
    keys = [str(name) for name in frame.columns if name in KEY_COLUMNS or family(frame[name]) == "text"]
    if not keys and len(frame) > 1:
        raise GoldenError(
            f"no column says what a row is about ({', '.join(map(str, frame.columns))})",
            remedy=f"add one: a text column, or one of {', '.join(KEY_COLUMNS)}",
        )
    return keys


def row_key(frame: pd.DataFrame, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """The key of every row; computed bin edges equal printed ones."""
    columns = [
        [_text(cell) if isinstance(cell, float) else cell for cell in frame[key].tolist()] for key in keys
    ]
    return list(zip(*columns, strict=True)) if keys else [()] * len(frame)


def _text(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    text = f"{cell + 0.0:.9g}"
    return text + ".0" if _INT.fullmatch(text) else text


def _quoted(cell: str) -> str:
    # csv.writer leaves a lone carriage return unquoted, and then cannot read it back.
    plain = cell and not any(sign in cell for sign in ',"\r\n')
    return cell if plain else '"' + cell.replace('"', '""') + '"'


def encode(frame: pd.DataFrame) -> str:
    """The file of a frame: sorted by its key columns, one observation a line.

    Raises:
        GoldenError: It would not read back as it is, e.g. for texts that look like numbers.
    """
    names = [str(name) for name in frame.columns]
    if frame.empty or not names:
        raise GoldenError("an empty table cannot be recorded", remedy="check that the statistic has rows")
    if len(set(names)) < len(names):
        raise GoldenError(f"columns share a name: {', '.join(names)}", remedy="rename them")
    keys = key_columns(frame)
    ordered = frame.sort_values(keys, kind="stable") if keys else frame
    columns = [[_text(cell) for cell in ordered[name].tolist()] for name in frame.columns]
    rows = [names, *zip(*columns, strict=True)]
    text = "".join(",".join(map(_quoted, row)) + "\n" for row in rows)
    again = decode(text, "the table to be recorded")
    for name in names:
        if family(again[name]) != family(frame[name]):
            raise GoldenError(
                f"column {name!r} holds {family(frame[name])} but reads back as {family(again[name])}",
                remedy="write its texts so that they cannot be mistaken, e.g. with a prefix",
            )
    return text


def decode(text: str, where: str) -> pd.DataFrame:
    """The frame of a file's text.

    Raises:
        GoldenError: It is not a table.
    """
    remedy = "restore the file, or record it again with --force-regen"
    try:
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, ValueError) as error:
        raise GoldenError(f"not a recorded table: {error}", where=where, remedy=remedy) from error
    if not rows or any(len(row) != len(header) for row in rows) or len(set(header)) < len(header):
        raise GoldenError("not a recorded table: no rows, or ragged ones", where=where, remedy=remedy)
    return pd.DataFrame({name: _typed(cells) for name, *cells in zip(header, *rows, strict=True)})


def _typed(cells: Sequence[str]) -> list[Any]:
    if all(cell in {"True", "False"} for cell in cells):
        return [cell == "True" for cell in cells]
    if all(_INT.fullmatch(cell) for cell in cells):
        return [int(cell) for cell in cells]
    if all(_FLOAT.fullmatch(cell) for cell in cells):
        return [math.nan if cell == "nan" else float(cell) for cell in cells]
    return list(cells)


def dump(frame: pd.DataFrame, file: Path) -> None:
    """Write a frame as a recorded table, whole or not at all.

    Raises:
        GoldenError: It would not read back as it is.
    """
    write_text(file, encode(frame))


def load(file: Path) -> pd.DataFrame:
    """Read a recorded table.

    Raises:
        GoldenError: The file is missing or not a recorded table.
    """
    try:
        # newline="": a carriage return inside a text is kept.
        with file.open(encoding="utf-8", newline="") as handle:
            text = handle.read()
    except (OSError, UnicodeDecodeError) as error:
        raise GoldenError(
            f"no recorded table can be read: {error}", where=str(file), remedy="record it with --force-regen"
        ) from error
    return decode(text, str(file))
