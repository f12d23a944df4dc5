"""`rwcore heads examples` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.pages.head_record import SCHEMA as RECORD_SCHEMA
from rwcore.pages.packed_json import packed_json
from rwcore.studies.head_examples_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    Done,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
    section,
)
from rwcore.tests.head_commands import checked_manifest, model_of, notes_of_letters

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads examples MODEL CORPUS --out DIR`"


model = pytest.fixture(scope="module")(model_of("llama"))
notes = pytest.fixture(scope="module")(notes_of_letters)


def run(model: Path, notes: Path, out: Path, *words: object) -> Done:
    return rwcore(
        "heads", "examples", model, notes, "--device", "cpu", "--max-length", 60, "--out", out, *words
    )


def test_three_heads_and_the_rows_that_matter(model: Path, notes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(model, notes, out, "--examples", 3)
    assert done.code == 0, done.err
    assert "in 3 of 4 rows" in done.rows[0]
    assert set(names(out)) == {name for name, when in promises(TITLE) if when == "always"}
    manifest = checked_manifest(out, "examples", SCHEMA)
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns) == documented(f"Examples: `{name}`")
    # Layers 1 and 2 of three are late.
    assert len(manifest["measure"]["heads"]) == 3
    assert {head[0] for head in manifest["measure"]["heads"]} <= {"1", "2"}
    chosen = manifest["chosen"]
    assert [one["row"] for one in chosen] == manifest["measure"]["rows"]
    assert np.all(np.diff([one["loss_increase"] for one in chosen]) <= 0)
    table = pd.read_csv(out / "tokens.csv", keep_default_na=False, na_values=[""])
    for one in chosen:
        layer, head = map(int, one["head"].split("."))
        mine = table[(table["layer"] == layer) & (table["head"] == head) & (table["row"] == one["row"])]
        best = mine.loc[mine["direct_loss_increase"].where(mine["position"] > 0).idxmax()]
        assert best["position"] == one["position"]
        assert best["direct_loss_increase"] == pytest.approx(one["loss_increase"], abs=1e-4)


def test_the_record(model: Path, notes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--heads", "2.1,0.3", "--rows", "3,0", "--effects", "total, direct")
    done = run(model, notes, out, *words)
    assert done.code == 0, done.err
    record = json.loads((out / "examples.json").read_text())
    assert sorted(record) == sorted(documented("`examples.json`"))
    assert record["schema"] == RECORD_SCHEMA
    assert f"Schema `{RECORD_SCHEMA}`" in section("`examples.json`")
    for row in record["rows"]:
        assert sorted(row) == sorted(documented("`rows` of `examples.json`"))
    for one in record["readings"]:
        assert sorted(one) == sorted(documented("`readings` of `examples.json`"))
    assert record["heads"] == ["0.3", "2.1"]
    assert record["effects"] == ["total", "direct"]
    assert [row["number"] for row in record["rows"]] == [3, 0]
    assert str(tmp_path) not in (out / "examples.json").read_text()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["chosen"] == []
    assert manifest["measure"]["rows"] == [3, 0]
    table = pd.read_csv(out / "tokens.csv")
    assert table["indirect_kl"].isna().all()
    assert table["total_kl"].notna().all()
    page = (out / "examples.html").read_text()
    assert "2.1" in page
    assert packed_json(record) in page


def test_again_from_the_store(model: Path, notes: Path, tmp_path: Path) -> None:
    """What was read once is not read again, and the files are the same."""
    words = ("--heads", "1.1", "--rows", "1")
    for name in ("one", "two"):
        assert run(model, notes, tmp_path / name, *words).code == 0
    for name in ("examples.json", "examples.html", "tokens.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--heads", "3.0"), ["3.0", "--heads", "layers 0 to 2"]),
        (("--heads", "1.4"), ["1.4", "heads 0 to 3"]),
        (("--heads", "late"), ["'late'", "--heads"]),
        (("--rows", "4"), ["no row 4", "--rows", "0 to 3"]),
        (("--rows", "first"), ["'first'", "--rows"]),
        (("--rows", "1", "--examples", 2), ["--rows, --examples", "one of them"]),
        (("--examples", 0), ["--examples"]),
        (("--effects", "direct,none"), ["direct,none", "--effects"]),
        (("--effects", ""), ["--effects"]),
        (("--means", "position"), ["different lengths", "--means overall"]),
    ],
)
def test_bad_options(
    model: Path, notes: Path, tmp_path: Path, words: tuple[object, ...], parts: list[str]
) -> None:
    assert_explained(run(model, notes, tmp_path / "out", *words), *parts)
    assert not (tmp_path / "out").exists()


def test_an_encoder(notes: Path, tmp_path: Path) -> None:
    folder = save_letters(build("bert", tmp_path / "bert"), SIZES["vocab"])
    assert_explained(run(folder, notes, tmp_path / "out"), "no decoder")
