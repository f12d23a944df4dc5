"""Ranks of own tokens by the plainest means: the whole matrix in float64, one comparison."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor


def whole_matrix_ranks(
    left: Float[Tensor, "row d_head"], right: Float[Tensor, "vocab d_head"], own: Int64[Tensor, " row"]
) -> Int64[Tensor, " row"]:
    """How many entries of each row of ``left @ right.T`` are smaller than its own one.

    Source: copy suppression specification, section 6.1.
    """
    matrix = left.double() @ right.double().T
    entry = matrix.gather(1, own[:, None])
    smaller = matrix < entry
    smaller.scatter_(1, own[:, None], False)
    ranks: Int64[Tensor, " row"] = smaller.sum(dim=1)
    return ranks
