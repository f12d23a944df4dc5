"""The page of a grid of ablations: all runs in one table, and the predictions that each changes most."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from rwcore.ablation.compare import FIXED, LABELS, RunLabel
from rwcore.ablation.examples import RISE, RunExamples
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.ablation_examples import MetricView, metric_views, shade
from rwcore.pages.card_pictures import signed
from rwcore.pages.cards import token_markup
from rwcore.pages.render import render
from rwcore.plots.ablation_names import BASELINE_NAME, SHORT_LABELS, condition_text, mode_text

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 1_500_000
COLUMNS = ("loss", "entropy", "log_scale")
"""Metrics with a column of their own in the table of runs."""
BAR, TALL = 88, 14
"""Size of a bar, in units of its drawing."""
CONVENTIONS = {
    True: "The first position of every row is left out (with a BOS it is the same prediction in all rows); "
    "every other prediction counts, unchanged ones too.",
    False: "As published: numbers in half precision, unchanged predictions dropped, first positions counted.",
}


@dataclass(frozen=True, eq=False)
class AblationReport:
    """What the page says.

    Attributes:
        model: Id of the model.
        corpus: Id of the corpus.
        tokens: Its tokens.
        documents: Its documents.
        convention: ``fixed`` or ``as_published``.
        table: Columns as `rwcore.ablation.compare.COLUMNS`.
        neurons: Number of neurons of each run.
        examples: The examples of runs; some or all may have none.
        words: Texts of the tokens.
        failures: What could not be made: ``name``, ``error``, ``where`` and ``remedy`` of each.
        figure: The mean differences as a PNG file; None for no figure.
        files: Names of files beside the page.
        provenance: Names and texts for the foot of the page.
    """

    model: str
    corpus: str
    tokens: int
    documents: int
    convention: str
    table: pd.DataFrame
    neurons: Mapping[RunLabel, int]
    examples: Sequence[RunExamples]
    words: Vocabulary
    failures: Sequence[Mapping[str, str | None]]
    figure: bytes | None
    files: Sequence[str]
    provenance: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A mean difference in the table.

    Attributes:
        mean: In words.
        interval: Its 95 % interval in words.
        bar: The same as a picture.
    """

    mean: str
    interval: str
    bar: Markup


@dataclass(frozen=True)
class RunRow:
    """A run in the table.

    Attributes:
        label: What was ablated.
        mode: What activations are set to.
        condition: Signs of gate and post, perhaps empty.
        neurons: How many.
        predictions: How many count.
        cells: By metric.
        ranks: Share of the predictions whose rank changes.
        ident: Id of the section with its examples; None without one.
    """

    label: RunLabel
    mode: str
    condition: str
    neurons: str
    predictions: str
    cells: Mapping[str, Cell]
    ranks: str
    ident: str | None


@dataclass(frozen=True)
class RunSection:
    """The examples of a run.

    Attributes:
        row: The run in the table.
        metrics: The examples, each metric with the smallest and the largest difference of all predictions,
            and those of the baseline (empty without one).
    """

    row: RunRow
    metrics: tuple[tuple[MetricView, str, str], ...]


def ablation_page(report: AblationReport, *, most_bytes: int = MOST_BYTES) -> str:
    """The page as one file that needs nothing else.

    Args:
        report: What it says.
        most_bytes: The page shows fewer examples of each run if it would be larger; it says so.
    """
    counts = Counter(
        (run.label, one.metric, one.direction) for run in report.examples for one in run.examples
    )
    most = max(counts.values(), default=0)
    rows = {row.label: row for row in run_rows(report)}
    sections = [_section(report, run, rows[run.label]) for run in report.examples]
    figure = None if report.figure is None else base64.b64encode(report.figure).decode("ascii")
    for shown in range(most, -1, -1):
        page = render(
            "ablation.html",
            report=report,
            rows=list(rows.values()),
            sections=sections,
            scales={metric: f"{limit:.2g}" for metric, limit in limits(report.table).items()},
            columns=COLUMNS,
            labels=SHORT_LABELS,
            convention=CONVENTIONS[report.convention == FIXED],
            shown=shown,
            most=most,
            figure=figure,
            baseline_name=BASELINE_NAME,
            token_markup=token_markup,
            shade=shade,
            rise=RISE,
        )
        if len(page.encode()) <= most_bytes:
            break
    return page


