"""Ablations as claims ask for them: a table of runs, and numbers made from them, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from rwcore.claim.values import Interval
from rwcore.errors import ClaimFileError, ModelError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rwcore.ablation.compare import RunLabel
    from rwcore.ablation.grid import Experiment
    from rwcore.studies.ablations import AblationStudy
    from rwcore.studies.attribute_rates import AttributeStudy

Numbers: TypeAlias = "float | NDArray[np.float64]"
KEYS = ("mode", "metric", "set", "size", "baseline", "gate", "post")
WHOLE = "all"
LEVEL = (0.025, 0.975)


class Lookup(Protocol):
    """What numbers are made from: the means of runs."""

    def __call__(self, metric: str, run: RunLabel) -> Numbers:
        """Mean of clean - ablated; one number, or one for every draw of documents."""
        ...


Derive: TypeAlias = Callable[[Lookup], Mapping[str, Numbers]]


@dataclass(frozen=True, eq=False)
class AblationNumbers:
    """Runs, compared with the clean one.

    Attributes:
        table: Columns `KEYS`, statistics of clean - ablated, ``n`` (values behind them) and ``changed``
            (share of predictions) where they are known; ``mean`` holds intervals where there is text.
        sizes: Neurons of each run.
        means: By metric and run.
        drawn: The same for every draw of documents; None for published tables.
    """

    table: pd.DataFrame
    sizes: Mapping[RunLabel, int]
    means: Mapping[tuple[str, RunLabel], Numbers]
    drawn: Mapping[tuple[str, RunLabel], Numbers] | None = None

    def estimates(self, metric: str, run: RunLabel) -> Numbers:
        """Mean of clean - ablated."""
        return self.means[metric, run]

    def statistic(self, metric: str, run: RunLabel, name: str) -> float:
        """A cell of the table; NaN if the model has no such neurons."""
        rows = self.table
        for column, value in (keys_of(run) | {"metric": metric}).items():
            rows = rows[rows[column] == value]
        (value,) = rows[name].tolist() or [math.nan]
        return float(value)

    def numbers(self, derive: Derive) -> dict[str, float | Interval]:
        """Numbers made from the means of several runs, with 95 % intervals over documents.

        Args:
            derive: Makes the numbers, by name, with operations that work on arrays too: it is called once
                with the means, and once with all their draws, which are of the same documents for all runs.
        """
        draws = self.drawn
        return with_intervals(
            lambda: derive(self.estimates),
            None if draws is None else lambda: derive(lambda metric, run: draws[metric, run]),
        )


def with_intervals(
    estimates: Callable[[], Mapping[str, Numbers]], drawn: Callable[[], Mapping[str, Numbers]] | None
) -> dict[str, float | Interval]:
    """Numbers by name, each with its 95 % interval.

    Args:
        estimates: Makes the numbers.
        drawn: Makes the same numbers for every draw; None for numbers without an interval.
    """
    import numpy as np

    # Shares of an effect that is exactly 0 are not numbers.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: float(value) for name, value in estimates().items()}
        if drawn is None:
            return dict(found)
        draws = drawn()
    return {name: _interval(found[name], np.atleast_1d(draws[name])) for name in found}


def _interval(estimate: float, drawn: NDArray[np.float64]) -> Interval:
    import numpy as np

    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, LEVEL).tolist() if len(known) else (math.nan, math.nan)
    return Interval(low, high, estimate)


def keys_of(run: RunLabel) -> dict[str, str | bool]:
    """The key columns of a run, without the metric: ``weakening@strengthening`` has a size of its own."""
    name, _, size = run.set.partition("@")
    return {
        "mode": run.mode,
        "set": name,
        "size": size or WHOLE,
        "baseline": run.baseline,
        "gate": run.gate,
        "post": run.post,
    }


def published_numbers(
    table: pd.DataFrame, runs: Sequence[RunLabel], totals: Mapping[str, int]
) -> AblationNumbers:
    """Runs out of a published table.

    Args:
        table: Columns `KEYS` and statistics.
        runs: The runs.
        totals: Neurons of each class.

    Raises:
        ClaimFileError: The table has no such run.
    """
    import pandas as pd

    parts = []
    means: dict[tuple[str, RunLabel], Numbers] = {}
    for run in runs:
        rows = table
        for column, value in keys_of(run).items():
            rows = rows[rows[column] == value]
        # The same run stands in several tables; a test of the tables compares them.
        rows = rows.drop_duplicates(list(KEYS))
        if rows.empty:
            raise ClaimFileError(
                f"the published table has no run {run}",
                where="ablation_summaries.csv",
                remedy="ask only for runs that were published",
            )
        parts.append(rows)
        means |= {(metric, run): mean for metric, mean in zip(rows["metric"], rows["mean"], strict=True)}
    found = pd.concat(parts, ignore_index=True)
    keys = {run: keys_of(run) for run in runs}
    sizes = {run: totals[str(one["set" if one["size"] == WHOLE else "size"])] for run, one in keys.items()}
    return AblationNumbers(found, sizes, means)


def model_numbers(study: AblationStudy, runs: Sequence[RunLabel]) -> AblationNumbers:
    """Runs of a model, each made if the store has it not.

    The table has the study's convention; numbers made from it are those of all predictions.

    Args:
        study: Of one model on one text.
        runs: The runs. One of neurons that the model does not have has the mean NaN.

    Raises:
        ModelError: A run cannot be made.
    """
    import numpy as np
    import pandas as pd

    from rwcore.ablation.bootstrap import DRAWS, bootstrap_means, sums_by_document
    from rwcore.ablation.compare import FIXED, REPORTED, STATISTICS, compare_run, differences
    from rwcore.ablation.run_metrics import METRICS
    from rwcore.studies.ablation_runs import read_run
    from rwcore.studies.failures import Failure

    planned = {run: found for run in runs if (found := experiment(study, run)) is not None}
    clean = study.clean() if planned else None
    rows: list[dict[str, Any]] = []
    columns: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
    for run, folder in zip(planned, study.runs(list(planned.values())), strict=True):
        if isinstance(folder, Failure):
            raise ModelError(f"{folder.name}: {folder.error}", where=folder.where, remedy=folder.remedy)
        assert clean is not None
        ablated = read_run(folder)
        for row in compare_run(run, clean, ablated, study.corpus, convention=study.convention):
            mean = Interval(row["low"], row["high"], row["mean"])
            rows.append({**row, **keys_of(run), "mean": mean})
        parts = (differences(clean, ablated, study.corpus, metric, convention=FIXED) for metric in METRICS)
        columns.append(sums_by_document((part.values, part.document) for part in parts))
    table = pd.DataFrame(rows, columns=[*KEYS, *STATISTICS])
    cells = [(metric, run) for run in runs for metric in REPORTED.values()]
    estimates: dict[tuple[str, RunLabel], Numbers] = dict.fromkeys(cells, math.nan)
    draws: dict[tuple[str, RunLabel], Numbers] = {cell: np.full(DRAWS, math.nan) for cell in cells}
    if columns:
        known = [(metric, run) for run in planned for metric in REPORTED.values()]
        # The documents are the same in all runs: which predictions count is decided by the text.
        sums, counts = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
        estimates |= dict(zip(known, sums.sum(axis=0) / counts.sum(axis=0), strict=True))
        draws |= dict(zip(known, bootstrap_means(sums, counts).T, strict=True))
    sizes = {run: len(planned[run].neurons) if run in planned else 0 for run in runs}
    return AblationNumbers(table, sizes, estimates, draws)


def experiment(study: AblationStudy | AttributeStudy, run: RunLabel) -> Experiment | None:
    """What a label stands for in a model; None if the model has no such neurons."""
    from rwcore.ablation.grid import Experiment, choose_set
    from rwcore.ablation.interventions import Intervention
    from rwcore.stats.classes import class_codes, classes_of

    cosines = study.weights.cosines
    chosen = choose_set(run.set.replace("@", ":"), class_codes(cosines), classes_of(cosines))
    neurons = None if chosen is None else chosen.baseline if run.baseline else chosen.neurons
    if neurons is None or not len(neurons):
        return None
    return Experiment(neurons, Intervention(run.mode, run.gate or None, run.post or None), run)
