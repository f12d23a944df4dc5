"""Recorded tables as CSV: reviewable, and read back without loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import GoldenError
from rwcore.golden.files import decode, dump, encode, family, key_columns, load
from rwcore.golden.sidecar import read_sidecar, write_sidecar


def test_a_file_is_tidy_and_sorted() -> None:
    frame = pd.DataFrame(
        {
            "layer": [10, 2, 2],
            "class": ["W", "W", "S"],
            "count": np.array([3, 4, 5], dtype=np.int32),
            "median": np.array([0.1, -2.0, 1e-9], dtype=np.float32),
            "tied": [True, False, True],
        }
    )
    assert encode(frame) == (
        "layer,class,count,median,tied\n"
        "2,S,5,9.99999972e-10,True\n"
        "2,W,4,-2.0,False\n"
        "10,W,3,0.100000001,True\n"
    )
    assert encode(frame.sample(frac=1, random_state=0)) == encode(frame)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_float32_is_read_back_without_loss(values: list[float]) -> None:
    column = np.array(values, dtype=np.float32)
    frame = pd.DataFrame({"layer": range(len(values)), "x": column})
    again = decode(encode(frame), "here")
    assert family(again["x"]) == "float"
    np.testing.assert_array_equal(again["x"].to_numpy().astype(np.float32), column + 0.0)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.data())
def test_integers_truth_values_and_texts_are_read_back(values: list[int], data: st.DataObject) -> None:
    # control characters and quotes are where a CSV goes wrong
    alphabet = st.one_of(st.characters(codec="utf-8"), st.sampled_from('\r\n",'))
    texts = data.draw(st.lists(st.text(alphabet), min_size=len(values), max_size=len(values)))
    frame = pd.DataFrame(
        {
            "layer": range(len(values)),
            "n": values,
            "b": [value > 0 for value in values],
            "t": ["t" + t for t in texts],
        }
    )
    pd.testing.assert_frame_equal(decode(encode(frame), "here"), frame, check_dtype=False)


def test_lines_end_in_one_way_and_texts_keep_theirs(tmp_path: Path) -> None:
    frame = pd.DataFrame({"token": ["a\r\nb", "c\rd", 'say "x", y'], "n": [1, 2, 3]})
    file = tmp_path / "x.csv"
    dump(frame, file)
    assert file.read_bytes().count(b"\r\n") == 1
    assert load(file)["token"].tolist() == sorted(frame["token"])


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (pd.DataFrame({"layer": []}), "empty"),
        (pd.DataFrame({"token": ["1", "2"], "n": [1, 2]}), "holds text but reads back as int"),
        (pd.DataFrame({"token": ["nan"], "n": [1]}), "reads back as float"),
        (pd.DataFrame({"token": ["True"], "n": [1]}), "reads back as bool"),
        (pd.DataFrame({"token": ["a", None], "n": [1, 2]}), "neither numbers"),
        (pd.DataFrame({"layer": [1], "x": [[1, 2]]}), "neither numbers"),
        (pd.DataFrame([[1, 2]], columns=["layer", "layer"]), "share a name"),
        (pd.DataFrame({"x": [1.0, 2.0]}), "no column says what a row is about"),
    ],
)
def test_what_would_not_read_back_is_not_written(tmp_path: Path, frame: pd.DataFrame, what: str) -> None:
    file = tmp_path / "x.csv"
    with pytest.raises(GoldenError, match=what):
        dump(frame, file)
    assert list(tmp_path.iterdir()) == []


def test_keys_are_texts_and_well_known_columns() -> None:
    frame = pd.DataFrame(
        {"layer": [1], "bin_low": [0.5], "cosine": ["x"], "series": ["y"], "count": [1], "max": [2.0]}
    )
    assert key_columns(frame) == ["layer", "bin_low", "cosine", "series"]
    assert key_columns(pd.DataFrame({"x": [1.0]})) == []


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b\n1\n", 'a\n"x\n', "a,a\n1,2\n"])
def test_files_that_are_no_tables(text: str) -> None:
    with pytest.raises(GoldenError) as caught:
        decode(text, "some.csv")
    assert caught.value.where == "some.csv"
    assert "--force-regen" in str(caught.value.remedy)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="no recorded table"):
        load(tmp_path / "x.csv")


# --- side-cars -----------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    file = tmp_path / "org--a.csv"
    dump(pd.DataFrame({"layer": [0, 1], "median": [0.5, math.pi]}), file)
    write_sidecar(file, {"commit": "abc", "dtype": "float32"})
    return file


def test_a_sidecar_says_what_produced_the_file(recorded: Path) -> None:
    facts: dict[str, Any] = read_sidecar(recorded)
    assert facts["provenance"] == {"commit": "abc", "dtype": "float32"}
    assert facts["columns"] == {"layer": "int", "median": "float"}
    assert facts["rows"] == 2


def test_a_file_changed_by_hand_is_noticed(recorded: Path) -> None:
    recorded.write_text(recorded.read_text().replace("0.5", "0.6"))
    with pytest.raises(GoldenError, match="changed after"):
        read_sidecar(recorded)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": "rwcore-recorded/0"}'])
def test_a_sidecar_that_is_missing_or_of_another_kind(recorded: Path, text: str | None) -> None:
    file = recorded.with_suffix(".meta.json")
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(GoldenError) as caught:
        read_sidecar(recorded)
    assert "--force-regen" in str(caught.value.remedy)
