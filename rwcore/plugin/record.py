"""Records what became of every claim, survives xdist, and writes the report at the end of the session."""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest

from rwcore.plugin.checks import CHECKS, Checks, make_checks
from rwcore.plugin.conclude import Conclusion, conclude, failed, not_run
from rwcore.plugin.gates import NOT_RUN
from rwcore.plugin.options import SETTINGS, gpu_asked
from rwcore.plugin.parametrize import PAPERS, studied, subject_spec
from rwcore.report.results import Figure, Result, as_plain

PROPERTY, FIGURE = "rw_result", "rw_figure"


class Recorder:
    """Collects the results of all tests in the process that reports (the controller under xdist)."""

    def __init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC)
        self.results: dict[tuple[str, ...], Result] = {}
        self.figures: dict[tuple[str, ...], Figure] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the results a test attached to its report."""
        if report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                result = Result.model_validate(value)
                self.results[result.key] = result
            elif name == FIGURE:
                figure = Figure.model_validate(value)
                self.figures[figure.key] = figure


RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Collect results wherever reports arrive."""
    config.stash[RECORDER] = Recorder()
    config.pluginmanager.register(config.stash[RECORDER], "rwcore-recorder")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give every claim test its notes before anything can fail."""
    spec = subject_spec(item)
    checks = make_checks(item, spec) if spec is not None else None
    if checks is not None:
        item.stash[CHECKS] = checks
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Decide the verdicts when the test function has returned, then fail if one of them fails."""
    checks = item.stash.get(CHECKS, None)
    if checks is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
        studied(item.config, item)
        conclusion = conclude(item, checks, time.perf_counter() - start)
    except pytest.skip.Exception as skipped:
        attach(item, not_run(item, checks, str(skipped)), checks)
        raise
    except Exception as error:
        attach(item, failed(item, checks, f"{type(error).__name__}: {error}"), checks)
        raise
    attach(item, conclusion.results, checks)
    _raise(conclusion)


def _raise(conclusion: Conclusion) -> None:
    if conclusion.complaints:
        pytest.fail("\n\n".join(conclusion.complaints), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach results to a test that never got to its call."""
    checks = item.stash.get(CHECKS, None)
    if checks is not None and call.when == "setup" and call.excinfo is not None:
        reason = item.stash.get(NOT_RUN, None)
        if reason is None and isinstance(call.excinfo.value, pytest.skip.Exception):
            reason = str(call.excinfo.value)
        text = f"{call.excinfo.typename}: {call.excinfo.value}"
        attach(item, not_run(item, checks, reason) if reason else failed(item, checks, text), checks)
    return (yield)


def attach(item: pytest.Item, results: list[Result], checks: Checks) -> None:
    """Put results where they survive xdist and land in JUnit files: the properties of the item."""
    item.user_properties += [(PROPERTY, as_plain(result)) for result in results]
    spec = subject_spec(item)
    if spec is not None:
        item.user_properties += [
            (FIGURE, as_plain(Figure(model=spec.id, subject_kind=spec.kind.value, **figure)))
            for figure in checks.figures
        ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report; with ``--rw-strict`` a reproduction in which nothing ran is a failure."""
    config = session.config
    recorder = config.stash[RECORDER]
    settings = config.stash[SETTINGS]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if settings.report is not None:
        write_report(config, recorder)
    nothing_ran = gpu_asked(config) and not any(result.ran for result in recorder.results.values())
    if (
        settings.strict
        and nothing_ran
        and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def write_report(config: pytest.Config, recorder: Recorder) -> None:
    """Write results.json, report.md and the pages, merged with nothing: one folder, one run."""
    from rwcore.plugin.session import session_results
    from rwcore.report.write import write_all

    settings = config.stash[SETTINGS]
    assert settings.report is not None
    command = shlex.join(["pytest", *config.invocation_params.args])
    papers = config.stash[PAPERS]
    results = session_results(
        started=recorder.started,
        command=command,
        papers=papers,
        results=list(recorder.results.values()),
        figures=list(recorder.figures.values()),
        options={name: str(value) for name, value in vars(settings).items()},
    )
    write_all(results, settings.report)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One table: verdicts by kind of subject; then what was not run, and where the report is."""
    results = list(config.stash[RECORDER].results.values())
    claims_asked = bool(results) or gpu_asked(config)
    if not claims_asked:
        return
    terminalreporter.section("claims")
    from rwcore.plugin.session import summary_lines

    for line in summary_lines(results):
        terminalreporter.write_line(line)
    report = config.stash[SETTINGS].report
    if report is not None:
        terminalreporter.write_line(f"report: {report / 'index.html'}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a full reproduction in which nothing ran says so."""
    if hasattr(config, "workerinput") or RECORDER not in config.stash or not gpu_asked(config):
        return
    results = config.stash[RECORDER].results.values()
    asked = {(result.paper, result.claim) for result in results}
    ran = {(result.paper, result.claim) for result in results if result.ran}
    if not ran:
        sys.stdout.write(f"0 of {len(asked)} claims ran: this is not a reproduction\n")
