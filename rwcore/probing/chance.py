"""What chance gives: shuffled labels, p values, and how many of many neurons may be wrong.

A layer has thousands of neurons; the best of them looks good on any label. Two answers:

*   Benjamini and Hochberg: of the neurons with an adjusted p value below q, a share of at most q is
    expected to be there by chance;
*   the largest statistic over all neurons, under shuffled labels (Westfall and Young): with an adjusted p
    value below q, the chance that *any* of them is there by chance is at most q.

Examples of one document are not independent. Shuffles keep that: if the label is one per document, whole
documents exchange labels; otherwise the labels of all documents in a random order, turned by a random number
of places, go to the documents in another random order, so that labels that stood together still do, mostly.
The F test knows nothing of documents.

Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995), pages 289-300;
Westfall and Young, "Resampling-based multiple testing" (1993).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import fdtrc
from scipy.stats import false_discovery_control
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.moments import ClassMoments
from rwcore.probing.normalise import refuse_non_finite
from rwcore.probing.rankings import f_stat
from rwcore.probing.splits import refuse_one_class

SHUFFLES = 999
_TILE_SHUFFLES = 128


@dataclass(frozen=True, eq=False)
class ShuffledPValues:
    """P values of every neuron, from shuffled labels.

    Attributes:
        single: Of the neuron alone.
        family: That any of the neurons does as well.
    """

    single: Float64[Tensor, " neuron"]
    family: Float64[Tensor, " neuron"]


def false_discoveries(p: Float64[Tensor, " neuron"]) -> Float64[Tensor, " neuron"]:
    """P values adjusted as Benjamini and Hochberg say; NaN stays NaN and counts as no neuron."""
    known = ~p.isnan()
    adjusted = p.clone()
    if bool(known.any()):
        adjusted[known] = torch.from_numpy(false_discovery_control(p[known].numpy(), method="bh"))
    return adjusted


def f_p_values(moments: ClassMoments) -> Float64[Tensor, " neuron"]:
    """P values of the F test that both classes have one mean, examples being independent."""
    n = int(moments.count.sum())
    return torch.from_numpy(np.asarray(fdtrc(1, n - 2, f_stat(moments).numpy())))


def shuffled(
    label: Bool[Tensor, " example"], group: Int64[Tensor, " example"], *, seed: int = 0
) -> Bool[Tensor, " example"]:
    """Labels as they could be if they had nothing to do with the text; see the head of this module.

    Args:
        label: Of each example.
        group: Document of each example.
        seed: Of the shuffle.
    """
    return _Shuffle(label, group).draw(np.random.default_rng(seed))


def shuffled_runs(
    label: Bool[Tensor, " example"], group: Int64[Tensor, " example"], generator: np.random.Generator
) -> Bool[Tensor, " example"]:
    """Labels of documents in one random order, turned, given to documents in another.

    Exchanging labels within documents instead would leave those of all documents of one label as they are:
    with a few examples of each document, most of them.

    Args:
        label: Of each example.
        group: Document of each example.
        generator: Of the orders.
    """
    drawn = torch.empty_like(label)
    source, target = (_documents_in_random_order(group, generator) for _ in range(2))
    turn = int(generator.integers(max(1, len(label))))
    drawn[target] = label[source].roll(turn)
    return drawn


def _documents_in_random_order(
    group: Int64[Tensor, " example"], generator: np.random.Generator
) -> Int64[Tensor, " example"]:
    names, place = torch.unique(group, return_inverse=True)
    order = torch.from_numpy(generator.permutation(len(names)))
    return torch.argsort(order[place], stable=True)


def shuffled_p_values(
    x: Float[Tensor, "example neuron"],
    label: Bool[Tensor, " example"],
    group: Int64[Tensor, " example"],
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> ShuffledPValues:
    """P values of |correlation of activation and label|: (1 + shuffles that do as well) / (1 + shuffles).

    Args:
        x: Activations.
        label: Of each example.
        group: Document of each example.
        shuffles: How many; no p value is below 1/(1 + shuffles).
        seed: Of the shuffles.

    Raises:
        OptionError: There are no shuffles.
        ProbeError: One class only, or activations that are not finite.
    """
    if shuffles < 1:
        raise OptionError(f"{shuffles} shuffles", where="shuffles", remedy="give 1 or more, e.g. 999")
    refuse_one_class(label, where="examples")
    refuse_non_finite(x)
    z = x.to(torch.float32) - x.to(torch.float64).mean(0).to(torch.float32)
    z /= z.norm(dim=0).clamp(min=torch.finfo(torch.float32).tiny)
    observed = _correlations(label[None], z)[0]
    # A shuffle that gives the very labels again must count, whatever the order of the sums.
    limit = observed - 1e-6
    single, family = torch.zeros_like(observed), torch.zeros_like(observed)
    shuffle, generator = _Shuffle(label, group), np.random.default_rng(seed)
    for start in range(0, shuffles, _TILE_SHUFFLES):
        size = min(_TILE_SHUFFLES, shuffles - start)
        drawn = _correlations(torch.stack([shuffle.draw(generator) for _ in range(size)]), z)
        single += (drawn >= limit).sum(0)
        family += (drawn.amax(1, keepdim=True) >= limit).sum(0)
    return ShuffledPValues(*((1 + count) / (1 + shuffles) for count in (single, family)))


def _correlations(
    labels: Bool[Tensor, "draw example"], z: Float[Tensor, "example neuron"]
) -> Float64[Tensor, "draw neuron"]:
    y = labels.to(torch.float32)
    y -= y.mean(1, keepdim=True)
    y /= y.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (y @ z).abs().to(torch.float64)


class _Shuffle:
    """Draws labels that respect documents."""

    def __init__(self, label: Bool[Tensor, " example"], group: Int64[Tensor, " example"]) -> None:
        names, place = np.unique(group.numpy(), return_inverse=True)
        self._place = place
        positives = np.bincount(place, weights=label.numpy(), minlength=len(names))
        sizes = np.bincount(place, minlength=len(names))
        self._per_document = bool(((positives == 0) | (positives == sizes)).all())
        self._of_document = positives > 0
        self._labels, self._group = label, group

    def draw(self, generator: np.random.Generator) -> Bool[Tensor, " example"]:
        """Labels of all examples."""
        if self._per_document:
            return torch.from_numpy(generator.permutation(self._of_document)[self._place])
        return shuffled_runs(self._labels, self._group, generator)
