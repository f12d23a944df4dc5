r"""The best linear probe on a given few neurons, with the hinge loss and a certificate of how good it is.

With rows x_i, signs y_i ∈ {−1, +1}, weights c_i > 0 of the rows and a support S of neurons,

    F(S) = min_{w, b}  ‖w‖² / (2γ) + Σ_i c_i max(0, 1 − y_i (w·x_i + b)),      w_j = 0 outside S.

Its dual has one variable a_i for each row,

    F(S) = max_a  Σ_i a_i − (γ/2) Σ_{j∈S} q_j,   q_j = (Σ_i a_i y_i x_ij)²,   0 ≤ a_i ≤ c_i,  Σ_i a_i y_i = 0,

and the rows of another support enter it only through S. So the a of one support bounds F of *every* support
from below: that is what cutting planes are made of (`rwcore.probing.cuts`).

The dual is solved by a primal-dual interior point method. Its Hessian is a diagonal plus a matrix of rank
|S|, so a step costs O(n |S|²). Whatever the method returns, both sides of the certificate are evaluated
anew: a is moved into the feasible set, and b is the best one for w.

Source: Bertsimas, Pauphilet and Van Parys, "Sparse classification: a scalable discrete optimization
perspective", Machine Learning 110 (2021), section 2; Mehrotra, SIAM Journal on Optimization 2 (1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

TOLERANCE = 1e-7
_STEPS = 60
_TO_THE_BOUNDARY = 0.995


@dataclass(frozen=True, eq=False)
class HingeProbe:
    """The best hinge probe on a support.

    Attributes:
        objective: ‖w‖²/(2γ) + loss of `weights` and `intercept`: F(S) or a little more.
        bound: The dual value of `dual`: F(S) or a little less.
        weights: w, one for each neuron of the support.
        intercept: The b that is best for w.
        dual: a, one for each row; feasible.
    """

    objective: float
    bound: float
    weights: Float64[np.ndarray, " k"]
    intercept: float
    dual: Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to be told apart.

    Attributes:
        x: Activations.
        sign: +1 or −1.
        weight: How much each row counts.
    """

    x: Float64[np.ndarray, "n neuron"]
    sign: Float64[np.ndarray, " n"]
    weight: Float64[np.ndarray, " n"]

    def on(self, support: list[int] | tuple[int, ...]) -> Rows:
        """The same rows with a few neurons."""
        return Rows(self.x[:, list(support)], self.sign, self.weight)


