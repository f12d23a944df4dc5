"""Shares of ranks, the worst tokens and the best heads."""

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.heads.circuit_statistics import (
    STATISTICS,
    best_heads,
    rank_edges,
    rank_histogram,
    rank_statistics,
    worst_tokens,
)
from rwcore.heads.circuits import CircuitRanks


def made(ranks, *, heads=None, tokens=None, diagonal=None, near=None):
    ranks = torch.tensor(ranks, dtype=torch.int32)
    still = torch.zeros(ranks.shape)
    return CircuitRanks(
        tuple(range(len(ranks))) if heads is None else heads,
        torch.arange(ranks.shape[1]) if tokens is None else torch.tensor(tokens),
        ranks,
        still if diagonal is None else torch.tensor(diagonal),
        still,
        still if near is None else torch.tensor(near),
    )


def test_shares():
    found = made(
        [[0, 0, 3, 9, 10, 19, 60, 199]], heads=(7,), diagonal=[[-1.0, -2, -3, 1, 1, 1, 1, 1]],
        near=[[0, 2.0, *[torch.nan] * 6]],
    )  # fmt: skip
    row = rank_statistics(4, found, 200).iloc[0]
    assert list(row.index) == list(STATISTICS)
    assert (row["layer"], row["head"], row["rows"]) == (4, 7, 8)
    # Trap T1: being the first and being among the first ten are two statements.
    assert row["rank_0"] == 2 / 8
    assert row["below_10"] == 4 / 8
    assert [row[f"below_{limit}"] for limit in (5, 20, 100)] == [3 / 8, 6 / 8, 7 / 8]
    assert [row[f"within_{percent}_percent"] for percent in (5, 10)] == [5 / 8, 6 / 8]
    assert row["mean_rank"] == 300 / 8
    assert row["median_rank"] == 9.5
    assert (row["last"], row["last_10"]) == (1 / 8, 1 / 8)
    assert (row["negative"], row["below_row_mean"]) == (3 / 8, 3 / 8)
    assert row["near_ties"] == 1
    assert row["below_10_error"] == pytest.approx((0.25 / 8 * (1 - 8 / 200)) ** 0.5)


def test_all_rows_have_no_error():
    assert rank_statistics(0, made([[0, 12, 3]]), 3).iloc[0]["below_10_error"] == 0


def test_rows_count_once_however_tiles_cut_them():
    """Trap T11: means of unequal blocks are not the mean of all rows."""
    ranks = [[0] * 5 + [50] * 2]
    assert rank_statistics(0, made(ranks), 100).iloc[0]["rank_0"] == pytest.approx(5 / 7)
    assert rank_statistics(0, made(ranks), 100).iloc[0]["mean_rank"] == pytest.approx(100 / 7)


def test_worst_tokens():
    found = worst_tokens(3, made([[5, 90, 0, 90]], heads=(2,), tokens=[10, 20, 30, 40]), 3)
    assert found["token"].tolist() == [20, 40, 10]
    assert found["rank"].tolist() == [90, 90, 5]
    assert found["place"].tolist() == [1, 2, 3]
    assert {*found["layer"]} == {3}
    assert {*found["head"]} == {2}


def test_best_heads_do_something():
    frame = pd.DataFrame(
        {
            "layer": [0, 0, 1, 1],
            "head": [0, 1, 0, 1],
            "below_10": [1.0, 0.2, 0.9, 0.2],
            "near_ties": [99, 0, 0, 9],
        }
    )
    assert best_heads(frame, 3) == [(1, 0), (0, 1), (1, 1)]
    assert best_heads(frame, 9)[-1] == (0, 0)


@pytest.mark.parametrize("vocab", [1, 3, 24, 10_000, 50_257])
def test_histograms_hold_every_rank(vocab):
    edges = rank_edges(vocab)
    assert edges == sorted({*edges})
    assert (edges[0], edges[-1]) == (0, vocab)
    assert rank_histogram(np.arange(vocab, dtype=np.int32), edges).sum() == pytest.approx(1)
    assert rank_edges(24) == [0, 1, 2, 5, 10, 20, 24]
    assert rank_histogram(np.array([0, 1, 1, 23], np.int32), rank_edges(24)).tolist() == [
        0.25,
        0.5,
        0,
        0,
        0,
        0.25,
    ]
