"""Everything that can be wrong with a paper's claim files without running a test, all at once."""

from __future__ import annotations

from pathlib import Path

from rwcore.claim.known import FILE, KnownDifference, known_problems
from rwcore.claim.published import expected_for
from rwcore.claim.schema import Paper, expand
from rwcore.errors import ClaimFileError


def check_paper(paper: Paper, golden_dir: Path, known: list[KnownDifference] | None = None) -> list[str]:
    """Problems of a paper's claim files, each with its place and remedy; empty if there are none.

    Reads every published value of every expectation and model: a file, column or row that is missing, and a
    value that is missing or not unique, is found here and not in the middle of a long run.

    Args:
        paper: The paper.
        golden_dir: The folder ``golden/``.
        known: Its known differences.
    """
    problems: list[str] = []
    if len(paper.claims) > paper.claims_in_spec:
        problems.append(
            f"{paper.slug}: lists {len(paper.claims)} claims, but claims_in_spec is {paper.claims_in_spec}"
        )
    for claim in paper.claims:
        for expectation in claim.expect:
            models = expand(paper, expectation.models)
            subjects = [None] if expectation.together or not models else models
            for model in subjects:
                try:
                    expected_for(paper, claim, expectation, model, golden=golden_dir)
                except ClaimFileError as error:
                    text = f"{expectation.label}: {error}"
                    if text not in problems:
                        problems.append(text)
    for problem in known_problems(paper, known or []):
        problems.append(f"{paper.slug}/{FILE}: {problem.path}: {problem.what}; {problem.remedy}")
    return problems