def balanced_weights(label: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Weights 1/(2p) of positive and 1/(2(1 − p)) of negative rows: n in all, half of it in each class."""
    positive = int(label.sum())
    half = len(label) / 2
    return np.where(label, half / positive, half / (len(label) - positive))


def balanced_rows(x: Float64[np.ndarray, "n neuron"], label: Bool[np.ndarray, " n"]) -> Rows:
    """Rows whose classes, of which both must occur, weigh the same."""
    return Rows(x, np.where(label, 1.0, -1.0), balanced_weights(label))


def best_intercept(score: Float64[np.ndarray, " n"], rows: Rows) -> float:
    """The b that minimises Σ c_i max(0, 1 − y_i (score_i + b)).

    The loss is convex and piecewise linear in b with knots y_i − score_i; its slope rises from −Σ_{+} c by
    c_i at each knot, so the minimum is where the weights of the knots reach Σ_{+} c.
    """
    knots = rows.sign - score
    order = np.argsort(knots)
    reached = np.cumsum(rows.weight[order])
    enough = rows.weight[rows.sign > 0].sum() * (1 - 1e-12)
    return float(knots[order[np.searchsorted(reached, enough)]])


def hinge_objective(weights: Float64[np.ndarray, " k"], intercept: float, rows: Rows, gamma: float) -> float:
    """‖w‖²/(2γ) + Σ c_i max(0, 1 − y_i (w·x_i + b))."""
    margin = rows.sign * (rows.x @ weights + intercept)
    return float(weights @ weights / (2 * gamma) + rows.weight @ np.maximum(0, 1 - margin))


def hinge_probe(rows: Rows, gamma: float) -> HingeProbe:
    """Solve F for the neurons of the rows; see the head of this module.

    Args:
        rows: Rows with the neurons of the support only. For a fractional support s, columns times √s_j.
        gamma: γ.

    Returns:
        Weights, dual variables and both sides of the certificate, `TOLERANCE` apart relative to the objective
        unless rounding is in the way.
    """
    z = np.column_stack([rows.x * rows.sign[:, None], rows.sign])
    ridge = np.diag(np.append(np.full(rows.x.shape[1], 1 / gamma), 0.0))
    point = _Point(_half_of_the_smaller_class(rows), np.ones(len(z)), np.ones(len(z)), 0.0)
    for _ in range(_STEPS):
        newton = _linearise(point, z, rows.weight, ridge)
        gap = point.complementarity(rows.weight)
        if gap <= TOLERANCE / 4 * max(1.0, point.a.sum()):
            break
        affine = newton.step(point, 0.0, 0.0)
        aim = (point.moved(affine, 1.0, rows.weight).complementarity(rows.weight) / gap) ** 3
        centre = aim * gap / (2 * len(z))
        step = newton.step(point, centre - affine.a * affine.low, centre + affine.a * affine.high)
        point = point.moved(step, _TO_THE_BOUNDARY, rows.weight)
    return _certified(point.a, rows, gamma)


def pulls(dual: Float64[np.ndarray, " n"], rows: Rows) -> Float64[np.ndarray, " neuron"]:
    """The q_j = (Σ_i a_i y_i x_ij)² of every neuron: how much it would lower the bound that a gives."""
    found: Float64[np.ndarray, " neuron"] = np.square((dual * rows.sign) @ rows.x)
    return found


def _certified(a: Float64[np.ndarray, " n"], rows: Rows, gamma: float) -> HingeProbe:
    a = np.clip(a, 0, rows.weight)
    positive = rows.sign > 0
    sums = a[positive].sum(), a[~positive].sum()
    # Scaled down, never up: the class with more must not leave the box.
    a[positive] *= min(1.0, sums[1] / sums[0])
    a[~positive] *= min(1.0, sums[0] / sums[1])
    towards = (a * rows.sign) @ rows.x
    weights = gamma * towards
    intercept = best_intercept(rows.x @ weights, rows)
    return HingeProbe(
        hinge_objective(weights, intercept, rows, gamma),
        float(a.sum() - gamma / 2 * towards @ towards),
        weights,
        intercept,
        a,
    )


def _half_of_the_smaller_class(rows: Rows) -> Float64[np.ndarray, " n"]:
    """A start in the middle of the box with Σ a_i y_i = 0."""
    positive = rows.sign > 0
    sums = rows.weight[positive].sum(), rows.weight[~positive].sum()
    share = np.where(positive, min(sums) / sums[0], min(sums) / sums[1])
    start: Float64[np.ndarray, " n"] = share / 2 * rows.weight
    return start


@dataclass(frozen=True, eq=False)
class _Point:
    """Dual variables a, multipliers of 0 ≤ a and of a ≤ c, and b; or a step of them."""

    a: Float64[np.ndarray, " n"]
    low: Float64[np.ndarray, " n"]
    high: Float64[np.ndarray, " n"]
    intercept: float

    def complementarity(self, upper: Float64[np.ndarray, " n"]) -> float:
        """Σ a·low + Σ (c − a)·high: what is left of the duality gap at a feasible point."""
        return float(self.a @ self.low + (upper - self.a) @ self.high)

    def moved(self, step: _Point, fraction: float, upper: Float64[np.ndarray, " n"]) -> _Point:
        """After the step, or after as much of it as keeps a fraction of the way to the boundary."""
        shrinking = max(float(np.max(-step.a / self.a)), float(np.max(step.a / (upper - self.a))))
        a = min(1.0, fraction / max(shrinking, 1e-9))
        shrinking = max(float(np.max(-step.low / self.low)), float(np.max(-step.high / self.high)))
        m = min(1.0, fraction / max(shrinking, 1e-9))
        return _Point(
            self.a + a * step.a,
            self.low + m * step.low,
            self.high + m * step.high,
            self.intercept + m * step.intercept,
        )


@dataclass(frozen=True, eq=False)
class _Newton:
    """Newton's equations at a point, with the rows eliminated: |S| + 1 of them are left."""

    z: Float64[np.ndarray, "n unknown"]
    room: Float64[np.ndarray, " n"]
    residual: Float64[np.ndarray, " n"]
    diagonal: Float64[np.ndarray, " n"]
    hessian: Float64[np.ndarray, "unknown unknown"]

    def step(
        self, point: _Point, low: Float64[np.ndarray, " n"] | float, high: Float64[np.ndarray, " n"] | float
    ) -> _Point:
        """The step to where a·low and (c − a)·high have the given values."""
        low, high = low / point.a, high / self.room
        right = self.residual + low - high
        side = (self.diagonal * right) @ self.z
        side[-1] += point.a @ self.z[:, -1]
        change = np.linalg.solve(self.hessian, side)
        a = self.diagonal * (right - self.z @ change)
        return _Point(
            a,
            low - point.low * (1 + a / point.a),
            high - point.high * (1 - a / self.room),
            float(change[-1]),
        )


def _linearise(
    point: _Point,
    z: Float64[np.ndarray, "n unknown"],
    upper: Float64[np.ndarray, " n"],
    ridge: Float64[np.ndarray, "unknown unknown"],
) -> _Newton:
    room = upper - point.a
    weights = (point.a @ z[:, :-1]) / np.diag(ridge)[:-1]
    residual = 1 - z @ np.append(weights, point.intercept)
    diagonal = 1 / (point.low / point.a + point.high / room)
    return _Newton(z, room, residual, diagonal, (z * diagonal[:, None]).T @ z + ridge)
