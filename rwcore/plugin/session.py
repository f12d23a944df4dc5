"""The record of a whole session: results of all tests, with the claims that no test touched."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rwcore.claim.coverage import marked_claims
from rwcore.claim.schema import Paper
from rwcore.plugin.subjects import Kind
from rwcore.provenance import commit, machine, software
from rwcore.report.results import ClaimInfo, Figure, PaperInfo, Result, Results, Run, merge


def session_results(
    *,
    started: datetime.datetime,
    command: str,
    papers: Mapping[Path, Paper],
    results: list[Result],
    figures: list[Figure],
    options: dict[str, str],
) -> Results:
    """Everything a report on this session needs.

    Args:
        started: When the session began.
        command: The command line.
        papers: The papers by folder; every claim of theirs is listed, automated or not.
        results: One per claim, expectation and model.
        figures: Data of figures.
        options: The settings of the run.
    """
    claims = []
    for folder, paper in sorted(papers.items()):
        automated = {mark.id for mark in marked_claims(folder)}
        claims += [
            ClaimInfo(
                paper=paper.slug,
                id=claim.id,
                statement=claim.statement,
                where=claim.where,
                definition=claim.definition,
                kind=str(claim.kind),
                automated=claim.id in automated,
                not_automated=claim.not_automated,
                note=claim.note,
            )
            for claim in paper.claims
        ]
    run = Run(
        started=started,
        finished=datetime.datetime.now(datetime.UTC),
        command=command,
        environment={"software": software(), "machine": machine(), **commit()},
        options=options,
    )
    infos = [
        PaperInfo(
            slug=paper.slug,
            title=paper.title,
            authors=paper.authors,
            year=paper.year,
            url=paper.url,
            claims_in_spec=paper.claims_in_spec,
        )
        for paper in papers.values()
    ]
    # A merge of one: the order of everything in the file is then that of merged reports.
    return merge([Results(runs=[run], papers=infos, claims=claims, results=results, figures=figures)])


MOST_REASONS = 6

NAMES = {
    Kind.PAPER: "papers' own models",
    Kind.PACKAGED: "packaged model",
    Kind.OTHER: "other models",
    Kind.TABLES: "published tables",
    Kind.SYNTHETIC: "synthetic",
    Kind.STAND_IN: "stand-ins (not counted)",
}


def summary_lines(results: Iterable[Result]) -> list[str]:
    """The table at the end of a run: per kind of subject, how much ran, and each verdict."""
    from tabulate import tabulate

    results = list(results)
    rows = []
    for kind, name in NAMES.items():
        mine = [result for result in results if result.subject_kind == kind]
        if not mine:
            continue
        verdicts = Counter(str(result.verdict) for result in mine if result.ran)
        claims = {(result.paper, result.claim) for result in mine}
        ran = {(result.paper, result.claim) for result in mine if result.ran}
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "–"
        rows.append(
            [name, f"{len(ran)} of {len(claims)}", f"{sum(r.ran for r in mine)} of {len(mine)}", told]
        )
    table = tabulate(
        rows, headers=["asked of", "claims ran", "checks ran", "verdicts of the checks that ran"]
    )
    return [*table.splitlines(), *_not_run_lines(results)]


def _not_run_lines(results: list[Result]) -> list[str]:
    """Each reason once, with the number of checks it kept from running."""
    reasons = Counter(result.reason or "no reason was recorded" for result in results if not result.ran)
    shown = [f"  {count} × {reason}" for reason, count in reasons.most_common(MOST_REASONS)]
    if len(reasons) > MOST_REASONS:
        shown.append(
            f"  … and {len(reasons) - MOST_REASONS} more reasons (all of them: --rw-report DIR, or -rs)"
        )
    return ["", "did not run:", *shown] if shown else []