def run_rows(report: AblationReport) -> list[RunRow]:
    """The runs in the order of the table.

    Args:
        report: What the page says.
    """
    identities = {run.label: f"run-{number}" for number, run in enumerate(report.examples, start=1)}
    scales = limits(report.table)
    rows = []
    for label, by_metric in _by_run(report.table).items():
        cells = {
            metric: Cell(
                signed(found["mean"]),
                _interval(found["low"], found["high"]),
                interval_bar(found["mean"], found["low"], found["high"], scales[metric]),
            )
            for metric, found in by_metric.items()
            if metric in COLUMNS
        }
        ranks = by_metric["rank"]["changed"]
        rows.append(
            RunRow(
                label,
                mode_text(label.mode),
                condition_text(label),
                f"{report.neurons[label]:,}",
                f"{by_metric['loss']['n']:,}",
                cells,
                "–" if math.isnan(ranks) else f"{100 * ranks:.1f} %",
                identities.get(label),
            )
        )
    return rows


def limits(table: pd.DataFrame) -> dict[str, float]:
    """The largest magnitude of a mean or an end of an interval, by metric: bars of a column share a scale."""
    found = {}
    for metric in COLUMNS:
        numbers = table.loc[table["metric"] == metric, ["mean", "low", "high"]].abs().to_numpy(float)
        found[metric] = max((float(number) for number in numbers.flat if math.isfinite(number)), default=0.0)
    return found


def interval_bar(mean: float, low: float, high: float, limit: float) -> Markup:
    """An interval and its mean on an axis from -limit to limit, with 0 in the middle.

    Args:
        mean: NaN draws nothing but the axis.
        low: NaN draws the mean alone.
        high: Likewise.
        limit: End of the axis.
    """

    def across(value: float) -> str:
        share = value / limit if limit else 0.0
        return f"{BAR / 2 + share * (BAR / 2 - 5):.1f}"

    parts = [Markup('<path class="zero" d="M{} 0V{}"/>').format(BAR // 2, TALL)]
    if math.isfinite(low) and math.isfinite(high):
        parts.append(
            Markup('<path class="span" d="M{} {}H{}"/>').format(across(low), TALL // 2, across(high))
        )
    if math.isfinite(mean):
        parts.append(Markup('<circle cx="{}" cy="{}" r="3"/>').format(across(mean), TALL // 2))
    return Markup(
        '<svg class="bar" viewBox="0 0 {0} {1}" width="{0}" height="{1}" aria-hidden="true">'
        '<rect class="lowered" width="{2}" height="{1}"/>{3}</svg>'
    ).format(BAR, TALL, BAR // 2, Markup("").join(parts))


def _by_run(table: pd.DataFrame) -> dict[RunLabel, dict[str, dict[str, Any]]]:
    """Rows by run and metric, in the order of the table."""
    found: dict[RunLabel, dict[str, dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        label = RunLabel(**{name: row[name] for name in LABELS})
        found.setdefault(label, {})[str(row["metric"])] = {str(name): value for name, value in row.items()}
    return found


def _section(report: AblationReport, run: RunExamples, row: RunRow) -> RunSection:
    runs = _by_run(report.table)
    own, baseline = runs[run.label], runs.get(replace(run.label, baseline=True), {})
    views = metric_views(run, report.words)
    return RunSection(
        row,
        tuple(
            (view, _ends(own[view.metric]), _ends(baseline[view.metric]) if baseline else "")
            for view in views
        ),
    )


def _ends(row: Mapping[str, Any]) -> str:
    digits = 0 if row["metric"] == "rank" else 2
    return f"{signed(row['min'], digits)} … {signed(row['max'], digits)}"


def _interval(low: float, high: float) -> str:
    return f"[{signed(low)}, {signed(high)}]" if math.isfinite(low) and math.isfinite(high) else "–"
