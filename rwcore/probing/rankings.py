"""Which neurons are worth a probe: scores of every neuron of a layer, the higher the better.

*   mean_dif: |mean of positives - mean of negatives|, of normalised activations
*   f_stat: F of the analysis of variance of two groups, (n - 2)·r²/(1 - r²), r the correlation with the label
*   mi: mutual information of activation and label, in nats; binned, or the published estimate by neighbours
*   lr: |coefficient| of a balanced logistic regression on all neurons, L1, C = 0.1
*   l2: the same with L2, C = 1
*   svm: |coefficient| of a balanced linear support vector machine with hinge loss
*   random: a random order

On normalised activations all standard deviations are equal, and mean_dif and f_stat give one order: r² is
p(1 - p)·Δ²/s². Neurons below the floor of the normalisation are the exception.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 4, and its code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.extras import PROBE, extra_library
from rwcore.probing.histograms import ClassHistograms
from rwcore.probing.moments import ClassMoments, binary_moments
from rwcore.probing.normalise import refuse_non_finite, scale_of, training_scale
from rwcore.probing.splits import refuse_one_class

RANKINGS = ("mean_dif", "f_stat", "mi", "lr", "l2", "svm", "random")
BINS = 16
NEIGHBOURS = 3
_NEURON_TILE = 2048


def descending(scores: Float[Tensor, " neuron"]) -> Int64[Tensor, " neuron"]:
    """Numbers of the neurons, the best first; equal ones by number, those without a score (NaN) last."""
    return torch.argsort(scores.nan_to_num(nan=-torch.inf, posinf=torch.inf), descending=True, stable=True)


def mean_dif(moments: ClassMoments, *, normalised: bool = True) -> Float64[Tensor, " neuron"]:
    """|mean of class 1 - mean of class 0|, divided by ten standard deviations if ``normalised``."""
    mean = moments.mean()
    difference = (mean[1] - mean[0]).abs()
    return difference / scale_of(moments.variance().sqrt()) if normalised else difference


def f_stat(moments: ClassMoments) -> Float64[Tensor, " neuron"]:
    """F = (n - 2) · between / within, which is t² with a pooled variance.

    0 for a neuron that is constant; infinite for one that is constant within each class only.
    """
    count = moments.count.to(torch.float64)
    difference = moments.mean().diff(dim=0)[0]
    between = count.prod() / count.sum() * difference**2
    scored = (count.sum() - 2) * between / moments.within()
    return torch.where(between > 0, scored, 0.0)


def binned_mi(histograms: ClassHistograms, *, bins: int = BINS) -> Float64[Tensor, " neuron"]:
    """Mutual information in nats of label and activation, the latter in bins of about equally many examples.

    With N_ab examples in bin a and class b, Σ (N_ab/n) log(n N_ab/(N_a N_b)), minus (A - 1)(B - 1)/(2n)
    with A and B the numbers of bins and classes that occur (Miller and Madow): neurons with few different
    values would otherwise be at a disadvantage against those that fill all bins by chance.

    Args:
        histograms: Of the training examples; any number of classes.
        bins: Codes are put together until there are so many.

    Raises:
        OptionError: Fewer than two bins.
    """
    if bins < 2:
        raise OptionError(f"{bins} bins", where="bins", remedy="give 2 or more")
    tiles = []
    for start in range(0, len(histograms), _NEURON_TILE):
        counts = histograms.counts[start : start + _NEURON_TILE].to(torch.float64)
        tiles.append(_tile_mi(counts, bins))
    return torch.cat(tiles)


def _tile_mi(counts: Float64[Tensor, "neuron class code"], bins: int) -> Float64[Tensor, " neuron"]:
    by_code = counts.sum(1)
    n = by_code.sum(1, keepdim=True)
    middle = (by_code.cumsum(1) - by_code / 2) / n
    place = (middle * bins).to(torch.int64).clamp(max=bins - 1)
    size = (*counts.shape[:2], bins)
    joint = torch.zeros(size, dtype=torch.float64).scatter_add_(2, place[:, None].expand_as(counts), counts)
    bin_sum, class_sum = joint.sum(1, keepdim=True), joint.sum(2, keepdim=True)
    ratio = torch.where(joint > 0, joint * n[:, :, None] / (bin_sum * class_sum), 1.0)
    information = (joint / n[:, :, None] * ratio.log()).sum((1, 2))
    freedom = ((bin_sum > 0).sum((1, 2)) - 1) * ((class_sum > 0).sum((1, 2)) - 1)
    return information - freedom / (2 * n[:, 0])


def rank_rows(
    method: str,
    x: Float[Tensor, "example neuron"],
    label: Bool[Tensor, " example"],
    *,
    as_published: bool = False,
    normalised: bool = True,
    seed: int = 0,
) -> Float64[Tensor, " neuron"]:
    """Scores of every neuron from its activations at the training examples.

    Args:
        method: One of `RANKINGS`; ``mi`` is the estimate by neighbours here, `binned_mi` that of counts.
        x: Activations, not normalised.
        label: Of each example.
        as_published: Solvers stop after as few passes as in the original.
        normalised: Divide activations by ten standard deviations first.
        seed: Of solvers, of the jitter of nearest neighbours, and of the random order.

    Raises:
        OptionError: There is no such ranking; the published ``svm`` sorted a 1 × d array, which is no order.
        ProbeError: One class only, or activations that are not finite.
    """
    if method not in RANKINGS:
        raise OptionError(f"ranking {method!r}", where="ranking", remedy=f"one of {', '.join(RANKINGS)}")
    if as_published and method == "svm":
        raise OptionError(
            "the published svm ranking sorts an array of one row and so ranks nothing",
            where="ranking",
            remedy="use svm without as_published",
        )
    refuse_one_class(label, where="training examples")
    refuse_non_finite(x)
    if method == "random":
        order = np.random.default_rng(seed).permutation(x.shape[1])
        return torch.from_numpy(order.astype(np.float64))
    if method in ("mean_dif", "f_stat"):
        moments = binary_moments(x, label)
        return f_stat(moments) if method == "f_stat" else mean_dif(moments, normalised=normalised)
    scale = training_scale(x) if normalised else torch.ones(x.shape[1], dtype=torch.float64)
    rows = (x / scale).numpy()
    if method == "mi":
        estimate = extra_library("sklearn.feature_selection", PROBE).mutual_info_classif
        return torch.from_numpy(estimate(rows, label.numpy(), n_neighbors=NEIGHBOURS, random_state=seed))
    fitted = _linear(method, as_published, seed).fit(rows, label.numpy())
    return torch.from_numpy(np.abs(fitted.coef_).reshape(-1).astype(np.float64))


def _linear(method: str, as_published: bool, seed: int) -> Any:
    """The linear classifier whose coefficients rank."""
    if method == "svm":
        return extra_library("sklearn.svm", PROBE).LinearSVC(
            loss="hinge", class_weight="balanced", max_iter=20_000, random_state=seed
        )
    logistic = extra_library("sklearn.linear_model", PROBE).LogisticRegression
    if method == "l2":
        return logistic(C=1.0, class_weight="balanced", solver="lbfgs", max_iter=1000)
    passes = 100 if as_published else 1000
    return logistic(
        C=0.1, l1_ratio=1.0, class_weight="balanced", solver="saga", max_iter=passes, random_state=seed
    )
