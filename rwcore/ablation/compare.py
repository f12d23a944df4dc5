"""A run with ablated neurons against the clean one, prediction by prediction.

Every difference is *clean minus ablated*: where it is negative the intact neurons lower the metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from rwcore.ablation.bootstrap import DRAWS, SEED, intervals, sums_by_document
from rwcore.ablation.published import stored_differences, stored_mean
from rwcore.ablation.run_metrics import METRICS, RunMetrics, first_of_row, last_of_row
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, OptionError, StoreError

if TYPE_CHECKING:
    import pandas as pd

FIXED, AS_PUBLISHED = "fixed", "as_published"
CONVENTIONS = (FIXED, AS_PUBLISHED)
REPORTED = {"loss": "loss", "entropy": "entropy", "rank": "rank", "scale": "log_scale"}
"""What each metric is called once it is a difference."""
NEXT_TOKEN = ("loss", "rank")
LABELS = ("set", "baseline", "mode", "gate", "post")
STATISTICS = ("n", "mean", "low", "high", "min", "q1", "median", "q3", "max", "changed")
COLUMNS = (*LABELS, "metric", *STATISTICS)


@dataclass(frozen=True)
class RunLabel:
    """What was ablated, as the rows of ``ablation.csv`` say it.

    Attributes:
        set: Name of the neuron set; a baseline has the name of the set it belongs to.
        mode: What the ablated activations became.
        baseline: Whether they were random neurons of the same layers.
        gate: Sign that the gate had to have, ``+`` or ``-``; empty without this condition.
        post: Sign that the activation had to have, likewise.
    """

    set: str
    mode: str
    baseline: bool = False
    gate: str = ""
    post: str = ""


@dataclass(frozen=True, eq=False)
class Differences:
    """Clean minus ablated of one metric.

    Attributes:
        metric: ``loss``, ``entropy`` (nats), ``rank`` (places) or ``log_scale`` (log clean - log ablated).
        values: One per prediction that counts.
        document: The document each belongs to, as `TokenCorpus.document` numbers them.
        scored: Predictions that were looked at; more than there are values if some were dropped.
        convention: Which predictions count; see `differences`.
    """

    metric: str
    values: Float64[np.ndarray, " n"]
    document: Int64[np.ndarray, " n"]
    scored: int
    convention: str = FIXED


def differences(
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    metric: str,
    *,
    convention: str = FIXED,
    include_first: bool = False,
) -> Differences:
    """Clean minus ablated for the predictions of a corpus, in the order of its rows.

    Loss and rank are of predictions of the next token, so the last token of a row has none; entropy and scale
    have one at every token. ``fixed``: the first position of every row is left out (with BOS it is the same
    prediction in every row), every other one counts, unchanged ones too. ``as_published``: the first position
    counts, and differences of 0 are dropped; see `rwcore.ablation.published`.

    Args:
        clean: The run without ablation.
        ablated: The run with it, on the same corpus.
        corpus: The corpus.
        metric: One of `METRICS`. Of ``scale``, logarithms are subtracted: the result is ``log_scale``.
        convention: ``fixed`` or ``as_published``.
        include_first: Count the first position of every row in ``fixed`` too, for rows without BOS.

    Raises:
        OptionError: There is no such metric or convention.
        CorpusError: A run has not the tokens of the corpus.
        StoreError: A prediction that counts has no finite number. (It is no unchanged one: the paper's tables
            lost such predictions without a word.)
    """
    counted = _scored(corpus, metric, convention, include_first=include_first)
    every = token_differences(
        clean, ablated, corpus, metric, convention=convention, include_first=include_first
    )
    kept = ~np.isnan(every)
    document = np.repeat(corpus.document.numpy(), corpus.lengths.numpy())
    return Differences(REPORTED[metric], every[kept], document[kept], int(counted.sum()), convention)


def token_differences(
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    metric: str,
    *,
    convention: str = FIXED,
    include_first: bool = False,
) -> Float64[np.ndarray, " token"]:
    """Clean minus ablated at the token that each prediction is made at; NaN where none counts.

    `differences` are these without the NaN.

    Args:
        clean: As for `differences`.
        ablated: As for `differences`.
        corpus: As for `differences`.
        metric: As for `differences`.
        convention: As for `differences`.
        include_first: As for `differences`.

    Raises:
        OptionError: As for `differences`.
        CorpusError: As for `differences`.
        StoreError: As for `differences`.
    """
    counted = _scored(corpus, metric, convention, include_first=include_first)
    for name, run in (("clean", clean), ("ablated", ablated)):
        _check(getattr(run, metric), metric, counted, corpus, name)
    mask = counted.numpy()
    every = np.full(corpus.n_tokens, np.nan)
    if convention == AS_PUBLISHED:
        stored = stored_differences(clean, ablated, metric)
        kept = mask & (stored != 0)
        every[kept] = stored[kept]
        return every
    one, other = (getattr(run, metric).numpy()[mask].astype(np.float64) for run in (clean, ablated))
    if metric == "scale":
        one, other = np.log(one), np.log(other)
    every[mask] = one - other
    return every


def _scored(
    corpus: TokenCorpus, metric: str, convention: str, *, include_first: bool
) -> Bool[torch.Tensor, " token"]:
    """The tokens with a prediction that is looked at."""
    if metric not in METRICS:
        raise OptionError(
            f"there is no metric {metric!r}", where="metric", remedy=f"use: {', '.join(METRICS)}"
        )
    if convention not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise OptionError(
            f"there is no convention {convention!r}", where="convention", remedy=f"use: {known}"
        )
    counted = torch.ones(corpus.n_tokens, dtype=torch.bool)
    if metric in NEXT_TOKEN:
        counted &= ~last_of_row(corpus)
    if convention == FIXED and not include_first:
        counted &= ~first_of_row(corpus)
    return counted


def _check(values: torch.Tensor, metric: str, counted: torch.Tensor, corpus: TokenCorpus, run: str) -> None:
    if len(values) != corpus.n_tokens:
        raise CorpusError(
            f"the {run} run has {len(values):,} tokens and the corpus {corpus.spec.id} {corpus.n_tokens:,}",
            where=metric,
            remedy="compare two runs on the same corpus",
        )
    found = values[counted]
    bad = ~found.isfinite()
    if metric in ("rank", "scale"):
        bad |= found < 0 if metric == "rank" else found <= 0
    n_bad = int(bad.sum())
    if n_bad:
        raise StoreError(
            f"{n_bad:,} of {len(found):,} predictions of the {run} run have no {metric}",
            where=metric,
            remedy="delete the run; if it comes back, what it sets the activations to is not finite",
        )


@dataclass(frozen=True)
class Statistics:
    """One row of ``ablation.csv`` without its labels; all NaN but ``n`` and ``changed`` without predictions.

    Attributes:
        n: Predictions that count.
        mean: Of their differences.
        low: Lower end of the 95 % interval of the mean over documents.
        high: Upper end.
        min: Smallest difference.
        q1: First quartile, linear between neighbours, as the others.
        median: Second quartile.
        q3: Third quartile.
        max: Largest difference.
        changed: Share of the scored predictions with a difference other than 0; NaN of none.
        standard_error: Of the mean, over documents.
        documents: Documents with a prediction that counts.
    """

    n: int
    mean: float
    low: float
    high: float
    min: float
    q1: float
    median: float
    q3: float
    max: float
    changed: float
    standard_error: float
    documents: int


def statistics(parts: Iterable[Differences], *, draws: int = DRAWS, seed: int = SEED) -> list[Statistics]:
    """Statistics of the metrics of one run; their intervals come from the same draws of documents.

    Args:
        parts: Differences of the same runs, usually one entry per metric; one at a time is in memory.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        One entry per part.
    """
    facts: list[dict[str, Any]] = []

    def columns() -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        for part in parts:
            facts.append(_facts(part))
            yield part.values, part.document

    sums, counts = sums_by_document(columns())
    found = intervals(sums, counts, draws=draws, seed=seed)
    return [
        Statistics(
            low=interval.low,
            high=interval.high,
            standard_error=interval.standard_error,
            documents=interval.documents,
            **fact,
        )
        for fact, interval in zip(facts, found, strict=True)
    ]


def _facts(part: Differences) -> dict[str, Any]:
    changed = np.count_nonzero(part.values) / part.scored if part.scored else math.nan
    quartiles = dict(zip(("min", "q1", "median", "q3", "max"), _quartiles(part.values), strict=True))
    return {"n": len(part.values), "mean": _mean(part), "changed": float(changed), **quartiles}


def _mean(part: Differences) -> float:
    if part.convention == AS_PUBLISHED:
        return stored_mean(part.values, part.metric)
    return float(part.values.mean()) if len(part.values) else math.nan


def _quartiles(values: NDArray[np.float64]) -> list[float]:
    if not len(values):
        return [math.nan] * 5
    found: list[float] = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
    return found


def compare_run(
    label: RunLabel,
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    *,
    metrics: Sequence[str] = METRICS,
    convention: str = FIXED,
    include_first: bool = False,
    draws: int = DRAWS,
    seed: int = SEED,
) -> list[dict[str, Any]]:
    """The rows of one run for ``ablation.csv``, one per metric.

    Args:
        label: What was ablated.
        clean: The run without ablation.
        ablated: The run with it.
        corpus: What both were run on.
        metrics: Some of `METRICS`.
        convention: As for `differences`.
        include_first: As for `differences`.
        draws: Bootstrap draws.
        seed: Of the draws; the same documents are drawn for every run.

    Returns:
        Rows with the columns `COLUMNS`.
    """
    parts = (
        differences(clean, ablated, corpus, metric, convention=convention, include_first=include_first)
        for metric in metrics
    )
    labels = {name: getattr(label, name) for name in LABELS}
    return [
        {**labels, "metric": REPORTED[metric], **{name: getattr(found, name) for name in STATISTICS}}
        for metric, found in zip(metrics, statistics(parts, draws=draws, seed=seed), strict=True)
    ]


def paired_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows of several runs as the table ``ablation.csv``, in the order they are given.

    Args:
        rows: From `compare_run`.
    """
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(COLUMNS))
