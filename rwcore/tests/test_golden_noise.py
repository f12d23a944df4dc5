"""The noise of recorded values: measured between kernels, written, read back."""

from __future__ import annotations

import datetime
import math
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import GoldenError
from rwcore.golden.compare import compare
from rwcore.golden.files import dump
from rwcore.golden.noise import SAFETY, ULP, ColumnNoise, NoiseTable, measure, read_noise, write_noise

DAY = datetime.date(2025, 11, 21)


def frame(median: float = 0.5, count: int = 3, **more: object) -> pd.DataFrame:
    return pd.DataFrame({"layer": [0, 1], "median": [median, 0.25], "count": [count, 4]}).assign(**more)


def folders(root: Path, **kernels: dict[str, pd.DataFrame]) -> dict[str, Path]:
    for kernel, files in kernels.items():
        for name, table in files.items():
            dump(table, root / kernel / name)
    return {kernel: root / kernel for kernel in kernels}


def test_noise_is_the_largest_difference_of_any_pair_and_file(tmp_path: Path) -> None:
    found = measure(
        folders(
            tmp_path,
            default={"medians/a.csv": frame(), "medians/b.csv": frame()},
            avx2={"medians/a.csv": frame(0.5 + 2**-20), "medians/b.csv": frame()},
            avx512={"medians/a.csv": frame(0.5 - 2**-20), "medians/b.csv": frame(0.5 + 2**-22)},
        ),
        date=DAY,
    )
    assert set(found.columns) == {"median", "count"}
    median = found.columns["median"]
    assert median.abs == pytest.approx(SAFETY * 2 * 2**-20, rel=1e-3)  # files hold 9 digits
    assert median.rel == ULP
    assert median.measured_on == ["avx2", "avx512", "default"]
    assert median.date == DAY
    assert "times 4" in median.because
    assert (found.columns["count"].abs, found.columns["count"].rel) == (0, 0)


def test_integers_that_moved_get_an_allowance(tmp_path: Path) -> None:
    found = measure(folders(tmp_path, a={"x.csv": frame(count=3)}, b={"x.csv": frame(count=5)}))
    assert found.columns["count"].abs == SAFETY * 2


def test_a_column_that_counts_is_allowed_a_near_tie(tmp_path: Path) -> None:
    given = folders(tmp_path, a={"x.csv": frame(1.0, count=3)}, b={"x.csv": frame(1.5, count=3)})
    found = measure(given, steps={"count": 2.0, "median": 0.1})
    assert found.columns["count"].abs == 2.0
    assert "near tie" in found.columns["count"].because
    assert found.columns["median"].abs == SAFETY * 0.5


def test_measured_noise_accepts_what_it_was_measured_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tables = {
        f"k{i}": {"x.csv": frame(float(np.float32(rng.normal())), int(rng.integers(9)))} for i in range(4)
    }
    found = measure(folders(tmp_path, **tables))
    for first in tables.values():
        for second in tables.values():
            assert compare(first["x.csv"], second["x.csv"], found) == []


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({"y.csv": frame()}, "different files"),
        ({"x.csv": frame(), "y.csv": frame()}, "different files"),
        ({"x.csv": frame()[:1]}, "not only values"),
        ({"x.csv": frame(extra=1)}, "not only values"),
        ({"x.csv": frame().astype({"count": float})}, "not only values"),
        ({"x.csv": frame(math.nan)}, "missing values"),
    ],
)
def test_folders_that_differ_in_more_than_values_are_rejected(
    tmp_path: Path, second: dict[str, pd.DataFrame], what: str
) -> None:
    with pytest.raises(GoldenError, match=what):
        measure(folders(tmp_path, a={"x.csv": frame()}, b=second))


def test_declared_gaps_must_be_the_same_under_every_kernel(tmp_path: Path) -> None:
    same = folders(tmp_path / "same", a={"x.csv": frame(math.nan)}, b={"x.csv": frame(math.nan)})
    assert measure(same, allow_nan=["median"]).columns["median"].nan is True
    other = folders(tmp_path / "other", a={"x.csv": frame(math.nan)}, b={"x.csv": frame()})
    with pytest.raises(GoldenError, match="missing values"):
        measure(other, allow_nan=["median"])


def test_truth_values_have_no_noise(tmp_path: Path) -> None:
    kernels = folders(tmp_path, a={"x.csv": frame(tied=True)}, b={"x.csv": frame(tied=[True, False])})
    with pytest.raises(GoldenError, match="truth values of 'tied'"):
        measure(kernels)


def test_one_kernel_or_an_empty_folder_measures_nothing(tmp_path: Path) -> None:
    one = folders(tmp_path, a={"x.csv": frame()})
    with pytest.raises(GoldenError, match="at least two"):
        measure(one)
    with pytest.raises(GoldenError, match="no recorded files"):
        measure({**one, "b": tmp_path / "nowhere"})


# --- the file ------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.builds(
            ColumnNoise,
            abs=st.floats(0, 1e300),
            rel=st.floats(0, 1),
            because=st.text(min_size=1),
            measured_on=st.lists(st.text(), min_size=2, max_size=3),
            date=st.dates(),
            nan=st.booleans(),
        ),
        max_size=3,
    )
)
def test_a_table_is_read_back_as_it_was_written(columns: dict[str, ColumnNoise]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_noise(folder, NoiseTable(columns))
        assert read_noise(folder) == NoiseTable(columns, folder / "noise.toml")


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    column = ColumnNoise(abs=2e-7, rel=0, because="measured", measured_on=["a", "b"], date=DAY)
    write_noise(tmp_path, NoiseTable({"near_1e-6": column}))
    text = (tmp_path / "noise.toml").read_text()
    assert '[columns."near_1e-6"]\nabs = 2e-07\n' in text
    assert tomllib.loads(text)["columns"]["near_1e-6"]["date"] == DAY


def test_no_file_is_an_empty_table(tmp_path: Path) -> None:
    assert read_noise(tmp_path) == NoiseTable({}, tmp_path / "noise.toml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[columns.median", "TOML"),
        ("[columns.median]\nabs = 1e-6\n", "columns → median → because: Field required"),
        ("[column.median]\nabs = 1e-6\n", "column: Extra inputs"),
        (
            '[columns.x]\nabs = -1.0\nrel = 0.0\nbecause = "x"\nmeasured_on = ["a", "b"]\n',
            "columns → x → abs",
        ),
        (
            '[columns.x]\nabs = 1.0\nrel = 0.0\nbecause = "x"\nmeasured_on = ["a"]\ndate = 2025-01-01\n',
            "columns → x → measured_on",
        ),
    ],
)
def test_a_malformed_file_is_named_with_its_keys(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "noise.toml").write_text(text)
    with pytest.raises(GoldenError) as caught:
        read_noise(tmp_path)
    assert what in caught.value.what
    assert caught.value.where == str(tmp_path / "noise.toml")
