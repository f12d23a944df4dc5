"""Which first layers are worth a file: by hand, within a limit, against layers counted run by run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.studies.prefixes import plan_prefixes


@pytest.mark.parametrize(
    ("starts", "plan"),
    [
        ([], ()),
        ([0, 0, 0, 0], ()),  # whole classes
        ([24], ()),  # made for one run, it saves nothing
        ([24, 24], (24,)),
        ([0, 24, 0, 24], (24,)),
        ([1] * 50, ()),  # reading it is not worth it
        ([10, 10, 10, 24, 24, 24], (10, 24)),
        ([24, 25], (24,)),  # the second one begins with the prefix of the first
        ([12, 24], (12,)),  # 2 · 12 layers less, 12 to make it, written once and read twice
        ([3, 3], ()),  # 2 · 3 layers less, 3 to make it and 3 for the file
        ([4, 4], (4,)),
        ([12, 24, 24, 24], (12, 24)),
        ([12] * 4 + [24], (12,)),
    ],
)
def test_plans_by_hand(starts: list[int], plan: tuple[int, ...]) -> None:
    assert plan_prefixes(starts, 100, limit=1000) == plan
    assert plan_prefixes(starts[::-1], 100, limit=1000) == plan


def test_the_limit_is_for_all_prefixes_together() -> None:
    starts = [10, 10, 10, 20, 20, 20, 20]
    assert plan_prefixes(starts, 100, limit=200) == (10, 20)
    assert plan_prefixes(starts, 100, limit=199) == (20,)
    assert plan_prefixes(starts, 100, limit=99) == ()
    assert plan_prefixes(starts, 100, limit=199, made=(10,)) == (10,)
    assert plan_prefixes(starts, 2 * 2**30) == (10, 20)
    assert plan_prefixes(starts, 2 * 2**30 + 1) == (20,)


def test_prefixes_that_are_there_are_used() -> None:
    assert plan_prefixes([24], 100, made=(20,), limit=1000) == (20,)
    assert plan_prefixes([24, 24, 24, 24], 100, made=(10,), limit=1000) == (10, 24)
    assert plan_prefixes([], 100, made=(20,), limit=1000) == ()


@given(st.lists(st.integers(0, 9), max_size=6), st.sets(st.integers(1, 9), max_size=2), st.integers(0, 4))
def test_a_plan_never_costs_more_than_it_saves(starts: list[int], made: set[int], room: int) -> None:
    """Against layers counted run by run."""
    plan = plan_prefixes(starts, 1, made=tuple(made), limit=room)
    assert list(plan) == sorted({*plan})
    assert len(plan) <= max(room, len(made))
    assert not starts or made <= {*plan}
    assert {*plan} <= {*starts} | made

    def cost(prefixes: Sequence[int]) -> int:
        """Layers that are computed, files counted as one layer each, over all runs and prefixes."""
        layers = 0
        for start in starts:
            below = [each for each in prefixes if each <= start]
            layers += 9 - max(below) + 1 if below else 9
        for new in {*prefixes} - made:
            below = [each for each in prefixes if each < new]
            layers += new - max(below) + 2 if below else new + 1
        return layers

    if {*plan} > made:
        assert cost(plan) < cost(tuple(made))
    if len(starts) <= 2 and room - len(made) == 1:
        trials = [(*made, start) for start in starts if start not in {0, *made}]
        assert cost(plan) == min(map(cost, [tuple(made), *trials])) or not starts
