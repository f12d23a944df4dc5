"""Half-coarse bins: edges in float32, fixed ten bins, last closed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.stats.cosines import RWCosines
from rwcore.stats.half_coarse import BINS, half_coarse_codes, half_coarse_counts

EDGES = [-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8]


def cosines_of(values):
    return RWCosines(None, None, torch.tensor([values], dtype=torch.float32))


def edges_of(values):
    return [BINS[code].low for code in half_coarse_codes(cosines_of(values)).flatten().tolist()]


def test_bins_are_ten_and_touch():
    assert [b.low for b in BINS] == EDGES
    assert [b.high for b in BINS] == [*EDGES[1:], 1.0]


def test_colours_run_from_blue_over_white_to_yellow():
    """C71."""
    assert BINS[0].rgba == (0.0, 0.0, 1.0, 1.0)
    assert BINS[9].rgba == (1.0, 1.0, 0.0, 1.0)
    assert BINS[4].rgba == pytest.approx((8 / 9, 8 / 9, 1.0, 1 / 3))
    assert BINS[5].rgba == pytest.approx((1.0, 1.0, 8 / 9, 1.0))
    assert BINS[1].rgba == pytest.approx((2 / 9, 2 / 9, 1.0, math.sqrt(7 / 9)))


def test_ends_and_just_beyond():
    beyond = float(np.nextafter(np.float32(1), np.float32(2)))
    assert edges_of([1.0, beyond, 0.99]) == [0.8] * 3
    assert edges_of([-1.0, -beyond, -0.99]) == [-1.0] * 3


@pytest.mark.parametrize("edge", EDGES[1:])
def test_edges_follow_float32(edge):
    exact = np.float32(edge)
    below = float(np.nextafter(exact, np.float32(-2)))
    assert edges_of([float(exact)]) == [edge]
    # Whether the number before belongs below is up to rounding of 5·x; the reference decides.
    assert edges_of([below]) == [reference.half_coarse_bin(below)]
    assert edges_of([edge - 1e-6]) == [EDGES[EDGES.index(edge) - 1]]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_equals_the_reference(values):
    assert edges_of(values) == [reference.half_coarse_bin(x) for x in values]


def test_counts_are_complete_and_add_up():
    """X16: empty bins stay, 1 is inside."""
    cosines = RWCosines(None, None, torch.tensor([[0.1, 0.15, 1.0], [-0.9, -0.9, -0.9]]))
    counts = half_coarse_counts(cosines)
    assert list(counts.columns) == ["layer", "bin_low", "bin_high", "count", "near_1e-6", "near_1e-3"]
    assert counts["bin_low"].tolist() == EDGES * 2
    assert counts["count"].tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert counts["count"].dtype == counts["layer"].dtype == "int64"


def test_values_that_all_floor_to_whole_numbers_are_no_classes():
    counts = half_coarse_counts(cosines_of([-1.0, 0.0, 1.0]))
    assert counts.loc[counts["count"] > 0, "bin_low"].tolist() == [-1.0, 0.0, 0.8]


def test_undefined_neurons_get_a_row_of_their_own():
    counts = half_coarse_counts(RWCosines(None, None, torch.tensor([[0.1, math.nan], [0.1, 0.3]])))
    assert len(counts) == 22
    undefined = counts[counts["bin_low"].isna()]
    assert undefined["layer"].tolist() == [0, 1]
    assert undefined["count"].tolist() == [1, 0]
    assert undefined["bin_high"].isna().all()
    assert (counts.groupby("layer")["count"].sum() == 2).all()


def test_near_counts_neurons_close_to_an_inner_edge():
    values = [0.2 + 5e-7, -0.6 - 5e-4, 0.0, 0.3, 1.0, -1.0, 0.9999, math.nan]
    counts = half_coarse_counts(cosines_of(values))
    assert set(counts["near_1e-6"]) == {2}
    assert set(counts["near_1e-3"]) == {3}


def test_uses_linout_of_gated_neurons():
    rest = torch.zeros(1, 2)
    linout = torch.tensor([[0.5, -0.5]])
    gated = half_coarse_counts(RWCosines(rest, rest, linout))
    assert gated.equals(half_coarse_counts(RWCosines(None, None, linout)))
