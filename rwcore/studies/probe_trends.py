"""Probes of several models side by side: what becomes of the features as models grow.

Only features are compared that all of the models have, by data set and name. The number of neurons that a
feature needs is that of the curve at the layer of its best neuron, over the sizes that all models have; it is
chosen as neurons are, on validation (as published: on test), and its score is that of test.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), section on scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from rwcore.ablation.bootstrap import intervals
from rwcore.errors import OptionError
from rwcore.plots.probe_names import CONTROL_LINES
from rwcore.studies.probe_runs import ProbeRun, by_size, differences

KEY = ["dataset", "feature"]
TREND_COLUMNS = (
    "dataset", "family", "feature", "model", "neurons", "n_layers", "d_model", "layer", "neuron",
    "relative_depth", "validation_mcc", "test_mcc", "test_mcc_low", "test_mcc_high", "test_f1_score",
    "needed_k", "best_k", "best_k_test_mcc",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "model", "neurons", "n_layers", "d_mlp", "d_model", "features", "mean_mcc", "mean_mcc_low",
    "mean_mcc_high", "change", "change_low", "change_high", "mean_f1_score", "features_90", "features_80",
    "median_depth", "median_needed_k", "mean_best_k_mcc",
)  # fmt: skip
CHANGE_COLUMNS = (
    "dataset", "family", "feature", "first", "last", "first_mcc", "last_mcc", "mcc_change", "mcc_trend",
    "first_f1_score", "last_f1_score", "f1_change", "f1_trend", "intervals_apart",
)  # fmt: skip
MISSING_COLUMNS = ("dataset", "feature", "missing_in")
GAINS, LOSES, SAME = "gains", "loses", "same"
CLEAR = 0.01
"""From which difference on a feature gains or loses; published."""
NEARLY = 0.95
"""Share of the best score that k neurons must reach to be enough."""
LIMITS = (0.9, 0.8)
"""Of the test MCC: how many features of a model are above each; published."""
PREFERRED = ("telescopic", "mean_dif")


@dataclass(frozen=True, eq=False)
class ProbeTrends:
    """What the runs have in common, and how they differ.

    Attributes:
        runs: The runs, that of the smallest model first.
        method: How the k neurons of curves were chosen; None if the runs have no curves in common.
        trends: Columns `TREND_COLUMNS`: a row for each feature and model.
        summary: Columns `SUMMARY_COLUMNS`: a row for each model.
        changes: Columns `CHANGE_COLUMNS`: a row for each feature, the largest gain of MCC first.
        missing: Columns `MISSING_COLUMNS`: features that are not compared, and each model that has no score.
        warnings: What the models' data differ in.
    """

    runs: tuple[ProbeRun, ...]
    method: str | None
    trends: pd.DataFrame
    summary: pd.DataFrame
    changes: pd.DataFrame
    missing: pd.DataFrame
    warnings: tuple[str, ...]


def probe_trends(runs: Sequence[ProbeRun], *, method: str | None = None) -> ProbeTrends:
    """Compare the probes of several models.

    Args:
        runs: Of two models or more, in any order.
        method: How the k neurons of curves were chosen; if None, adaptive thresholding where all runs have
            it, else the mean difference, else the first way they share.

    Raises:
        OptionError: See `rwcore.studies.probe_runs.by_size`; no feature has a score in all of the models; or
            a run has no curves of the method that was asked for.
    """
    ordered = by_size(runs)
    chosen = _method(ordered, method)
    shared, missing = _shared(ordered)
    if not len(shared):
        raise OptionError(
            "no feature has a score in all of the models",
            where=", ".join(str(run.folder) for run in ordered),
            remedy="run `rwcore probe` for all of them with the same --features",
        )
    trends = _trends(ordered, shared, chosen)
    return ProbeTrends(
        tuple(ordered),
        chosen,
        trends,
        _summary(ordered, trends),
        _changes(ordered, trends),
        missing,
        tuple(differences(ordered)),
    )


def _method(runs: Sequence[ProbeRun], asked: str | None) -> str | None:
    known = [[name for name in run.curves["method"].unique() if name not in CONTROL_LINES] for run in runs]
    shared = [name for name in known[0] if all(name in names for names in known)]
    if asked is None:
        return next((name for name in (*PREFERRED, *shared) if name in shared), None)
    if asked not in shared:
        raise OptionError(
            f"not all of the runs have curves of {asked!r}",
            where="--method",
            remedy=f"use {' or '.join(shared)}" if shared else "leave --method out: they share no curves",
        )
    return asked


def _shared(runs: Sequence[ProbeRun]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The features with a score in all runs, in the order of the first; and the others."""
    scored = [run.features[run.features["test_mcc"].notna()] for run in runs]
    having = [set(zip(table["dataset"], table["feature"], strict=True)) for table in scored]
    every = dict.fromkeys(
        pair for run in runs for pair in run.features[KEY].itertuples(index=False, name=None)
    )
    missing = [
        (*pair, run.model)
        for pair in every
        for run, names in zip(runs, having, strict=True)
        if pair not in names
    ]
    kept = [pair for pair in every if all(pair in names for names in having)]
    return pd.DataFrame(kept, columns=KEY), pd.DataFrame(missing, columns=[*MISSING_COLUMNS])


