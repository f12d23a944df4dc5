"""Tolerances that depend on how much of the paper's text was read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rwcore.claim.compare import Outcome, evaluate
from rwcore.claim.sample import Sample, in_short
from rwcore.claim.schema import Expectation
from rwcore.claim.tolerance import AllOf, on_text
from rwcore.claim.values import Interval

M = 1_000_000
WHOLE = 20 * M
TOLERANCE = {"kind": "sampled", "abs": 0.01, "sample_abs": 0.02, "enough": M, "because": "printed digits"}
PUBLISHED = -0.91


def sample(tokens: int, whole: int | None = WHOLE) -> Sample:
    return Sample("dolma-small", tokens, whole)


def compare(obtained: Any, text: Sample | None, tolerance: dict[str, Any] = TOLERANCE) -> Outcome:
    expectation = Expectation.model_validate(
        {"scope": "published", "models": ["m"], "values": PUBLISHED, "tolerance": tolerance}
    )
    return evaluate(expectation, {"value": obtained}, PUBLISHED, text)


@pytest.mark.parametrize(
    ("tokens", "off", "agrees"),
    [
        (WHOLE, 0.009, True),
        (WHOLE, 0.012, False),  # a sample's tolerance is not for the whole text
        (WHOLE + 1023, 0.012, False),  # the last row is whole
        (WHOLE - 1, 0.012, True),
        (M, 0.019, True),
        (M, 0.021, False),
    ],
)
def test_the_tolerance_widens_on_a_sample(tokens: int, off: float, agrees: bool) -> None:
    assert compare(PUBLISHED + off, sample(tokens)).agrees is agrees
    assert compare(PUBLISHED - off, sample(tokens)).agrees is agrees


@pytest.mark.parametrize(
    ("low", "high", "agrees"),
    [
        (-0.92, -0.90, True),
        (-0.98, -0.84, None),  # around the published value, but far too wide to reproduce it
        (-0.895, -0.80, None),
        (-0.889, -0.80, False),  # further away than 0.02 and the half-width together
        (-0.99, -0.94, False),
    ],
)
def test_on_few_tokens_the_interval_decides(low: float, high: float, agrees: bool | None) -> None:
    assert compare(Interval(low, high, (low + high) / 2), sample(M - 1)).agrees is agrees


def test_on_enough_tokens_the_estimate_decides() -> None:
    wide = Interval(-1.0, -0.8, -0.90)
    assert compare(wide, sample(M - 1)).agrees is None
    assert compare(wide, sample(M)).agrees is True
    assert compare(wide, sample(WHOLE)).agrees is True


@pytest.mark.parametrize("text", [sample(10), sample(M), sample(WHOLE), None])
@pytest.mark.parametrize(
    "got", [math.nan, Interval(math.nan, math.nan, -0.91), Interval(-1, math.nan, -0.91)]
)
def test_nan_agrees_with_nothing(got: float | Interval, text: Sample | None) -> None:
    estimate_decides = isinstance(got, Interval) and (text is None or text.tokens >= M)
    assert compare(got, text).agrees is estimate_decides


@given(
    tokens=st.integers(1, 2 * WHOLE),
    got=st.floats(-1, -0.8),
    half=st.floats(0, 0.1),
)
def test_more_text_never_allows_more(tokens: int, got: float, half: float) -> None:
    """What differs on a sample differs on the whole text; what agrees there differs on no sample."""
    value = Interval(got - half, got + half, got)
    if compare(value, sample(tokens)).agrees is False:
        assert compare(value, sample(WHOLE)).agrees is False
    if compare(value, sample(WHOLE)).agrees is True:
        assert compare(value, sample(tokens)).agrees is not False
    if compare(value, sample(tokens)).agrees is True and tokens < M:
        assert compare(value, sample(M)).agrees is True


def test_all_of_widens_its_members() -> None:
    both = {"kind": "all_of", "of": [TOLERANCE, {"kind": "at_least", "slack": 0.5, "because": "a bound"}]}
    assert compare(PUBLISHED + 0.015, sample(M), both).agrees is True
    assert compare(PUBLISHED + 0.015, sample(WHOLE), both).agrees is False
    tolerance = Expectation.model_validate(
        {"scope": "published", "models": ["m"], "values": 1, "tolerance": both}
    ).tolerance
    assert isinstance(tolerance, AllOf)
    assert on_text(tolerance, sample(M)).text == "±0.02 on 1 M tokens and at least (−0.5)"
    assert tolerance.text.startswith("±0.01, on 1 M tokens ±0.02")


def test_other_tolerances_stay_as_they_are() -> None:
    within = {"kind": "within", "abs": 0.01, "because": "printed"}
    assert compare(PUBLISHED + 0.015, sample(M), within).agrees is False


def test_the_words_say_how_much_was_read() -> None:
    assert "±0.02 on 54.6 k tokens, with the interval" in compare(-0.91, sample(54_600)).text
    assert "(±0.02 on 1 M tokens)" in compare(-0.91, sample(M)).text
    assert "(±0.01)" in compare(-0.91, sample(WHOLE)).text


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sample_abs": 0.005}, "narrower"),
        ({"enough": 0}, "greater than 0"),
        ({"abs": 0.0}, "greater than 0"),
        ({"because": " "}, "empty"),
        ({"tokens": 5}, "unknown key 'tokens'"),
        ({"kind": "fitted_to_text"}, "fitted_to_text"),
    ],
)
def test_a_wrong_tolerance_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        compare(PUBLISHED, None, {**TOLERANCE, **wrong})


@pytest.mark.parametrize(
    ("tokens", "whole", "text", "complete"),
    [
        (1_000_321, WHOLE, "1 M of 20 M tokens of dolma-small", False),
        (20_000_500, WHOLE, "20 M tokens of dolma-small", True),
        (250_000, WHOLE, "250 k of 20 M tokens of dolma-small", False),
        (31_365, None, "31.4 k tokens of dolma-small", False),
    ],
)
def test_a_sample_in_words(tokens: int, whole: int | None, text: str, complete: bool) -> None:
    assert sample(tokens, whole).text == text
    assert sample(tokens, whole).complete is complete


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (1_234_567, "1.23 M"),
        (3_000_000_000, "3 G"),
    ],
)
def test_numbers_of_tokens_in_short(number: int, text: str) -> None:
    assert in_short(number) == text


MEAN = {"kind": "sampled_mean", "rel": 0.03, "abs": 2e-4, "because": "half precision"}


@pytest.mark.parametrize(
    ("published", "off", "agrees"),
    [(-0.158, 0.0047, True), (-0.158, 0.0048, False), (-0.0001, 1.9e-4, True), (-0.0001, 2.1e-4, False)],
)
def test_a_mean_on_the_whole_text_is_within_the_larger_of_two(
    published: float, off: float, agrees: bool
) -> None:
    expectation = Expectation.model_validate(
        {"scope": "published", "models": ["m"], "values": published, "tolerance": MEAN}
    )
    for value in (published + off, Interval(-9.0, 9.0, published + off)):
        assert evaluate(expectation, {"value": value}, published, sample(WHOLE)).agrees is agrees
        assert evaluate(expectation, {"value": value}, published, None).agrees is agrees


@pytest.mark.parametrize(
    ("off", "half_width", "agrees"),
    [
        (0.0, 0.01, True),
        (0.03, 0.01, True),  # 0.0273 + 4 · 0.0051
        (0.05, 0.01, False),
        (0.4, 0.3, None),  # four standard errors are more than half of the value
        (0.0, 0.3, None),
        (0.9, 0.3, False),
    ],
)
def test_a_mean_on_a_sample_has_its_standard_errors_too(
    off: float, half_width: float, agrees: bool | None
) -> None:
    value = PUBLISHED + off
    found = compare(Interval(value - half_width, value + half_width, value), sample(M), MEAN)
    assert found.agrees is agrees
    assert compare(Interval(math.nan, math.nan, value), sample(M), MEAN).agrees is False


def test_a_number_without_interval_needs_a_large_sample() -> None:
    assert compare(PUBLISHED + 0.05, sample(M), MEAN).agrees is True  # twice 3 %
    assert compare(PUBLISHED + 0.056, sample(M), MEAN).agrees is False
    assert compare(PUBLISHED, sample(M - 1), MEAN).agrees is None
    assert compare(PUBLISHED + 0.056, sample(M - 1), MEAN).agrees is False
