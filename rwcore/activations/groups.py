"""Groups of documents: what intervals over documents are made from (see `intervals`).

Documents are dealt out to groups in turn, so that a group is a sample of the corpus whatever its order of
sources, provided that the order has no period of `GROUPS` documents.
"""

from __future__ import annotations

import torch
from jaxtyping import Int, Int32, Int64
from torch import Tensor

from rwcore.errors import OptionError

GROUPS = 20
"""Number of groups. Intervals have one degree of freedom less: t₁₉ is 2.09 where the normal has 1.96."""

MOST = torch.iinfo(torch.int32).max


def group_of(document: Int64[Tensor, " document"], groups: int = GROUPS) -> Int64[Tensor, " document"]:
    """The group of documents: their number modulo the number of groups.

    Args:
        document: Numbers of documents, as `rwcore.corpora.documents` counts them.
        groups: Number of groups.
    """
    return document % groups


def add_counts(
    left: Int32[Tensor, "group quadrant neuron"],
    right: Int[Tensor, "group quadrant neuron"],
    tokens: int,
    where: str,
) -> Int32[Tensor, "group quadrant neuron"]:
    """The sum of counts by group.

    Args:
        left: Counts.
        right: Counts to add, of any type of integer.
        tokens: Number of tokens behind both; no count is larger.
        where: What they are counts of, for the error.

    Raises:
        OptionError: A count is too large for int32.
    """
    if tokens <= MOST:
        return left + right.to(torch.int32)
    total = left.to(torch.int64) + right
    if bool((total > MOST).any()):
        raise OptionError(
            f"a group of documents has more than {MOST} tokens in a quadrant",
            where=where,
            remedy="use more groups",
        )
    return total.to(torch.int32)
