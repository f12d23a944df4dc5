"""``rwcore claims``: what the papers claim, what is expected, and what is automated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from rwcore.cli.console import paragraphs, remark, right, say, show, show_json, table
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.claim.coverage import CoverageRow
    from rwcore.claim.schema import Claim, Expectation, Paper

HELP = """The papers' claims: all of them, or one with what is expected of it and how to run it.

CLAIM is an id such as C39, or paper/C39 where two papers have the same id.

Examples:
  rwcore claims
  rwcore claims C39
  rwcore claims --coverage
  rwcore claims --paper rw_functionalities --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("claims", help=paragraphs(HELP))(claims)


def claims(
    claim: Annotated[str | None, typer.Argument(metavar="[CLAIM]", help="Show this claim in full.")] = None,
    paper: Annotated[str | None, typer.Option(help="Only this paper (a folder in claims/).")] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="How many are automated; which are not, and why.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """List claims, show one, or count what is automated."""
    from rwcore.claim import coverage as covering

    if claim is not None and coverage:
        raise OptionError(
            "--coverage is about all claims of a paper", remedy=f"leave out {claim}, or --coverage"
        )
    papers = _papers(paper)
    found = covering.coverage(papers)
    rows = {(row.paper, row.id): row for row in found.rows}
    if claim is not None:
        owner, wanted = _find(papers, claim)
        row = rows[owner.slug, wanted.id]
        show_json(_as_json(owner, wanted, row)) if json else _show_claim(owner, wanted, row)
    elif coverage:
        _show_coverage(papers, found.rows, json=json)
        for problem in found.problems:
            remark(
                f"{problem.path}: {problem.what}" + (f" ({problem.remedy})" if problem.remedy else ""),
                style="yellow",
            )
    elif json:
        show_json(
            [_as_json(owner, one, rows[owner.slug, one.id]) for owner in papers for one in owner.claims]
        )
    else:
        for owner in papers:
            show(_list(owner, rows))
        remark("not automated: why is in `rwcore claims --coverage` · one claim in full: rwcore claims CLAIM")


def _papers(slug: str | None) -> list[Paper]:
    from rwcore.claim.problems import did_you_mean
    from rwcore.claim.schema import load_papers
    from rwcore.paths import claims_dir

    papers = load_papers(claims_dir())
    known = [paper.slug for paper in papers]
    if slug is None:
        return papers
    if slug not in known:
        raise OptionError(
            f"no paper {slug!r}{did_you_mean(slug, known)}",
            where="--paper",
            remedy=f"papers: {', '.join(known)}",
        )
    return [paper for paper in papers if paper.slug == slug]


def _find(papers: Sequence[Paper], text: str) -> tuple[Paper, Claim]:
    from rwcore.claim.problems import did_you_mean

    slug, _, id_ = text.rpartition("/")
    found = [
        (paper, claim)
        for paper in papers
        for claim in paper.claims
        if claim.id.lower() == id_.lower() and slug in ("", paper.slug)
    ]
    if not found:
        known = [claim.id for paper in papers for claim in paper.claims]
        raise OptionError(f"no claim {text!r}{did_you_mean(id_, known)}", remedy="`rwcore claims` lists them")
    if len(found) > 1:
        names = " or ".join(f"{paper.slug}/{claim.id}" for paper, claim in found)
        raise OptionError(f"several papers have a claim {id_}", remedy=f"write {names}")
    return found[0]


def _list(paper: Paper, rows: dict[tuple[str, str], CoverageRow]) -> Table:
    cells = [
        (
            claim.id,
            claim.kind,
            claim.statement,
            ", ".join(dict.fromkeys(one.scope for one in claim.expect)),
            "yes" if rows[paper.slug, claim.id].automated else "no",
        )
        for claim in paper.claims
    ]
    title = f"{paper.slug}: {paper.title} ({paper.authors}, {paper.year})"
    return table(title, ("id", "kind", "statement", "expected of", "automated"), cells)


def _show_claim(paper: Paper, claim: Claim, row: CoverageRow) -> None:
    say(f"{paper.slug}/{claim.id}", style="bold")
    say(claim.statement)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("paper", f"{paper.title} ({paper.year})")
    facts.add_row("where", claim.where)
    facts.add_row("definition", claim.definition)
    if claim.note:
        facts.add_row("note", claim.note)
    if row.automated:
        facts.add_row("run it", "\n".join(f"pytest {node}" for node in _nodes(paper, row)))
        facts.add_row("on a model", f"pytest {_nodes(paper, row)[0]} --rw-models MODEL")
        facts.add_row("takes about", f"{claim.cost:g} s on two cores, on the packaged model")
    else:
        facts.add_row("not automated", row.reason or "")
    show(facts)
    for number, expectation in enumerate(claim.expect):
        show(_expectation(paper, number, expectation))


def _nodes(paper: Paper, row: CoverageRow) -> list[str]:
    return [f"claims/{paper.slug}/{test}" for test in row.tests]


def _expectation(paper: Paper, number: int, expectation: Expectation) -> Table:
    from rwcore.claim.schema import expand

    grid = Table.grid(padding=(0, 2))
    facts = {
        "models": ", ".join(expand(paper, expectation.models))
        + (" (together)" if expectation.together else ""),
        "quantity": expectation.quantity,
        "published": _values(expectation),
        "rule": _rule(expectation),
        "because": getattr(expectation.tolerance or expectation.holds, "because", None),
        "needs": ", ".join(
            name if value is True else f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in expectation.needs.model_dump(exclude_defaults=True).items()
        ),
        "no target": expectation.invalid,
        "note": expectation.note,
    }
    grid.title, grid.title_justify = f"{expectation.scope}#{number}", "left"
    for name, text in facts.items():
        if text:
            grid.add_row(f"  {name}", text)
    return grid


def _rule(expectation: Expectation) -> str:
    rule = expectation.tolerance or expectation.holds
    return "" if rule is None else f"{rule.kind}: {rule.text}"


def _values(expectation: Expectation) -> str:
    if expectation.file is not None:
        chosen = "".join(f", {name} = {value}" for name, value in expectation.select.items())
        return f"{expectation.file}, column {expectation.value}{chosen}"
    return _listed(expectation.values)


def _listed(values: Any) -> str:
    if isinstance(values, dict):
        return "; ".join(f"{name}: {_listed(value)}" for name, value in values.items())
    return "" if values is None else str(values)


def _as_json(paper: Paper, claim: Claim, row: CoverageRow) -> dict[str, Any]:
    return {
        "paper": paper.slug,
        **claim.model_dump(mode="json"),
        "automated": row.automated,
        "tests": _nodes(paper, row),
        "reason": row.reason,
    }


def _show_coverage(papers: Sequence[Paper], rows: Sequence[CoverageRow], *, json: bool) -> None:
    counts = []
    for paper in papers:
        mine = [row for row in rows if row.paper == paper.slug]
        done = sum(row.automated for row in mine)
        share = done / paper.claims_in_spec if paper.claims_in_spec else 0.0
        counts.append((paper.slug, paper.claims_in_spec, len(mine), done, share))
    if json:
        missing = [(f"{row.paper}/{row.id}", row.reason) for row in rows if not row.automated]
        names = ("paper", "in_spec", "entries", "automated", "share_of_spec")
        show_json(
            {
                "papers": [dict(zip(names, count, strict=True)) for count in counts],
                "not_automated": [{"claim": claim, "reason": reason} for claim, reason in missing],
            }
        )
        return
    numbers = [right(name) for name in ("in the spec", "entries", "automated", "share of the spec")]
    cells = [(*count[:4], f"{count[4]:.0%}") for count in counts]
    show(table("claims as tests", ("paper", *numbers), cells))
    reasons: dict[tuple[str, str | None], list[str]] = {}
    for row in rows:
        if not row.automated:
            reasons.setdefault((row.paper, row.reason), []).append(row.id)
    if reasons:
        told = [(paper, ", ".join(ids), reason) for (paper, reason), ids in reasons.items()]
        show(table("not automated", ("paper", "claims", "why"), told))
