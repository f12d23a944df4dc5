r"""How many neurons carry a feature alone: find the best five, take the best one of them away, and repeat.

Each step searches the best k neurons among those that are left (`rwcore.probing.exact`, γ = 10/n, which is
so heavy a norm that they are nearly those of the largest mean difference), fits a logistic probe on them and
one on each of them alone, and removes the neuron that is best alone.

As published, "best alone" is judged on the test rows; give validation rows for numbers that hold.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), appendix (iterative pruning).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64

from rwcore.errors import OptionError
from rwcore.probing.exact import Convention, ExactProbe, exact_probe
from rwcore.probing.fits import Fit, logistic_fit
from rwcore.probing.scores import scores
from rwcore.probing.telescopic import SparseProbe, best_of

Quality = Callable[[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]], float]


@dataclass(frozen=True, eq=False)
class PruningStep:
    """One step.

    Attributes:
        search: The search among the neurons of the highest rank that were left; its neurons are numbered as
            in x.
        probe: The logistic probe on its support.
        alone: Probe of each neuron of the support alone.
        quality: How good each of these is on the judging rows.
        removed: The neuron that was taken away.
    """

    search: ExactProbe
    probe: SparseProbe
    alone: tuple[SparseProbe, ...]
    quality: tuple[float, ...]
    removed: int


def f1(score: Float64[np.ndarray, " n"], label: Bool[np.ndarray, " n"]) -> float:
    """F1 of the predictions score > 0; 0 without a true positive."""
    return scores(torch.from_numpy(label), torch.from_numpy(score))["f1"]


def iterative_pruning(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    ranking: Float64[np.ndarray, " neuron"],
    judge: tuple[Float64[np.ndarray, "m neuron"], Bool[np.ndarray, " m"]],
    *,
    k: int = 5,
    steps: int = 10,
    candidates: int = 50,
    gap: float = 1e-4,
    seconds: float = 60.0,
    fit: Fit = logistic_fit,
    quality: Quality = f1,
    convention: Convention = "fixed",
) -> tuple[PruningStep, ...]:
    """Steps of pruning; see the head of this module.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        ranking: A score of each neuron, the best one highest.
        judge: Rows and labels by which single neurons are compared.
        k: Neurons of each search.
        steps: How many neurons are removed.
        candidates: Among how many neurons of the highest rank each search is.
        gap: Of a search.
        seconds: Limit of a search.
        fit: How logistic probes are found.
        quality: Of decision values against labels.
        convention: Of the searches; both begin at the empty support.

    Raises:
        OptionError: Too few neurons for so many steps.
    """
    if len(ranking) < k + steps - 1:
        raise OptionError(
            f"{steps} steps with {k} of {len(ranking)} neurons", where="steps", remedy="take fewer steps"
        )
    remaining = ranking.astype(np.float64)
    rows, judged = judge
    known: dict[int, tuple[SparseProbe, float]] = {}
    done: list[PruningStep] = []
    labels = torch.from_numpy(label)
    for step in range(steps):
        among = np.array(best_of(remaining, min(candidates, len(ranking) - step)))
        search = exact_probe(
            torch.from_numpy(x[:, among]),
            labels,
            k,
            gamma=10 / len(x),
            candidates=len(among),
            gap=gap,
            seconds=seconds,
            start=(),
            convention=convention,
        ).renumbered(among)
        for neuron in search.support:
            if neuron not in known:
                probe = SparseProbe((neuron,), *fit(x[:, [neuron]], label))
                known[neuron] = probe, quality(probe.score(rows), judged)
        alone, good = zip(*(known[neuron] for neuron in search.support), strict=True)
        removed = search.support[int(np.argmax(good))]
        together = SparseProbe(search.support, *fit(x[:, list(search.support)], label))
        done.append(PruningStep(search, together, alone, good, removed))
        remaining[removed] = -np.inf
    return tuple(done)
