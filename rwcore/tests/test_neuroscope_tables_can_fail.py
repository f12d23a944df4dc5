"""Every claim about the published tables of neuron pages fails on tables in which one thing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rwcore.plugin.tables import TablesSubject
from rwcore.tests.neuroscope_claims import PUBLISHED, TABLES, Answers, answers, failing, labels, module

pytestmark = pytest.mark.slow  # all of it together

CLAIMS = module("tables")
TESTS = (module("pages").test_peaks, CLAIMS.test_tables, CLAIMS.test_older_pages)


def cell(table: str, column: str, row: int, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change one cell of a published table."""

    def apply(folder: Path) -> None:
        file = folder / f"neuroscope_{table}.csv"
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        kept = frame.loc[row, column]
        frame.loc[row, column] = str(change(float(kept)))
        assert frame.loc[row, column] != kept
        frame.to_csv(file, index=False)

    return apply


def first(hook: str, rank: int = 0, layer: int = 0) -> int:
    """A row of the table of examples: of the first list of gate-_in+ of a quantity in a layer."""
    frame = pd.read_csv(PUBLISHED / "neuroscope_examples.csv", keep_default_na=False)
    chosen = (frame["case"] == "gate-_in+") & (frame["hook"] == hook) & (frame["rank"] == rank)
    return int((chosen & (frame["layer"] == layer)).to_numpy().nonzero()[0][0])


def every(
    table: str, column: str, value: object, where: Callable[[pd.DataFrame], Any]
) -> Callable[[Path], None]:
    """Change a column of some rows."""

    def apply(folder: Path) -> None:
        file = folder / f"neuroscope_{table}.csv"
        frame = pd.read_csv(file, keep_default_na=False)
        frame.loc[where(frame), column] = value
        frame.to_csv(file, index=False)

    return apply


def sums_of_100(folder: Path) -> None:
    """Frequencies that add up to 100 % in every neuron."""
    file = folder / "neuroscope_pages.csv"
    frame = pd.read_csv(file, keep_default_na=False)
    others = frame[[f"{case}_freq_pct" for case in ("gate+_in-", "gate-_in+", "gate-_in-")]].sum(axis=1)
    frame["gate+_in+_freq_pct"] = (100 - others).round(2)
    frame.to_csv(file, index=False)


def dead_with_examples(folder: Path) -> None:
    """An example of a quadrant that never occurs."""
    file = folder / "neuroscope_examples.csv"
    frame = pd.read_csv(file, keep_default_na=False)
    row = frame[(frame["layer"] == 30) & (frame["neuron"] == 9996)].head(1).assign(case="gate+_in+")
    pd.concat([frame, row]).to_csv(file, index=False)


IN, ACT = "hook_pre_linear", "swish"
DEAD = 38  # the row of 29.8118, two of whose quadrants are empty
TABLE_CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a text of three tokens": (cell("examples", "n_tokens_shown", first(IN), lambda _: 3), {"J3#0", "J10#0"}),
    "another post": (cell("examples", "post", first(IN), lambda x: x + 1e-5), {"J7#0"}),
    "another peak": (cell("examples", "peak_value", first(IN, 8), lambda x: x * 1.0001), {"J8#0"}),
    "a gate of the other sign": (cell("examples", "gate", first(IN), lambda x: -x), {"J8#0", "J7#0"}),
    "a peak in front": (cell("examples", "peak_pos", first(IN), lambda _: 0), {"J10#0", "J10#1"}),
    "a rank above the one before": (
        cell("examples", "peak_value", first(IN, 8), lambda x: 2 * x), {"J11#0", "J11#1", "J8#0"}
    ),
    "an act below the minimum": (
        cell("examples", "peak_value", first(ACT), lambda _: -0.2784647), {"J12#0"}
    ),
    "a list of act that is not flat": (
        cell("examples", "peak_value", first(ACT, 15, layer=31), lambda _: -0.2), {"J13#0", "J8#0"}
    ),
    "strong lists": (every("examples", "peak_value", 1.0, lambda frame: frame["rank"] == 15), {"J16#0"}),
    "a frequency": (cell("pages", "gate+_in+_freq_pct", 0, lambda x: x + 0.05), {"H1#0", "H1#1"}),
    "sums of 100": (sums_of_100, {"H1#1", "M1#0"}),
    "an average beyond the extreme": (cell("pages", f"gate+_in+_{IN}_avg", 0, lambda _: 9), {"H2#1"}),
    "an average of the other sign": (cell("pages", f"gate+_in-_{IN}_avg", 0, lambda x: -x), {"H2#1"}),
    "another bound": (cell("pages", f"gate+_in-_{IN}_max", 0, lambda _: 0.5), {"H2#1"}),
    "no average": (
        every("pages", f"gate+_in+_{ACT}_avg", "nan", lambda f: f.index == 0), {"H2#0", "H7#0", "H7#1"}
    ),
    "a mean act above that of the gate": (
        cell("pages", f"gate+_in+_{ACT}_avg", 0, lambda x: x + 0.2), {"H3#0"}
    ),
    "a mean act below half of it": (cell("pages", f"gate-_in+_{ACT}_avg", 0, lambda x: x - 0.05), {"H3#0"}),
    "a largest act": (cell("pages", f"gate+_in+_{ACT}_max", 0, lambda x: x + 0.02), {"H4#0"}),
    "an extreme of post": (cell("pages", "gate-_in-_hook_post_max", 0, lambda x: x + 0.1), {"H5#0", "H6#1"}),
    "an example less": (every("examples", "rank", 99, lambda f: f.index == 0), {"H6#0"}),
    "an example of an empty quadrant": (dead_with_examples, {"H7#1"}),
    "an extreme of an empty quadrant": (cell("pages", f"gate+_in+_{IN}_max", DEAD, lambda _: 1), {"H7#1"}),
    "an old frequency": (cell("pages", "v1_gate_pos_pct", 31, lambda x: x + 0.01), {"X1#0"}),
    "no sign": (cell("pages", "refactor_sign_inferred", 36, lambda x: -x), {"X2#0", "X3#0"}),
    "an old mean": (cell("pages", "v1_mean", 31, lambda x: x + 0.01), {"X3#0"}),
}  # fmt: skip


def asked_of_tables(folder: Path) -> Answers:
    return {
        name: agrees
        for test in TESTS
        for name, agrees in answers(test, TablesSubject(TABLES, folder)).items()
    }


def test_published_tables_hold_as_they_are() -> None:
    said = asked_of_tables(PUBLISHED)
    assert failing(said) == set()
    assert set(said) == labels(TESTS, "data")


@pytest.mark.parametrize("name", TABLE_CHANGES)
def test_a_changed_table_fails(name: str, tmp_path: Path) -> None:
    change, wanted = TABLE_CHANGES[name]
    shutil.copytree(PUBLISHED, tmp_path / "published")
    change(tmp_path / "published")
    assert wanted <= failing(asked_of_tables(tmp_path / "published"))


def test_every_claim_about_tables_is_made_to_fail() -> None:
    assert set().union(*(wanted for _, wanted in TABLE_CHANGES.values())) == labels(TESTS, "data")
