r"""A lower bound for all supports of k neurons at once, without integers, and the neurons it rules out.

    min over 0 ≤ s_j ≤ 1 with Σ s_j = k of F(s) = max over a of Σ_i a_i − (sum of the k largest p_j(a)),

where F(s) is F with column j times √s_j and p_j(a) as in `rwcore.probing.cuts`. Both sides are reached by
cutting planes: a linear program picks s under the cuts so far, and the next cut is taken at a point between
that s and the best one known, which keeps the steps from swinging.

The multipliers of the last program mix its cuts into one, whose bound is evaluated anew. Where that bound
for supports that contain neuron j reaches what a known support attains, no better support contains j.

Source: Ben-Ameur and Neto, "Acceleration of cutting-plane and column generation algorithms", Networks 49
(2007) (in-out separation); El Ghaoui, Viallon and Rabbani, "Safe feature elimination", Pacific Journal of
Optimization 8 (2012) (screening by a bound).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rwcore.probing.cuts import Cut, Support, cut_of, mixture
from rwcore.probing.subproblem import Rows, hinge_probe

_ROUNDS = 60
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What the relaxed problem tells.

    Attributes:
        best: The mixture of cuts that bounds all supports best.
        cuts: All cuts; they hold for every support.
        support: The k neurons with the largest shares: a good support as a rule.
        bound: Lower bound of F for all supports of k neurons.
    """

    best: Cut
    cuts: tuple[Cut, ...]
    support: Support
    bound: float


def relaxed(
    rows: Rows, k: int, gamma: float, *, start: Support, gap: float = 1e-3, until: float = np.inf
) -> Relaxation:
    """Solve the problem without integers; see the head of this module.

    Args:
        rows: Rows with all neurons.
        k: Size of the supports.
        gamma: γ.
        start: A support to begin from.
        gap: Where to stop, relative to the value.
        until: Time of `time.monotonic` at which to stop in any case.
    """
    centre = np.zeros(rows.x.shape[1])
    centre[list(start)] = 1.0
    value, cut = _mixed(centre, rows, gamma)
    cuts, best = [cut], cut
    for _ in range(_ROUNDS):
        if time.monotonic() > until:
            break
        solved = _program(cuts, k)
        if solved is None:
            break
        proposed, candidate = solved
        best = max(best, candidate, key=lambda cut: cut.everywhere(k))
        if value - best.everywhere(k) <= gap * value:
            break
        between = (proposed + centre) / 2
        reached, cut = _mixed(between, rows, gamma)
        cuts.append(cut)
        best = max(best, cut, key=lambda cut: cut.everywhere(k))
        if reached < value:
            centre, value = between, reached
    support = tuple(np.sort(np.argsort(-centre, kind="stable")[:k]).tolist())
    return Relaxation(best, tuple(cuts), support, max(0.0, best.everywhere(k)))


def survivors(cut: Cut, k: int, threshold: float) -> Int64[np.ndarray, " kept"]:
    """The neurons that a support with F below the threshold can contain, at least k of them."""
    possible = cut.with_neuron(k) < threshold
    possible[np.argsort(-cut.pull, kind="stable")[:k]] = True
    return np.flatnonzero(possible)


def _mixed(share: Float64[np.ndarray, " neuron"], rows: Rows, gamma: float) -> tuple[float, Cut]:
    """F at a fractional support, and its cut."""
    used = np.flatnonzero(share > _NEGLIGIBLE)
    probe = hinge_probe(Rows(rows.x[:, used] * np.sqrt(share[used]), rows.sign, rows.weight), gamma)
    return probe.objective, cut_of(probe, rows, gamma)


def _program(cuts: list[Cut], k: int) -> tuple[Float64[np.ndarray, " neuron"], Cut] | None:
    """The s with the lowest bound under the cuts, and the mixture of cuts that proves it the lowest.

    None where rounding keeps HiGHS from an answer; the cuts hold all the same.
    """
    from scipy.optimize import linprog

    unit = max(cut.total for cut in cuts)
    neurons = len(cuts[0].pull)
    rows = -np.array([np.append(cut.pull, unit) for cut in cuts]) / unit
    found = linprog(
        np.append(np.zeros(neurons), 1.0),
        A_ub=rows,
        b_ub=[-cut.total / unit for cut in cuts],
        A_eq=np.append(np.ones(neurons), 0)[None],
        b_eq=[k],
        bounds=[(0, 1)] * neurons + [(None, None)],
        method="highs",
    )
    if found.x is None:
        return None
    return np.clip(found.x[:-1], 0, 1), mixture(cuts, np.maximum(-found.ineqlin.marginals, 0))
