"""What a model loses without a neuron, by class of text.

``loss_increase`` is *ablated minus clean*, as in the published tables: above 0 where the neuron helps. The
differences of `rwcore.ablation.compare` have the other sign, and ``clean_minus_ablated`` is theirs.

Source: sparse probing specification, section 7.2 (d) and claims C45-C47.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED, bootstrap_means, intervals
from rwcore.ablation.compare import AS_PUBLISHED, CONVENTIONS, token_differences
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import require_choice
from rwcore.probing.text_classes import UNLABELLED, TextClasses

FACTOR = 5.0
PER = ("prediction", "row")
_STORED = (1e-8, 100.0)


@dataclass(frozen=True)
class Contrast:
    """A neuron's effect on its own class of text against that on every other one.

    Attributes:
        own: The class.
        increase: Mean loss increase in it, nats.
        other: The class with the next largest one.
        other_increase: That one.
        factor: How many times as large the own one should be.
        margin: ``increase - factor · max(0, other_increase)``.
        low: Lower end of its 95 % interval over documents, the worst other class looked for in every draw.
        high: Upper end.
    """

    own: str
    increase: float
    other: str
    other_increase: float
    factor: float
    margin: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the loss rises in the own class, and ``factor`` times as much as in every other."""
        # Without another class there is nothing to compare with, and the margin is not a number.
        return self.margin > 0


def row_losses(
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    classes: TextClasses,
    *,
    convention: str = "fixed",
    include_first: bool = False,
) -> pd.DataFrame:
    """The losses of every row of a class, with a neuron and without it.

    ``as_published``: losses were stored as float16, clipped to [1e-8, 100], and the prediction made at the
    first position of a row counts. With BOS it is the same in every row, so ``fixed`` leaves it out unless
    ``include_first`` is given.

    Args:
        clean: The run without ablation.
        ablated: The run with it, on the same corpus.
        corpus: The rows.
        classes: Their classes.
        convention: ``fixed`` or ``as_published``.
        include_first: Count the first position in ``fixed`` too, for rows without BOS.

    Returns:
        One row per row with a prediction that counts: ``row``, ``document``, ``class``, ``predictions``, and
        the sums ``clean_loss``, ``loss_increase`` (nats) and ``percent``, 100 · increase / clean.

    Raises:
        OptionError: There is no such convention.
        ProbeError: The classes are those of another corpus.
        CorpusError: A run has not the tokens of the corpus.
        StoreError: A prediction that counts has no finite loss.
    """
    require_choice("convention", convention, CONVENTIONS)
    if convention == AS_PUBLISHED:
        clean, ablated, include_first = _stored(clean), _stored(ablated), True
    # The as_published of the comparison is that of another paper.
    difference = token_differences(clean, ablated, corpus, "loss", include_first=include_first)
    place = classes.of_tokens(corpus).numpy()
    counted = ~np.isnan(difference) & (place != UNLABELLED)
    row = np.repeat(np.arange(len(corpus)), corpus.lengths.numpy())[counted]
    size = len(corpus)
    predictions = np.bincount(row, minlength=size)
    clean_loss = np.bincount(row, clean.loss.numpy()[counted].astype(np.float64), minlength=size)
    increase = np.bincount(row, -difference[counted], minlength=size)
    rows = np.flatnonzero(predictions)
    return pd.DataFrame(
        {
            "row": rows,
            "document": corpus.document.numpy()[rows],
            "class": [classes.names[number] for number in classes.row[rows].tolist()],
            "predictions": predictions[rows],
            "clean_loss": clean_loss[rows],
            "loss_increase": increase[rows],
            "percent": 100 * increase[rows] / clean_loss[rows],
        }
    )


