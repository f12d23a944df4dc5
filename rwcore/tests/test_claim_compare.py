"""Comparing obtained quantities with published ones: joins, rows, words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.claim.compare import Interval, Outcome, evaluate
from rwcore.claim.schema import Expectation
from rwcore.errors import ClaimFileError

EXACT = {"kind": "exact", "because": "counts"}
WITHIN = {"kind": "within", "abs": 0.1, "because": "rounding"}


def expectation(tolerance: dict[str, Any] = EXACT, **fields: Any) -> Expectation:
    base = {"scope": "published", "models": ["m"], "values": "file.csv", "tolerance": tolerance}
    return Expectation.model_validate({**base, **fields})


def compare(expected: Any, obtained: Any, tolerance: dict[str, Any] = EXACT, **fields: Any) -> Outcome:
    quantities = obtained if isinstance(obtained, dict) else {"value": obtained}
    return evaluate(expectation(tolerance, **fields), quantities, expected)


def counts(*values: int, near: int = 0) -> pd.DataFrame:
    classes = ["strengthening", "orthogonal output", "weakening"]
    layers = [layer for layer in range(len(values) // 3) for _ in range(3)]
    frame = pd.DataFrame({"layer": layers, "class": classes * (len(values) // 3), "count": values})
    return frame.assign(**{"near_1e-6": near, "near_1e-3": 500})


PUBLISHED = counts(1, 90, 9, 2, 80, 18)[["layer", "class", "count"]]


# --- tables --------------------------------------------------------------------------------------------


def test_equal_tables_agree_whatever_the_order_of_rows_and_columns() -> None:
    obtained = counts(1, 90, 9, 2, 80, 18).sample(frac=1, random_state=1)[["count", "class", "layer"]]
    outcome = compare(PUBLISHED, obtained, value="count")
    assert outcome.agrees is True
    assert outcome.n == 6
    assert outcome.worst_ratio == 0
    assert outcome.margin is None


def test_the_worst_row_comes_first_and_only_differing_rows_are_shown() -> None:
    tolerance = {"kind": "within", "abs": 1.0, "because": "borderline"}
    outcome = compare(PUBLISHED, counts(1, 93, 9, 2, 81, 16), tolerance, value="count")
    assert outcome.agrees is False
    assert [(row.key["layer"], row.key["class"], row.delta, row.ok) for row in outcome.rows[:3]] == [
        (0, "orthogonal output", 3, False),
        (1, "weakening", 2, False),
        (1, "orthogonal output", 1, True),
    ]
    assert outcome.worst_ratio == 3
    assert "4 of 6 within tolerance" in outcome.text
    assert outcome.text.count("differs") == 2
    assert "90" in outcome.text
    assert "strengthening" not in outcome.text


def test_missing_and_additional_rows_differ() -> None:
    obtained = counts(1, 90, 9, 2, 80, 18)
    fewer = compare(PUBLISHED, obtained[obtained["class"] != "weakening"], value="count")
    assert fewer.agrees is False
    assert [row.obtained for row in fewer.rows if not row.ok] == [None, None]
    more = compare(PUBLISHED[PUBLISHED["layer"] == 0], obtained, value="count")
    assert more.agrees is False
    assert [row.expected for row in more.rows if not row.ok] == [None] * 3
    assert "(missing)" in more.text


def test_partial_compares_only_what_the_paper_gives() -> None:
    obtained = counts(1, 90, 9, 2, 80, 18)
    assert compare(PUBLISHED[PUBLISHED["layer"] == 0], obtained, value="count", partial=True).agrees is True
    assert compare(PUBLISHED, obtained[:3], value="count", partial=True).agrees is False


def test_a_table_without_any_common_row_differs() -> None:
    shifted = counts(1, 90, 9, 2, 80, 18).assign(layer=lambda f: f["layer"] + 10)
    outcome = compare(PUBLISHED, shifted, value="count")
    assert outcome.agrees is False
    assert outcome.n == 12


def test_the_band_of_each_row_is_its_own_number_of_borderline_neurons() -> None:
    band = {"kind": "band", "delta": 1e-6, "cap": 1, "because": "float32"}
    obtained = counts(2, 89, 9, 2, 80, 18)
    assert compare(PUBLISHED, obtained, band, value="count").agrees is False
    assert (
        compare(PUBLISHED, obtained.assign(**{"near_1e-6": [1] * 3 + [0] * 3}), band, value="count").agrees
        is True
    )
    assert (
        compare(PUBLISHED, obtained.assign(**{"near_1e-6": [0] * 3 + [1] * 3}), band, value="count").agrees
        is False
    )


def test_computed_bin_edges_match_printed_ones() -> None:
    printed = pd.DataFrame({"bin_low": [-1.0, -0.8, -0.6, -0.4], "count": [1, 2, 3, 4]})
    computed = pd.DataFrame({"bin_low": -1 + 0.2 * np.arange(4), "count": [1, 2, 3, 4]})
    assert list(printed["bin_low"]) != list(computed["bin_low"])
    assert compare(printed, computed, value="count").agrees is True


def test_numpy_types_and_categories_compare_as_what_they_mean() -> None:
    obtained = counts(1, 90, 9, 2, 80, 18).astype({"layer": "int8", "count": "int32", "class": "category"})
    assert compare(PUBLISHED, obtained, value="count").agrees is True


def test_a_missing_value_differs() -> None:
    expected = pd.DataFrame({"layer": [0, 1], "median": [0.5, 0.25]})
    for gap in (math.nan, None, pd.NA):
        obtained = pd.DataFrame(
            {"layer": [0, 1], "median": pd.Series([0.5, gap], dtype="Float64" if gap is pd.NA else None)}
        )
        outcome = compare(expected, obtained, WITHIN, value="median")
        assert outcome.agrees is False
        assert outcome.rows[0].key == {"layer": 1}


def test_select_cuts_the_obtained_table_down_too() -> None:
    expected = pd.DataFrame({"layer": [0], "median": [0.5]})
    obtained = pd.DataFrame({"layer": [0, 0], "cosine": ["linout", "gateout"], "median": [0.5, 0.9]})
    assert compare(expected, obtained, value="median", select={"cosine": "linout"}).agrees is True
    assert compare(expected, obtained, value="median", select_obtained={"cosine": "gateout"}).agrees is False
    with pytest.raises(ClaimFileError, match="several rows"):
        compare(expected, obtained, value="median")
    with pytest.raises(ClaimFileError, match="no row has cosine = lineout"):
        compare(expected, obtained, value="median", select={"cosine": "lineout"})


def test_a_table_of_intervals() -> None:
    expected = pd.DataFrame({"layer": [0, 1], "rate": [0.5, 0.5]})
    obtained = pd.DataFrame({"layer": [0, 1], "rate": [0.6, 0.6], "rate_low": [0.4, 0.55], "rate_high": 0.7})
    outcome = compare(
        expected, obtained, {"kind": "interval", "level": 0.95, "because": "bootstrap"}, value="rate"
    )
    assert [(row.key["layer"], row.ok) for row in outcome.rows] == [(1, False), (0, True)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12), st.data())
def test_agreement_is_equality_of_the_tables(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    first = dict(pairs)
    second = dict(
        data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12))
    )
    frames = [
        pd.DataFrame({"layer": list(table), "count": list(table.values())}) for table in (first, second)
    ]
    assert compare(*frames, value="count").agrees is (first == second)
    assert compare(frames[0], frames[0].iloc[::-1], value="count").agrees is True


# --- scalars and lists ---------------------------------------------------------------------------------


def test_scalars() -> None:
    outcome = compare(0.5, 0.55, WITHIN)
    assert outcome.agrees is True
    assert outcome.rows[0].key == {}
    assert (outcome.expected, outcome.obtained) == ("0.5", "0.55")
    assert outcome.worst_ratio == pytest.approx(0.5)
    assert compare(0.5, np.float32(0.55), WITHIN).agrees is True
    assert compare(True, np.bool_(True)).agrees is True
    unsure = compare(0.5, Interval(0.55, 0.7, 0.6), WITHIN)
    assert unsure.agrees is None
    assert "0 of 1 within tolerance (±0.1), 1 undecided" in unsure.text


def test_a_band_of_a_scalar_finds_its_number_beside_it() -> None:
    band = {"kind": "band", "delta": 1e-6, "cap": 2, "because": "float32"}
    assert compare(526, {"value": 527, "near_1e-6": 1}, band).agrees is True
    assert compare(526, {"weakening": 527, "near_1e-6": 0}, band).agrees is False


def test_lists_are_compared_by_position() -> None:
    assert compare([7, 0, 4], [7, 0, 4]).agrees is True
    outcome = compare([7, 0, 4], np.array([7, 4, 0]))
    assert [row.key["position"] for row in outcome.rows if not row.ok] == [1, 2]
    assert compare([7, 0, 4], [7, 0]).agrees is False
    assert compare([7, 0], [7, 0, 4]).agrees is False


def test_lists_as_sets_and_as_runs() -> None:
    assert compare(["a", "b"], {"b", "a"}, {"kind": "set", "because": "ties"}).agrees is True
    runs = {"kind": "interval", "level": 0.95, "because": "seeds"}
    assert compare(0.5, [0.4, 0.45, 0.5, 0.55, 0.6], runs).agrees is True
    assert compare(5.0, [0.4, 0.45, 0.5, 0.55, 0.6], runs).agrees is False
    with pytest.raises(ClaimFileError, match="no order"):
        compare(["a", "b"], {"b", "a"})


def test_the_quantity_is_found_by_name() -> None:
    assert compare(1, {"first": 1, "second": 2}, quantity="first").agrees is True
    assert compare(1, {"first": 1, "second": 2}, quantity="second").agrees is False
    assert compare(1, {"value": 1, "second": 2}).agrees is True
    with pytest.raises(ClaimFileError, match="did you mean 'first'"):
        compare(1, {"first": 1, "second": 2}, quantity="frist")
    with pytest.raises(ClaimFileError, match="first, second"):
        compare(1, {"first": 1, "second": 2})


# --- errors and words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "obtained", "words"),
    [
        (PUBLISHED, 3, "table"),
        (3, PUBLISHED, "table"),
        ([1, 2], 3, "list"),
        (PUBLISHED, PUBLISHED.rename(columns={"count": "counts"}), "did you mean 'counts'"),
        (PUBLISHED, PUBLISHED.drop(columns="layer"), "no column 'layer'"),
        (PUBLISHED, pd.concat([PUBLISHED, PUBLISHED]), "several rows"),
        (pd.concat([PUBLISHED, PUBLISHED]), PUBLISHED, "several rows"),
        (PUBLISHED, PUBLISHED.astype({"layer": str}), "a text and a number"),
        (PUBLISHED[:0], PUBLISHED[:0], "nothing was compared"),
    ],
)
def test_what_cannot_be_compared_is_an_error(expected: Any, obtained: Any, words: str) -> None:
    with pytest.raises(ClaimFileError, match=words) as caught:
        compare(expected, obtained, value="count")
    assert caught.value.where
    assert caught.value.remedy


def test_an_empty_obtained_table_differs_and_does_not_pass() -> None:
    outcome = compare(PUBLISHED, PUBLISHED[:0], value="count")
    assert outcome.agrees is False
    assert outcome.n == 6


def test_rows_for_the_results_file_are_plain() -> None:
    row = compare(0.5, Interval(0.55, 0.7, 0.6), WITHIN).rows[0].as_dict()
    assert row["obtained"] == "0.6 [0.55, 0.7]"
    assert row["expected"] == 0.5
    assert row["ok"] is None
    table = compare(PUBLISHED, PUBLISHED, value="count").rows[0].as_dict()
    assert table["key"].startswith("layer=0, class=")


def test_a_long_table_of_differences_is_cut_off() -> None:
    frame = pd.DataFrame({"layer": range(30), "count": range(30)})
    outcome = compare(frame, frame.assign(count=lambda f: f["count"] + 1), value="count")
    assert "… and 20 more" in outcome.text
    assert len(outcome.rows) == 30


def test_an_expectation_without_a_target_cannot_be_compared() -> None:
    invalid = Expectation.model_validate(
        {"scope": "published", "models": ["m"], "values": 1, "invalid": "a misprint"}
    )
    with pytest.raises(ClaimFileError, match="nothing to compare"):
        evaluate(invalid, {"value": 1}, 1)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.3, 0.2, 0.4], "3 values, nearest to the limit: 0.2 at name=b"),
        ([0.3, -0.2, 0.4], "3 values, worst: -0.2 at name=b"),
        ([0.3], "0.3"),
    ],
)
def test_a_predicate_on_a_table_shows_the_row_with_least_to_spare(values: list[float], told: str) -> None:
    frame = pd.DataFrame({"name": list("abc")[: len(values)], "value": values})
    holds = {"kind": "at_least", "quantity": "gaps", "value": 0}
    outcome = evaluate(Expectation.model_validate({"scope": "any-gated", "holds": holds}), {"gaps": frame})
    assert outcome.obtained == told
