r"""Cutting planes for the best support of k neurons, and the problem of choosing one under all cuts so far.

The dual variables a of any support or mixture of supports bound F of every support S of k neurons,

    F(S) ≥ t − Σ_{j∈S} p_j,      t = Σ_i a_i,   p_j = (γ/2) (Σ_i a_i y_i x_ij)²

(`rwcore.probing.subproblem`). A master problem keeps such cuts and names the support whose bound is lowest:
its bound holds for all supports. Up to some millions of supports, all are kept in a table; beyond that the
choice is a mixed-integer linear program, which HiGHS solves anew after each cut; its bound is good to its
tolerance of 10⁻⁶ of n.

Source: Duran and Grossmann, "An outer-approximation algorithm for a class of mixed-integer nonlinear
programs", Mathematical Programming 36 (1986); Huangfu and Hall, "Parallelizing the dual revised simplex
method", Mathematical Programming Computation 10 (2018) (HiGHS).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from rwcore.probing.subproblem import HingeProbe, Rows, pulls

MOST_SUPPORTS = 4_000_000
Support = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """A lower bound of F that is linear in the support.

    Attributes:
        total: Σ_i a_i.
        pull: By how much a neuron in the support lowers the bound.
    """

    total: float
    pull: Float64[np.ndarray, " neuron"]

    def everywhere(self, k: int) -> float:
        """The bound of the best k neurons: it holds for every support."""
        return float(self.total - np.partition(self.pull, -k)[-k:].sum())

    def with_neuron(self, k: int) -> Float64[np.ndarray, " neuron"]:
        """The bound of the best support that contains a neuron, for each neuron."""
        weakest = np.partition(self.pull, -k)[-k]
        found: Float64[np.ndarray, " neuron"] = self.everywhere(k) + np.maximum(0, weakest - self.pull)
        return found

    def on(self, neurons: Int64[np.ndarray, " kept"]) -> Cut:
        """The same cut for a few neurons."""
        return Cut(self.total, self.pull[neurons])


def cut_of(probe: HingeProbe, rows: Rows, gamma: float) -> Cut:
    """The cut of a solved support, over all neurons of the rows."""
    return Cut(float(probe.dual.sum()), gamma / 2 * pulls(probe.dual, rows))


def mixture(cuts: list[Cut], shares: Float64[np.ndarray, " cut"]) -> Cut:
    """A weighted mean of cuts, which is a cut again."""
    shares = shares / shares.sum()
    return Cut(
        float(sum(share * cut.total for share, cut in zip(shares, cuts, strict=True))),
        np.sum([share * cut.pull for share, cut in zip(shares, cuts, strict=True) if share], axis=0),
    )


@runtime_checkable  # shapes in annotations are checked in tests
class Master(Protocol):
    """Which support is the most promising under the cuts so far."""

    def add(self, cut: Cut) -> None:
        """Take in a cut."""

    def close(self, bound: float) -> None:
        """Supports whose bound is at least this need not be named any more."""

    def lowest(self, seconds: float) -> tuple[Support | None, float]:
        """A support with the lowest bound, and a bound of all supports; None: every one is closed."""


class Table:
    """All supports with their bounds.

    A cut is used at its best scale: θa is feasible for 0 ≤ θ ≤ 1, and its bound θt − θ²Σp is highest at
    θ = t / (2Σp) if that is below 1.
    """

    def __init__(self, neurons: int, k: int) -> None:
        chosen = np.fromiter(
            itertools.chain.from_iterable(itertools.combinations(range(neurons), k)),
            np.int32,
            count=k * math.comb(neurons, k),
        )
        self._supports = np.ascontiguousarray(chosen.reshape(-1, k).T)
        self._bounds = np.zeros(self._supports.shape[1])  # F is a sum of terms that are not negative
        self._closed = math.inf

    def add(self, cut: Cut) -> None:
        """Raise the bounds of all supports."""
        pull = cut.pull[self._supports[0]]
        for row in self._supports[1:]:
            pull += cut.pull[row]
        scale = np.minimum(1, cut.total / np.maximum(2 * pull, 1e-300))
        np.maximum(self._bounds, scale * (cut.total - scale * pull), out=self._bounds)

    def close(self, bound: float) -> None:
        """Drop supports once that makes the table a good deal shorter."""
        stay = self._bounds < bound
        if stay.sum() <= 0.9 * len(stay):
            self._closed = min(self._closed, float(self._bounds[~stay].min()))
            self._supports, self._bounds = self._supports[:, stay], self._bounds[stay]

    def lowest(self, seconds: float) -> tuple[Support | None, float]:
        """The support with the lowest bound; with equal ones that of the lowest numbers."""
        if not len(self._bounds):
            return None, self._closed
        place = int(self._bounds.argmin())
        return tuple(self._supports[:, place].tolist()), min(self._closed, float(self._bounds[place]))


class Program:
    """A mixed-integer linear program: min t over s ∈ {0, 1}^neuron with Σ s = k and t ≥ each cut at s."""

    def __init__(self, neurons: int, k: int, *, gap: float) -> None:
        self._neurons, self._k, self._gap = neurons, k, gap
        self._cuts: list[Cut] = []

    def add(self, cut: Cut) -> None:
        """One more row."""
        self._cuts.append(cut)

    def close(self, bound: float) -> None:
        """Nothing to do: the program asks for the lowest bound anyway."""

    def lowest(self, seconds: float) -> tuple[Support | None, float]:
        """Solve it; where time runs out, the best support so far with the bound that is proven."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        # In units of the largest total, so that HiGHS' absolute tolerances mean the same for any n.
        unit = max(cut.total for cut in self._cuts)
        rows = np.array([np.append(cut.pull, unit) for cut in self._cuts]) / unit
        integer = np.append(np.ones(self._neurons), 0)
        found = milp(
            np.append(np.zeros(self._neurons), 1.0),
            integrality=integer,
            bounds=Bounds(np.zeros(self._neurons + 1), np.append(np.ones(self._neurons), np.inf)),
            constraints=[
                LinearConstraint(rows, lb=[cut.total / unit for cut in self._cuts]),
                LinearConstraint(integer[None], lb=self._k, ub=self._k),
            ],
            options={"mip_rel_gap": self._gap, "time_limit": max(seconds, 0.1)},
        )
        bound = 0.0 if found.mip_dual_bound is None else max(0.0, found.mip_dual_bound * unit)
        if found.x is None:
            return None, bound
        return tuple(np.sort(np.argsort(-found.x[:-1], kind="stable")[: self._k]).tolist()), bound


def master(neurons: int, k: int, *, gap: float) -> Master:
    """A table of all supports where they are few enough, else a program."""
    return Table(neurons, k) if math.comb(neurons, k) <= MOST_SUPPORTS else Program(neurons, k, gap=gap)