def class_losses(losses: pd.DataFrame, own: str, *, draws: int = DRAWS, seed: int = SEED) -> pd.DataFrame:
    """The losses by class of text, with intervals over documents.

    Args:
        losses: From `row_losses`.
        own: The class that the neuron is said to be about.
        draws: Bootstrap draws of documents, the same ones for all classes.
        seed: Of the draws.

    Returns:
        One row per class: ``class``, ``own``, ``rows``, ``documents``, ``predictions``; the mean of a
        prediction, ``clean_loss``, ``clean_minus_ablated`` and ``loss_increase`` with ``…_low`` and
        ``…_high``; the mean of the sums of rows, ``row_increase`` with its ends; ``largest_row``, the
        largest sum; and ``percent_median``, the median of the rows' percentages.

    Raises:
        OptionError: There are no draws.
    """
    table = losses.groupby("class", sort=True).agg(
        rows=("row", "size"),
        documents=("document", "nunique"),
        predictions=("predictions", "sum"),
        clean_loss=("clean_loss", "sum"),
        loss_increase=("loss_increase", "sum"),
        largest_row=("loss_increase", "max"),
        percent_median=("percent", "median"),
    )
    row_increase = table["loss_increase"] / table["rows"]
    table["clean_loss"] /= table["predictions"]
    table["loss_increase"] /= table["predictions"]
    table["clean_minus_ablated"] = -table["loss_increase"]
    table["row_increase"] = row_increase
    for name, per in (("loss_increase", PER[0]), ("row_increase", PER[1])):
        found = intervals(*_by_document(losses, per), draws=draws, seed=seed)
        table[f"{name}_low"] = [interval.low for interval in found]
        table[f"{name}_high"] = [interval.high for interval in found]
    table = table.reset_index()
    table.insert(1, "own", table["class"] == own)
    return table


def own_against_others(
    losses: pd.DataFrame,
    own: str,
    *,
    factor: float = FACTOR,
    per: str = "prediction",
    draws: int = DRAWS,
    seed: int = SEED,
) -> Contrast:
    """Whether a neuron matters in its own class of text and hardly anywhere else (claim C47).

    Args:
        losses: From `row_losses`.
        own: The class that the neuron is said to be about.
        factor: How many times as large as in every other class its effect should be there.
        per: Mean over ``prediction`` or, as published for rows of one length, over the sums of a ``row``.
        draws: Bootstrap draws of documents, the same ones for all classes.
        seed: Of the draws.

    Returns:
        The contrast; NaN where there is no row of the class, or of no other one.

    Raises:
        OptionError: There are no draws, or no such mean.
    """
    require_choice("per", per, PER)
    names = sorted(losses["class"].unique())
    others = [name for name in names if name != own]
    if own not in names or not others:
        return Contrast(own, np.nan, "", np.nan, factor, np.nan, np.nan, np.nan)
    sums = losses.groupby("class")[["loss_increase", "predictions"]].sum()
    sizes = sums["predictions"] if per == "prediction" else losses.groupby("class").size()
    means = sums["loss_increase"] / sizes
    worst = max(others, key=lambda name: float(means[name]))
    sums_of, counts_of = _by_document(losses, per)
    drawn = bootstrap_means(sums_of, counts_of, draws=draws, seed=seed)
    elsewhere = np.fmax.reduce(drawn[:, [names.index(name) for name in others]], axis=1)
    margins = drawn[:, names.index(own)] - factor * np.fmax(elsewhere, 0)
    margins = margins[np.isfinite(margins)]  # draws may have met no document of the class
    low, high = np.nan, np.nan
    if int((counts_of[:, names.index(own)] > 0).sum()) > 1:
        low, high = np.quantile(margins, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    increase, other = float(means[own]), float(means[worst])
    return Contrast(own, increase, worst, other, factor, increase - factor * max(0.0, other), low, high)


def _stored(run: RunMetrics) -> RunMetrics:
    """A run with its losses as they were written."""
    return replace(run, loss=run.loss.clamp(*_STORED).to(torch.float16).to(torch.float32))


def _by_document(losses: pd.DataFrame, per: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the losses of each document (rows) in each class (columns, in alphabetical order)."""
    documents, place = np.unique(losses["document"], return_inverse=True)
    names, column = np.unique(losses["class"].to_numpy(dtype=str), return_inverse=True)
    sums = np.zeros((len(documents), len(names)))
    counts = np.zeros((len(documents), len(names)), np.int64)
    np.add.at(sums, (place, column), losses["loss_increase"].to_numpy())
    np.add.at(counts, (place, column), losses["predictions"].to_numpy() if per == PER[0] else 1)
    return sums, counts
