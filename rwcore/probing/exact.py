r"""The best k neurons for a linear probe, proven so.

    min over supports S of k neurons of F(S) = min_{w, b} ‖w‖²/(2γ) + Σ_i c_i max(0, 1 − y_i (w·x_i + b))

with γ = 1/√n unless given and weights c that balance the classes. Cutting planes give a lower bound for all
supports, the supports on the way an upper one; the search ends when the two are a gap apart or time is up,
and what is returned always holds both. With `candidates` the proof is about these neurons only; without, it
is about all of them: most are ruled out by a bound first (`rwcore.probing.relaxation`).

As published, the search begins with the cut of a start support over the 50 neurons of the largest mean
difference, weights come from the support that was evaluated last, which need not be the best one, and the
intercept is the mean of c_i (y_i − w·x_i) over support vectors. That is not the intercept that minimises the
loss; a logistic probe on the support is better for prediction than either.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), section 3 and appendix.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.cuts import Support
from rwcore.probing.normalise import refuse_non_finite
from rwcore.probing.search import Search
from rwcore.probing.splits import refuse_one_class
from rwcore.probing.subproblem import TOLERANCE, HingeProbe, Rows, balanced_rows, hinge_probe

Convention = Literal["as_published", "fixed"]
Status = Literal["optimal", "time limit", "rounding"]
PUBLISHED_CANDIDATES = 50
_SUPPORT_VECTOR = 1e-6


@dataclass(frozen=True, eq=False)
class ExactProbe:
    """The outcome of a search.

    Attributes:
        support: Numbers of the neurons, ascending.
        objective: F(support): no support is better by more than `gap`.
        bound: What F is at least, on every support of the candidates.
        gap: (objective − bound) / objective; 0 where both are 0.
        status: "optimal" only if the gap is what was asked for; "time limit", or "rounding" where a solved
            support is the most promising one again.
        cuts: Cuts that were made.
        seconds: Wall time.
        weights: One for each neuron of `weights_support`.
        intercept: b.
        weights_support: The neurons of `weights`: `support`, or as published `last_candidate`.
        last_candidate: The support that was evaluated last.
        candidates: Among how many neurons the search was.
        kept: How many of them the bound did not rule out before supports were enumerated.
    """

    support: Support
    objective: float
    bound: float
    gap: float
    status: Status
    cuts: int
    seconds: float
    weights: Float64[np.ndarray, " k"]
    intercept: float
    weights_support: Support
    last_candidate: Support
    candidates: int
    kept: int

    def score(self, x: Float[Tensor, "n neuron"]) -> Float64[Tensor, " n"]:
        """Decision values of rows with all neurons; one of exactly 0 is a negative."""
        return x[:, list(self.weights_support)].double() @ torch.from_numpy(self.weights) + self.intercept

    def renumbered(self, neurons: Int64[np.ndarray, " neuron"]) -> ExactProbe:
        """The same for rows in which column j of x has the number neurons_j, ascending."""
        named = [
            tuple(neurons[list(support)].tolist())
            for support in (self.support, self.weights_support, self.last_candidate)
        ]
        return replace(self, support=named[0], weights_support=named[1], last_candidate=named[2])


def exact_probe(
    x: Float[Tensor, "n neuron"],
    label: Bool[Tensor, " n"],
    k: int,
    *,
    gamma: float | None = None,
    candidates: int | None = None,
    gap: float = 1e-4,
    seconds: float = 60.0,
    start: Sequence[int] | None = None,
    convention: Convention = "fixed",
) -> ExactProbe:
    """Search for the best k neurons; see the head of this module.

    Args:
        x: Normalised activations.
        label: The class of each row.
        k: Size of the support.
        gamma: γ; without, 1/√n.
        candidates: Search among so many neurons of the largest mean difference; without, among all (50 as
            published).
        gap: Relative gap at which to stop.
        seconds: Time limit.
        start: Neurons to begin from, not necessarily k of them, or none at all; without, the k of the largest
            mean difference.
        convention: "as_published" or "fixed".

    Raises:
        OptionError: An impossible size, gap or limit.
        ProbeError: One class only, or an activation that is not finite.
    """
    begun = time.monotonic()
    published = convention == "as_published"
    n, neurons = x.shape
    if candidates is None and published:
        candidates = PUBLISHED_CANDIDATES
    _check(k, neurons, candidates, gap, seconds)
    refuse_one_class(label, where="rows")
    refuse_non_finite(x)
    sign = label.numpy(force=True)
    ranked = _by_mean_difference(x, sign)
    chosen = np.sort(ranked if candidates is None else ranked[:candidates])
    rows = balanced_rows(x[:, chosen].double().numpy(force=True), sign)
    place = {neuron: at for at, neuron in enumerate(chosen.tolist())}
    begin = ranked[:k].tolist() if start is None else start
    first = tuple(sorted(place[one] for one in begin if one in place))
    gamma = 1 / math.sqrt(n) if gamma is None else gamma
    search = Search(rows, k, gamma, gap, begun + seconds)
    kept = search.run(first, screen=not published and search.rows.x.shape[1] > k)
    support = tuple(chosen[list(search.support)].tolist())
    last = tuple(chosen[list(search.last)].tolist())
    if published:
        probe = search.last_probe
        intercept = published_intercept(probe, rows.on(search.last))
    else:
        probe = search.best
        intercept = probe.intercept
    relative = search.gap()
    return ExactProbe(
        support,
        search.best.objective,
        search.bound,
        relative,
        search.status(),
        search.cuts,
        time.monotonic() - begun,
        probe.weights,
        intercept,
        last if published else support,
        last,
        len(chosen),
        kept,
    )


def published_intercept(probe: HingeProbe, rows: Rows) -> float:
    """Mean over rows with a > 1e-6 of c_i (y_i − w·x_i): about minus the middle between the class means."""
    inside = probe.dual > _SUPPORT_VECTOR
    rest = rows.weight * (rows.sign - rows.x @ probe.weights)
    return float(rest[inside].mean())


def brute_force(
    x: Float[Tensor, "n neuron"], label: Bool[Tensor, " n"], k: int, *, gamma: float
) -> tuple[Support, float]:
    """The best support of all C(neurons, k), each one solved: for few neurons and a small k."""
    rows = balanced_rows(x.double().numpy(force=True), label.numpy(force=True))
    every = itertools.combinations(range(rows.x.shape[1]), k)
    solved = ((hinge_probe(rows.on(one), gamma).objective, one) for one in every)
    objective, support = min(solved)
    return support, objective


def balanced_bound(
    x: Float[Tensor, "n neuron"], label: Bool[Tensor, " n"], support: Sequence[int], *, gamma: float
) -> float:
    """The bound of a = c: n − (γn²/8) Σ_{j∈S} Δ_j², Δ the difference of the class means.

    It is F(S) if and only if for w = γ(n/2)Δ some b keeps every y_i (w·x_i + b) at 1 or less. Where that
    holds for all supports, the best k neurons are those of the largest mean difference.
    """
    chosen = x[:, list(support)].double()
    delta = chosen[label].mean(0) - chosen[~label].mean(0)
    n = len(label)
    return float(n - gamma * n**2 / 8 * delta.square().sum())


def _by_mean_difference(
    x: Float[Tensor, "n neuron"], label: Bool[np.ndarray, " n"]
) -> Int64[np.ndarray, " neuron"]:
    """Neurons, the largest absolute difference of class means first, of equal ones the lower number."""
    share = label / label.sum() - ~label / (~label).sum()
    delta = x.new_tensor(share) @ x
    return np.argsort(-np.abs(delta.double().numpy(force=True)), kind="stable")


def _check(k: int, neurons: int, candidates: int | None, gap: float, seconds: float) -> None:
    among = neurons if candidates is None else min(candidates, neurons)
    if not 1 <= k <= among:
        raise OptionError(f"{k} neurons of {among}", where="k", remedy=f"give 1 to {among}")
    if not gap >= TOLERANCE:
        raise OptionError(f"a gap of {gap}", where="gap", remedy=f"give {TOLERANCE} or more, e.g. 0.0001")
    if not seconds > 0:
        raise OptionError(f"a limit of {seconds} seconds", where="seconds", remedy="give e.g. 60")
