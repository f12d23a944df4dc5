"""The table of claims × models: which columns there are, which are folded away, what stands in each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rwcore.paths import slug
from rwcore.report.results import ClaimInfo, PaperInfo, Result, Results, natural
from rwcore.report.verdicts import STYLES, VerdictStyle

GROUPS: dict[str, str] = {
    "packaged": "packaged",
    "other": "your models",
    "gated": "gated",
    "instruct": "instruct",
    "vanilla": "vanilla",
    "paper": "papers’ models",
    "tables": "published tables",
    "synthetic": "synthetic",
    "stand-in": "stand-ins",
}
"""Group of columns → its heading, from left to right."""

SAYS_LITTLE = ("tables", "synthetic", "stand-in")
"""Groups whose single columns interest nobody once there are several: they start folded into one."""
FEW = 3


@dataclass(frozen=True)
class Column:
    """One model.

    Attributes:
        model: Its id.
        short: Its id without the organisation.
        group: Key of its group.
        ran: Number of checks that ran.
        folded: Whether it is hidden at first, behind its group's summary column.
    """

    model: str
    short: str
    group: str
    ran: int
    folded: bool


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading; `summary` if they have a column that sums them up."""

    key: str
    heading: str
    columns: list[Column]
    summary: bool

    @property
    def wide(self) -> bool:
        """Whether there is room to write the verdict out beside its sign."""
        return len(self.columns) == 1 and self.key in ("packaged", "other")


@dataclass(frozen=True)
class Mark:
    """One result in a cell."""

    result: Result
    style: VerdictStyle
    anchor: str


@dataclass(frozen=True)
class Row:
    """One claim: a list of marks per column, and the verdict counts per group."""

    claim: ClaimInfo
    page: str
    cells: dict[tuple[str, str], list[Mark]]
    sums: dict[str, list[tuple[VerdictStyle, str, int]]]


@dataclass(frozen=True)
class Matrix:
    """Everything the table shows; one section of rows per paper."""

    groups: list[Group]
    sections: list[tuple[PaperInfo, list[Row]]]


def claim_page(paper: str, claim: str) -> str:
    """Path of a claim's page inside the report."""
    return f"claims/{slug(paper)}/{slug(claim)}.html"


def model_page(model: str) -> str:
    """Path of a model's page inside the report."""
    return f"models/{slug(model)}.html"


def anchor(result: Result) -> str:
    """Name of a result inside its claim's page."""
    return slug(f"{result.expectation}--{result.model}")


def group_of(result: Result, model_groups: Mapping[str, str]) -> str:
    """The group of columns a result belongs to."""
    return model_groups.get(result.model, "paper") if result.subject_kind == "paper" else result.subject_kind


def build_matrix(results: Results, model_groups: Mapping[str, str]) -> Matrix:
    """Arrange results as claims × models.

    Args:
        results: The results.
        model_groups: Model id → ``gated``, ``instruct`` or ``vanilla``; its order is the order of columns.
    """
    groups = _groups(results, model_groups)
    by_claim: dict[tuple[str, str], list[Result]] = {}
    for result in results.results:
        by_claim.setdefault((result.paper, result.claim), []).append(result)
    sections = []
    for paper in results.papers:
        claims = [claim for claim in results.claims if claim.paper == paper.slug]
        rows = [
            _row(claim, by_claim.get((claim.paper, claim.id), []), groups, model_groups) for claim in claims
        ]
        sections.append((paper, rows))
    return Matrix(groups, sections)


def _groups(results: Results, model_groups: Mapping[str, str]) -> list[Group]:
    ran: dict[str, dict[str, int]] = {}
    for result in results.results:
        models = ran.setdefault(group_of(result, model_groups), {})
        models[result.model] = models.get(result.model, 0) + result.ran
    order = {model: number for number, model in enumerate(model_groups)}
    groups = []
    for key, heading in GROUPS.items():
        models = ran.get(key, {})
        names = sorted(models, key=lambda name: (order.get(name, len(order)), natural(name.lower())))
        if not names:
            continue
        many = len(names) > FEW
        columns = [
            Column(
                model=name,
                short=name.rstrip("/").rsplit("/", 1)[-1] or name,
                group=key,
                ran=models[name],
                folded=len(names) > 1 and (models[name] == 0 or (many and key in SAYS_LITTLE)),
            )
            for name in names
        ]
        groups.append(Group(key, heading, columns, summary=many or any(column.folded for column in columns)))
    return groups


def _row(
    claim: ClaimInfo, results: list[Result], groups: list[Group], model_groups: Mapping[str, str]
) -> Row:
    cells: dict[tuple[str, str], list[Mark]] = {}
    for result in sorted(results, key=lambda one: natural(one.expectation)):
        mark = Mark(result, STYLES[result.verdict], anchor(result))
        cells.setdefault((group_of(result, model_groups), result.model), []).append(mark)
    sums = {}
    for group in groups:
        found = [
            mark.result.verdict for (key, _), marks in cells.items() if key == group.key for mark in marks
        ]
        sums[group.key] = [
            (style, str(verdict), found.count(verdict))
            for verdict, style in STYLES.items()
            if verdict in found
        ]
    return Row(claim, claim_page(claim.paper, claim.id), cells, sums)
