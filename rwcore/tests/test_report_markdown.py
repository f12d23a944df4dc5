"""The Markdown report, compared with an accepted one, and its tables with signs in them."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rwcore.claim.verdict import Verdict
from rwcore.report.markdown import render, table
from rwcore.report.results import Results, read_results

DATA = Path(__file__).parent / "data" / "report"


def test_the_canned_report_is_as_accepted() -> None:
    assert render(read_results(DATA / "results.json")) == (DATA / "report.md").read_text(encoding="utf-8")


def test_every_verdict_that_ran_and_every_reason_is_there() -> None:
    results = read_results(DATA / "results.json")
    text = render(results)
    for verdict in set(Verdict) - {Verdict.NOT_RUN}:
        assert f" {verdict} |" in text
    for result in results.results:
        if result.verdict == "not run":
            assert result.rerun in text


def test_an_empty_run_says_so() -> None:
    text = render(Results(runs=[], papers=[], claims=[], results=[]))
    assert "not a reproduction" in text
    assert "Everything that was asked for ran." in text


@given(st.lists(st.text(), min_size=2, max_size=4))
def test_no_text_breaks_a_table(cells: list[str]) -> None:
    header = [f"h{number}" for number in range(len(cells))]
    lines = table(header, [cells]).split("\n")
    assert len(lines) == 3
    row = re.sub(r"\\.", "", lines[2])  # what is escaped does not separate
    assert row.count("|") == len(cells) + 1
    assert not re.search(r"<|\[", re.sub(r"`[^`]+`", "", row))
