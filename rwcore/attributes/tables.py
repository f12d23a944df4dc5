"""Rates of prompts as tables: by layer, over all layers, and by relation, with intervals over subjects.

Intervals come from the same draws of subjects for all numbers of a table (see `rwcore.attributes.curves`).
Differences are *clean minus ablated*, of the prompts that have
a rate in both runs: positive where the intact neurons raise the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED
from rwcore.ablation.compare import LABELS, RunLabel
from rwcore.attributes.curves import Curve, Floats, curves, known_rates
from rwcore.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

CLEAN = RunLabel("clean", "")
"""What the rows of the run without ablation are labelled with."""
EMBEDDING = -1
"""The "layer" of the embedding."""

_DIFFERENCE = ("difference", "difference_low", "difference_high")
_RATE = ("rate", "low", "high")
_ABSOLUTE = ("mean_absolute", "mean_absolute_low", "mean_absolute_high")
_LARGEST = ("largest", "largest_low", "largest_high", "largest_layer")
_LATE = ("late", "late_low", "late_high")
LAYER_COLUMNS = (*LABELS, "layer", "n", *_RATE, *_DIFFERENCE)
MEAN_COLUMNS = (*LABELS, "n", *_RATE, *_DIFFERENCE, *_ABSOLUTE, *_LARGEST)
RELATION_COLUMNS = (*LABELS, "relation", "facts", *_RATE, *_LATE, *_DIFFERENCE)


def late_layers(n_layers: int) -> int:
    """How many layers the last quarter has: at least one."""
    return max(1, n_layers // 4)


@dataclass(frozen=True, eq=False)
class _Run:
    """Rates of a run, and their differences from the clean one; None for the clean one itself."""

    label: RunLabel
    rate: Curve
    difference: Curve | None

    @property
    def labels(self) -> dict[str, Any]:
        return {name: getattr(self.label, name) for name in LABELS}


def layer_table(
    clean: Float32[Tensor, "prompt layer"],
    runs: Sequence[Float32[Tensor, "prompt layer"]],
    subject: Int64[Tensor, " prompt"],
    labels: Sequence[RunLabel],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> pd.DataFrame:
    """Mean rate of each run after every layer.

    Args:
        clean: Rates without ablation (`rwcore.attributes.rates.rates`), the embedding first.
        runs: Rates with it, of the same prompts.
        subject: Number of each prompt's subject.
        labels: What was ablated in each run.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Columns `LAYER_COLUMNS`; the clean run first, as the set ``clean`` without difference; layer -1 is the
        embedding. ``n`` counts prompts with a rate. Numbers are in percent; NaN where there is none.

    Raises:
        OptionError: The runs are not of the same prompts and layers, or have not as many labels.
    """
    rows = []
    for run in _curves(clean, runs, subject, labels, draws, seed):
        for number, n in enumerate(run.rate.n.tolist()):
            difference = (math.nan,) * 3 if run.difference is None else _at(run.difference, number)
            place = {"layer": number + EMBEDDING, "n": n}
            numbers = _named(_RATE, _at(run.rate, number)) | _named(_DIFFERENCE, difference)
            rows.append(run.labels | place | numbers)
    return _frame(rows, LAYER_COLUMNS)


def mean_table(
    clean: Float32[Tensor, "prompt layer"],
    runs: Sequence[Float32[Tensor, "prompt layer"]],
    subject: Int64[Tensor, " prompt"],
    labels: Sequence[RunLabel],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> pd.DataFrame:
    """Rates and differences of each run over all layers; the embedding does not count.

    Args:
        clean: As for `layer_table`.
        runs: As for `layer_table`.
        subject: As for `layer_table`.
        labels: As for `layer_table`.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Columns `MEAN_COLUMNS`: ``rate`` and ``difference`` are means over layers; ``mean_absolute`` is the
        mean size of the differences after the layers, which noise makes larger (so does the bootstrap: its
        interval may lie above it); ``largest`` is the difference of the largest size, with the interval at
        that layer, ``largest_layer``. ``n`` is the number of prompts with a rate after any layer.

    Raises:
        OptionError: As for `layer_table`.
    """
    rows = []
    every = [clean, *runs]
    for run, rates in zip(_curves(clean, runs, subject, labels, draws, seed), every, strict=True):
        n = int((rates[:, 1:] >= 0).any(dim=1).sum())
        row = run.labels | {"n": n, "largest_layer": None} | _named(_RATE, _over_layers(run.rate))
        change = run.difference
        if change is not None:
            row |= _named(_DIFFERENCE, _over_layers(change))
            sizes = np.abs(change.mean[1:])
            row |= _named(_ABSOLUTE, _value(sizes.mean(), np.abs(change.draws[:, 1:]).mean(axis=1)))
            if np.isfinite(sizes).any():
                strongest = int(np.nanargmax(sizes))
                row |= _named(_LARGEST, (*_at(change, strongest + 1), strongest))
        rows.append(row)
    return _frame(rows, MEAN_COLUMNS).astype({"largest_layer": "Int64"})


def relation_table(
    clean: Float32[Tensor, "prompt layer"],
    runs: Sequence[Float32[Tensor, "prompt layer"]],
    subject: Int64[Tensor, " prompt"],
    labels: Sequence[RunLabel],
    relations: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> pd.DataFrame:
    """Rates and differences of the prompts of each relation.

    Args:
        clean: As for `layer_table`.
        runs: As for `layer_table`.
        subject: As for `layer_table`.
        labels: As for `layer_table`.
        relations: The relation of each prompt.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Columns `RELATION_COLUMNS`, relations in alphabetical order: ``rate`` and ``difference`` are means
        over layers, ``late`` is the rate over the last quarter of them.

    Raises:
        OptionError: As for `layer_table`, or the prompts have not as many relations.
    """
    _require(len(relations) == len(clean), "relations", "give one for each prompt")
    first_late = clean.shape[1] - late_layers(clean.shape[1] - 1)
    rows = []
    for relation in sorted({*relations}):
        at = [number for number, name in enumerate(relations) if name == relation]
        of_relation = [one[at] for one in runs]
        for run in _curves(clean[at], of_relation, subject[at], labels, draws, seed):
            row = run.labels | {"relation": relation, "facts": len(at)}
            row |= _named(_RATE, _over_layers(run.rate)) | _named(_LATE, _over_layers(run.rate, first_late))
            if run.difference is not None:
                row |= _named(_DIFFERENCE, _over_layers(run.difference))
            rows.append(row)
    return _frame(rows, RELATION_COLUMNS)


def _curves(
    clean: Tensor,
    runs: Sequence[Tensor],
    subject: Tensor,
    labels: Sequence[RunLabel],
    draws: int,
    seed: int,
) -> list[_Run]:
    """The clean run and the others; all numbers come from the same draws of subjects."""
    _require(all(run.shape == clean.shape for run in runs), "runs", "give runs of the same prompts")
    _require(len(labels) == len(runs), "labels", "give one for each run")
    _require(len(subject) == len(clean), "subject", "give one number for each prompt")
    rates = [known_rates(one) for one in (clean, *runs)]
    differences = [rates[0] - rate for rate in rates[1:]]
    found = curves([*rates, *differences], subject.numpy().astype(np.int64), draws=draws, seed=seed)
    return [
        _Run(label, rate, difference)
        for label, rate, difference in zip(
            [CLEAN, *labels], found[: len(rates)], [None, *found[len(rates) :]], strict=True
        )
    ]


def _over_layers(curve: Curve, first: int = 1) -> tuple[float, float, float]:
    """Mean over the layers from one on, the embedding being 0, and its interval."""
    return _value(curve.mean[first:].mean(), curve.draws[:, first:].mean(axis=1))


def _at(curve: Curve, number: int) -> tuple[float, float, float]:
    """The mean after one layer, and its interval."""
    return _value(curve.mean[number], curve.draws[:, number])


def _value(mean: float, draws: Floats) -> tuple[float, float, float]:
    """A number and the ends of its interval."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float(mean), math.nan, math.nan
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return float(mean), low, high


def _named(names: Sequence[str], values: Sequence[float | int]) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))


def _require(holds: bool, where: str, remedy: str) -> None:
    if not holds:
        raise OptionError("the rates, labels and prompts do not belong together", where=where, remedy=remedy)
