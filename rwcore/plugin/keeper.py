"""Compares what a claim test obtained with our own last accepted output, around pytest-regressions.

pytest-regressions owns regenerating, creating and the obtained file; the comparison and the rule when a
file may be written are ours: a plain run never writes below ``golden/``, and a run in CI cannot be asked to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_datadir.plugin import LazyDataDir
from pytest_regressions.common import perform_regression_check

from rwcore import paths
from rwcore.errors import GoldenError
from rwcore.golden.compare import assert_same
from rwcore.golden.files import dump
from rwcore.golden.noise import read_noise
from rwcore.golden.paths import recorded_path
from rwcore.golden.sidecar import write_sidecar
from rwcore.plugin.checks import CHECKS
from rwcore.plugin.options import SETTINGS, regenerating
from rwcore.plugin.subjects import Subject

if TYPE_CHECKING:
    import pandas as pd


class GoldenCheck:
    """Compares frames with recorded files; for a subject without recorded values it does nothing."""

    def __init__(self, request: pytest.FixtureRequest, subject: Subject, scratch: Path) -> None:
        self._request = request
        self._subject = subject
        self._scratch = scratch
        self._checks = request.node.stash[CHECKS]

    def check(self, frame: pd.DataFrame, name: str | None = None) -> None:
        """Compare a frame with its recorded file; complaints are raised when the test has returned.

        Args:
            frame: A summary: key columns and values.
            name: Folder of the recorded values; the name of the test without ``test_`` if None.
        """
        if not self._subject.recorded:
            return
        slug = self._checks.paper.slug
        target = recorded_path(slug, name or self._test_name(), self._subject.spec.test_id)
        try:
            self._compare(frame, target)
        except (AssertionError, GoldenError, pytest.fail.Exception) as error:
            self._checks.golden.append(str(error))

    def check_verdicts(self, verdicts: pd.DataFrame) -> None:
        """Compare the answers of statements about any model with the recorded ones."""
        self.check(verdicts, f"{self._test_name()}.verdicts")

    def _test_name(self) -> str:
        return str(self._request.function.__name__).removeprefix("test_")

    def _compare(self, frame: pd.DataFrame, target: Path) -> None:
        config = self._request.config
        settings = config.stash[SETTINGS]
        node = self._request.node.nodeid
        if settings.obtained is not None:
            dump(frame, settings.obtained / target.relative_to(paths.golden_dir()))
        if not target.is_file() and not regenerating(config):
            if settings.new_only:
                dump(frame, target)
                write_sidecar(target, self._subject.provenance())
                return
            raise GoldenError(
                "no value is recorded here yet",
                where=str(target),
                remedy=f"look at what the test obtains, then accept it: pytest '{node}' --regen-all",
            )

        def same(obtained: Path, recorded: Path) -> None:
            noise = read_noise(paths.golden_dir() / self._checks.paper.slug)
            assert_same(obtained, recorded, noise=noise, regenerate=f"pytest '{node}' --force-regen")

        before = target.read_bytes() if target.is_file() else None
        try:
            perform_regression_check(
                datadir=LazyDataDir(self._scratch, self._scratch),
                original_datadir=paths.golden_dir(),
                request=self._request,
                check_fn=same,
                dump_fn=lambda file: dump(frame, Path(file)),
                extension=".csv",
                fullpath=target,
            )
        finally:
            # The side-car says what made the values, so it stays while they do.
            if target.is_file() and target.read_bytes() != before:
                write_sidecar(target, self._subject.provenance())
