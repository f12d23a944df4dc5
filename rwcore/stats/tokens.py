"""The tokens whose embedding or unembedding vectors have the largest dot products with given vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rwcore.errors import OptionError

By = Literal["signed", "absolute"]

# Elements of the matrix handled at a time: 32 MiB in float64.
BLOCK_ELEMENTS = 2**22

_ID_BITS = 32
_ALL_BUT_SIGN = 2**31 - 1


@dataclass(frozen=True)
class TopTokens:
    """The first tokens of several vectors, best first.

    Attributes:
        values: The dot products, with their signs.
        ids: The tokens.
    """

    values: Float[Tensor, "vector k"]
    ids: Int64[Tensor, "vector k"]


def top_tokens(
    vectors: Float[Tensor, "vector d_model"],
    W_U: Float[Tensor, "d_model vocab"],
    k: int = 10,
    *,
    by: By = "signed",
) -> TopTokens:
    """The k tokens with the largest ``v·u_t = Σ_d v_d u_dt``, for each vector v and the columns u_t.

    A plain dot product of the vectors as they are, not a cosine: tokens with long vectors are favoured. It is
    summed in float64 and rounded to float32 once, and ties go to the smaller id, so that neither the block
    size nor the order of summation decides the list. Values that are NaN come last. The matrix is read in
    blocks of columns; nothing is changed.

    Args:
        vectors: The vectors.
        W_U: The unembedding, or any other matrix with one column per token, such as the transposed embedding.
        k: Tokens per vector.
        by: ``signed``: largest values first; ``absolute``: largest magnitudes first.

    Raises:
        OptionError: ``k`` is not between 1 and the number of tokens.

    Source: RW functionalities, weight-based case studies; section 7.4 of the specification.
    """
    n_tokens = W_U.shape[1]
    if not 1 <= k <= n_tokens:
        raise OptionError(
            f"a list of {k} tokens cannot be made", where="-k", remedy=f"give k from 1 to {n_tokens}"
        )
    double = vectors.detach().to(W_U.device, torch.float64)
    keys = torch.empty(len(vectors), 0, dtype=torch.int64, device=W_U.device)
    values = torch.empty(len(vectors), 0, dtype=torch.float32, device=W_U.device)
    for first, products in _products(double, W_U.detach()):
        keys = torch.cat([keys, _keys(products.abs() if by == "absolute" else products, first)], dim=1)
        values = torch.cat([values, products], dim=1)
        keys, places = keys.topk(min(k, keys.shape[1]), dim=1)
        values = values.gather(1, places)
    # The key of a token holds its id from the top down.
    ids = (2**_ID_BITS - 1) - (keys & (2**_ID_BITS - 1))
    return TopTokens(values.cpu(), ids.cpu())


def _products(
    vectors: Float64[Tensor, "vector d_model"], matrix: Float[Tensor, "d_model vocab"]
) -> Iterator[tuple[int, Float[Tensor, "vector block"]]]:
    """(first token, dot products) of one block of tokens after the other."""
    step = max(1, BLOCK_ELEMENTS // max(1, len(matrix)))
    for first in range(0, matrix.shape[1], step):
        block = matrix[:, first : first + step].to(torch.float64)
        # Adding zero turns -0 into 0: equal values must be equal keys.
        yield first, (vectors @ block).to(torch.float32).add_(0.0)


def _keys(ranked: Float[Tensor, "vector block"], first: int) -> Int64[Tensor, "vector block"]:
    """Whole numbers that order as the values do, and equal values by id, the smaller id first.

    The upper half holds the bits of the float, changed so that they order as numbers; the lower half the id
    from the top down. No two keys of a vector are equal, so there is only one way to choose the largest.
    """
    bits = ranked.contiguous().view(torch.int32)
    order = bits.bitwise_xor((bits >> 31).bitwise_and_(_ALL_BUT_SIGN)).long()
    order.masked_fill_(ranked.isnan(), -(2**31))
    ids = torch.arange(first, first + ranked.shape[1], device=ranked.device)
    keys: Tensor = (order << _ID_BITS) + ((2**_ID_BITS - 1) - ids)
    return keys
