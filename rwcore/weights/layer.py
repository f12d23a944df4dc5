"""The MLP matrices of one layer."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class MlpLayer:
    """The MLP matrices of one layer, one row per neuron, in float32.

    A gated neuron computes ``act(gate·x + b_gate) * (in_·x + b_in) * out``; a plain one
    ``act(in_·x + b_in) * out``.

    Attributes:
        index: Position in the stack; encoder layers come before decoder layers.
        gate: Gate vectors, or None for an MLP without a gate.
        in_: Input ("up") vectors.
        out: Output ("down") vectors.
        b_gate: Gate biases, or None.
        b_in: Input biases, or None.
        b_out: Output bias, or None.
    """

    index: int
    gate: Float[Tensor, "neuron d_model"] | None
    in_: Float[Tensor, "neuron d_model"]
    out: Float[Tensor, "neuron d_model"]
    b_gate: Float[Tensor, " neuron"] | None = None
    b_in: Float[Tensor, " neuron"] | None = None
    b_out: Float[Tensor, " d_model"] | None = None
