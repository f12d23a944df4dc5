"""Logistic regressions on several neurons, by scikit-learn.

    min over w, b of  r·‖w‖₁ + (1 - r)/2·‖w‖² + C Σ_i c_i log(1 + exp(-y_i (w·x'_i + b))),

r being the share of L1, x' the normalised activations and c_i balanced weights; b is not penalised.

*   fixed: without L1 by Newton's method on the k × k system, to the optimum; with L1 by SAGA, seeded.
*   as_published: always SAGA, at most 200 passes; the original left its order of examples to NumPy's global
    state, so that its results differ from run to run at 1e-3. Here it has a seed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.extras import PROBE, extra_library
from rwcore.probing.normalise import refuse_non_finite, training_scale
from rwcore.probing.splits import refuse_one_class

PUBLISHED_PASSES = 200
PASSES = 5000


@dataclass(frozen=True, eq=False)
class LogisticProbe:
    """A probe of several neurons: positive where weight · x/scale + intercept > 0.

    Attributes:
        weight: Coefficients of the normalised activations.
        intercept: Not penalised.
        scale: What the activations are divided by.
        iterations: Of the solver.
        converged: The solver stopped by itself, not at its limit of passes.
    """

    weight: Float64[Tensor, " neuron"]
    intercept: float
    scale: Float64[Tensor, " neuron"]
    iterations: int
    converged: bool

    def decide(self, x: Float[Tensor, "example neuron"]) -> Float64[Tensor, " example"]:
        """The decision value of each example; positive means positive."""
        return x.to(torch.float64) @ (self.weight / self.scale) + self.intercept


def fit_logistic(
    x: Float[Tensor, "example neuron"],
    label: Bool[Tensor, " example"],
    *,
    C: float = 1.0,
    l1_share: float = 0.0,
    as_published: bool = False,
    passes: int | None = None,
    normalised: bool = True,
    seed: int = 0,
) -> LogisticProbe:
    """Fit a balanced logistic regression to the training examples.

    Args:
        x: Activations of the neurons that the probe may read, not normalised.
        label: Of each example.
        C: Inverse strength of the penalty.
        l1_share: Share of L1 in the penalty, 0 … 1.
        as_published: SAGA, stopped after 200 passes.
        passes: Another limit of the solver.
        normalised: Divide activations by ten standard deviations.
        seed: Of the order in which SAGA looks at examples.

    Raises:
        OptionError: C or the share of L1 is impossible.
        ProbeError: One class only, or an activation is not finite.
    """
    if C <= 0 or not 0 <= l1_share <= 1:
        raise OptionError(
            f"a penalty of strength 1/{C} with a share {l1_share} of L1",
            where="C, l1_share",
            remedy="C is positive, the share is between 0 and 1",
        )
    refuse_one_class(label, where="training examples")
    refuse_non_finite(x)
    scale = training_scale(x) if normalised else torch.ones(x.shape[1], dtype=torch.float64)
    saga = as_published or l1_share > 0
    limit = passes or (PUBLISHED_PASSES if as_published else PASSES)
    model = extra_library("sklearn.linear_model", PROBE).LogisticRegression(
        C=C,
        l1_ratio=l1_share,
        class_weight="balanced",
        solver="saga" if saga else "newton-cholesky",
        max_iter=limit,
        tol=1e-4 if as_published else 1e-6,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A solver at its limit is reported in `converged`.
        warnings.filterwarnings(
            "ignore", category=extra_library("sklearn.exceptions", PROBE).ConvergenceWarning
        )
        model.fit((x.to(torch.float64) / scale).numpy(), label.numpy())
    iterations = int(model.n_iter_.max())
    weight = torch.from_numpy(model.coef_[0].copy()).to(torch.float64)
    return LogisticProbe(weight, float(model.intercept_[0]), scale, iterations, iterations < limit)
