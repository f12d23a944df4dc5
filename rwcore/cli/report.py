"""``rwcore report``: read, merge and show the results of claim runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rwcore.cli.console import paragraphs, remark, right, say, show, show_json, table

HELP = """Results of claim runs (`pytest claims --rw-report DIR` writes them).

Examples:
  rwcore report show report/results.json
  rwcore report merge cpu/results.json gpu/results.json --out report
"""
MERGE_HELP = """Combine the results of several runs into one report.

Of several results for one check, one that ran beats one that did not; then the later run wins. The order of
the files does not matter.

Examples:
  rwcore report merge cpu/results.json gpu/results.json --out report
"""
SHOW_HELP = """What a run says, in the terminal: what ran, the verdicts, and what to look at.

Examples:
  rwcore report show report/results.json
  rwcore report show report --json
"""
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=paragraphs(HELP), no_args_is_help=True)
    group.command("merge", help=paragraphs(MERGE_HELP), no_args_is_help=True)(merge)
    group.command("show", help=paragraphs(SHOW_HELP), no_args_is_help=True)(show_results)
    app.add_typer(group, name="report")


def _file(path: Path) -> Path:
    """A report's folder stands for its results.json."""
    return path / "results.json" if path.is_dir() else path


def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="results.json files, or their folders.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the report.")],
) -> None:
    """Merge results and write the report."""
    from rwcore.report.results import merge as merge_results
    from rwcore.report.results import read_results
    from rwcore.report.summary import headline
    from rwcore.report.write import write_all

    results = merge_results([read_results(_file(path)) for path in files])
    page = write_all(results, out.expanduser().resolve())
    say(headline(results))
    say(f"{len(results.results)} checks of {len(results.runs)} runs: {page}")


def show_results(
    path: Annotated[Path, typer.Argument(metavar="RESULTS", help="results.json, or the folder of a report.")],
    json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Print the summary of a results file."""
    from rwcore.report.results import read_results
    from rwcore.report.summary import attention, headline, not_run, subjects, summary_json, verdict_counts

    results = read_results(_file(path))
    if json:
        show_json(summary_json(results))
        return
    say(headline(results), style="bold")
    asked = [
        (one.model, one.kind, one.tally.ran, one.tally.agrees, one.tally.disagrees, one.tally.not_run)
        for one in subjects(results.results)
    ]
    numbers = [right(name) for name in ("ran", "agree", "disagree", "not run")]
    show(table("checks by model", ("model", "asked as", *numbers), asked))
    show(table("verdicts", ("verdict", right("checks")), verdict_counts(results.results).items()))
    worst = attention(results)
    if worst:
        rows = [
            (f"{one.paper}/{one.claim}", one.model, one.verdict, one.expected, one.obtained or one.reason)
            for one in worst[:SHOWN]
        ]
        show(table("to look at", ("claim", "model", "verdict", "expected", "obtained"), rows))
        if len(worst) > SHOWN:
            remark(f"… and {len(worst) - SHOWN} more: see the report's pages")
    missing = not_run(results.results)
    if missing:
        absent = [(one.model, one.checks, one.reason, *one.commands[:1]) for one in missing[:SHOWN]]
        show(table("not run", ("model", right("checks"), "why", "would run with"), absent))
        if len(missing) > SHOWN:
            remark(f"… and {len(missing) - SHOWN} more models")
