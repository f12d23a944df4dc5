"""Activations as probes read them: divided by ten standard deviations, not centred.

    x'_j = x_j / (10 · max(s_j, 0.001)),   s_j = population standard deviation over the training examples,

so that every neuron has the standard deviation 0.1 and an L2 penalty means the same for all.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), code of ``normalize_activations``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rwcore.probing.errors import ProbeError

FLOOR = 1e-3
FACTOR = 10.0


def scale_of(std: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """10 · max(std, 0.001): what activations are divided by."""
    return FACTOR * std.clamp(min=FLOOR)


def training_scale(train: Float[Tensor, "example neuron"]) -> Float64[Tensor, " neuron"]:
    """What the activations of each neuron are divided by, from the training examples.

    Raises:
        ProbeError: An activation is not finite, or there are no examples.
    """
    if not len(train):
        raise ProbeError("there are no training examples", where="activations", remedy="give some")
    refuse_non_finite(train)
    return scale_of(train.to(torch.float64).std(dim=0, correction=0))


def refuse_non_finite(x: Float[Tensor, "example neuron"], *, where: str = "activations") -> None:
    """Refuse activations that hold a NaN or an infinity.

    Args:
        x: The activations.
        where: What they are of, e.g. a layer, for the message.

    Raises:
        ProbeError: They do; the message says of which neuron and example.
    """
    if bool(torch.isfinite(x.sum())):
        return  # one pass without a copy; a sum that overflows is looked at closely below
    bad = (~torch.isfinite(x)).nonzero()
    if len(bad):
        example, neuron = bad[0].tolist()
        raise ProbeError(
            f"the activation of neuron {neuron} at example {example} is not finite "
            f"({float(x[example, neuron])}; {len(bad)} such values)",
            where=where,
            remedy="compute activations in float32, or leave out the neurons or examples named",
        )
