"""The four sign quadrants of a gated neuron, the quantities in them, and the lists of extremes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

QUADRANTS = ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-")
SUMMARY = "summary"
"""Name of the frequency of gate > 0 beside those of the quadrants, as in the published files."""

QUANTITIES = ("gate", "in", "act", "post")

# Where the gate is positive an activation function such as SiLU is monotone: the list of act would hold the
# same examples as the list of gate.
LISTS = tuple(
    (quadrant, quantity)
    for quadrant in QUADRANTS
    for quantity in QUANTITIES
    if not (quadrant.startswith("gate+") and quantity == "act")
)
LIST_QUADRANT = tuple(QUADRANTS.index(quadrant) for quadrant, _ in LISTS)
LIST_QUANTITY = tuple(QUANTITIES.index(quantity) for _, quantity in LISTS)

# What flipping the input vector of a neuron does: in+ and in- change places, and these quantities their sign.
SWAPPED = tuple(QUADRANTS.index(name[:-1] + ("-" if name.endswith("+") else "+")) for name in QUADRANTS)
NEGATED = ("in", "post")
SWAPPED_LISTS = tuple(
    LISTS.index((QUADRANTS[SWAPPED[QUADRANTS.index(quadrant)]], quantity)) for quadrant, quantity in LISTS
)


def quadrants(
    gate: Float[Tensor, "*token neuron"],
    in_: Float[Tensor, "*token neuron"],
    mask: Bool[Tensor, "*token"] | None = None,
) -> Bool[Tensor, "quadrant *token neuron"]:
    """In which quadrant each neuron is at each token.

    A token is in ``gate±_in±`` if gate and in have these signs, **strictly**: where one of them is exactly
    zero (or not a number) the token is in no quadrant.

    Args:
        gate: ``w_gate · x``, before the activation function.
        in_: ``w_in · x``.
        mask: True for real tokens; padding is in no quadrant.

    Returns:
        In the order of `QUADRANTS`.

    Source: neuroscope specification, section 3.3; ablations specification, section 5.1.
    """
    gate_signs, in_signs = (gate > 0, gate < 0), (in_ > 0, in_ < 0)
    inside = torch.stack([gate_side & in_side for gate_side in gate_signs for in_side in in_signs])
    return inside if mask is None else inside & mask[..., None]
