"""What the ranks of own tokens say about a head: shares, means, and the tokens it does worst on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray

from rwcore.heads.circuits import CircuitRanks

BELOW = (5, 10, 20, 100)
"""Ranks that shares are counted below; rank 0 has a column of its own."""
WITHIN = (5, 10)
"""Percents of the vocabulary that shares are counted within."""
UNDECIDED = 10
"""Entries within rounding of the own one from which ranks say nothing."""
STATISTICS = (
    "layer",
    "head",
    "rows",
    "rank_0",
    *(f"below_{rank}" for rank in BELOW),
    *(f"within_{percent}_percent" for percent in WITHIN),
    "below_10_error",
    "mean_rank",
    "median_rank",
    "last",
    "last_10",
    "negative",
    "below_row_mean",
    "near_ties",
)
WORST = ("layer", "head", "place", "token", "rank")


def rank_statistics(layer: int, found: CircuitRanks, vocab: int) -> pd.DataFrame:
    """One row per head; columns `STATISTICS`.

    Shares are of the rows that were looked at, each row counted once. ``rank_0`` and ``below_10`` are
    different statements (the own token is *the* most suppressed, or among the ten), which are easily
    confused. ``last`` is the share of rows whose own entry is at the other end: of OV, the own token is
    boosted most. The error of a sampled share is √(p (1 - p) / n · (1 - n / vocabulary)), 0 where all rows
    were looked at.

    Args:
        layer: Number of the layer.
        found: Ranks of heads of that layer.
        vocab: Columns of a row.

    Source: copy suppression specification, sections 6.1 and 17 (T1, T11).
    """
    rank = found.ranks.double()
    rows = rank.shape[1]
    below_10 = (rank < 10).double().mean(dim=1)
    left = max(0.0, 1 - rows / vocab)
    columns = {
        "layer": layer,
        "head": found.heads,
        "rows": rows,
        "rank_0": (rank == 0).double().mean(dim=1),
        **{f"below_{limit}": (rank < limit).double().mean(dim=1) for limit in BELOW},
        **{
            f"within_{percent}_percent": (rank <= vocab * percent / 100).double().mean(dim=1)
            for percent in WITHIN
        },
        "below_10_error": (below_10 * (1 - below_10) / rows * left).sqrt(),
        "mean_rank": rank.mean(dim=1),
        "median_rank": np.median(rank.numpy(), axis=1),
        "last": (rank == vocab - 1).double().mean(dim=1),
        "last_10": (rank >= vocab - 10).double().mean(dim=1),
        "negative": (found.diagonal < 0).double().mean(dim=1),
        "below_row_mean": (found.diagonal < found.mean).double().mean(dim=1),
        "near_ties": found.near.double().nanmean(dim=1),
    }
    return pd.DataFrame(columns, columns=[*STATISTICS])


def worst_tokens(layer: int, found: CircuitRanks, count: int) -> pd.DataFrame:
    """The tokens whose own entry has the largest ranks, of every head; columns `WORST`.

    Args:
        layer: Number of the layer.
        found: Ranks of heads of that layer.
        count: How many of each head; of equal ranks, the smaller id comes first.
    """
    rank = found.ranks.numpy().astype(np.int64)
    tokens = found.tokens.numpy()
    parts = []
    for head, row in zip(found.heads, rank, strict=True):
        order = np.argsort(-row, kind="stable")[:count]
        parts.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "head": head,
                    "place": np.arange(1, len(order) + 1),
                    "token": tokens[order],
                    "rank": row[order],
                },
                columns=[*WORST],
            )
        )
    return pd.concat(parts, ignore_index=True)


def best_heads(statistics: pd.DataFrame, count: int, *, by: str = "below_10") -> list[tuple[int, int]]:
    """(layer, head) of the heads with the largest shares, largest first; of equal ones the first.

    Heads of which ten entries and more are equal to the own one within rounding come last: a head that does
    nothing has all entries zero, none is smaller than the own one, and its ranks of 0 say nothing.
    """
    order = statistics.assign(nothing=statistics["near_ties"] >= UNDECIDED).sort_values(
        ["nothing", by, "layer", "head"], ascending=[True, False, True, True], kind="stable"
    )
    return [*zip(order["layer"].tolist()[:count], order["head"].tolist()[:count], strict=True)]


def rank_edges(vocab: int) -> list[int]:
    """Borders of the bins of a histogram of ranks: 0, 1, 2–4, 5–9, 10–19, 20–49, … up to the vocabulary."""
    powers = range(1, math.ceil(math.log10(max(vocab, 10))) + 1)
    edges = [0, 1, 2, 5, *(step * 10**power for power in powers for step in (1, 2, 5))]
    return [*(edge for edge in edges if edge < vocab), vocab]


def rank_histogram(ranks: NDArray[np.int32], edges: Iterable[int]) -> Float[np.ndarray, " bin"]:
    """Share of ranks in each half-open bin."""
    counts, _ = np.histogram(ranks, bins=[*edges])
    shares: Float[np.ndarray, " bin"] = counts / max(len(ranks), 1)
    return shares
