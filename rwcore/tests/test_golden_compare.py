"""Strict comparison with recorded values: the five holes of a lenient one are closed."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import GoldenError
from rwcore.golden.compare import RecordedDiffers, assert_same, compare, dump, message
from rwcore.golden.noise import ULP, ColumnNoise, NoiseTable

COMMAND = "pytest 'claims/p/test_x.py::test_y[org--a]' --force-regen"


def noise(**columns: Any) -> NoiseTable:
    base = {
        "rel": 0.0,
        "because": "measured",
        "measured_on": ["avx2", "default"],
        "date": datetime.date(2025, 1, 1),
    }
    fields = {name: value if isinstance(value, dict) else {"abs": value} for name, value in columns.items()}
    return NoiseTable({name: ColumnNoise.model_validate({**base, **more}) for name, more in fields.items()})


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": [0, 0, 1, 1],
            "class": ["S", "W"] * 2,
            "count": [1, 9, 2, 8],
            "median": [0.5, -0.5, 0.25, 0.0],
        }
    )


UNDECLARED = "missing value, not declared (nan = true)"
NOISE = noise(median=1e-6)


def whys(
    obtained: pd.DataFrame, table_noise: NoiseTable = NOISE, recorded: pd.DataFrame | None = None
) -> list[str]:
    return [d.why for d in compare(table() if recorded is None else recorded, obtained, table_noise)]


def test_the_same_table_in_another_order_has_no_differences() -> None:
    assert whys(table()) == []
    assert whys(table().iloc[::-1][["median", "class", "count", "layer"]]) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: f.drop(columns="count"), ["column is gone"]),
        (lambda f: f.drop(columns="class"), ["column is gone"]),
        (lambda f: f.assign(extra=1), ["column is new"]),
        (lambda f: f[1:], ["row is gone"]),
        (lambda f: pd.concat([f, f[:1].assign(layer=2)]), ["row is new"]),
        (lambda f: pd.concat([f, f[:1]]), ["several obtained rows"]),
        (lambda f: f.astype({"count": float}), ["other kind of value"]),
        (lambda f: f.astype({"count": str}), ["other kind of value"]),
        (lambda f: f.assign(count=f["count"] + [0, 1, 0, 0]), ["differs"]),
        (lambda f: f.assign(median=f["median"] + [0, 0, 2e-6, 0]), ["differs"]),
        (
            lambda f: f.assign(median=[math.nan, -0.5, 0.25, 0.0]),
            ["missing value, not declared (nan = true)"],
        ),
        (lambda f: f.assign(median=[math.inf, -0.5, 0.25, 0.0]), ["differs"]),
        (lambda f: f.assign(**{"class": ["S", "w"] * 2}), ["row is gone"] * 2 + ["row is new"] * 2),
    ],
)
def test_every_kind_of_difference_is_found(change: Any, why: list[str]) -> None:
    assert whys(change(table())) == why


def test_a_missing_value_on_both_sides_counts_unless_it_is_declared() -> None:
    frame = table().assign(median=[math.nan, -0.5, 0.25, 0.0])
    declared = noise(median={"abs": 1e-6, "nan": True})
    assert whys(frame, NOISE, frame) == [UNDECLARED]
    assert whys(frame, declared, frame) == []
    assert whys(table(), declared, frame) == ["missing on one side"]
    assert whys(frame, declared) == ["missing on one side"]


def test_floats_move_by_their_measured_noise_and_by_one_float32_ulp() -> None:
    assert whys(table().assign(median=lambda f: f["median"] + 0.9e-6)) == []
    assert len(whys(table().assign(median=lambda f: f["median"] + 1.1e-6))) == 4
    large = table().assign(median=[1000.0, 0.0, 0.0, 0.0])
    assert whys(large.assign(median=[1000 * (1 + ULP), 0.0, 0.0, 0.0]), noise(median=0), large) == []
    assert whys(large.assign(median=[1000 * (1 + 2 * ULP), 0.0, 0.0, 0.0]), noise(median=0), large) == [
        "differs"
    ]


def test_relative_noise_is_relative_to_the_recorded_value() -> None:
    relative = noise(median={"abs": 0.0, "rel": 0.01})
    assert whys(table().assign(median=lambda f: f["median"] * 1.009), relative) == []
    assert len(whys(table().assign(median=lambda f: f["median"] * 1.011), relative)) == 3


def test_infinity_is_within_no_noise() -> None:
    recorded = table().assign(median=[math.inf, 0.0, 0.0, 0.0])
    loose = noise(median={"abs": 1.0, "rel": 1.0})
    assert whys(recorded, loose, recorded) == []
    assert whys(recorded.assign(median=0.0), loose, recorded) == ["differs"]


def test_a_float_column_without_measured_noise_is_an_error_that_says_how_to_measure() -> None:
    with pytest.raises(GoldenError) as caught:
        compare(table(), table(), NoiseTable())
    assert "'median' has no measured noise" in caught.value.what
    assert "rwcore promote --noise" in str(caught.value.remedy)


def test_integers_are_exact_unless_the_noise_table_allows_more() -> None:
    moved = table().assign(count=lambda f: f["count"] + 2)
    assert whys(moved) == ["differs"] * 4
    assert whys(moved, noise(median=1e-6, count=2)) == []
    assert whys(moved, noise(median=1e-6, count=1)) == ["differs"] * 4


def test_counts_move_by_the_number_of_borderline_neurons() -> None:
    recorded = table().assign(**{"near_1e-6": [2, 2, 0, 0]})
    moved = recorded.assign(count=lambda f: f["count"] + [1, -2, 0, 0])
    assert whys(moved, NOISE, recorded) == []
    assert (
        whys(recorded.assign(count=lambda f: f["count"] + [3, 0, 1, 0]), NOISE, recorded) == ["differs"] * 2
    )
    # … but another integer column does not, nor the number of borderline neurons itself
    other = recorded.rename(columns={"count": "peak"})
    assert whys(other.assign(peak=lambda f: f["peak"] + 1), NOISE, other) == ["differs"] * 4
    assert whys(recorded.assign(**{"near_1e-6": 0}), NOISE, recorded) == ["differs"] * 2


def test_texts_and_truth_values_are_exact() -> None:
    recorded = pd.DataFrame({"layer": [0, 1], "tied": [True, False]})
    assert whys(recorded, NoiseTable(), recorded) == []
    assert whys(recorded.assign(tied=True), NoiseTable(), recorded) == ["differs"]


def test_a_table_of_one_row_needs_no_key() -> None:
    one = pd.DataFrame({"median": [0.5]})
    assert whys(one, NOISE, one) == []
    assert whys(one + 1, NOISE, one) == ["differs"]


def test_computed_bin_edges_are_the_recorded_ones() -> None:
    recorded = pd.DataFrame({"bin_low": [-0.8, -0.6], "count": [1, 2]})
    assert whys(pd.DataFrame({"bin_low": -1 + 0.2 * np.arange(1, 3), "count": [1, 2]}), NOISE, recorded) == []


@given(st.lists(st.integers(-3, 3), min_size=4, max_size=4), st.integers(0, 3))
def test_exactly_the_rows_beyond_the_allowance_are_listed(moves: list[int], allowed: int) -> None:
    found = compare(
        table(), table().assign(count=table()["count"] + moves), noise(median=1e-6, count=allowed)
    )
    keys = [f"layer={layer}, class={name}" for layer in (0, 1) for name in ("S", "W")]
    assert [d.row for d in found] == [
        key for key, move in zip(keys, moves, strict=True) if abs(move) > allowed
    ]


# --- files and messages --------------------------------------------------------------------------------


def test_what_was_dumped_is_the_same_as_itself(tmp_path: Path) -> None:
    frame = table().assign(median=np.float32([1 / 3, 2 / 3, 1e-8, 0]))
    dump(frame, tmp_path / "a.csv")
    dump(frame, tmp_path / "b.csv")
    assert_same(tmp_path / "a.csv", tmp_path / "b.csv", noise=noise(median=0), regenerate=COMMAND)


def test_a_difference_fails_with_the_differing_rows_and_the_command(tmp_path: Path) -> None:
    dump(table(), tmp_path / "recorded.csv")
    dump(table().assign(count=[1, 9, 2, 800]), tmp_path / "obtained.csv")
    with pytest.raises(RecordedDiffers) as caught:
        assert_same(tmp_path / "obtained.csv", tmp_path / "recorded.csv", noise=NOISE, regenerate=COMMAND)
    text = str(caught.value)
    assert "1 difference(s) from the recorded values in " + str(tmp_path / "recorded.csv") in text
    assert "layer=1, class=W" in text
    assert "800" in text
    assert "layer=0" not in text
    assert text.endswith(COMMAND)
    # pytest-regressions rewrites a file on --force-regen only after an AssertionError
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, GoldenError)


def test_a_long_list_is_cut_off() -> None:
    frame = pd.DataFrame({"layer": range(30), "count": range(30)})
    text = message(compare(frame, frame.assign(count=-1)), "file.csv", COMMAND)
    assert "30 difference(s)" in text
    assert "… and 10 more" in text


def test_a_missing_file_is_no_assertion(tmp_path: Path) -> None:
    dump(table(), tmp_path / "obtained.csv")
    with pytest.raises(GoldenError) as caught:
        assert_same(tmp_path / "obtained.csv", tmp_path / "recorded.csv", noise=NOISE, regenerate=COMMAND)
    assert not isinstance(caught.value, AssertionError)
