"""The attributes rate: how many of the tokens that a representation is closest to are attributes."""

from __future__ import annotations

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from rwcore.attributes.attribute_sets import AttributeSets

UNKNOWN = -1.0
"""Where there is no rate."""


def rates(
    top: Int32[Tensor, "prompt layer k"], subject: Int64[Tensor, " prompt"], sets: AttributeSets
) -> Float32[Tensor, "prompt layer"]:
    """Share of the predicted tokens that are attributes of the subject, in percent.

    ``100 · |set(P) ∩ A| / |P|`` with the attributes A and the list P of the predictions that are kept (no
    short tokens, no stop words). Texts are compared: two tokens with the same text count once above the line
    and twice below it.

    Args:
        top: Predicted tokens, see `rwcore.attributes.lens.top_tokens`.
        subject: Number of each prompt's subject in ``sets``.
        sets: Attributes.

    Returns:
        0 to 100; -1 where the subject has no rate (see `AttributeSets`) or no prediction is kept.

    Source: ablations and frequencies specification, section 4.3.
    """
    found = torch.full(top.shape[:2], UNKNOWN)
    # Prompt by prompt: the members of all prompts at once would be prompts · layers · k · 8 bytes of places.
    for row, (tokens, number) in enumerate(zip(top.long(), subject.tolist(), strict=True)):
        if not sets.rated[number]:
            continue
        kept = sets.counted[tokens]
        hits = torch.where(kept & sets.member[number][tokens], sets.string[tokens], -1).sort(dim=1).values
        # Equal texts stand together: the first of each counts.
        fresh = torch.ones_like(kept)
        fresh[:, 1:] = hits[:, 1:] != hits[:, :-1]
        above, below = (fresh & (hits >= 0)).sum(dim=1), kept.sum(dim=1)
        found[row] = torch.where(below > 0, 100 * above.double() / below, UNKNOWN).float()
    return found
