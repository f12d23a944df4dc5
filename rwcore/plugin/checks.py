"""Notes taken while one claim test runs: what applies, what was obtained, what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from rwcore.claim.schema import Claim, Expectation, Paper
from rwcore.plugin.parametrize import STAND_INS, applies, claims_of, paper_of
from rwcore.plugin.subjects import Subject, SubjectSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Checks:
    """Notes taken while one claim test runs.

    Attributes:
        paper: The paper.
        claims: The claims its marker names.
        pairs: The expectations that apply to the subject, each with its claim and its number in it.
        quantities: What the test obtained, by name; None until `claim.check` was called.
        figures: Frames for the report.
        golden: Complaints about recorded values.
        subject: The subject, once it was made.
        record_verdicts: Compares the answers with the recorded ones; None until the subject was made.
    """

    paper: Paper
    claims: list[Claim]
    pairs: list[tuple[Claim, int, Expectation]]
    quantities: dict[str, Any] | None = None
    figures: list[dict[str, Any]] = field(default_factory=list)
    golden: list[str] = field(default_factory=list)
    subject: Subject | None = None
    record_verdicts: Callable[[pd.DataFrame], None] | None = None


CHECKS: pytest.StashKey[Checks] = pytest.StashKey()


def make_checks(item: pytest.Item, spec: SubjectSpec) -> Checks | None:
    """Empty notes for a claim test; None for any other test."""
    marker = item.get_closest_marker("claim")
    paper = paper_of(item.config, item.path)
    if marker is None or paper is None:
        return None
    claims = claims_of(paper, marker.args, item.nodeid)
    stand_ins = item.config.stash[STAND_INS]
    pairs = [
        (claim, number, expectation)
        for claim in claims
        for number, expectation in enumerate(claim.expect)
        if applies(expectation, paper, spec, stand_ins)
    ]
    return Checks(paper, claims, pairs)
