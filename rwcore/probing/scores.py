"""How well a probe tells positives from negatives: from labels and scores, or of all neurons from counts.

An example is predicted positive if its score is above 0. With P precision, R recall and p the share of
positives,

*   confusion scores: mcc, kappa, fowlkes_mallows = √(P·R), f1, f05, f2, accuracy, balanced_accuracy,
    precision, recall, and average_precision, which as published is that of the hard predictions, P·R + (1 -
    R)·p;
*   rank scores, which see the order of the scores only: pr_auc, by trapezoids under the precision-recall
    curve, and roc_auc.

A ratio 0/0 is 0, but areas are NaN if one of the classes has no example.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), and its code; definitions as in scikit-learn.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rwcore.probing.histograms import ClassHistograms
from rwcore.probing.newton import OneNeuronProbes

CONFUSION_SCORES = (
    "mcc", "kappa", "fowlkes_mallows", "f1", "f05", "f2", "accuracy", "balanced_accuracy", "precision",
    "recall", "average_precision",
)  # fmt: skip
RANK_SCORES = ("pr_auc", "roc_auc")
SCORES = (*CONFUSION_SCORES, *RANK_SCORES)
CURVE_POINTS = 100
_TILE_VALUES = 1 << 16  # as in `rwcore.probing.newton`, and for the same reasons


def scores(label: Bool[Tensor, " example"], score: Float[Tensor, " example"]) -> dict[str, float]:
    """All `SCORES` of one probe."""
    chosen = score > 0
    found = confusion_scores(*confusion(label, chosen))
    positive, negative = _levels(label, score)
    found |= rank_scores(positive[None], negative[None])
    return {name: float(found[name]) for name in SCORES}


def histogram_scores(
    probes: OneNeuronProbes, histograms: ClassHistograms
) -> dict[str, Float64[Tensor, " neuron"]]:
    """All `SCORES` of every neuron's probe, from counts of the examples it is judged on.

    Args:
        probes: Of the same neurons.
        histograms: Class 0 negative and 1 positive.
    """
    step = max(1, _TILE_VALUES // histograms.values.shape[1])
    tiles = []
    for start in range(0, len(histograms), step):
        part = histograms.rows(start, start + step)
        tiles.append(_tile_scores(probes.neurons(torch.arange(start, start + len(part))), part))
    return {name: torch.cat([tile[name] for tile in tiles]) for name in SCORES}


def _tile_scores(probes: OneNeuronProbes, histograms: ClassHistograms) -> dict[str, Tensor]:
    values = histograms.values.to(torch.float64)
    counts = histograms.counts.to(torch.float64)
    chosen = (probes.decide(values) > 0).to(torch.float64)
    negatives, positives = counts.sum(2).T
    fp, tp = (counts * chosen[:, None]).sum(2).T
    found = confusion_scores(tp, fp, positives - tp, negatives - fp)
    # Codes ascend in activation; the score ascends with them, falls, or is the same for all.
    counts = torch.where(probes.weight[:, None, None] < 0, counts.flip(2), counts)
    bounds = values.diff(dim=1) != 0
    bounds = torch.where(probes.weight[:, None] < 0, bounds.flip(1), bounds) & (probes.weight[:, None] != 0)
    if not bool(bounds.all()):
        level = torch.nn.functional.pad(bounds.to(torch.int64), (1, 0)).cumsum(1)
        counts = torch.zeros_like(counts).scatter_add_(2, level[:, None].expand_as(counts), counts)
    return found | rank_scores(counts[:, 1], counts[:, 0])


def confusion(
    label: Bool[Tensor, "*probe example"], chosen: Bool[Tensor, "*probe example"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True positives, false positives, false negatives, true negatives; float64."""
    pairs = ((label, chosen), (~label, chosen), (label, ~chosen), (~label, ~chosen))
    tp, fp, fn, tn = ((one & other).sum(-1).to(torch.float64) for one, other in pairs)
    return tp, fp, fn, tn


