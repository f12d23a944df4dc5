"""Tolerance kinds: what each allows, and laws that hold for all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from rwcore.claim.check import Check
from rwcore.claim.deviation import FLOAT_NOISE, near_column
from rwcore.claim.tolerance import Prediction, Tolerance, compares_sets, reason_of
from rwcore.claim.values import Interval
from rwcore.errors import ClaimFileError

ADAPTER: TypeAdapter[Any] = TypeAdapter(Tolerance)


def make(kind: str, **fields: Any) -> Any:
    return ADAPTER.validate_python({"kind": kind, "because": "for this test", **fields})


def check(tolerance: Any, expected: Any, obtained: Any, **row: object) -> Check:
    return tolerance.check(expected, obtained, row)


# --- what each kind allows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "expected", "inside", "outside", "allowance"),
    [
        (make("rounded", digits=4), 0.1235, 0.12345, 0.12344, 5e-5),
        (make("rounded", digits=2, noise=0.01), 1.0, 1.014, 1.016, 0.015),
        (make("rounded", digits=-1), 26450, 26455, 26456, 5),
        (make("figure", err=0.02), 0.5, 0.52, 0.521, 0.02),
        (make("float", dtype="float32"), 0.5, 0.5 + 3.9e-7, 0.5 + 4.1e-7, 4e-7),
        (make("float", dtype="bfloat16"), 0.5, 0.501, 0.5011, 1e-3),
        (make("float", dtype="float32"), 100.0, 100 + 3.9e-5, 100 + 4.1e-5, 4e-5),
        (make("within", abs=1e-5), 0.3, 0.30001, 0.300011, 1e-5),
        (make("within", rel=0.01), -200.0, -202, -202.1, 2),
        (make("within", rel=0.01, abs=5), 200.0, 205, 205.1, 5),
        (make("within", rel=0.1, abs=5), 200.0, 220, 220.1, 20),
        (make("stored", dtype="float16"), 1.0, 1 + 2**-11, 1 + 2**-10, 2**-11),
        (make("stored", dtype="bfloat16"), 4.0, 4 + 2**-6, 4 + 2**-5, 2**-6),
        (make("at_most"), 0.03, 0.03, 0.0301, 0),
        (make("at_most", slack=0.5), 1, 1.5, 1.6, 0.5),
        (make("at_least"), 0.8, 0.8, 0.79, 0),
        (make("at_least", slack=0.5), 1, 0.5, 0.4, 0.5),
        (make("set", overlap=0.75), ["a", "b", "c", "d"], ["a", "b", "c", "x"], ["a", "b", "x", "y"], 0.25),
        (make("set"), ["a", "b"], {"b", "a"}, ["a", "b", "c"], 0),
        (make("exact"), 526, 526, 527, 0),
        (make("exact"), "weakening", "weakening", "Weakening", 0),
        (make("exact"), True, np.True_.item(), False, 0),
    ],
)
def test_allows_up_to_the_limit_and_no_further(
    tolerance: Any, expected: Any, inside: Any, outside: Any, allowance: float
) -> None:
    good, bad = check(tolerance, expected, inside), check(tolerance, expected, outside)
    assert good.ok is True
    assert good.allowance == pytest.approx(allowance)
    assert good.ratio <= 1
    assert bad.ok is False
    assert bad.ratio > 1


def test_rounding_to_float16_is_what_stored_allows() -> None:
    values = np.random.default_rng(0).normal(size=2000) * 10.0 ** np.arange(-9, -9 + 2000 / 200, 1 / 200)
    values = values[np.abs(values) < 6e4]
    stored = values.astype(np.float16).astype(float)
    tolerance = make("stored", dtype="float16")
    assert all(check(tolerance, b, a).ok for a, b in zip(values, stored, strict=True) if abs(b) > 1e-4)
    assert not check(tolerance, 1.0, 1.0 + 2**-10).ok


@pytest.mark.parametrize(
    ("near", "obtained", "ok"),
    [(0, 47, True), (0, 48, False), (1, 48, True), (1, 45, False), (50, 45, True), (50, 44, False)],
)
def test_a_band_is_the_number_of_borderline_neurons_but_never_more_than_its_cap(
    near: int, obtained: int, ok: bool
) -> None:
    tolerance = make("band", delta=1e-6, cap=2)
    result = check(tolerance, 47, obtained, **{"near_1e-6": near, "near_1e-3": 900})
    assert result.ok is ok
    assert result.allowance == min(2, near)


def test_a_band_without_the_number_of_borderline_neurons_is_an_error() -> None:
    with pytest.raises(ClaimFileError, match="near_1e-3"):
        check(make("band", delta=1e-3, cap=2), 47, 47, **{"near_1e-6": 0})


@pytest.mark.parametrize(("delta", "name"), [(1e-6, "near_1e-6"), (0.001, "near_1e-3"), (5e-4, "near_5e-4")])
def test_near_column(delta: float, name: str) -> None:
    assert near_column(delta) == name


@pytest.mark.parametrize(
    ("expected", "obtained"),
    [
        (1, True),
        (True, 1),
        (1, "1"),
        ("a", None),
        (["a"], ["b"]),
        (["a", "b"], ["b", "a"]),
        (math.nan, math.nan),
    ],
)
def test_exact_tells_kinds_and_orders_apart(expected: Any, obtained: Any) -> None:
    result = check(make("exact"), expected, obtained)
    assert result.ok is False
    assert result.ratio == math.inf


def test_noise_of_float_is_ordered_by_precision() -> None:
    order = ["float64", "float32", "float16", "bfloat16"]
    assert sorted(FLOAT_NOISE, key=FLOAT_NOISE.__getitem__) == order


def test_the_delta_of_a_bound_is_the_amount_beyond_it() -> None:
    assert check(make("at_most", slack=2), 5, 6).delta == 1
    assert check(make("at_most", slack=2), 5, 6).ratio == 0.5
    assert check(make("at_most", slack=2), 5, 3).delta == 0
    assert check(make("at_least"), 5, 3).delta == 2


# --- sampled values ------------------------------------------------------------------------------------


def test_an_interval_that_contains_the_published_value_agrees() -> None:
    tolerance = make("interval", level=0.95)
    assert check(tolerance, 0.42, Interval(0.40, 0.50, 0.45)).ok is True
    assert check(tolerance, 0.39, Interval(0.40, 0.50, 0.45)).ok is False
    assert check(tolerance, 0.51, Interval(0.40, 0.50, 0.45)).ok is False


def test_half_width_is_the_prediction_interval_of_one_further_run() -> None:
    # t(0.975, 4) = 2.7764451; runs with s = 1, n = 5.
    runs = [-1.2649110640673518, -0.6324555320336759, 0.0, 0.6324555320336759, 1.2649110640673518]
    tolerance = Prediction(kind="interval", because="seeds", level=0.95)
    assert tolerance.half_width(runs) == pytest.approx(2.7764451 * math.sqrt(1.2), rel=1e-7)


def test_a_prediction_interval_covers_one_further_run_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(4000, 6))
    tolerance = make("interval", level=0.9)
    share = np.mean([bool(check(tolerance, row[5], list(row[:5])).ok) for row in draws])
    assert abs(share - 0.9) < 0.02  # standard error 0.005


def test_runs_of_the_paper_are_used_before_its_mean() -> None:
    tolerance = make("interval", level=0.95, runs=[1.0, 1.1, 0.9, 1.0, 1.0])
    assert check(tolerance, 1.0, 1.1).ok is True
    assert check(tolerance, 1.0, 1.5).ok is False


def test_identical_runs_still_have_the_floor_of_float32() -> None:
    tolerance = make("interval", level=0.95)
    assert check(tolerance, 0.7 + 1e-7, [0.7] * 5).ok is True
    assert check(tolerance, 0.7 + 1e-5, [0.7] * 5).ok is False
    assert check(make("interval", level=0.95, floor=1e-4), 0.7 + 1e-5, [0.7] * 5).ok is True


@pytest.mark.parametrize("obtained", [0.7, [0.7, 0.8], ["a"] * 5])
def test_an_interval_needs_enough_runs(obtained: Any) -> None:
    with pytest.raises(ClaimFileError, match="5 runs"):
        check(make("interval", level=0.95), 0.7, obtained)


@pytest.mark.parametrize(
    ("tolerance", "low", "high", "ok"),
    [
        (make("within", abs=1), 4.2, 5.8, True),
        (make("within", abs=1), 3.5, 4.5, None),
        (make("within", abs=1), 3.0, 9.0, None),
        (make("within", abs=1), 6.5, 7.0, False),
        (make("at_least"), 5.0, 6.0, True),
        (make("at_least"), 4.0, 6.0, None),
        (make("at_least"), 4.0, 4.9, False),
        (make("at_most"), 4.0, 5.0, True),
        (make("at_most"), 4.0, 6.0, None),
        (make("at_most"), 5.1, 6.0, False),
    ],
)
def test_an_interval_across_the_limit_is_undecided(
    tolerance: Any, low: float, high: float, ok: bool | None
) -> None:
    assert check(tolerance, 5, Interval(low, high, (low + high) / 2)).ok is ok


def test_an_interval_the_wrong_way_round_is_rejected() -> None:
    with pytest.raises(ValueError, match="low <= high"):
        Interval(2.0, 1.0, 1.5)


# --- order ---------------------------------------------------------------------------------------------


def checks(tolerance: Any, expected: list[Any], obtained: list[Any]) -> list[bool | None]:
    return [one.ok for one in tolerance.check_all(expected, obtained, [{}] * len(expected))]


def test_ordering_compares_ranks_and_not_sizes() -> None:
    assert checks(make("ordering"), [1, 2, 3], [10, 20, 20.1]) == [True, True, True]
    assert checks(make("ordering"), [1, 2, 3], [10, 30, 20]) == [True, False, False]


def test_the_delta_of_an_ordering_is_the_largest_swap() -> None:
    results = make("ordering").check_all([1, 2, 3, 4], [10, 30, 20, 5], [{}] * 4)
    assert [result.delta for result in results] == [5, 25, 15, 25]
    assert [result.ratio for result in results] == [math.inf] * 4


def test_ordering_does_not_take_a_tie_for_an_order() -> None:
    assert checks(make("ordering"), [1, 2], [5, 5]) == [False, False]


def test_ordering_leaves_out_what_the_paper_hardly_separates() -> None:
    assert checks(make("ordering", margin=0.5), [1, 1.2, 3], [2, 1, 9]) == [True, True, True]


def test_ordering_of_overlapping_intervals_is_undecided() -> None:
    assert checks(make("ordering"), [1, 2], [Interval(0, 2, 1), Interval(1, 3, 2)]) == [None, None]
    assert checks(make("ordering"), [1, 2], [Interval(0, 1, 1), Interval(2, 3, 2)]) == [True, True]


@pytest.mark.parametrize(
    ("expected", "obtained", "ok"), [(0.5, 0.01, True), (0.5, -0.01, False), (-2, -9, True), (-2, 0, False)]
)
def test_ordering_of_a_scalar_is_its_sign(expected: float, obtained: float, ok: bool) -> None:
    assert check(make("ordering"), expected, obtained).ok is ok


def test_ordering_that_compares_nothing_is_an_error() -> None:
    with pytest.raises(ClaimFileError, match="compares nothing"):
        checks(make("ordering", margin=5), [1, 2], [1, 2])


# --- all_of --------------------------------------------------------------------------------------------


def test_all_of_is_as_tight_as_its_tightest() -> None:
    both = make(
        "all_of", of=[{"kind": "within", "abs": 1, "because": "a"}, {"kind": "at_most", "because": "b"}]
    )
    assert check(both, 5, 4.5).ok is True
    assert check(both, 5, 5.5).ok is False
    assert check(both, 5, 3.5).ok is False
    assert check(both, 5, Interval(4.5, 5.2, 5.0)).ok is None
    assert reason_of(both) == "for this test"
    assert (
        reason_of(ADAPTER.validate_python({"kind": "all_of", "of": [m.model_dump() for m in both.of]}))
        == "a; b"
    )


def test_only_sets_take_lists_as_wholes() -> None:
    member = {"kind": "set", "because": "x"}
    assert compares_sets(make("all_of", of=[member, member]))
    assert not compares_sets(make("all_of", of=[member, {"kind": "exact", "because": "x"}]))


# --- what is rejected ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (1e-5, "bare number"),
        ("exact", "bare str"),
        (True, "bare bool"),
        ({"kind": "within", "abs": 1.0}, "because"),
        ({"kind": "within", "abs": 1.0, "because": "  "}, "says why"),
        ({"kind": "within", "because": "x"}, "above 0"),
        ({"kind": "within", "abs": -1.0, "because": "x"}, "greater than or equal"),
        ({"kind": "withing", "abs": 1.0, "because": "x"}, "withing"),
        ({"kind": "float", "dtype": "float8", "because": "x"}, "float16"),
        ({"kind": "interval", "level": 95, "because": "x"}, "less than 1"),
        ({"kind": "interval", "level": 0.95, "runs": [1.0, 2.0], "because": "x"}, "at least 5"),
        ({"kind": "set", "overlap": 0.0, "because": "x"}, "greater than 0"),
        ({"kind": "exact", "abs": 1.0, "because": "x"}, "unknown key 'abs'"),
        ({"kind": "all_of", "of": [], "because": "x"}, "at least 1"),
        ({"kind": "all_of", "of": [0.1], "because": "x"}, "bare number"),
        ({"kind": "rounded", "digits": "4", "because": "x"}, "valid integer"),
        ({"because": "x"}, "kind"),
    ],
)
def test_malformed_tolerances_are_rejected(table: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(table)


@pytest.mark.parametrize(
    ("tolerance", "expected", "obtained"),
    [
        (make("within", abs=1), "a", 1),
        (make("within", abs=1), 1, "a"),
        (make("within", abs=1), Interval(0, 1, 1), 1),
        (make("at_most"), True, 1),
        (make("ordering"), "a", "b"),
        (make("exact"), 1, Interval(0, 2, 1)),
        (make("set"), ["a"], "a"),
    ],
)
def test_values_of_the_wrong_kind_are_an_error_and_not_a_difference(
    tolerance: Any, expected: Any, obtained: Any
) -> None:
    with pytest.raises(ClaimFileError):
        check(tolerance, expected, obtained)


@pytest.mark.parametrize(
    "tolerance", [make("exact"), make("rounded", digits=3), make("within", abs=0.5, rel=0.1)]
)
def test_every_tolerance_can_be_said_in_words(tolerance: Any) -> None:
    assert tolerance.text
    assert "\n" not in tolerance.text
