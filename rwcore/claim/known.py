"""Differences from a paper that are known and explained: ``known_differences.toml`` beside ``paper.toml``.

Form::

    [[difference]]
    claim = "C03"
    model = "google/gemma-2-2b"
    what = "2 neurons change from weakening to conditional weakening"
    since = 2025-11-21
    revisit = "when the authors publish their cosines"
    issue = "#12"          # optional
    expect = 0             # optional: only this expectation of the claim

An entry makes the test pass while the value differs, and fail as soon as it no longer does.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, ValidationError

from rwcore.claim.problems import Problem, Strict, did_you_mean, problems_of, raise_problems, read_toml
from rwcore.claim.schema import Paper, expand

FILE = "known_differences.toml"

_Text = Annotated[str, Field(min_length=1)]


class KnownDifference(Strict):
    """One known difference.

    Attributes:
        claim: Id of the claim.
        model: Model on which it differs; for models taken together, any one of them.
        what: What differs and why.
        since: Day since which it is known.
        revisit: When to look again, as a day or a condition.
        issue: Where it is discussed.
        expect: Number of the expectation; every published one of the claim if None.
    """

    claim: _Text
    model: _Text
    what: _Text
    since: datetime.date
    revisit: datetime.date | _Text
    issue: str | None = None
    expect: NonNegativeInt | None = None


class _File(Strict):
    difference: list[KnownDifference] = Field(default_factory=list)


def read_known(folder: Path) -> list[KnownDifference]:
    """The known differences of one paper's folder; none if there is no file.

    Raises:
        ClaimFileError: The file is not TOML or does not fit; lists every problem.
    """
    file = folder / FILE
    if not file.exists():
        return []
    raw, text = read_toml(file)
    try:
        return _File.model_validate(raw).difference
    except ValidationError as error:
        raise_problems(problems_of(error, raw), file, text)
        raise


def is_known(
    known: Iterable[KnownDifference], claim: str, models: str | Sequence[str], expect: int | None = None
) -> bool:
    """Whether a difference is listed for a claim on a model, or on one of several.

    Args:
        known: The list.
        claim: Id of the claim.
        models: The model, or the models taken together.
        expect: Number of the expectation; any if None.
    """
    wanted = {models} if isinstance(models, str) else set(models)
    return any(
        row.claim == claim
        and row.model in wanted
        and (row.expect is None or expect is None or row.expect == expect)
        for row in known
    )


def known_problems(paper: Paper, known: Sequence[KnownDifference]) -> list[Problem]:
    """Entries about claims, expectations or models that the paper has no published value for, and doubles."""
    problems = []
    by_id = {claim.id: claim for claim in paper.claims}
    seen = set()
    for number, row in enumerate(known):
        path = f"difference[{number}]"
        identity = (row.claim, row.model, row.expect)
        if identity in seen:
            problems.append(Problem(path, f"{row.claim} on {row.model} is listed twice", "merge the entries"))
        seen.add(identity)
        if row.claim not in by_id:
            hint = did_you_mean(row.claim, by_id)
            problems.append(Problem(f"{path} → claim", f"no claim {row.claim!r}{hint}", "correct the id"))
            continue
        published = {
            index: expand(paper, expectation.models)
            for index, expectation in enumerate(by_id[row.claim].expect)
            if expectation.scope == "published" and expectation.invalid is None
        }
        if row.expect is not None and row.expect not in published:
            problems.append(
                Problem(f"{path} → expect", f"expect[{row.expect}] of {row.claim} has no published target",
                        f"numbers that do: {', '.join(map(str, published)) or 'none'}")
            )  # fmt: skip
            continue
        models = {
            model for index, listed in published.items() for model in listed if row.expect in {None, index}
        }
        if row.model not in models:
            hint = did_you_mean(row.model, models)
            what = f"{row.claim} has no published value for {row.model}{hint}"
            problems.append(Problem(f"{path} → model", what, "correct the model, or delete the entry"))
    return problems
