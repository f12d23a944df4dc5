"""Exact probes of fewer and fewer neurons, each with a logistic probe on what it found.

Every size is searched afresh. The search of a size begins at the neurons with the largest weights of the
logistic probe on the larger support; that is its first cut and decides nothing but the time.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), appendix (optimal sparse probing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.probing.exact import Convention, ExactProbe, exact_probe
from rwcore.probing.fits import Fit, logistic_fit
from rwcore.probing.grid import MAX_EXACT_K
from rwcore.probing.telescopic import SparseProbe

SIZES = tuple(range(MAX_EXACT_K, 0, -1))


@dataclass(frozen=True, eq=False)
class ExactSize:
    """One size of the sweep.

    Attributes:
        search: The exact search.
        refit: The logistic probe on its support: the one to report.
    """

    search: ExactProbe
    refit: SparseProbe


def exact_sweep(
    x: Float[Tensor, "n neuron"],
    label: Bool[Tensor, " n"],
    sizes: Sequence[int] = SIZES,
    *,
    gamma: float | None = None,
    candidates: int | None = None,
    gap: float = 1e-4,
    seconds: float = 60.0,
    fit: Fit = logistic_fit,
    convention: Convention = "fixed",
) -> dict[int, ExactSize]:
    """Search every size, the largest first.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        sizes: The k.
        gamma: See `exact_probe`.
        candidates: See `exact_probe`.
        gap: Of a search.
        seconds: Limit of each search.
        fit: How the refit is found.
        convention: Of the searches.

    Returns:
        Search and refit of each size.
    """
    found: dict[int, ExactSize] = {}
    start: tuple[int, ...] | None = None
    for k in sorted(set(sizes), reverse=True):
        if found:
            larger = found[min(found)].refit
            strongest = np.argsort(-np.abs(larger.weights), kind="stable")[:k]
            start = tuple(larger.support[at] for at in strongest)
        search = exact_probe(
            x,
            label,
            k,
            gamma=gamma,
            candidates=candidates,
            gap=gap,
            seconds=seconds,
            start=start,
            convention=convention,
        )
        rows = x[:, list(search.support)].double().numpy(force=True)
        refit = SparseProbe(search.support, *fit(rows, label.numpy(force=True)))
        found[k] = ExactSize(search, refit)
    return found
