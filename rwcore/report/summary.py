"""Counts over results: what ran, what agrees, what is missing. Shared by the Markdown and the HTML report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rwcore.report.results import Result, Results, Run, natural
from rwcore.report.verdicts import FAMILIES, SCOPE_FAMILY, STYLES, Family

SUBJECTS: dict[str, tuple[str, str]] = {
    "packaged": ("packaged model", "4-bit, dequantised, a small gated model that no paper used"),
    "other": (
        "model of your choice",
        "a real model; what holds here says nothing about the papers’ own models",
    ),
    "paper": ("papers’ own models", "the only ones on which a published value can be reproduced"),
    "tables": ("published tables", "the papers’ numbers checked against each other; no model is run"),
    "stand-in": (
        "stand-ins",
        "tiny models with random weights: the code runs and identities hold, nothing more",
    ),
    "synthetic": ("synthetic", "tensors and planted models whose answer is known by construction"),
}
"""Kind of subject → (what to call it, what it can and cannot show), in the order of the report."""

REAL = ("packaged", "other", "paper")
"""Kinds of subject whose numbers mean something."""


@dataclass(frozen=True)
class Tally:
    """Counts of checks (one expectation on one model) and of the claims they belong to.

    `ran` and `agrees` are separate on purpose: a check that ran has not thereby agreed. A claim *ran* if one
    of its checks did, and *agrees* if all of its checks that ran agree and none raised.

    Attributes:
        checks: Number of checks.
        ran: Checks that obtained a value.
        agrees: Checks whose verdict counts as agreement.
        disagrees: Checks whose verdict counts as disagreement.
        open: Checks that ran without deciding (undecided, exercised).
        not_run: Checks that did not run because something was missing.
        errors: Checks that raised; one that raised half-way is also in `ran`.
        claims: Number of claims with at least one check here.
        claims_ran: Claims of which a check ran.
        claims_agree: Claims of which all checks that ran agree.
    """

    checks: int
    ran: int
    agrees: int
    disagrees: int
    open: int
    not_run: int
    errors: int
    claims: int
    claims_ran: int
    claims_agree: int


def family(result: Result) -> Family:
    """The column a result is counted in.

    A published value asked of anything but the paper's model, and any statement about models asked of random
    weights, is *exercised*, whatever became of it.
    """
    asked = SCOPE_FAMILY[result.scope]
    says_nothing = result.subject_kind == "stand-in" or (
        asked == "reproduction" and result.subject_kind != "paper"
    )
    if says_nothing and asked != "identity":
        return "exercised"
    return STYLES[result.verdict].counts_as or asked


def agreement(result: Result) -> bool | None:
    """True or False if the verdict counts for or against its claim, else None."""
    return None if family(result) == "exercised" else STYLES[result.verdict].agrees


def tally(results: Iterable[Result]) -> Tally:
    """Count checks and claims; published values known to be wrong are no targets and are left out."""
    checks = [result for result in results if result.verdict != "not a target"]
    ran = [result for result in checks if result.ran]
    answers = {id(result): agreement(result) for result in checks if result.ran or result.verdict == "error"}
    by_claim: dict[tuple[str, str], list[bool | None]] = {}
    for result in checks:
        if id(result) in answers:
            by_claim.setdefault((result.paper, result.claim), []).append(answers[id(result)])
    given = [answers[id(result)] for result in ran]
    return Tally(
        checks=len(checks),
        ran=len(ran),
        agrees=given.count(True),
        disagrees=given.count(False),
        open=sum(one.verdict != "error" and answer is None for one, answer in zip(ran, given, strict=True)),
        not_run=sum(not one.ran and one.verdict != "error" for one in checks),
        errors=sum(one.verdict == "error" for one in checks),
        claims=len({(one.paper, one.claim) for one in checks}),
        claims_ran=len({(one.paper, one.claim) for one in ran}),
        claims_agree=sum(all(answers) for answers in by_claim.values()),
    )


def by_family(results: Results) -> dict[Family, Tally]:
    """One tally per column, empty columns included."""
    return {name: tally(one for one in results.results if family(one) == name) for name in FAMILIES}


def verdict_counts(results: Iterable[Result]) -> dict[str, int]:
    """How often each verdict that occurs does, in the order of the verdict table."""
    found = [result.verdict for result in results]
    return {str(verdict): found.count(verdict) for verdict in STYLES if verdict in found}


@dataclass(frozen=True)
class Subject:
    """One model (or its tables, or a stand-in) and what came of it."""

    model: str
    kind: str
    tally: Tally
    verdicts: dict[str, int]


def subjects(results: Iterable[Result]) -> list[Subject]:
    """Every model with its counts, kinds in the order of `SUBJECTS`, names in natural order."""
    order = list(SUBJECTS)
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.subject_kind, result.model), []).append(result)
    keys = sorted(found, key=lambda key: (order.index(key[0]), natural(key[1].lower())))
    return [
        Subject(model, kind, tally(found[kind, model]), verdict_counts(found[kind, model]))
        for kind, model in keys
    ]


def model_rows(results: Results) -> list[Subject]:
    """One line per real model on which something ran, then one per kind for everything else."""
    rows = subjects(results.results)
    single = [one for one in rows if one.kind in REAL and one.tally.ran]
    rest: dict[str, list[str]] = {}
    for one in rows:
        if one not in single:
            rest.setdefault(one.kind, []).append(one.model)
    for kind, models in rest.items():
        group = [one for one in results.results if one.subject_kind == kind and one.model in models]
        name = models[0] if len(models) == 1 else plural(len(models), "model")
        single.append(Subject(name, kind, tally(group), verdict_counts(group)))
    return single


def headline(results: Results) -> str:
    """The one sentence a reader must not miss: how much of a reproduction this is."""
    count = by_family(results)["reproduction"]
    if count.claims == 0:
        return "This run checked no published value on a paper’s own model: it is not a reproduction."
    if count.claims_ran == 0:
        return f"0 of {count.claims} claims about published values ran: this is not a reproduction."
    return (
        f"{count.claims_ran} of {plural(count.claims, 'claim')} about published values ran on the papers’ "
        f"own models; {count.claims_agree} of these {count.claims_ran} agree wherever they ran. "
        f"Of {plural(count.checks, 'check')}, {count.ran:,} ran, {count.agrees:,} agree, "
        f"{count.disagrees:,} differ."
    )


def what_ran(results: Results) -> list[tuple[str, str]]:
    """What was run on which model, said plainly: (name, sentence) pairs."""
    told = []
    everyone = subjects(results.results)
    for kind, (name, meaning) in SUBJECTS.items():
        mine = [subject for subject in everyone if subject.kind == kind]
        if kind in ("packaged", "other"):
            told += [(one.model, f"{_sentence(name)}: {meaning}. {_amount([one])}") for one in mine]
        elif mine:
            told.append((_sentence(name), f"{_sentence(meaning)}. {_amount(mine)}"))
    return told


def _amount(group: list[Subject]) -> str:
    checks = sum(one.tally.checks for one in group)
    ran = sum(one.tally.ran for one in group)
    with_any = sum(one.tally.ran > 0 for one in group)
    tables = "the tables of " if group[0].kind == "tables" else ""
    where = (
        f" on {tables}{with_any} of {plural(len(group), 'model')}"
        if len(group) > 1 and group[0].kind != "synthetic"
        else ""
    )
    if not ran:
        return f"Nothing ran: 0 of {plural(checks, 'check')}{where}."
    return f"{ran:,} of {plural(checks, 'check')} ran{where}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def plural(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def when(run: Run) -> str:
    """Start and length of a run: ``24 September 2026, 14:02 UTC, 18.4 min``."""
    minutes = (run.finished - run.started).total_seconds() / 60
    return f"{run.started.day} {run.started:%B %Y, %H:%M} {run.started.tzname() or ''}, {minutes:.1f} min"


ATTENTION = (
    "error", "differs", "wrong", "inconsistent", "reproduced (drifted)",
    "does not hold here", "undecided", "known difference",
)  # fmt: skip


def attention(results: Results) -> list[Result]:
    """Checks a person should look at: what may be a defect first, then what is merely not so on a model."""
    found = [one for one in results.results if one.verdict in ATTENTION and family(one) != "exercised"]
    errors = [one for one in results.results if one.verdict == "error" and family(one) == "exercised"]
    return sorted([*errors, *found], key=lambda one: ATTENTION.index(one.verdict))


@dataclass(frozen=True)
class NotRun:
    """Checks on one model that did not run for the same reason, and the commands that make them run."""

    model: str
    kind: str
    reason: str
    claims: list[tuple[str, str]]
    commands: list[str]
    checks: int


def not_run(results: Iterable[Result]) -> list[NotRun]:
    """Checks that did not run, grouped by model and reason, models in the order of `subjects`."""
    missing = [result for result in results if result.verdict == "not run"]
    found: dict[tuple[str, str, str], list[Result]] = {}
    for result in missing:
        key = (result.subject_kind, result.model, result.reason or "no reason was recorded")
        found.setdefault(key, []).append(result)
    order = {(one.kind, one.model): number for number, one in enumerate(subjects(missing))}
    return [
        NotRun(
            model=model,
            kind=kind,
            reason=reason,
            claims=list(dict.fromkeys((one.paper, one.claim) for one in group)),
            commands=list(dict.fromkeys(one.rerun for one in group if one.rerun)),
            checks=len(group),
        )
        for (kind, model, reason), group in sorted(
            found.items(), key=lambda item: (order[item[0][:2]], item[0][2])
        )
    ]


def summary_json(results: Results) -> dict[str, Any]:
    """The counts of a report as plain data."""
    return {
        "headline": headline(results),
        "what_ran": [f"{name}: {text}" for name, text in what_ran(results)],
        "claims_listed": len(results.claims),
        "claims_automated": sum(claim.automated for claim in results.claims),
        "claims_in_specs": sum(paper.claims_in_spec for paper in results.papers),
        "families": {name: asdict(count) for name, count in by_family(results).items()},
        "verdicts": verdict_counts(results.results),
        "subjects": [asdict(subject) for subject in subjects(results.results)],
    }
