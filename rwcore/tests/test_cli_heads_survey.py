"""``rwcore heads survey``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.planted_heads import plant_heads
from rwcore.studies.head_survey_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    OUTPUTS,
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
    write_notes,
)
from rwcore.tests.head_models import repeating_rows

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads survey MODEL CORPUS --out DIR`"
CPU = ("--device", "cpu", "--max-length", 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_heads(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [" ".join(f"w{token - 4}" for token in row[1:]) for row in repeating_rows(6)]
    return write_notes(tmp_path_factory.mktemp("text"), rows)


def promised(*without: str) -> set[str]:
    """Files that OUTPUTS.md promises, but for some figures."""
    rows = promises(TITLE)
    found = {name for name, when in rows if when == "always"}
    drawn = {name for name, when in rows if when.startswith("figure")} - {*without}
    return found | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}


def test_a_survey(model: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore(
        "heads", "survey", model, text, *CPU, "--paths", "1.1,1.0", "--holding", "1.2", "--out", out
    )
    assert done.code == 0, done.err
    assert "6 heads, 2 MLPs" in done.rows[0]
    assert {*names(out)} == promised()
    for name, columns in COLUMNS.items():
        table = pd.read_csv(out / name, keep_default_na=False)
        assert table.columns.tolist() == list(columns) == documented(f"Survey of heads: `{name}`")
    worst = pd.read_csv(out / "heads.csv").sort_values("negative_rank").iloc[0]
    assert (worst["layer"], worst["head"]) == (1, 1)
    assert any(row.startswith("1.1 ") for row in done.rows)
    assert {*pd.read_csv(out / "paths.csv")["path"]} == {
        "direct",
        "total",
        "indirect",
        "indirect_held",
        "one_hop",
    }
    assert "| 1.1 " in (out / "negative.md").read_text()
    assert r"\label{tab:" in (out / "negative.tex").read_text()
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore heads survey`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["shown"] == ["1.0", "1.1"]  # ascending, however they were named
    assert manifest["command"].startswith("rwcore heads survey")
    assert_all_listed(manifest, out)


def test_without_paths_and_figures(model: Path, text: Path, tmp_path: Path) -> None:
    words = ("--paths", "none", "--no-plots", "--means", "zero")
    done = rwcore("heads", "survey", model, text, *CPU, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert {*names(tmp_path / "out")} == {name for name, when in promises(TITLE) if when == "always"}
    assert not len(pd.read_csv(tmp_path / "out" / "paths.csv"))
    assert pd.read_csv(tmp_path / "out" / "most_helped.csv")["head"].iloc[0] == 1


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--paths", "10"), ("'10' is no list of heads", "negative:5")),
        (("--paths", "negative"), ("'negative' is no list",)),
        (("--paths", "1.7"), ("no heads 1.7", "heads 0 to 2")),
        (("--holding", "x"), ("--holding",)),
        (("--paths", "none", "--holding", "1.1"), ("no paths are followed",)),
        (("--workers", 0), ("0 workers",)),
        (("--tokens", 0), ("tokens",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, text: Path, tmp_path: Path
) -> None:
    done = rwcore("heads", "survey", model, text, *words, *CPU, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()
