"""What ``results.json`` holds: runs, papers, claims, results and the numbers behind figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from rwcore.claim.schema import Scope
from rwcore.claim.verdict import SubjectKind, Verdict
from rwcore.report.verdicts import STYLES

SCHEMA: Final = "rwcore-results/1"
MAX_ROWS = 20


def _plain(value: Any) -> Any:
    """A JSON value of anything a test hands over; what JSON has no word for (nan, inf) becomes text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # numpy and torch scalars
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [_plain(item) for item in sorted(value, key=str)]
    if value is None or type(value) in (bool, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _number(value: Any) -> Any:
    """A float; the texts that stand for non-finite numbers in the file are read back."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    return float(value) if value in ("inf", "-inf", "nan") else value


Facts = Annotated[dict[str, Any], BeforeValidator(_plain)]
Rows = Annotated[list[dict[str, Any]], BeforeValidator(_plain)]
Number = Annotated[float, BeforeValidator(_number)]
Moment = Annotated[AwareDatetime, Field(strict=False)]
AnyVerdict = Annotated[Verdict, Field(strict=False)]


class Record(BaseModel):
    """Base of all records: nothing missing, nothing unknown, nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class Run(Record):
    """One session that produced results: when, how it was asked for, in which environment."""

    started: Moment
    finished: Moment
    command: str
    environment: Facts = Field(default_factory=dict)
    options: Facts = Field(default_factory=dict)


class PaperInfo(Record):
    """A paper whose claims were checked; `claims_in_spec` counts all its claims, automated or not."""

    slug: str
    title: str
    authors: str
    year: int
    url: str | None = None
    claims_in_spec: int


class ClaimInfo(Record):
    """A claim; `kind` is W (needs weights), F (checkable on published tables) or S (synthetic)."""

    paper: str
    id: str
    statement: str
    where: str
    definition: str
    kind: str
    automated: bool
    not_automated: str | None = None
    note: str | None = None


class Result(Record):
    """What came of one expectation of a claim on one model.

    Attributes:
        paper: Slug of the paper.
        claim: Id of the claim.
        expectation: Scope and number of the expectation, e.g. ``published#0``.
        scope: What kind of statement the expectation makes.
        model: Id of the model; for `subject_kind` "tables", the model whose published tables were read.
        subject_kind: What stood in for the model.
        verdict: The verdict; see `rwcore.report.verdicts`.
        ran: Whether a quantity was obtained.
        agrees: Whether it agrees; None where the question was not asked or not decided.
        reason: Why it did not run, or the error.
        quantity: Name of the quantity.
        expected: Short text.
        obtained: Short text.
        text: The corpus behind it and how much of it was read, if any.
        delta_over_tolerance: Largest deviation in units of the tolerance.
        margin: Distance to a threshold, positive if the claim holds.
        tolerance: The tolerance in words.
        because: Its reason.
        rows: The worst rows of a table, at most 20.
        n_rows: Number of rows compared.
        node_id: The pytest item.
        rerun: Command that repeats this check; for one that did not run, that makes it run.
        seconds: Wall time.
        provenance: Model revision, processing, dtypes, versions.
        note: Remark for the reader.
        run: Index of the run in `Results.runs`.
    """

    paper: str
    claim: str
    expectation: str
    scope: Scope
    model: str
    subject_kind: SubjectKind
    verdict: AnyVerdict
    ran: bool
    agrees: bool | None = None
    reason: str | None = None
    quantity: str | None = None
    expected: str = ""
    obtained: str = ""
    text: str | None = None
    delta_over_tolerance: Number | None = None
    margin: Number | None = None
    tolerance: str = ""
    because: str | None = None
    rows: Rows = Field(default_factory=list, max_length=MAX_ROWS)
    n_rows: int = 0
    node_id: str = ""
    rerun: str = ""
    seconds: Number | None = None
    provenance: Facts = Field(default_factory=dict)
    note: str | None = None
    run: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies a result in a file: paper, claim, expectation, model."""
        return (self.paper, self.claim, self.expectation, self.model)

    @model_validator(mode="after")
    def _verdict_fits(self) -> Self:
        decided = STYLES[self.verdict].agrees
        if self.verdict == "not run" and self.ran:
            raise ValueError('verdict "not run" but ran is true')
        if None not in (decided, self.agrees) and decided != self.agrees:
            raise ValueError(f'verdict "{self.verdict}" but agrees is {self.agrees}')
        return self


class Figure(Record):
    """What a figure shows: ``linout_medians`` (layer, median) or ``class_counts`` (layer, class, count)."""

    name: Literal["linout_medians", "class_counts"]
    model: str
    subject_kind: SubjectKind
    rows: Rows
    run: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies a figure in a file: name, model, kind of subject."""
        return (self.name, self.model, self.subject_kind)


class Results(Record):
    """Everything a report is made of; the content of ``results.json``."""

    schema_: Literal["rwcore-results/1"] = Field(default=SCHEMA, alias="schema")
    runs: list[Run]
    papers: list[PaperInfo]
    claims: list[ClaimInfo]
    results: list[Result]
    figures: list[Figure] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        papers = {paper.slug for paper in self.papers}
        claims = {(claim.paper, claim.id) for claim in self.claims}
        if len(papers) != len(self.papers) or len(claims) != len(self.claims):
            raise ValueError("a paper or claim is listed twice")
        for number, claim in enumerate(self.claims):
            if claim.paper not in papers:
                raise ValueError(f"claims[{number}].paper: {claim.paper!r} is not in papers")
        seen: set[tuple[str, ...]] = set()
        keyed: dict[str, Sequence[Result | Figure]] = {"results": self.results, "figures": self.figures}
        for name, items in keyed.items():
            for number, item in enumerate(items):
                if not 0 <= item.run < len(self.runs):
                    raise ValueError(f"{name}[{number}].run: there is no run {item.run}")
                if item.key in seen:
                    raise ValueError(f"{name}[{number}]: {' · '.join(item.key)} is there twice")
                seen.add(item.key)
        for number, result in enumerate(self.results):
            if (result.paper, result.claim) not in claims:
                raise ValueError(f"results[{number}].claim: {result.paper}/{result.claim} is not in claims")
        return self


def as_plain(record: Record) -> dict[str, Any]:
    """A record as built-in types only: valid JSON, and fit to be sent to another process."""
    plain: dict[str, Any] = _plain(record.model_dump(by_alias=True))
    return plain
