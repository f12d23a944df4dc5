"""What a claim's page shows: its results by expectation, with what they have in common said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rwcore.report.matrix import group_of
from rwcore.report.results import ClaimInfo, Result, Results, natural
from rwcore.report.summary import NotRun, not_run

SCOPES: dict[str, tuple[str, str]] = {
    "published": ("Published value", "on the papers’ own models; only this counts as a reproduction"),
    "data": ("Published tables", "do the papers’ own numbers agree with the statement? No model is run"),
    "any-gated": ("Any gated model", "does the statement also hold on this model?"),
    "any-decoder": ("Any decoder", "does the statement also hold on this model?"),
    "identity": ("Identity", "must hold whatever the weights"),
    "synthetic": ("Synthetic", "planted or analytic answer"),
    "ours": ("Our own statement", "not from the paper"),
}
KINDS = {"W": "needs model weights", "F": "can be checked on published tables", "S": "synthetic or analytic"}


@dataclass(frozen=True)
class ExpectationView:
    """One expectation of a claim.

    Attributes:
        name: E.g. ``published#0``.
        title: Its scope in words.
        meaning: What that scope asks.
        tolerance: The tolerance, if it is the same for all models, else None.
        because: Its reason, if it is the same for all models, else None.
        note: A remark, if it is the same for all models, else None.
        results: Checks that ran or raised, models in the order of the table of claims.
        missing: Checks that did not run, by reason.
    """

    name: str
    title: str
    meaning: str
    tolerance: str | None
    because: str | None
    note: str | None
    results: list[Result]
    missing: list[NotRun]


def expectations(
    claim: ClaimInfo,
    results: Results,
    columns: Mapping[tuple[str, str], int],
    model_groups: Mapping[str, str],
) -> list[ExpectationView]:
    """The expectations of a claim in their order.

    Args:
        claim: The claim.
        results: All results.
        columns: (group, model) → position in the table of claims.
        model_groups: Model id → group.
    """
    found: dict[str, list[Result]] = {}
    for result in results.results:
        if (result.paper, result.claim) == (claim.paper, claim.id):
            found.setdefault(result.expectation, []).append(result)

    def position(result: Result) -> int:
        return columns[group_of(result, model_groups), result.model]

    return [
        ExpectationView(
            name=name,
            title=SCOPES[group[0].scope][0],
            meaning=SCOPES[group[0].scope][1],
            tolerance=_common(one.tolerance for one in group),
            because=_common(one.because for one in group),
            note=_common(one.note for one in group),
            results=sorted((one for one in group if one.ran or one.verdict == "error"), key=position),
            missing=not_run(group),
        )
        for name, group in sorted(
            found.items(), key=lambda item: natural(item[0].partition("#")[2] or item[0])
        )
    ]


def _common(texts: Iterable[str | None]) -> str | None:
    given = set(texts)
    return given.pop() if len(given) == 1 else None


def row_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Rows of a result as header and text; a key that is a table becomes one column per entry."""
    flat = [_flat(row) for row in rows]
    header = list(dict.fromkeys(name for row in flat for name in row))
    return header, [[text(row[name]) if name in row else "" for name in header] for row in flat]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found.update(value)
        else:
            found[name] = value
    return found


def facts(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as (dotted name, text) pairs; empty values are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            pairs += facts(value, f"{prefix}{name}.")
        elif value not in (None, "", []):
            pairs.append((prefix + name, text(value)))
    return pairs


def text(value: Any) -> str:
    """A value for a person: six significant digits, yes and no, lists with dots between."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return " · ".join(text(item) for item in value)
    return str(value).replace("inf", "∞") if value in ("inf", "-inf") else str(value)


def number(value: float | None, digits: int = 6) -> str:
    """A number with a true minus sign; ``–`` for None, ``∞`` where there is no limit."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}g}".replace("inf", "∞").replace("-", "−")
