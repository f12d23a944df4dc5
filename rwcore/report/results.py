"""Reading, writing and merging the record of runs (``results.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rwcore.errors import RwcoreError
from rwcore.report.records import (
    MAX_ROWS,
    SCHEMA,
    ClaimInfo,
    Figure,
    PaperInfo,
    Record,
    Result,
    Results,
    Run,
    as_plain,
)
from rwcore.store import write_text

__all__ = [
    "MAX_ROWS",
    "SCHEMA",
    "ClaimInfo",
    "Figure",
    "PaperInfo",
    "Result",
    "Results",
    "ResultsFileError",
    "Run",
    "as_plain",
    "json_schema",
    "merge",
    "natural",
    "read_results",
    "to_json",
    "write_results",
]

AnyRecord = TypeVar("AnyRecord", bound=Record)


class ResultsFileError(RwcoreError):
    """A results file is missing, not JSON, of another schema, or contradicts itself."""


def read_results(path: Path) -> Results:
    """Read and check a results file.

    Raises:
        ResultsFileError: The file is missing or malformed; the error names the file and the key.
    """
    remedy = "write it again with `pytest claims`, or take it out of the list of files"
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise ResultsFileError(
            f"cannot read the results: {error.strerror}", where=str(path), remedy=remedy
        ) from error
    except ValueError as error:
        raise ResultsFileError(f"not JSON: {error}", where=str(path), remedy=remedy) from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ResultsFileError(
            f"the schema is {schema!r}; this version reads {SCHEMA!r}", where=f"{path}: schema", remedy=remedy
        )
    try:
        return Results.model_validate_json(text)
    except ValidationError as error:
        raise ResultsFileError(_first(error), where=f"{path}: {_place(error)}", remedy=remedy) from error


def _first(error: ValidationError) -> str:
    details = error.errors()
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    message = details[0]["msg"].removeprefix("Value error, ")
    return f"malformed results: {message}{more}"


def _place(error: ValidationError) -> str:
    parts = error.errors()[0]["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.lstrip(".") or "(whole file)"


def to_json(results: Results) -> str:
    """The file's text: stable, valid JSON (no NaN), one value per line."""
    return json.dumps(as_plain(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_results(path: Path, results: Results) -> None:
    """Write a results file, whole or not at all.

    Raises:
        StoreError: The file cannot be written.
    """
    write_text(path, to_json(results))


def json_schema() -> dict[str, Any]:
    """The JSON schema of results files."""
    return {"$id": SCHEMA, **Results.model_json_schema(by_alias=True)}


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which ``C9`` comes before ``C10``."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)
    )


def merge(parts: Iterable[Results]) -> Results:
    """Combine the results of several runs into one, in any order.

    Of several results for the same paper, claim, expectation and model, one that ran beats one that did not;
    then the later run wins. Papers and claims are those of the part with the latest run.

    Args:
        parts: The results; each may itself be a merge.

    Returns:
        Runs in order of time; papers, claims and results in natural order of their names.
    """
    given = list(parts)
    runs = sorted({_canonical(run): run for part in given for run in part.runs}.items(), key=_when)
    index = {text: number for number, (text, _) in enumerate(runs)}
    papers: dict[str, tuple[Any, PaperInfo]] = {}
    claims: dict[tuple[str, str], tuple[Any, ClaimInfo]] = {}
    results: dict[tuple[str, ...], tuple[Any, Result]] = {}
    figures: dict[tuple[str, ...], tuple[Any, Figure]] = {}
    for part in given:
        numbers = [index[_canonical(run)] for run in part.runs]
        latest = max(numbers, default=-1)
        for paper in part.papers:
            _keep(papers, paper.slug, latest, paper)
        for claim in part.claims:
            _keep(claims, (claim.paper, claim.id), latest, claim)
        for result in part.results:
            moved = result.model_copy(update={"run": numbers[result.run]})
            _keep(results, result.key, (result.ran, moved.run), moved)
        for figure in part.figures:
            moved_figure = figure.model_copy(update={"run": numbers[figure.run]})
            _keep(figures, figure.key, moved_figure.run, moved_figure)
    return Results(
        runs=[run for _, run in runs],
        papers=[paper for _, (_, paper) in sorted(papers.items())],
        claims=[
            claim for _, (_, claim) in sorted(claims.items(), key=lambda item: tuple(map(natural, item[0])))
        ],
        results=[
            one for _, (_, one) in sorted(results.items(), key=lambda item: tuple(map(natural, item[0])))
        ],
        figures=[one for _, (_, one) in sorted(figures.items())],
    )


def _keep(kept: dict[Any, tuple[Any, Any]], key: Any, rank: Any, item: Record) -> None:
    """Keep the item of highest rank; the text breaks ties, so that the order of the parts never matters."""
    full = (rank, _canonical(item))
    if key not in kept or kept[key][0] < full:
        kept[key] = (full, item)


def _canonical(record: Record) -> str:
    return json.dumps(as_plain(record), sort_keys=True)


def _when(item: tuple[str, Run]) -> Any:
    text, run = item
    return (run.finished, run.started, text)
