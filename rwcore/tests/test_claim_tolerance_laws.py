"""Laws of all tolerance kinds, on random numbers."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rwcore.claim.check import Check
from rwcore.claim.deviation import FLOAT_NOISE
from rwcore.claim.tolerance import Tolerance
from rwcore.claim.values import Interval

ADAPTER: TypeAdapter[Any] = TypeAdapter(Tolerance)


def make(kind: str, **fields: Any) -> Any:
    return ADAPTER.validate_python({"kind": kind, "because": "for this test", **fields})


def check(tolerance: Any, expected: Any, obtained: Any, **row: object) -> Check:
    return tolerance.check(expected, obtained, row)


def checks(tolerance: Any, expected: list[Any], obtained: list[Any]) -> list[bool | None]:
    return [one.ok for one in tolerance.check_all(expected, obtained, [{}] * len(expected))]


# Dyadic numbers: sums and differences are exact, so that "the same distance" means it.
dyadic = st.integers(-(2**20), 2**20).map(lambda n: n / 1024)
positive = st.integers(1, 2**20).map(lambda n: n / 1024)

DEVIATIONS = st.one_of(
    st.builds(lambda d, n: make("rounded", digits=d, noise=n), st.integers(-3, 8), positive),
    st.builds(lambda e: make("figure", err=e), positive),
    st.builds(lambda d: make("float", dtype=d), st.sampled_from(sorted(FLOAT_NOISE))),
    st.builds(lambda a, r: make("within", abs=a, rel=r), positive, positive),
    st.builds(lambda d: make("stored", dtype=d), st.sampled_from(["float16", "bfloat16", "float32"])),
    st.builds(lambda c: make("band", delta=1e-6, cap=c), st.integers(0, 5)),
)
ALL_SCALAR = st.one_of(
    DEVIATIONS,
    st.just(make("exact")),
    st.builds(lambda s: make("at_most", slack=s), positive),
    st.builds(lambda s: make("at_least", slack=s), positive),
)
NEAR = {"near_1e-6": 3}


@given(ALL_SCALAR, st.floats(allow_nan=False, allow_infinity=False))
def test_no_difference_always_agrees(tolerance: Any, value: float) -> None:
    result = check(tolerance, value, value, **NEAR)
    assert result == Check(0.0, result.allowance, 0.0, True)


@given(ALL_SCALAR, st.floats(allow_nan=False), st.booleans())
def test_nan_never_agrees(tolerance: Any, value: float, left: bool) -> None:
    for other in (value, math.nan):
        pair = (math.nan, other) if left else (other, math.nan)
        assert check(tolerance, *pair, **NEAR).ok is False


@given(ALL_SCALAR, dyadic)
def test_nan_in_an_interval_never_agrees(tolerance: Any, value: float) -> None:
    assume(tolerance.kind != "exact")  # rejects intervals
    assert check(tolerance, value, Interval(math.nan, value, value), **NEAR).ok is False
    assert check(tolerance, value, Interval(value, value, math.nan), **NEAR).ok is False


@given(DEVIATIONS, dyadic, dyadic)
def test_deviations_are_symmetric_in_the_sign_of_the_difference(
    tolerance: Any, value: float, delta: float
) -> None:
    up, down = check(tolerance, value, value + delta, **NEAR), check(tolerance, value, value - delta, **NEAR)
    assert (up.delta, up.allowance) == (down.delta, down.allowance)
    assert up.ok is down.ok
    mirrored = check(tolerance, -value, -value - delta, **NEAR)
    assert mirrored.ok is up.ok


@given(DEVIATIONS, dyadic, dyadic, st.integers(0, 1023).map(lambda n: n / 1024))
def test_nearer_is_never_worse(tolerance: Any, value: float, delta: float, part: float) -> None:
    far, near = (
        check(tolerance, value, value + delta, **NEAR),
        check(tolerance, value, value + delta * part, **NEAR),
    )
    assert near.ratio <= far.ratio
    assert near.ok or not far.ok


WIDER = [
    ("rounded", lambda x: {"digits": 2, "noise": x}),
    ("figure", lambda x: {"err": x}),
    ("within", lambda x: {"abs": x}),
    ("within", lambda x: {"rel": x}),
    ("band", lambda x: {"delta": 1e-6, "cap": int(x)}),
    ("at_most", lambda x: {"slack": x}),
    ("at_least", lambda x: {"slack": x}),
    ("interval", lambda x: {"level": 0.9, "floor": x}),
    ("interval", lambda x: {"level": x / (x + 1)}),
]


@given(st.sampled_from(WIDER), positive, positive, dyadic, dyadic)
def test_a_wider_tolerance_never_rejects_what_a_narrower_one_accepts(
    kind: Any, width: float, more: float, value: float, delta: float
) -> None:
    name, fields = kind
    obtained: Any = value + delta
    if name == "interval":
        obtained = [obtained + step for step in (-2.0, -1.0, 0.0, 1.0, 2.0)]
    narrow = check(make(name, **fields(width)), value, obtained, **NEAR)
    wide = check(make(name, **fields(width + more)), value, obtained, **NEAR)
    assert wide.allowance >= narrow.allowance
    assert wide.ok or not narrow.ok


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True),
    st.permutations(range(6)),
    st.integers(0, 20),
)
def test_a_larger_ordering_margin_never_rejects_more(
    values: list[int], order: list[int], margin: int
) -> None:
    obtained = [float(order[i]) for i in range(len(values))]
    assume(max(values) - min(values) > margin + 1)
    narrow = checks(make("ordering", margin=float(margin)), values, obtained)
    wide = checks(make("ordering", margin=float(margin + 1)), values, obtained)
    assert all(after or not before for before, after in zip(narrow, wide, strict=True))
    assert all(checks(make("ordering", margin=float(margin)), values, values))


@given(
    st.frozensets(st.integers(0, 9)), st.frozensets(st.integers(0, 9)), st.integers(1, 10), st.integers(1, 10)
)
def test_set_overlap_is_symmetric_and_monotone(first: Any, second: Any, a: int, b: int) -> None:
    strict, loose = make("set", overlap=max(a, b) / 10), make("set", overlap=min(a, b) / 10)
    assert check(strict, first, second).ok is check(strict, second, first).ok
    assert check(loose, first, second).ok or not check(strict, first, second).ok
    assert check(strict, first, first).ok