def confusion_scores(
    tp: Float64[Tensor, "*probe"],
    fp: Float64[Tensor, "*probe"],
    fn: Float64[Tensor, "*probe"],
    tn: Float64[Tensor, "*probe"],
) -> dict[str, Float64[Tensor, "*probe"]]:
    """The `CONFUSION_SCORES` from numbers of examples, or from shares of examples."""
    n, positives, negatives, called = tp + fp + fn + tn, tp + fn, fp + tn, tp + fp
    precision, recall = _ratio(tp, called), _ratio(tp, positives)
    by_chance = (positives * called + negatives * (fn + tn)) / n**2
    agreement = (tp + tn) / n
    specificity = _ratio(tn, negatives)
    both = (positives > 0).to(torch.float64) + (negatives > 0).to(torch.float64)
    # Roots one by one: the product of four counts of a large corpus leaves the range where it is exact.
    spread = positives.sqrt() * negatives.sqrt() * called.sqrt() * (fn + tn).sqrt()
    return {
        "mcc": _ratio(tp * tn - fp * fn, spread),
        "kappa": _ratio(agreement - by_chance, 1 - by_chance),
        "fowlkes_mallows": (precision * recall).sqrt(),
        "f1": _f(tp, fp, fn, 1.0),
        "f05": _f(tp, fp, fn, 0.5),
        "f2": _f(tp, fp, fn, 2.0),
        "accuracy": agreement,
        "balanced_accuracy": (recall + specificity) / both,
        "precision": precision,
        "recall": recall,
        "average_precision": precision * recall + (1 - recall) * positives / n,
    }


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    """One/other, and 0 where the latter is 0."""
    return torch.where(other > 0, one / torch.where(other > 0, other, 1.0), 0.0)


def _f(tp: Tensor, fp: Tensor, fn: Tensor, beta: float) -> Tensor:
    weighted = (1 + beta**2) * tp
    return _ratio(weighted, weighted + beta**2 * fn + fp)


def rank_scores(
    positive: Float64[Tensor, "*probe level"], negative: Float64[Tensor, "*probe level"]
) -> dict[str, Float64[Tensor, "*probe"]]:
    """The `RANK_SCORES` from how many examples of each class have each score.

    Args:
        positive: Positive examples (or their weight) by score, ascending; levels may be empty.
        negative: Negative ones.
    """
    precision, recall, positives, negatives = _curve(positive, negative)
    area = (recall.diff(dim=-1).neg() * (precision[..., 1:] + precision[..., :-1]) / 2).sum(-1)
    below = negative.cumsum(-1) - negative / 2
    order = (positive * below).sum(-1) / (positives * negatives)
    missing = (positives == 0) | (negatives == 0)
    return {
        "pr_auc": torch.where(missing, torch.nan, area),
        "roc_auc": torch.where(missing, torch.nan, order),
    }


def precision_recall_curve(
    label: Bool[Tensor, " example"], score: Float[Tensor, " example"], *, points: int = CURVE_POINTS
) -> tuple[Float64[Tensor, " point"], Float64[Tensor, " point"]]:
    """Precision and recall by falling recall, thinned to points at equal distances in the list of thresholds.

    Args:
        label: Of each example.
        score: Of each example.
        points: At most so many are kept, the two ends among them.
    """
    positive, negative = _levels(label, score)
    precision, recall, _, _ = _curve(positive, negative)
    if len(precision) > points:
        kept = torch.linspace(0, len(precision) - 1, points, dtype=torch.float64).to(torch.int64)
        precision, recall = precision[kept], recall[kept]
    return precision, recall


def _levels(
    label: Bool[Tensor, " example"], score: Float[Tensor, " example"]
) -> tuple[Float64[Tensor, " level"], Float64[Tensor, " level"]]:
    """How many positives and negatives have each score that occurs, ascending."""
    distinct, level = torch.unique(score, return_inverse=True)
    counts = [torch.bincount(level[of], minlength=len(distinct)) for of in (label, ~label)]
    return counts[0].to(torch.float64), counts[1].to(torch.float64)


def _curve(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Precision and recall if all scores from a level on are positive, and at the end 1 and 0 for none."""
    tp = positive.flip(-1).cumsum(-1).flip(-1)
    called = tp + negative.flip(-1).cumsum(-1).flip(-1)
    positives = positive.sum(-1)
    precision = torch.where(called > 0, tp / torch.where(called > 0, called, 1.0), 1.0)
    recall = _ratio(tp, positives[..., None].expand_as(tp))
    end = torch.ones_like(precision[..., :1])
    return (
        torch.cat([precision, end], dim=-1),
        torch.cat([recall, end - 1], dim=-1),
        positives,
        negative.sum(-1),
    )
