"""Published values: read from ``golden/<paper>/published/`` or from the claim file itself.

Inline values take one of these forms::

    values = 0.847                                    # the same for every model
    values = { "org/a" = 0.66, "org/b" = 0.52 }       # one per model
    key = "class"
    value = "count"
    values = { "org/a" = { strengthening = 47, … } }  # a table per model: columns class and count
    values = { strengthening = 966, … }               # one table, for models taken together (or no model)

A file is tidy CSV; its ``model`` column, if it has one, picks the rows of the model.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore import paths
from rwcore.claim.problems import did_you_mean
from rwcore.claim.schema import Claim, Expectation, Paper, expand, is_table_over_key
from rwcore.claim.tables import cut_down, fixed_columns
from rwcore.claim.values import Quantity, Scalar
from rwcore.errors import ClaimFileError

if TYPE_CHECKING:
    import pandas as pd

MODEL = "model"

# Stricter than int() and float(), which also take "1_000", " 1" and "inf": those are texts (tokens) here.
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def expected_for(
    paper: Paper,
    claim: Claim,
    expectation: Expectation,
    model: str | Sequence[str] | None = None,
    *,
    golden: Path | None = None,
) -> Quantity:
    """What the paper says about one model, or about all models of a ``together`` expectation.

    Args:
        paper: The paper.
        claim: The claim, for messages.
        expectation: One of its expectations.
        model: The model; ignored where the models are taken together or none is listed.
        golden: The folder ``golden/``; that of the checkout if None.

    Returns:
        A scalar, a list, or a frame of the key columns and the value column. None without values.

    Raises:
        ClaimFileError: The file, a column, or the rows of a model are missing; a value is missing or occurs
            twice.
    """
    if expectation.values is None:
        return None
    listed = expand(paper, expectation.models)
    models = (
        listed
        if expectation.together or model is None
        else [model]
        if isinstance(model, str)
        else list(model)
    )
    where = f"{paper.slug}/{claim.id}"
    if expectation.file is None:
        return _inline(expectation, listed, models, where)
    folder = (golden if golden is not None else paths.golden_dir()) / paper.slug / "published"
    return _from_file(expectation, folder / expectation.file, models)


def _inline(expectation: Expectation, listed: list[str], models: list[str], where: str) -> Quantity:
    import pandas as pd

    values = expectation.values
    if not isinstance(values, dict):
        return values  # type: ignore[no-any-return]
    if is_table_over_key(expectation, listed):
        return pd.DataFrame(_records(expectation, values))
    missing = [model for model in models if model not in values]
    if missing:
        raise ClaimFileError(
            f"no value for {', '.join(missing)}{did_you_mean(missing[0], values)}",
            where=where,
            remedy="add it to `values`",
        )
    if len(models) > 1 or expectation.together:
        rows = [{MODEL: model, **cells} for model in models for cells in _records(expectation, values[model])]
        return pd.DataFrame(rows)
    value = values[models[0]]
    return pd.DataFrame(_records(expectation, value)) if isinstance(value, dict) else value


def _records(expectation: Expectation, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict):
        return [{expectation.value: value}]
    key = expectation.key[0]
    return [{key: _number(name), expectation.value: cell} for name, cell in value.items()]


def _number(text: str) -> Scalar:
    """A TOML key is always a text; one that is written as a number stands for that number."""
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _from_file(expectation: Expectation, file: Path, models: list[str]) -> Quantity:
    frame = read_csv(file)
    frame = cut_down(frame, expectation.select, required=True, where=str(file))
    gone = fixed_columns(expectation.select)
    if MODEL in frame.columns and MODEL not in expectation.select and models:
        missing = [model for model in models if not (frame[MODEL] == model).any()]
        if missing:
            raise ClaimFileError(
                f"no rows for {', '.join(missing)}{did_you_mean(missing[0], frame[MODEL].unique())}",
                where=str(file),
                remedy="correct `models` or `select`, or add the rows from the paper",
            )
        frame = frame[frame[MODEL].isin(models)]
        gone |= set() if len(models) > 1 else {MODEL}
    value = expectation.value
    keys = expectation.key or [name for name in frame.columns if name != value and name not in gone]
    if len(models) > 1 and MODEL in frame.columns and MODEL not in keys and MODEL not in gone:
        keys = [MODEL, *keys]
    for column in (*keys, value):
        if column not in frame.columns:
            raise ClaimFileError(
                f"no column {column!r}{did_you_mean(column, frame.columns)}",
                where=f"{file} ({expectation.label})",
                remedy=f"name one in `value` or `key`: {', '.join(frame.columns)}",
            )
    _complete(frame, keys, value, file)
    if not keys and len(frame) == 1:
        return frame[value].tolist()[0]  # type: ignore[no-any-return]
    return frame[[*keys, value]].reset_index(drop=True)


def _complete(frame: pd.DataFrame, keys: list[str], value: str, file: Path) -> None:
    empty = frame[value].isna() | (frame[value].astype(str) == "")
    if empty.any():
        raise ClaimFileError(
            f"column {value!r} has no value in {int(empty.sum())} of {len(frame)} rows",
            where=f"{file}:{_first_line(empty)}",
            remedy="leave such rows out with `select`",
        )
    if not keys and len(frame) > 1:
        raise ClaimFileError(
            f"{len(frame)} rows are left and no column tells them apart",
            where=str(file),
            remedy="name the key columns in `key`, or cut the rows down with `select`",
        )
    twice = frame.duplicated(keys or None)
    if twice.any():
        raise ClaimFileError(
            f"several rows have the same {', '.join(keys)}",
            where=f"{file}:{_first_line(twice)}",
            remedy="name all key columns in `key`, or cut the rows down with `select`",
        )


def _first_line(rows: pd.Series[bool]) -> int:
    """Line of the file that the first marked row is on; the index still counts the rows of the file."""
    return int(rows[rows].index.tolist()[0]) + 2


def read_csv(file: Path) -> pd.DataFrame:
    """A published table, every column as numbers, truth values or texts, whichever all its cells are.

    An empty cell is NaN among numbers and an empty text among texts; the texts ``nan``, ``None`` and ``NA``
    (tokens, experiments) stay texts.

    Raises:
        ClaimFileError: The file is missing, not UTF-8, empty or ragged.
    """
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        near = did_you_mean(file.name, (path.name for path in file.parent.glob("*.csv")))
        raise ClaimFileError(
            f"the published table does not exist{near}",
            where=str(file),
            remedy="transcribe it from the paper, or correct `values`",
        ) from error
    return _read_csv(file, changed).copy()


@functools.lru_cache(maxsize=64)
def _read_csv(file: Path, changed: int) -> pd.DataFrame:
    import pandas as pd

    try:
        with file.open(encoding="utf-8", newline="") as handle:
            header, *rows = list(csv.reader(handle, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ClaimFileError(
            f"not a CSV table: {error}", where=str(file), remedy="save it as UTF-8 CSV"
        ) from error
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ClaimFileError(
                f"has {len(row)} cells instead of {len(header)}",
                where=f"{file}:{number}",
                remedy="correct the line",
            )
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame({name: _typed(cells) for name, cells in zip(header, columns, strict=True)})


def _typed(cells: Sequence[str]) -> list[Any]:
    filled = [cell for cell in cells if cell not in {"", "nan"}]
    whole = len(filled) == len(cells)
    if filled and whole and all(cell.lower() in {"true", "false"} for cell in cells):
        return [cell.lower() == "true" for cell in cells]
    if not filled or not all(NUMBER.fullmatch(cell) for cell in filled):
        return list(cells)
    if whole and all(INTEGER.fullmatch(cell) for cell in cells):
        return [int(cell) for cell in cells]
    return [float(cell or "nan") for cell in cells]
