r"""Do rankings find neurons that are known to carry a feature? Made-up activations with planted neurons.

Of d neurons, some are true: x ~ N(0, 1), plus a shift in positive rows and minus it in negative ones. All
pass z·σ(1.702z), much like the activation function of a model. The score of a ranking is the share of true
neurons among its best ones, of which as many are taken as are true.

Rows, neurons, shift and share of positives are drawn over wide ranges, on a logarithmic scale. In the
published script the labels −1 and 1 are mapped once more, so that all rows are positive and the score of
the mean difference means nothing; there is nothing to reproduce in it.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), code (``feature_selection_experiment.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from rwcore.probing.rankings import descending, rank_rows

WIDTHS = (400, 800, 1600, 3200, 6400)
METHODS = ("mean_dif", "f_stat", "l2", "svm")
Ranking = Callable[[Float[Tensor, "n neuron"], Bool[Tensor, " n"]], Float[Tensor, " neuron"]]


@dataclass(frozen=True)
class Trial:
    """One set of made-up activations.

    Attributes:
        rows: How many.
        neurons: How many.
        true: How many carry the feature.
        shift: By which they do.
        positive: Share of positive rows.
        seed: Of the draws.
    """

    rows: int
    neurons: int
    true: int
    shift: float
    positive: float
    seed: int


@dataclass(frozen=True, eq=False)
class Planted:
    """Activations, labels, and the neurons that carry them."""

    x: Float32[Tensor, "n neuron"]
    label: Bool[Tensor, " n"]
    true: Int64[Tensor, " true"]


def draw_trial(seed: int) -> Trial:
    """A trial from the published ranges."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> float:
        share = torch.rand((), generator=generator, dtype=torch.float64).item()
        return math.exp(math.log(low) + share * math.log(high / low))

    width = WIDTHS[int(torch.randint(len(WIDTHS), (), generator=generator))]
    true = int(torch.randint(2, 20, (), generator=generator))
    return Trial(round(between(500.0, 30_000.0)), width, true, between(0.05, 5.0), between(0.01, 0.5), seed)


def plant(trial: Trial) -> Planted:
    """Draw the activations of a trial; each class has at least two rows."""
    generator = torch.Generator().manual_seed(trial.seed)
    positive = min(max(2, round(trial.positive * trial.rows)), trial.rows - 2)
    label = torch.zeros(trial.rows, dtype=torch.bool)
    label[torch.randperm(trial.rows, generator=generator)[:positive]] = True
    true = torch.randperm(trial.neurons, generator=generator)[: trial.true].sort().values
    z = torch.randn(trial.rows, trial.neurons, generator=generator)
    z[:, true] += torch.where(label, trial.shift, -trial.shift)[:, None]
    return Planted(z * torch.sigmoid(1.702 * z), label, true)


def found_share(scores: Float[Tensor, " neuron"], true: Int64[Tensor, " true"]) -> float:
    """Share of the true neurons among as many of the highest scores."""
    best = descending(scores)[: len(true)]
    return torch.isin(true, best).double().mean().item()


def selection_test(trial: Trial, rankings: Mapping[str, Ranking] | None = None) -> dict[str, float]:
    """Share of the true neurons that each ranking finds.

    Args:
        trial: What is drawn.
        rankings: Scores of neurons by activations and labels; without, the `METHODS`.
    """
    planted = plant(trial)
    if rankings is None:
        return {
            method: found_share(rank_rows(method, planted.x, planted.label), planted.true)
            for method in METHODS
        }
    return {
        name: found_share(ranking(planted.x, planted.label), planted.true)
        for name, ranking in rankings.items()
    }
