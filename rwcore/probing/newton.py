"""Logistic regressions on one neuron each, of all neurons at once.

Of every neuron, with x' = x/scale (see `rwcore.probing.normalise`), the exact minimum over w and b of

    (1/(2C)) w² + Σ_i c_i log(1 + exp(-y_i (w x'_i + b))),   c_i = 1/(2p) if y_i = +1, else 1/(2(1 - p)),

p being the share of positives: scikit-learn's ``LogisticRegression(C, class_weight="balanced")`` times 1/C.
Examples with one activation count together, so that 256 codes stand for any number of them. Newton's method
in (w, b) with 2×2 systems, steps halved until the objective decreases; b is not penalised, so activations
may be centred first, which keeps the systems solvable for neurons far from zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import softplus

from rwcore.errors import OptionError
from rwcore.probing.histograms import ClassHistograms
from rwcore.probing.normalise import refuse_non_finite, scale_of
from rwcore.probing.splits import refuse_one_class

ITERATIONS = 60
HALVINGS = 40
# A tile and its handful of float64 temporaries stay in the cache of one core; smaller ones cost more calls.
_TILE_VALUES = 1 << 16
_ROW_TILE_VALUES = 1 << 15
# Twice what the objective can still fall by. Its curvature in w is at least 1/C, so w is right to 1e-6·√C
# before the last step, which squares the error.
_DECREMENT = 1e-12
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class OneNeuronProbes:
    """A probe of each neuron: positive where weight · x/scale + intercept > 0.

    Attributes:
        weight: Coefficient of the normalised activation; its sign is the polarity of the neuron.
        intercept: Not penalised.
        scale: What activations are divided by: ten standard deviations of the training examples.
        iterations: Newton steps taken.
        converged: No step can lower the objective any more.
    """

    weight: Float64[Tensor, " neuron"]
    intercept: Float64[Tensor, " neuron"]
    scale: Float64[Tensor, " neuron"]
    iterations: Int64[Tensor, " neuron"]
    converged: Bool[Tensor, " neuron"]

    def __len__(self) -> int:
        return len(self.weight)

    def decide(self, x: Float[Tensor, "neuron level"]) -> Float64[Tensor, "neuron level"]:
        """The decision value of activations of each neuron; positive means positive."""
        return x * (self.weight / self.scale)[:, None] + self.intercept[:, None]

    def neurons(self, numbers: Int64[Tensor, " chosen"]) -> OneNeuronProbes:
        """Those of some neurons, in the order given."""
        return OneNeuronProbes(
            self.weight[numbers],
            self.intercept[numbers],
            self.scale[numbers],
            self.iterations[numbers],
            self.converged[numbers],
        )


def fit_histograms(histograms: ClassHistograms, *, C: float = 1.0, balanced: bool = True) -> OneNeuronProbes:
    """A probe of every neuron from counts of the training examples.

    Args:
        histograms: Of the training examples, class 0 negative and 1 positive.
        C: Inverse strength of the penalty.
        balanced: Both classes weigh the same.

    Raises:
        ProbeError: All examples are of one class.
        OptionError: C is not positive.
    """
    negatives, positives = histograms.examples().tolist()
    _refuse(positives, negatives, C)
    of_class = class_weights(positives, negatives, balanced=balanced)
    step = max(1, _TILE_VALUES // histograms.values.shape[1])
    found = []
    for start in range(0, len(histograms), step):
        part = histograms.rows(start, start + step)
        counts = part.counts.to(torch.float64)
        positive = counts[:, 1] * of_class[1]
        weight = counts[:, 0] * of_class[0] + positive
        scale = scale_of(part.variance().sqrt())
        found.append(_fit_tile(part.values.to(torch.float64), weight, positive, scale, C))
    return _joined(found)


def fit_rows(
    x: Float[Tensor, "example neuron"],
    label: Bool[Tensor, " example"],
    *,
    C: float = 1.0,
    balanced: bool = True,
) -> OneNeuronProbes:
    """A probe of every neuron from its activations at the training examples.

    Args:
        x: Activations, not normalised.
        label: Of each example.
        C: Inverse strength of the penalty.
        balanced: Both classes weigh the same.

    Raises:
        ProbeError: All examples are of one class, or an activation is not finite.
        OptionError: C is not positive.
    """
    refuse_non_finite(x)
    positives = int(label.sum())
    _refuse(positives, len(label) - positives, C)
    of_class = class_weights(positives, len(label) - positives, balanced=balanced)
    weight = torch.where(label, of_class[1], of_class[0]).expand(1, -1)
    positive = torch.where(label, of_class[1], 0.0).to(torch.float64).expand(1, -1)
    step = max(1, _ROW_TILE_VALUES // len(label))
    found = []
    for start in range(0, x.shape[1], step):
        values = x[:, start : start + step].T.to(torch.float64).contiguous()
        size = (len(values), -1)
        scale = scale_of(values.std(dim=1, correction=0))
        found.append(_fit_tile(values, weight.expand(*size), positive.expand(*size), scale, C))
    return _joined(found)


def class_weights(positives: int, negatives: int, *, balanced: bool = True) -> Float64[Tensor, " class"]:
    """What an example of the negative and of the positive class weighs; over all examples, 1 on average."""
    if not balanced:
        return torch.ones(2, dtype=torch.float64)
    n = positives + negatives
    return torch.tensor([n / (2 * negatives), n / (2 * positives)], dtype=torch.float64)


def _refuse(positives: int, negatives: int, C: float) -> None:
    if C <= 0:
        raise OptionError(f"a penalty of strength 1/{C}", where="C", remedy="give a positive number")
    refuse_one_class(torch.arange(positives + negatives) < positives, where="training examples")


def _joined(parts: list[OneNeuronProbes]) -> OneNeuronProbes:
    names = ("weight", "intercept", "scale", "iterations", "converged")
    return OneNeuronProbes(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _fit_tile(
    values: Float64[Tensor, "neuron level"],
    weight: Float64[Tensor, "neuron level"],
    positive: Float64[Tensor, "neuron level"],
    scale: Float64[Tensor, " neuron"],
    C: float,
) -> OneNeuronProbes:
    """The probes of a few neurons.

    Args:
        values: Activations that occur.
        weight: Summed weight of the examples with this activation.
        positive: The part of it that positive examples have.
        scale: What activations are divided by.
        C: Inverse strength of the penalty.
    """
    middle = (weight * values).sum(1) / weight.sum(1)
    x = (values - middle[:, None]) / scale[:, None]
    w = torch.zeros(len(x), dtype=torch.float64)
    # Without the neuron the best intercept is the log odds, 0 for balanced classes.
    share = positive.sum(1) / weight.sum(1)
    b = (share / (1 - share)).log()
    steps = torch.zeros(len(x), dtype=torch.int64)
    rows = torch.arange(len(x))
    going = torch.ones(len(x), dtype=torch.bool)
    xs, cs, ts, ws, bs = x, weight, positive, w, b
    value = _objective(xs, cs, ts, ws, bs, C)
    for _ in range(ITERATIONS):
        dw, db, decrement = _newton_step(xs, cs, ts, ws, bs, C)
        ws, bs, value, moved = _halved(xs, cs, ts, (ws, bs), (dw, db), value, C)
        steps[rows] += going
        going &= (decrement > _DECREMENT) & moved
        left = int(going.sum())
        # Neurons that are done take further steps, which change nothing, until it pays to copy the others.
        if 2 * left <= len(rows):
            w[rows], b[rows] = ws, bs
            rows = rows[going]
            kept = going.nonzero()[:, 0]
            xs, cs, ts = (tensor.index_select(0, kept) for tensor in (xs, cs, ts))
            ws, bs, value, going = ws[going], bs[going], value[going], going[going]
            if not left:
                break
    w[rows], b[rows] = ws, bs
    converged = torch.ones(len(x), dtype=torch.bool)
    converged[rows] = ~going
    return OneNeuronProbes(w, b - w * middle / scale, scale, steps, converged)


def _objective(x: Tensor, weight: Tensor, positive: Tensor, w: Tensor, b: Tensor, C: float) -> Tensor:
    """w²/(2C) + Σ (weight·log(1 + e^z) - positive·z), z = w x + b."""
    z = torch.addcmul(b[:, None], w[:, None], x)
    loss = weight * softplus(z, threshold=35) - positive * z
    return w**2 / (2 * C) + loss.sum(1)


def _newton_step(
    x: Tensor, weight: Tensor, positive: Tensor, w: Tensor, b: Tensor, C: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The step of Newton's method, and gradient · step."""
    p = torch.addcmul(b[:, None], w[:, None], x).sigmoid_()
    expected = weight * p
    residual = expected - positive
    curvature = expected * (1 - p)
    bent = curvature * x
    gradient_w = w / C + (residual * x).sum(1)
    gradient_b = residual.sum(1)
    ww = 1 / C + (bent * x).sum(1)
    wb = bent.sum(1)
    bb = curvature.sum(1)
    # Of a neuron that tells all apart with great margins nothing is left of bb: then b must not move.
    determinant = (ww * bb - wb**2).clamp(min=torch.finfo(torch.float64).tiny)
    dw = (bb * gradient_w - wb * gradient_b) / determinant
    db = (ww * gradient_b - wb * gradient_w) / determinant
    return dw, db, gradient_w * dw + gradient_b * db


def _halved(
    x: Tensor,
    weight: Tensor,
    positive: Tensor,
    at: tuple[Tensor, Tensor],
    step: tuple[Tensor, Tensor],
    value: Tensor,
    C: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where each neuron is after the longest of step, step/2, step/4 … that lowers its objective."""
    w, b = at[0] - step[0], at[1] - step[1]
    found = _objective(x, weight, positive, w, b, C)
    limit = value + _ROUNDING * value.abs()
    rows = (~(found <= limit)).nonzero()[:, 0]
    share = 1.0
    for _ in range(HALVINGS):
        if not len(rows):
            break
        share /= 2
        w[rows], b[rows] = at[0][rows] - share * step[0][rows], at[1][rows] - share * step[1][rows]
        again = [tensor.index_select(0, rows) for tensor in (x, weight, positive, w, b)]
        found[rows] = _objective(again[0], again[1], again[2], again[3], again[4], C)
        rows = rows[~(found[rows] <= limit[rows])]
    moved = torch.ones(len(w), dtype=torch.bool)
    w[rows], b[rows], found[rows], moved[rows] = at[0][rows], at[1][rows], value[rows], False
    return w, b, found, moved
