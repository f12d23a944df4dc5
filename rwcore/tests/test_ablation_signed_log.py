"""Signed-log counts: bins, sums of parts, shares, the distribution function."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.signed_log import (
    NATS,
    RANKS,
    SCALES,
    Scale,
    SignedLogCounts,
    cumulative,
    signed_log_counts,
)
from rwcore.errors import StoreError

SMALL = Scale(-2, 3, 1)  # edges 1/4, 1/2, 1, 2, 4, 8
# Many lie exactly on edges, some are nearer to zero than the first edge, some beyond the last.
NUMBERS = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0, 8.0, 1e-9, 100.0]).flatmap(lambda x: st.sampled_from([x, -x])),
    st.floats(-20, 20),
)
LISTS = st.lists(NUMBERS, max_size=30)


def one_by_one(values: list[float], scale: Scale) -> tuple[list[int], list[int], int, int, int]:
    """Value by value."""
    below, above, near = [0] * scale.bins, [0] * scale.bins, [0, 0, 0]
    for value in values:
        size, place = abs(value), -1
        while place < scale.bins - 1 and size >= 2.0 ** ((scale.low + place + 1) / scale.per_octave):
            place += 1
        if place < 0:
            near[int(np.sign(value)) + 1] += 1
        elif value < 0:
            below[place] += 1
        else:
            above[place] += 1
    return below, above, near[0], near[1], near[2]


def parts(counts: SignedLogCounts) -> tuple[list[int], list[int], int, int, int]:
    return (
        counts.below.tolist(),
        counts.above.tolist(),
        counts.below_middle,
        counts.zeros,
        counts.above_middle,
    )


@pytest.mark.parametrize("scale", [SMALL, Scale(-7, 5, 3)])
@given(values=LISTS)
def test_counts_are_those_of_going_value_by_value(scale: Scale, values: list[float]) -> None:
    found = signed_log_counts(np.array(values, np.float64), scale)
    assert parts(found) == one_by_one(values, scale)
    assert found.n == len(values)
    assert found.total == pytest.approx(math.fsum(values), abs=1e-9)
    if values:
        assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
        assert found.negative == pytest.approx(np.mean(np.array(values) < 0))
        assert found.positive == pytest.approx(np.mean(np.array(values) > 0))


@given(values=LISTS)
def test_swapping_clean_and_ablated_swaps_the_sides(values: list[float]) -> None:
    one = parts(signed_log_counts(np.array(values, np.float64), SMALL))
    other = parts(signed_log_counts(-np.array(values, np.float64), SMALL))
    assert one == (other[1], other[0], other[4], other[3], other[2])


@given(left=LISTS, right=LISTS)
def test_counts_of_parts_add_up(left: list[float], right: list[float]) -> None:
    one, other, both = (
        signed_log_counts(np.array(values, np.float64), SMALL) for values in (left, right, left + right)
    )
    assert parts(one + other) == parts(both)
    assert (one + other).total == pytest.approx(both.total, abs=1e-9)


def test_long_arrays_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    whole = signed_log_counts(values)
    monkeypatch.setattr("rwcore.ablation.signed_log.CHUNK", 7)
    assert parts(signed_log_counts(values)) == parts(whole)
    assert signed_log_counts(values).total == pytest.approx(whole.total)


@given(values=LISTS, low=st.integers(-4, 2))
def test_a_wider_middle_is_that_of_counting_with_it(values: list[float], low: int) -> None:
    array = np.array(values, np.float64)
    found = signed_log_counts(array, SMALL).coarser(low)
    expected = signed_log_counts(array, Scale(max(low, -2), 3, 1))
    assert found.scale == expected.scale
    assert parts(found) == parts(expected)
    assert found.total == expected.total


@given(values=st.lists(NUMBERS.filter(lambda x: abs(x) < 8), min_size=1, max_size=30))
def test_the_distribution_function_is_exact_at_the_edges(values: list[float]) -> None:
    array = np.array(values)
    places, shares = cumulative(signed_log_counts(array, SMALL))
    assert (np.diff(places) >= 0).all()
    assert (np.diff(shares) >= 0).all()
    before_zero = np.flatnonzero(places == 0)[0]
    for number, (place, share) in enumerate(zip(places, shares, strict=True)):
        left = place < 0 or number == before_zero + 1
        expected = (array <= place) if left else (array < place)
        assert share == pytest.approx(expected.mean())
    assert (shares[0], shares[-1]) == (0, 1)


@pytest.mark.filterwarnings("error")
def test_nothing_has_no_mean_and_no_shares() -> None:
    found = signed_log_counts(np.zeros(0))
    assert found.n == 0
    assert all(math.isnan(number) for number in (found.mean, found.negative, found.positive))
    assert np.isnan(cumulative(found)[1]).all()


def test_ranks_have_whole_numbers_in_every_bin_and_only_zero_in_the_middle() -> None:
    found = signed_log_counts(np.arange(-100.0, 101.0), RANKS)
    assert found.middle == found.zeros == 1
    assert found.above.tolist()[:7] == [1, 2, 4, 8, 16, 32, 37]
    assert found.below.tolist() == found.above.tolist()
    assert RANKS.edges()[-1] > 200_000  # more than any vocabulary


def test_scales_hold_what_metrics_can_be() -> None:
    assert set(SCALES) == {"loss", "entropy", "rank", "log_scale"}
    edges = NATS.edges()
    assert edges[0] < 1e-6
    assert edges[-1] == 128
    np.testing.assert_allclose(edges[3:] / edges[:-3], 2)


def test_other_bins_do_not_add_up_and_infinite_differences_are_refused() -> None:
    one = signed_log_counts(np.ones(3))
    with pytest.raises(StoreError, match="different bins"):
        one + signed_log_counts(np.ones(3), RANKS)
    for bad in (math.nan, -math.inf):
        with pytest.raises(StoreError, match="not finite"):
            signed_log_counts(np.array([1.0, bad]))
