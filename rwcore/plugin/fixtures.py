"""Fixtures of a claim test: the subject, the judge of its claims and the keeper of recorded values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rwcore.golden.paths import published_dir
from rwcore.parallel import open_engine
from rwcore.plugin.checks import CHECKS, Checks
from rwcore.plugin.keeper import GoldenCheck
from rwcore.plugin.options import SETTINGS
from rwcore.plugin.parametrize import STAND_INS
from rwcore.plugin.subjects import Subject
from rwcore.plugin.workshop import Workshop
from rwcore.store import Store

if TYPE_CHECKING:
    import pandas as pd


@pytest.fixture(scope="session")
def rw_workshop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """Stores, engine and builders that the subjects of this session are made with."""
    settings = request.config.stash[SETTINGS]
    stand_ins = request.config.stash[STAND_INS]
    with ExitStack() as stack:
        yield Workshop(
            store=Store(),
            scratch=tmp_path_factory.mktemp("stand-ins"),
            engine=stack.enter_context(open_engine(settings.scheduler)),
            stand_ins=stand_ins,
            published=published_dir,
            tokens=settings.tokens,
            pages=settings.published_pages,
            knowledge=settings.knowledge,
            features=settings.features,
        )


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, rw_workshop: Workshop) -> Subject:
    """What a claim is asked of; parametrized from the claim files and the options."""
    return rw_workshop.make(request.param)


class ClaimCheck:
    """Compares what a test obtained with what the paper says."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks

    def check(self, value: Any = None, **quantities: Any) -> None:
        """Hand over the obtained quantities.

        Args:
            value: The only quantity, if the expectations name none.
            quantities: Numbers, truth values, texts, sets, intervals or frames by the names that
                ``quantity`` has in ``paper.toml``.
        """
        obtained = dict(quantities)
        if value is not None:
            obtained["value"] = value
        self._checks.quantities = {**(self._checks.quantities or {}), **obtained}

    def figure(self, name: str, frame: pd.DataFrame) -> None:
        """Hand over the data of a figure that the report draws (``linout_medians``, ``class_counts``)."""
        self._checks.figures.append({"name": name, "rows": frame.to_dict(orient="records")})


@pytest.fixture
def claim(request: pytest.FixtureRequest, subject: Subject, tmp_path: Path) -> ClaimCheck:
    """The judge of the paper's claims: ``claim.check(frame)`` or ``claim.check(name=value, …)``."""
    checks = request.node.stash[CHECKS]
    subject.begin()
    checks.subject = subject
    checks.record_verdicts = GoldenCheck(request, subject, tmp_path).check_verdicts
    return ClaimCheck(checks)


@pytest.fixture
def golden(request: pytest.FixtureRequest, subject: Subject, tmp_path: Path) -> GoldenCheck:
    """The keeper of recorded values: ``golden.check(frame)``."""
    return GoldenCheck(request, subject, tmp_path)
