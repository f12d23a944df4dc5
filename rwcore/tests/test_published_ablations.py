"""The published tables of ablations: what must be true of them, and what some of them really are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rwcore.claim.published import read_csv
from rwcore.paths import golden_dir
from rwcore.stats.classes import RW_CLASSES

TABLE = read_csv(golden_dir() / "rw_functionalities" / "published" / "ablation_summaries.csv")
KEY = ["model", "experiment", "mode", "metric", "set", "size", "baseline", "gate", "post"]
NUMBERS = ["mean", "min", "q1", "median", "q3", "max"]
OLMO, LLAMA = "allenai/OLMo-7B-0424-hf", "meta-llama/Llama-3.2-3B"


def rows(**wanted: object) -> pd.DataFrame:
    found = TABLE
    for column, value in wanted.items():
        found = found[found[column] == value]
    return found


def same_rows(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Of the runs that two experiments have in common, whether all numbers are the same."""
    key = [column for column in KEY if column != "experiment"]
    both = one.merge(other, on=key, suffixes=("", "_other"), validate="one_to_one")
    others = both[[f"{name}_other" for name in NUMBERS]].to_numpy(float)
    found: np.ndarray = (both[NUMBERS].to_numpy(float) == others).all(axis=1)
    return found


def test_the_table_is_complete_and_every_row_has_its_own_key() -> None:
    assert [*TABLE.columns] == [*KEY, *NUMBERS]
    assert len(TABLE) == 522
    assert not TABLE.duplicated(KEY).any()
    assert np.isfinite(TABLE[NUMBERS].to_numpy(float)).all()
    assert set(TABLE["set"]) <= {one.name for one in RW_CLASSES}
    allowed = {
        "mode": {"zero", "mean"},
        "metric": {"loss", "entropy", "rank", "log_scale"},
        "size": {"all", "strengthening", "weakening"},
        "experiment": {"None", "strengthening", "weakening", "weakening_complete"},
        "gate": {"", "+", "-"},
        "post": {"", "+", "-"},
        "model": {OLMO, LLAMA},
    }
    assert {column: set(TABLE[column]) for column in allowed} == allowed
    assert TABLE["baseline"].dtype == bool
    assert len(rows(model=OLMO)) == 288


def test_the_rows_that_were_nan_are_those_of_scales_of_llama() -> None:
    """All tables of an experiment have the same rows, but for 58 and a table that never was."""
    sizes = TABLE.groupby(["model", "experiment", "mode", "metric"]).size().unstack(fill_value=0)
    others = sizes[["loss", "entropy", "rank"]]
    assert (others.nunique(axis=1) == 1).all()
    missing = sizes["loss"] - sizes["log_scale"]
    assert missing[OLMO].eq(0).all()
    assert missing[LLAMA].sum() == 58 + 12


def test_smallest_quartiles_and_largest_are_in_order() -> None:
    ordered = TABLE[["min", "q1", "median", "q3", "max"]].to_numpy(float)
    assert (np.diff(ordered, axis=1) >= 0).all()
    assert TABLE["mean"].between(TABLE["min"], TABLE["max"]).all()


def test_only_unconditional_runs_have_baselines_and_all_of_them_do() -> None:
    conditional = TABLE["gate"] != ""
    assert ((TABLE["post"] != "") == conditional).all()
    assert not TABLE.loc[conditional, "baseline"].any()
    assert set(TABLE.loc[conditional, "set"]) == {"weakening"}
    runs = TABLE[~conditional].groupby([column for column in KEY if column != "baseline"])["baseline"]
    assert (runs.nunique() == 2).all()


def test_numbers_are_those_of_float16_and_so_are_their_means() -> None:
    """Sections 3.3 and 3.4: stored, subtracted and averaged in half precision; only ranks were not."""
    halves = TABLE[TABLE["metric"] != "rank"]
    for column in ("mean", "min", "max"):
        printed = halves[column].to_numpy(float)
        rounded = printed.astype(np.float16).astype(float)
        assert [f"{value:.6g}" for value in rounded] == [f"{value:.6g}" for value in printed]
    ranks = rows(metric="rank")
    assert (ranks[["min", "max"]] % 1 == 0).all(axis=None)
    means = ranks["mean"].to_numpy(float)
    assert (np.abs(means.astype(np.float16).astype(float) / means - 1) > 1e-5).any()


def test_the_size_matched_zero_runs_of_olmo_are_whole_classes() -> None:
    """Section 7.2: the table of 526 neurons of each class repeats that of whole classes. Not a target."""
    for model, mode, repeated in (
        (OLMO, "zero", 8),
        (OLMO, "mean", 2),
        (LLAMA, "zero", 2),
        (LLAMA, "mean", 2),
    ):
        matched = rows(model=model, mode=mode, experiment="weakening", metric="entropy")
        same = same_rows(matched, rows(model=model, mode=mode, experiment="None"))
        assert same.all()
        assert len(same) == repeated
    assert set(rows(model=OLMO, experiment="weakening", mode="zero")["size"]) == {"all"}
    # The runs that really have another size have other numbers.
    sized = TABLE[TABLE["size"] != "all"].assign(size="all")
    assert not same_rows(sized[sized["experiment"] == "strengthening"], rows(experiment="None")).any()


def test_a_run_that_stands_in_several_tables_has_the_same_numbers() -> None:
    for experiment in ("strengthening", "weakening", "weakening_complete"):
        same = same_rows(rows(experiment=experiment), rows(experiment="None"))
        assert len(same) >= 14
        assert same.all()


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"metric": "loss", "mode": "zero", "baseline": False}, (-0.158203, -0.0510254)),
        ({"metric": "loss", "mode": "zero", "baseline": True}, (-0.0013628, 9.05991e-06)),
        ({"metric": "entropy", "mode": "zero", "baseline": False}, (-0.527832, -0.256836)),
        ({"metric": "entropy", "mode": "mean", "baseline": True}, (0.0118103, 0.00585938)),
    ],
)
def test_the_main_finding_is_in_the_table(wanted: dict[str, object], numbers: tuple[float, float]) -> None:
    """Claims A01 to A03, from another transcription."""
    (row,) = rows(model=OLMO, experiment="None", set="weakening", **wanted).itertuples()
    assert (row.mean, row.median) == numbers
