"""Batches of rows: fixed before any sharding, so that every shard sees the batches it would see alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError

TOKEN_BUDGET = 4096


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of similar length as one rectangle, padded on the right.

    Attributes:
        number: Number of the batch in the corpus.
        rows: Row numbers in the corpus.
        tokens: Token ids; the padding id beyond the end of a row.
        mask: True where a position holds a token of the row, BOS included. It follows from the lengths: the
            padding id may well occur in a text.
    """

    number: int
    rows: Int64[Tensor, " batch"]
    tokens: Int64[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]


@dataclass(frozen=True)
class BatchPlan:
    """Which rows make a batch.

    Attributes:
        number: Number of the batch in the corpus.
        rows: Row numbers in the corpus, the longest row first.
    """

    number: int
    rows: tuple[int, ...]

    def load(self, corpus: TokenCorpus, pad_id: int = 0) -> Batch:
        """The tokens of the batch.

        Args:
            corpus: The corpus the plan was made for.
            pad_id: What stands beyond the end of a row; any id of the model, for it is masked.
        """
        rows = torch.tensor(self.rows, dtype=torch.int64)
        lengths = corpus.lengths[rows]
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        tokens = torch.full(mask.shape, pad_id, dtype=torch.int64)
        tokens[mask] = torch.cat([corpus.row(row) for row in self.rows]).long()
        return Batch(self.number, rows, tokens, mask)


def batches(
    corpus: TokenCorpus,
    *,
    token_budget: int = TOKEN_BUDGET,
    max_rows: int | None = None,
    only: Int64[Tensor, " row"] | None = None,
) -> list[BatchPlan]:
    """All rows of a corpus, or some, in batches of similar length, the longest first.

    Rows are sorted by length, ties by number, and cut greedily: a batch takes rows while
    ``rows · longest ≤ token_budget``. The longest come first so that a lack of memory shows at once. The plan
    depends on nothing but the lengths and the options.

    Args:
        corpus: The corpus.
        token_budget: Positions of a batch, padding included. A longer row is a batch of its own.
        max_rows: Most rows of a batch.
        only: Numbers of the rows that are wanted, ascending; all if None.

    Raises:
        OptionError: A budget is not positive.
    """
    for name, value in (("token_budget", token_budget), ("max_rows", max_rows)):
        if value is not None and value < 1:
            raise OptionError(f"batches of {value} cannot be made", where=name, remedy="give 1 or more")
    wanted = torch.arange(len(corpus)) if only is None else only
    order = wanted[torch.argsort(corpus.lengths[wanted], descending=True, stable=True)]
    lengths = corpus.lengths[order].tolist()
    rows = order.tolist()
    plans: list[BatchPlan] = []
    start = 0
    while start < len(rows):
        size = max(1, token_budget // lengths[start])
        size = size if max_rows is None else min(size, max_rows)
        plans.append(BatchPlan(len(plans), tuple(rows[start : start + size])))
        start += size
    return plans


def shard(plans: Sequence[BatchPlan], index: int, of: int) -> list[BatchPlan]:
    """The batches of one of several workers: every ``of``-th, from ``index`` on.

    Neighbours have similar lengths, so every shard gets its share of long and short rows. Batches keep their
    numbers and their rows.

    Args:
        plans: All batches.
        index: Number of the shard, from 0.
        of: Number of shards.

    Raises:
        OptionError: There is no such shard.
    """
    if not 0 <= index < of:
        raise OptionError(
            f"there is no shard {index} of {of}", where="shards", remedy=f"shards are 0 to {max(0, of - 1)}"
        )
    return list(plans[index::of])