def _trends(runs: Sequence[ProbeRun], shared: pd.DataFrame, method: str | None) -> pd.DataFrame:
    parts = []
    for run in runs:
        rows = shared.merge(run.features, on=KEY, how="left")
        sizes = {"neurons": run.neurons, "n_layers": run.n_layers, "d_model": run.d_model}
        parts.append(rows.assign(model=run.model, place=range(len(rows)), **sizes))
    # A family is what the smallest model calls it.
    trends = pd.concat(parts, ignore_index=True).assign(family=[*parts[0]["family"]] * len(parts))
    trends = trends.merge(_needed(runs, trends, method), on=[*KEY, "model"], how="left")
    trends = trends.sort_values("place", kind="stable", ignore_index=True)
    kinds = {**dict.fromkeys(("d_model", "needed_k", "best_k"), "Int64"), "best_k_test_mcc": "float64"}
    return trends[[*TREND_COLUMNS]].astype(kinds)


def _needed(runs: Sequence[ProbeRun], trends: pd.DataFrame, method: str | None) -> pd.DataFrame:
    """Numbers of neurons and what they come to, of the features whose curves all runs have."""
    curves = []
    for run in runs:
        best = trends.loc[trends["model"] == run.model, [*KEY, "model", "layer"]]
        rows = run.curves[run.curves["method"] == method].merge(best, on=[*KEY, "layer"])
        curves.append(rows.assign(chosen=rows[f"{run.chosen_by}_mcc"]))
    found = []
    for (dataset, feature), rows in pd.concat(curves, ignore_index=True).groupby(KEY, sort=False):
        counted = rows.groupby("k")["model"].nunique()
        sizes = counted.index[counted == len(runs)]
        for model, curve in rows[rows["k"].isin(sizes)].groupby("model", sort=False):
            found.append((dataset, feature, model, *_enough(curve.sort_values("k"))))
    names = [*KEY, "model", "needed_k", "best_k", "best_k_test_mcc"]
    return pd.DataFrame(found, columns=names)


def _enough(curve: pd.DataFrame) -> tuple[int | None, int | None, float]:
    """The smallest k with `NEARLY` the best score, the best k, and its score on test."""
    known = curve[curve["chosen"] > 0]
    if not len(known):
        return None, None, math.nan
    best = known.iloc[int(known["chosen"].argmax())]
    enough = known.loc[known["chosen"] >= NEARLY * best["chosen"], "k"].min()
    return int(enough), int(best["k"]), float(best["test_mcc"])


def _summary(runs: Sequence[ProbeRun], trends: pd.DataFrame) -> pd.DataFrame:
    """A row for each model; intervals draw features, the same ones for all models."""
    scores = _wide(trends, "test_mcc", runs)
    both = np.hstack([scores, scores - scores[:, :1]])
    found = intervals(both, np.ones(both.shape, np.int64))
    rows = []
    for place, run in enumerate(runs):
        own = trends[trends["model"] == run.model]
        mean, change = found[place], found[len(runs) + place]
        rows.append(
            (
                run.model,
                run.neurons,
                run.n_layers,
                run.d_mlp,
                run.d_model,
                len(own),
                own["test_mcc"].mean(),
                mean.low,
                mean.high,
                both[:, len(runs) + place].mean(),
                change.low,
                change.high,
                own["test_f1_score"].mean(),
                *(int((own["test_mcc"] >= limit).sum()) for limit in LIMITS),
                own["relative_depth"].median(),
                own["needed_k"].astype("Float64").median(),
                own["best_k_test_mcc"].mean(),
            )
        )
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS]).astype({"d_model": "Int64"})


def _wide(
    trends: pd.DataFrame, column: str, runs: Sequence[ProbeRun]
) -> Float64[np.ndarray, "feature model"]:
    """A column of the trends, models in their order."""
    found = [trends.loc[trends["model"] == run.model, column].to_numpy(np.float64) for run in runs]
    return np.stack(found, axis=1)


def _changes(runs: Sequence[ProbeRun], trends: pd.DataFrame) -> pd.DataFrame:
    """From the smallest to the largest model."""
    first, last = (trends[trends["model"] == run.model].reset_index(drop=True) for run in (runs[0], runs[-1]))
    frame = first[["dataset", "family", "feature"]].assign(first=first["model"], last=last["model"])
    for short, column in (("mcc", "test_mcc"), ("f1", "test_f1_score")):
        name = column.removeprefix("test_")
        frame[f"first_{name}"], frame[f"last_{name}"] = first[column], last[column]
        frame[f"{short}_change"] = last[column] - first[column]
        frame[f"{short}_trend"] = frame[f"{short}_change"].map(trend_of)
    apart = (first["test_mcc_high"] < last["test_mcc_low"]) | (last["test_mcc_high"] < first["test_mcc_low"])
    known = [table[f"test_mcc_{end}"].notna() for table in (first, last) for end in ("low", "high")]
    frame["intervals_apart"] = apart.astype("boolean").where(np.logical_and.reduce(known))
    frame = frame.sort_values("mcc_change", ascending=False, kind="stable", ignore_index=True)
    return frame[[*CHANGE_COLUMNS]]


def trend_of(change: float) -> str:
    """Whether a score ``gains``, ``loses`` or stays the ``same``."""
    return GAINS if change > CLEAR else LOSES if change < -CLEAR else SAME
