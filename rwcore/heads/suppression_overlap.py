r"""Do negative heads and weakening neurons suppress at the same places?

``positions``: x_q is what the negative heads suppress at a position in all layers, y_q what the neurons of a
group do. Their correlation is Spearman's; their overlap is how many of the positions in the top twentieth of
x are in that of y, its *lift* this number over what independence gives.

Both grow wherever a prediction is strong or the final scale small, whoever writes. Chance is therefore not
independence but random neurons, as many of the same layers: their correlation and lift with the same heads.
Intervals that compare with them draw documents and take another random group for each draw.

``cells`` are positions of single layers, where both write to the same token: ranks and top twentieths are
those within the layer, so that it does not count which layers are strong. ``layers`` and ``tokens`` compare
means by layer and by predicted token (of at least `FEWEST` cells).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from scipy.stats import rankdata
from torch import Tensor

from rwcore.ablation.bootstrap import bootstrap_means
from rwcore.heads.suppression import KINDS
from rwcore.heads.suppression_scores import SuppressionScores
from rwcore.heads.suppression_tables import ends

TOP, FEWEST = 0.05, 5
POSITIONS, CELLS, LAYERS, TOKENS = "positions", "cells", "layers", "tokens"
COLUMNS = (
    "unit", "n", "correlation", "correlation_low", "correlation_high", "all_correlation",
    "random_correlation", "correlation_excess", "correlation_excess_low", "correlation_excess_high", "top",
    "both", "lift", "lift_low", "lift_high", "random_lift", "lift_ratio", "lift_ratio_low",
    "lift_ratio_high",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Suppressed:
    """What is suppressed in each cell that counts, 0 in others.

    Attributes:
        heads: By the negative heads.
        neurons: By the neurons of a group.
        every: By all neurons.
        random: By random groups, summed over the layers.
    """

    heads: Float64[np.ndarray, "token layer"]
    neurons: Float64[np.ndarray, "token layer"]
    every: Float64[np.ndarray, "token layer"]
    random: Float64[np.ndarray, "token group"]

    @classmethod
    def of(
        cls, scores: SuppressionScores, negative: Bool[Tensor, "half layer head"], codes: Collection[int]
    ) -> Suppressed:
        """From what was measured.

        Args:
            scores: Of one choice of kinds.
            negative: Negative heads by half.
            codes: Classes of the group of neurons that the random groups were made for.
        """
        found, chosen = scores.found, scores.chosen[..., None]
        heads = (found.heads * chosen * negative[scores.half]).clamp(max=0)
        against = found.against * chosen
        kinds = [KINDS.index(one) for one in scores.kinds]
        parts = (heads.sum(dim=2), against[..., [*codes]].sum(dim=2), against.sum(dim=2))
        by_heads, by_neurons, by_all = (-part.double().numpy() for part in parts)
        return cls(by_heads, by_neurons, by_all, -found.random[:, kinds].double().sum(dim=1).numpy())


def overlap_table(
    scores: SuppressionScores, negative: Bool[Tensor, "half layer head"], codes: Collection[int]
) -> pd.DataFrame:
    """Whether negative heads and a group of neurons suppress at the same places; columns `COLUMNS`.

    Args:
        scores: Of one choice of kinds.
        negative: Negative heads by half.
        codes: Classes of the neurons that the random groups were made for.
    """
    found = Suppressed.of(scores, negative, codes)
    rows = [_positions(scores, found), _cells(scores, found)]
    chosen, predicted = scores.chosen.numpy(), scores.found.predicted.numpy()
    layer = np.broadcast_to(np.arange(chosen.shape[1]), chosen.shape)
    for unit, label, least in ((LAYERS, layer, 1), (TOKENS, predicted, FEWEST)):
        rows.append({"unit": unit, **_of_means(found, chosen, label, least)})
    return pd.DataFrame(rows, columns=[*COLUMNS])


def _positions(scores: SuppressionScores, found: Suppressed) -> dict[str, object]:
    there = scores.chosen.any(dim=1).numpy()
    x, y, every = (values[there].sum(axis=1) for values in (found.heads, found.neurons, found.every))
    columns = np.stack([y, every, *found.random[there].T], axis=1)
    ranked, top = _ranked(x[:, None]), _top(x[:, None])
    row, draws = _compared(
        ranked, _ranked(columns), top, _top(columns), scores.place.numpy()[there], scores.draws
    )
    correlations, lifts = draws
    count = columns.shape[1] - 2
    other = 2 + np.arange(len(correlations)) % max(count, 1)
    if count:
        each = np.arange(len(correlations))
        row["random_correlation"] = float(row["correlations"][2:].mean())
        row["correlation_excess"] = row["correlation"] - row["random_correlation"]
        row["random_lift"] = float(row["lifts"][2:].mean())
        with np.errstate(invalid="ignore", divide="ignore"):
            row["lift_ratio"] = row["lift"] / np.float64(row["random_lift"])
            beside = {
                "correlation_excess": correlations[:, 0] - correlations[each, other],
                "lift_ratio": lifts[:, 0] / lifts[each, other],
            }
        for name, values in beside.items():
            row[f"{name}_low"], row[f"{name}_high"] = ends(values[:, None])[:, 0].tolist()
    return {"unit": POSITIONS, **row}


def _cells(scores: SuppressionScores, found: Suppressed) -> dict[str, object]:
    """Ranks within layers; layers where one of the two has no writer are left out."""
    parts = []
    for layer, there in enumerate(scores.chosen.numpy().T):
        values = np.stack([one[there, layer] for one in (found.heads, found.neurons, found.every)], axis=1)
        if there.sum() > 1 and (np.ptp(values, axis=0) > 0).all():
            parts.append((_ranked(values), _top(values), scores.place.numpy()[there]))
    if not parts:
        return {"unit": CELLS, "n": 0}
    ranked, top, place = (np.concatenate([part[number] for part in parts]) for number in range(3))
    row, _ = _compared(ranked[:, :1], ranked[:, 1:], top[:, :1], top[:, 1:], place, scores.draws)
    return {"unit": CELLS, **row}


def _compared(
    x: np.ndarray, y: np.ndarray, top_x: np.ndarray, top_y: np.ndarray, place: np.ndarray, draws: int
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """Correlation and lift of x with each column of y, with intervals of the first; and their draws.

    Ranks and top twentieths are those of the whole sample in every draw of documents.
    """
    count = y.shape[1]
    ones = np.ones((len(x), 1))
    moments = np.concatenate(
        [ones, x, x * x, top_x, y, y * y, x * y, top_y, top_x * top_y], axis=1, dtype=float
    )
    documents = int(place.max(initial=0)) + 1
    sums = np.zeros((documents, moments.shape[1]))
    np.add.at(sums, place, moments)

    def of(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, x2, top = means[:, 1:2], means[:, 2:3], means[:, 3:4]
        second, y2, xy, tops, both = np.split(means[:, 4:], [count, 2 * count, 3 * count, 4 * count], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((x2 - first**2).clip(0) * (y2 - second**2).clip(0))
            return (xy - first * second) / spread, both / (top * tops)

    correlations, lifts = (found[0] for found in of(sums.sum(axis=0)[None] / max(len(x), 1)))
    counts = np.repeat(sums[:, :1].astype(np.int64), sums.shape[1], axis=1)
    drawn = of(bootstrap_means(sums, counts, draws=draws))
    if (counts[:, 0] > 0).sum() < 2:
        drawn = np.full_like(drawn[0], np.nan), np.full_like(drawn[1], np.nan)
    row: dict[str, Any] = {"n": len(x), "correlations": correlations, "lifts": lifts}
    row |= {"correlation": float(correlations[0]), "all_correlation": float(correlations[1])}
    row |= {"top": int(top_x.sum()), "both": int((top_x[:, 0] & top_y[:, 0]).sum()), "lift": float(lifts[0])}
    for name, values in zip(("correlation", "lift"), drawn, strict=True):
        row[f"{name}_low"], row[f"{name}_high"] = ends(values[:, :1])[:, 0].tolist()
    return row, drawn


def _of_means(found: Suppressed, chosen: np.ndarray, label: np.ndarray, least: int) -> dict[str, object]:
    """Correlation of means over the cells of a label."""
    numbers, place = np.unique(label[chosen], return_inverse=True)
    count = np.bincount(place, minlength=len(numbers))
    enough = count >= least
    means = np.stack(
        [
            np.bincount(place, values[chosen], len(numbers))[enough] / count[enough]
            for values in (found.heads, found.neurons, found.every)
        ],
        axis=1,
    )
    if len(means) < 3:
        return {"n": len(means)}
    ranked = _ranked(means)
    correlation = (ranked[:, :1] * ranked[:, 1:]).mean(axis=0)
    return {"n": len(means), "correlation": correlation[0], "all_correlation": correlation[1]}


def _ranked(values: Float64[np.ndarray, "n column"]) -> Float64[np.ndarray, "n column"]:
    """Ranks of each column with mean 0 and variance 1; NaN for a constant."""
    ranks = rankdata(values, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    return found


def _top(values: Float64[np.ndarray, "n column"]) -> Bool[np.ndarray, "n column"]:
    """The largest twentieth of each column, at least one; of equal values the first, and none that is 0."""
    count = max(1, round(TOP * len(values)))
    order = np.argsort(-values, axis=0, kind="stable")[:count]
    found = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(found, order, True, axis=0)
    return found & (values > 0)
