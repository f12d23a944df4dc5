"""Predicates on any model: three answers and a margin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rwcore.claim.compare import Interval, Outcome, evaluate
from rwcore.claim.holds import Holds
from rwcore.claim.schema import Expectation
from rwcore.errors import ClaimFileError


def ask(holds: dict[str, Any], *, expectation: dict[str, Any] | None = None, **obtained: Any) -> Outcome:
    fields = {"scope": "any-gated", "holds": holds, **(expectation or {})}
    return evaluate(Expectation.model_validate(fields), obtained)


@pytest.mark.parametrize(
    ("holds", "value", "agrees", "margin"),
    [
        ({"kind": "at_least", "value": 0}, 0.25, True, 0.25),
        ({"kind": "at_least", "value": 0}, -0.25, False, -0.25),
        ({"kind": "at_least", "value": 0}, 0, True, 0),
        ({"kind": "at_least", "value": 0, "strict": True}, 0, False, 0),
        ({"kind": "at_most", "value": 0.5}, 0.25, True, 0.25),
        ({"kind": "at_most", "value": 0.5}, 0.75, False, -0.25),
        ({"kind": "at_most", "value": 0.5, "strict": True}, 0.5, False, 0),
        ({"kind": "exact", "value": 0}, 0, True, 0),
        ({"kind": "exact", "value": 0}, 3, False, -3),
        ({"kind": "exact", "value": 0}, np.float64(3), False, -3),
        ({"kind": "exact", "value": 0}, np.float64(0), True, 0),
        ({"kind": "exact", "value": True}, True, True, None),
        ({"kind": "exact", "value": True}, 1, False, None),
        ({"kind": "exact", "value": "weakening"}, "strengthening", False, None),
        ({"kind": "set", "value": ["a", "b"], "overlap": 0.5}, ["a", "x"], True, 0),
        ({"kind": "set", "value": ["a", "b"], "overlap": 0.75}, ["a", "x"], False, -0.25),
        ({"kind": "at_least", "value": 0}, Interval(0.1, 0.5, 0.25), True, 0.25),
        ({"kind": "at_least", "value": 0}, Interval(-0.1, 0.5, 0.25), None, 0.25),
        ({"kind": "at_least", "value": 0}, Interval(-0.5, -0.1, -0.25), False, -0.25),
        ({"kind": "at_most", "value": 1}, Interval(0.5, 1.5, 0.75), None, 0.25),
        ({"kind": "at_least", "value": 0}, math.nan, False, math.nan),
        ({"kind": "at_least", "value": 0}, Interval(0.1, math.nan, 0.2), False, 0.2),
    ],
)
def test_answers(holds: dict[str, Any], value: Any, agrees: bool | None, margin: float | None) -> None:
    outcome = ask(holds, value=value)
    assert outcome.agrees is agrees
    assert (
        outcome.margin == pytest.approx(margin, nan_ok=True) if margin is not None else outcome.margin is None
    )
    assert outcome.text.startswith({True: "holds", False: "does not hold", None: "undecided"}[agrees])


def test_order_of_named_quantities() -> None:
    holds = {"kind": "ordering", "order": ["weakening", "strengthening"], "margin": 2.0}
    assert ask(holds, weakening=526, strengthening=47).margin == 477
    assert ask(holds, weakening=526, strengthening=47).agrees is True
    assert ask(holds, weakening=49, strengthening=47).agrees is False  # the lead must exceed the margin
    assert ask(holds, weakening=Interval(40, 60, 50), strengthening=47).agrees is None


def test_order_of_the_rows_of_a_table() -> None:
    table = pd.DataFrame({"class": ["cS", "OO", "W"], "count": [7, 90, 3], "near_1e-6": 0})
    holds = {"kind": "ordering", "quantity": "totals", "order": ["OO", "cS", "W"]}
    fields = {"value": "count"}
    outcome = ask(holds, expectation=fields, totals=table)
    assert outcome.agrees is True
    assert outcome.margin == 4
    assert [row.expected for row in outcome.rows] == ["cS > W", "OO > cS"]
    table["count"] = [2, 90, 3]
    assert ask(holds, expectation=fields, totals=table).agrees is False


def test_order_needs_one_value_for_each_name() -> None:
    table = pd.DataFrame({"class": ["OO", "cS"], "count": [9, 3]})
    with pytest.raises(ClaimFileError, match=r"'W'.*0 rows"):
        ask(
            {"kind": "ordering", "quantity": "t", "order": ["OO", "W"]},
            expectation={"value": "count"},
            t=table,
        )


def test_every_row_of_a_table_must_hold_and_the_worst_comes_first() -> None:
    table = pd.DataFrame({"layer": [0, 1, 2], "difference": [5.0, -2.0, 1.0]})
    outcome = ask({"kind": "at_least", "value": 0}, expectation={"value": "difference"}, value=table)
    assert outcome.agrees is False
    assert outcome.margin == -2
    assert outcome.rows[0].key == {"layer": 1}
    assert "layer=1" in outcome.text
    table.loc[1, "difference"] = 0.5
    assert (
        ask({"kind": "at_least", "value": 0}, expectation={"value": "difference"}, value=table).agrees is True
    )


def test_a_table_may_carry_intervals() -> None:
    table = pd.DataFrame({"layer": [0, 1], "r": [0.5, 0.1], "r_low": [0.4, -0.1], "r_high": [0.6, 0.3]})
    outcome = ask({"kind": "at_least", "value": 0}, expectation={"value": "r"}, value=table)
    assert outcome.agrees is None
    assert outcome.rows[0].key == {"layer": 1}


def test_a_table_is_cut_down_by_select() -> None:
    table = pd.DataFrame({"cosine": ["linout", "gateout"], "layer": [0, 0], "median": [0.5, -0.5]})
    fields = {"value": "median", "select_obtained": {"cosine": "linout"}}
    assert ask({"kind": "at_least", "value": 0}, expectation=fields, value=table).agrees is True


def test_all_of_is_a_three_valued_and() -> None:
    def both(a: Any, b: Any) -> Outcome:
        of = [
            {"kind": "at_least", "quantity": "a", "value": 0},
            {"kind": "at_most", "quantity": "b", "value": 1},
        ]
        return ask({"kind": "all_of", "of": of}, a=a, b=b)

    unsure = Interval(-1, 1, 0.5)
    assert both(1, 0.5).agrees is True
    assert both(1, 0.5).margin == 0.5
    assert both(unsure, 0.5).agrees is None
    assert both(unsure, 2).agrees is False
    assert both(-1, 0.5).agrees is False
    assert both(1, 0.5).expected == "a ≥ 0 and b ≤ 1"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.booleans())
def test_the_sign_of_the_margin_is_the_answer(value: float, threshold: float, upper: bool) -> None:
    outcome = ask({"kind": "at_most" if upper else "at_least", "value": threshold}, value=value)
    assert outcome.margin is not None
    assert outcome.agrees is (outcome.margin >= 0)


@given(st.floats(-10, 10), st.floats(0, 5), st.floats(0, 5), st.floats(-10, 10))
def test_an_interval_answers_only_what_all_its_points_answer(
    centre: float, below: float, above: float, threshold: float
) -> None:
    interval = Interval(centre - below, centre + above, centre)
    answers = {
        ask({"kind": "at_least", "value": threshold}, value=end).agrees
        for end in (interval.low, interval.high)
    }
    outcome = ask({"kind": "at_least", "value": threshold}, value=interval)
    assert outcome.agrees is (answers.pop() if len(answers) == 1 else None)


@pytest.mark.parametrize(
    ("holds", "obtained"),
    [
        ({"kind": "at_least", "value": 0}, {"value": "a"}),
        ({"kind": "at_least", "value": 0}, {"value": [1, 2]}),
        ({"kind": "at_least", "quantity": "missing", "value": 0}, {"value": 1}),
        ({"kind": "exact", "value": 1}, {"value": [1]}),
        ({"kind": "set", "value": ["a"]}, {"value": "a"}),
        ({"kind": "at_least", "value": 0}, {"a": 1, "b": 2}),
        ({"kind": "at_least", "value": 0}, {}),
        ({"kind": "at_least", "value": 0}, {"value": pd.DataFrame({"layer": [], "value": []})}),
    ],
)
def test_what_cannot_be_asked_is_an_error_that_names_the_expectation(
    holds: dict[str, Any], obtained: dict[str, Any]
) -> None:
    with pytest.raises(ClaimFileError) as caught:
        ask(holds, **obtained)
    assert caught.value.where == "expectation"


@pytest.mark.parametrize(
    "holds",
    [
        0,
        {"kind": "within", "abs": 1.0},
        {"kind": "at_least"},
        {"kind": "ordering", "order": ["a"]},
        {"kind": "ordering", "order": ["a", "b"], "margin": -1.0},
        {"kind": "exact", "value": [1]},
    ],
)
def test_malformed_predicates_are_rejected(holds: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Holds).validate_python(holds)
