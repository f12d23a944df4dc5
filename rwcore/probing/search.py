"""The search for the best support: cuts raise a bound of all, solved supports lower the best value."""

from __future__ import annotations

import math
import time
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from rwcore.probing.cuts import Cut, Support, cut_of, master
from rwcore.probing.relaxation import relaxed, survivors
from rwcore.probing.subproblem import HingeProbe, Rows, hinge_probe

# Of the given time, what the relaxation may take: the rest belongs to the proof.
_RELAXATION_SHARE = 0.4


class Search:
    """The best support so far, and the bound of all.

    Args:
        rows: Rows with all neurons that a support may contain.
        k: Size of the supports.
        gamma: γ.
        gap: Relative gap at which to stop.
        until: Time of `time.monotonic` at which to stop in any case.
    """

    def __init__(self, rows: Rows, k: int, gamma: float, gap: float, until: float) -> None:
        self.rows, self.k, self.gamma, self.wanted, self.until = rows, k, gamma, gap, until
        self.bound = 0.0
        self.cuts = 0
        self.support: Support = ()
        self.best: HingeProbe
        self.last: Support = ()

    def gap(self) -> float:
        """How far the best support may be from the optimum, relative to it."""
        objective = self.best.objective
        return max(0.0, objective - self.bound) / objective if objective > 0 else 0.0

    def status(self) -> Literal["optimal", "time limit", "rounding"]:
        """Why the search ended."""
        if self.gap() <= self.wanted:
            return "optimal"
        return "time limit" if time.monotonic() >= self.until else "rounding"

    def evaluate(self, support: Support) -> HingeProbe:
        """Solve a support; of k neurons, it may be the best so far."""
        probe = hinge_probe(self.rows.on(support), self.gamma)
        self.cuts += 1
        self.last, self.last_probe = support, probe
        if not self.support or probe.objective < self.best.objective:
            self.support, self.best = support, probe
        return probe

    def threshold(self) -> float:
        """F of supports that would be better by more than the gap; a bound this high closes a support."""
        return self.best.objective * (1 - self.wanted)

    def run(self, first: Support, *, screen: bool) -> int:
        """Search from a start support; how many neurons were left to enumerate."""
        begin = hinge_probe(self.rows.on(first), self.gamma)
        cuts = [cut_of(begin, self.rows, self.gamma)]
        self.evaluate(first if len(first) == self.k else _strongest(cuts[0].pull, self.k))
        cuts.append(cut_of(self.last_probe, self.rows, self.gamma))
        kept = np.arange(self.rows.x.shape[1])
        ruled_out = math.inf
        if screen:
            left = self.until - time.monotonic()
            # A part of the gap that is wanted: a finer bound rules out more than it costs.
            relaxation = relaxed(
                self.rows,
                self.k,
                self.gamma,
                start=self.support,
                gap=min(1e-3, self.wanted / 4),
                until=self.until - (1 - _RELAXATION_SHARE) * left,
            )
            self.cuts += len(relaxation.cuts)
            self.evaluate(relaxation.support)
            cuts += [*relaxation.cuts, relaxation.best, cut_of(self.last_probe, self.rows, self.gamma)]
            kept = survivors(relaxation.best, self.k, self.threshold())
            with_neuron = relaxation.best.with_neuron(self.k)
            ruled_out = float(np.delete(with_neuron, kept).min(initial=math.inf))
            self.bound = relaxation.bound
        self._enumerate([cut.on(kept) for cut in cuts], kept, ruled_out)
        return len(kept)

    def _enumerate(self, cuts: list[Cut], kept: Int64[np.ndarray, " kept"], ruled_out: float) -> None:
        problem = master(len(kept), self.k, gap=self.wanted / 10)
        for cut in cuts:
            problem.add(cut)
        seen: set[Support] = set()
        rows = Rows(self.rows.x[:, kept], self.rows.sign, self.rows.weight)
        while self.gap() > self.wanted and time.monotonic() < self.until:
            problem.close(self.threshold())
            named, bound = problem.lowest(self.until - time.monotonic())
            self.bound = max(self.bound, min(bound, ruled_out, self.best.objective))
            # A support that is named again has been solved: what is left of the gap is rounding.
            if named is None or named in seen or self.gap() <= self.wanted:
                break
            seen.add(named)
            probe = self.evaluate(tuple(kept[list(named)].tolist()))
            problem.add(cut_of(probe, rows, self.gamma))


def _strongest(pull: Float64[np.ndarray, " neuron"], k: int) -> Support:
    return tuple(np.sort(np.argsort(-pull, kind="stable")[:k]).tolist())
