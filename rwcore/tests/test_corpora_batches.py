"""Batches: every row once, never over the budget, the same for every shard."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.corpora.batches import batches, shard
from rwcore.errors import OptionError
from rwcore.tests.corpus_makers import rows_corpus

ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=12), min_size=1, max_size=30)


@given(ROWS, st.integers(1, 60), st.none() | st.integers(1, 8))
def test_every_row_is_in_one_batch_within_the_budget(
    rows: list[list[int]], budget: int, most: int | None
) -> None:
    corpus = rows_corpus(rows)
    plans = batches(corpus, token_budget=budget, max_rows=most)
    assert sorted(row for plan in plans for row in plan.rows) == list(range(len(rows)))
    assert [plan.number for plan in plans] == list(range(len(plans)))
    for plan in plans:
        size = len(plan.rows) * max(len(rows[row]) for row in plan.rows)
        assert size <= budget or len(plan.rows) == 1
        assert most is None or len(plan.rows) <= most


@given(ROWS, st.integers(1, 60))
def test_the_longest_rows_come_first_and_equal_ones_by_number(rows: list[list[int]], budget: int) -> None:
    order = [row for plan in batches(rows_corpus(rows), token_budget=budget) for row in plan.rows]
    assert order == sorted(range(len(rows)), key=lambda row: (-len(rows[row]), row))


@given(ROWS, st.integers(1, 60))
def test_no_batch_could_take_the_next_row(rows: list[list[int]], budget: int) -> None:
    plans = batches(rows_corpus(rows), token_budget=budget)
    for plan in plans[:-1]:
        assert (len(plan.rows) + 1) * len(rows[plan.rows[0]]) > budget


@given(ROWS, st.integers(1, 60), st.integers(0, 99))
def test_a_loaded_batch_gives_the_rows_back(rows: list[list[int]], budget: int, pad: int) -> None:
    corpus = rows_corpus(rows)
    for plan in batches(corpus, token_budget=budget):
        batch = plan.load(corpus, pad)
        assert batch.number == plan.number
        assert batch.rows.tolist() == list(plan.rows)
        assert batch.tokens.dtype == torch.int64
        for row, tokens, mask in zip(plan.rows, batch.tokens, batch.mask, strict=True):
            length = len(rows[row])
            # Padding is on the right, and a pad id within the row is not masked.
            assert mask.tolist() == [True] * length + [False] * (len(mask) - length)
            assert tokens.tolist() == rows[row] + [pad] * (len(mask) - length)


@given(ROWS, st.integers(1, 30), st.integers(1, 7))
def test_shards_part_the_batches(rows: list[list[int]], budget: int, of: int) -> None:
    plans = batches(rows_corpus(rows), token_budget=budget)
    parts = [shard(plans, index, of) for index in range(of)]
    assert sorted((plan for part in parts for plan in part), key=lambda plan: plan.number) == plans
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(ROWS, st.integers(1, 60), st.randoms())
def test_batches_hold_the_same_lengths_in_whatever_order_the_rows_are(rows, budget, random) -> None:
    mixed = random.sample(rows, len(rows))

    def shapes(these: list[list[int]]) -> list[list[int]]:
        plans = batches(rows_corpus(these), token_budget=budget)
        return [[len(these[row]) for row in plan.rows] for plan in plans]

    assert shapes(mixed) == shapes(rows)


@pytest.mark.parametrize("options", [{"token_budget": 0}, {"max_rows": 0}, {"token_budget": -1}])
def test_impossible_budgets_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="cannot be made") as caught:
        batches(rows_corpus([[1]]), **options)
    assert caught.value.where in options


@pytest.mark.parametrize(("index", "of"), [(2, 2), (-1, 2), (0, 0)])
def test_shards_that_are_not_there_are_refused(index: int, of: int) -> None:
    with pytest.raises(OptionError, match=f"no shard {index} of {of}"):
        shard(batches(rows_corpus([[1]])), index, of)
