"""The four sign quadrants of a gated neuron, the quantities in them, and the lists of extremes.

A token is in ``gate±_in±`` if gate and in have these signs, **strictly**: where one of them is exactly zero
(or not a number) the token is in no quadrant, and neither is padding.

Source: neuroscope specification, section 3.3; ablations specification, section 5.1.
"""

from __future__ import annotations

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

# A neuron without a gate is run as a gated one whose in is always 1: its pre-activation, which people call
# in, takes the place of the gate. Two quadrants never occur then, and the other quantities say nothing new.
PLAIN_QUADRANTS = {"gate+_in+": "in+", "gate-_in+": "in-"}
PLAIN_QUANTITIES = {"gate": "in", "post": "post"}
