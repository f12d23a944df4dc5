"""How far inside its read-write class a neuron lies."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.stats.classes import THRESHOLD, class_codes, discretise
from rwcore.stats.cosines import RWCosines


def class_margins(cosines: RWCosines, threshold: float = THRESHOLD) -> Float[Tensor, "layer neuron"]:
    """The smallest change of one cosine that would give a neuron another class.

    That is the distance of linout to the nearer of ±threshold, likewise of gateout, and of gatelin to where
    it turns typical into atypical or back: nowhere if linout and gateout are small, at ±threshold if one of
    them is large, and at the threshold with the sign of their product if both are (see
    `rwcore.stats.classes.class_codes`). Without a gate it is that of linout alone.

    Args:
        cosines: The cosines, gate signs folded.
        threshold: As for `class_codes`.

    Returns:
        Margins from 0 to 0.5 for the usual threshold, float32; NaN for a neuron without a class.

    Source: ours; the rule of the classes is that of section 2.3 of the RW functionalities specification.
    """

    def distance(values: Tensor) -> Tensor:
        return (values.float().abs() - threshold).abs()

    margin = distance(cosines.linout)
    if cosines.gatelin is not None and cosines.gateout is not None:
        margin = torch.minimum(margin, distance(cosines.gateout))
        linout, gateout = discretise(cosines.linout, threshold), discretise(cosines.gateout, threshold)
        product = linout * gateout
        turns = (cosines.gatelin.float() - threshold * product).abs()
        turns = torch.where(product == 0, distance(cosines.gatelin), turns)
        margin = torch.where((linout == 0) & (gateout == 0), margin, torch.minimum(margin, turns))
    return margin.masked_fill(class_codes(cosines, threshold) < 0, torch.nan)
