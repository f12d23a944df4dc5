"""The report as one Markdown file, for a README or a CI summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rwcore.report import summary
from rwcore.report.claim_view import facts, number
from rwcore.report.results import Result, Results, natural
from rwcore.report.verdicts import FAMILIES, STYLES


def render(results: Results, title: str = "Claims report") -> str:
    """Summary, claims, what was not run, provenance.

    Only checks that ran (or raised) have a line in the table of claims; the others are in the section on
    what was not run, with the commands that make them run.
    """
    parts = [
        f"# {title}",
        f"**{summary.headline(results)}**",
        "\n".join(f"- **{_text(name)}** – {_text(what)}" for name, what in summary.what_ran(results)),
        "## Summary",
        _summary(results),
        "## Claims",
        *_claims(results),
        "## Not run",
        *_not_run(results),
        "## Provenance",
        *_provenance(results),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(results: Results) -> str:
    rows = []
    for name, count in summary.by_family(results).items():
        counted = name != "exercised"
        rows.append(
            [
                FAMILIES[name][0],
                FAMILIES[name][1],
                f"{count.claims_ran} / {count.claims}",
                f"{count.claims_agree} / {count.claims_ran}" if counted else "never counted",
                f"{count.ran} / {count.checks}",
                str(count.agrees) if counted else "–",
                str(count.disagrees) if counted else "–",
                str(count.errors),
            ]
        )
    header = ["", "what is asked", "claims ran", "claims agree", "checks ran", "agree", "disagree", "errors"]
    return table(header, rows, numeric=range(2, len(header)))


def _claims(results: Results) -> list[str]:
    statements = {(claim.paper, claim.id): claim.statement for claim in results.claims}
    sections = []
    for paper in results.papers:
        shown = [
            one for one in results.results if one.paper == paper.slug and (one.ran or one.verdict == "error")
        ]
        shown.sort(key=lambda one: (natural(one.claim), natural(one.expectation), natural(one.model)))
        rows = [
            [
                one.claim,
                statements[one.paper, one.claim],
                _expected(one),
                one.obtained or (one.reason if one.verdict == "error" else None) or "–",
                number(one.delta_over_tolerance, 3),
                _model(one.model, one.subject_kind),
                f"{STYLES[one.verdict].symbol} {one.verdict}" + (f" ({one.text})" if one.text else ""),
            ]
            for one in shown
        ]
        header = ["claim", "statement", "expected (tolerance)", "obtained", "Δ/tol", "model", "verdict"]
        sections.append(f"### {_text(paper.title)} ({_text(paper.authors)}, {paper.year})")
        sections.append(table(header, rows, numeric=[4]) if rows else "Nothing ran.")
    return sections


def _expected(result: Result) -> str:
    tolerance = f" ({result.tolerance})" if result.tolerance else ""
    return f"{result.expected or '–'}{tolerance}"


def _not_run(results: Results) -> list[str]:
    groups = summary.not_run(results.results)
    if not groups:
        return ["Everything that was asked for ran."]
    several = len(results.papers) > 1
    blocks = []
    for one in groups:
        ids = ", ".join(f"{paper}/{claim}" if several else claim for paper, claim in one.claims)
        name, amount = _text(_model(one.model, one.kind)), summary.plural(one.checks, "check")
        lines = [
            f"- **{name}** ({amount}): {_text(one.reason)}",
            f"  - claims: {_text(ids)}",
            *(f"  - {_code(command)}" for command in one.commands),
        ]
        blocks.append("\n".join(lines))
    return ["\n".join(blocks)]


def _provenance(results: Results) -> list[str]:
    sections = []
    for run in results.runs:
        pairs = [
            ["command", run.command],
            *map(list, facts(run.environment)),
            *map(list, facts(run.options, "option ")),
        ]
        sections += [f"### {summary.when(run)}", table(["", ""], pairs)]
    return sections


def _model(model: str, kind: str) -> str:
    return model if kind in summary.REAL else f"{model} ({summary.SUBJECTS[kind][0]})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """A GitHub table; cells may hold any text.

    Args:
        header: Names of the columns.
        rows: Texts.
        numeric: Columns set flush right.
    """
    right = set(numeric)
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [list(header), rule, *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line; what stands between backticks stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        part.replace("|", r"\|") if number % 2 else re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def _code(text: str) -> str:
    """A code span; its fence is longer than any run of backticks inside."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"
