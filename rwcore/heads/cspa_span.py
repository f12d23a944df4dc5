"""Projection on the span of several directions that may depend on each other.

Sets of related tokens are filled up with nothing, and words that differ by a capital may have nearly the same
direction. Orthonormalising such directions one after the other with a fixed threshold keeps rounding noise as
a direction of its own; a pseudo-inverse of the products of unit vectors does not.

Source: copy suppression specification, section 8.3 (sets) and traps 8 and 9.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

RELATIVE = 1e-5
"""Singular values below this share of the largest one are noise, of products of unit vectors in float32."""


def span_coefficients(
    components: Float[Tensor, "batch query key set"],
    unit: Float[Tensor, "batch key set d_model"],
    kept: Bool[Tensor, "batch query key set"],
) -> Float[Tensor, "batch query key set"]:
    """Coefficients along the kept directions that make up a vector's projection on their span.

    With U the kept directions of a key as rows, the projection of a vector o is ``(U U^T)^+ (U o)`` along
    them. Directions that are not kept get 0.

    Args:
        components: o · û for every direction.
        unit: Directions of length 1, or zero for none.
        kept: Which directions are kept for each pair.
    """
    size = unit.shape[2]
    gram = torch.einsum("bknd,bkmd->bknm", unit, unit)
    found = torch.zeros_like(components)
    batch, query, key = kept.any(dim=3).nonzero(as_tuple=True)
    chosen = kept[batch, query, key]
    bits = (chosen * 2 ** torch.arange(size, device=kept.device)).sum(dim=1)
    # Many queries keep the same directions of a key.
    codes = torch.stack([batch, key, bits], dim=1)
    different, place = torch.unique(codes, dim=0, return_inverse=True)
    which = (different[:, 2, None] >> torch.arange(size, device=kept.device)) & 1
    part = gram[different[:, 0], different[:, 1]] * which[:, :, None] * which[:, None, :]
    inverse = torch.linalg.pinv(part, rtol=RELATIVE, hermitian=True)
    found[batch, query, key] = torch.einsum(
        "pnm,pm->pn", inverse[place], components[batch, query, key] * chosen
    )
    return found * kept
