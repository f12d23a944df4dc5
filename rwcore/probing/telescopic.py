r"""Probes of fewer and fewer neurons: by one ranking, or thresholded again at every size.

The plain sweep ranks the neurons once and fits the best k for each k. The telescopic one ("adaptive
thresholding") goes from the largest k down: it fits the current k neurons with both norms,
C = k/20 and a share of the L1 norm of clip(2.718^(−k/20), 0.1, 0.9), and those with the largest |w| go on.

A fit often leaves more neurons with w = 0 than the next size drops. As published, which of these go on is
decided by the order in which a sort leaves equal values; here the ranking that the sweep began with does.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), section 3 ("adaptive thresholding").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rwcore.errors import OptionError
from rwcore.probing.fits import ElasticFit, Fit, Weights, elastic_fit, logistic_fit

# The published code writes e with four digits.
_E = 2.718


@dataclass(frozen=True, eq=False)
class SparseProbe:
    """A probe on k neurons.

    Attributes:
        support: Their numbers, ascending.
        weights: One for each of them.
        intercept: b.
    """

    support: tuple[int, ...]
    weights: Weights
    intercept: float

    def score(self, x: Float64[np.ndarray, "n neuron"]) -> Float64[np.ndarray, " n"]:
        """Decision values w·x + b of rows with all neurons."""
        found: Float64[np.ndarray, " n"] = x[:, list(self.support)] @ self.weights + self.intercept
        return found


def best_of(ranking: Float64[np.ndarray, " neuron"], k: int) -> tuple[int, ...]:
    """The k neurons of the highest rank, ascending; of equal ones those of lower number."""
    return tuple(np.sort(np.argsort(-ranking, kind="stable")[:k]).tolist())


def elastic_options(k: int) -> tuple[float, float]:
    """C and the share of the L1 norm at a size: sparse fits at small k, dense ones at large k."""
    return k / 20, float(np.clip(_E ** (-k / 20), 0.1, 0.9))


def sparsity_sweep(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    ranking: Float64[np.ndarray, " neuron"],
    sizes: Sequence[int],
    *,
    fit: Fit = logistic_fit,
) -> dict[int, SparseProbe]:
    """Probes on the best k neurons of one ranking.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        ranking: A score of each neuron, the best one highest.
        sizes: The k.
        fit: How weights are found.

    Returns:
        A probe for each size.
    """
    _check(sizes, ranking)
    probes = {}
    for k in sizes:
        support = best_of(ranking, k)
        probes[k] = SparseProbe(support, *fit(x[:, list(support)], label))
    return probes


def telescopic_sweep(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    ranking: Float64[np.ndarray, " neuron"],
    sizes: Sequence[int],
    *,
    fit: ElasticFit = elastic_fit,
    convention: Literal["as_published", "fixed"] = "fixed",
) -> dict[int, SparseProbe]:
    """Probes whose neurons are chosen by the weights of the next larger probe; see the head of this module.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        ranking: A score of each neuron, the best one highest: it chooses the largest probe's neurons.
        sizes: The k, in any order.
        fit: How weights are found.
        convention: How equal |w| are told apart: "fixed" by the ranking, "as_published" by numpy's sort.

    Returns:
        A probe for each size, the largest first.
    """
    _check(sizes, ranking)
    by_rank = np.argsort(-ranking, kind="stable")
    probes: dict[int, SparseProbe] = {}
    chosen = by_rank
    for k in sorted(set(sizes), reverse=True):
        support = np.sort(chosen[:k])
        weights, intercept = fit(x[:, support], label, *elastic_options(k))
        probes[k] = SparseProbe(tuple(support.tolist()), weights, intercept)
        strength = np.zeros(len(ranking))
        strength[support] = np.abs(weights)
        if convention == "as_published":
            chosen = np.argsort(strength)[::-1]
        else:
            # A neuron that was dropped must not come back over one of this probe that has w = 0.
            strength[np.setdiff1d(by_rank, support)] = -1
            chosen = _by_strength(strength, by_rank)
    return probes


def _by_strength(
    strength: Float64[np.ndarray, " neuron"], by_rank: Int64[np.ndarray, " neuron"]
) -> Int64[np.ndarray, " neuron"]:
    return by_rank[np.argsort(-strength[by_rank], kind="stable")]


def _check(sizes: Sequence[int], ranking: Float64[np.ndarray, " neuron"]) -> None:
    for k in sizes:
        if not 1 <= k <= len(ranking):
            raise OptionError(
                f"a probe of {k} neurons of {len(ranking)}", where="sizes", remedy=f"give 1 to {len(ranking)}"
            )
