"""Frequencies, means and extremes of all layers as plain numbers, whoever computed them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.artefact import Activations


@dataclass(frozen=True)
class Summary:
    """What later studies read: our own pass or the published files, in the same words.

    Attributes:
        frequencies: Share of all tokens (special tokens included) in each quadrant, float64.
        gate_frequency: P(gate > 0), float64.
        means: Mean of gate, in, act, post over the tokens of each quadrant, float64; NaN where there are
            none.
        top_values: Extremes, signed, best first, float32; NaN where there is no entry. Lists as in
            `quadrants.LISTS`.
        top_rows: Their rows of the corpus; -1 where there is no entry.
        top_positions: Their positions in the row; -1 where there is no entry, or where it was not kept.
        tokens: Number of tokens, None if it is not known.
    """

    frequencies: Float[Tensor, "layer quadrant neuron"]
    gate_frequency: Float[Tensor, "layer neuron"]
    means: Float[Tensor, "layer quadrant quantity neuron"]
    top_values: Float[Tensor, "layer list neuron rank"]
    top_rows: Int64[Tensor, "layer list neuron rank"]
    top_positions: Int64[Tensor, "layer list neuron rank"]
    tokens: int | None


def summary_of(activations: Activations) -> Summary:
    """The summary of our own pass."""
    layers = activations.layers
    return Summary(
        frequencies=torch.stack([layer.frequencies() for layer in layers]),
        gate_frequency=torch.stack([layer.gate_frequency() for layer in layers]),
        means=torch.stack([layer.means() for layer in layers]),
        top_values=torch.stack([layer.top.values for layer in layers]),
        top_rows=torch.stack([layer.top.rows for layer in layers]),
        top_positions=torch.stack([layer.top.positions.to(torch.int64) for layer in layers]),
        tokens=activations.tokens,
    )
