"""`rwcore heads cspa` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.studies.head_cspa_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    Done,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
    write_notes,
)
from rwcore.tests.head_commands import TEXTS, checked_manifest, model_of, notes_of_letters

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads cspa MODEL CORPUS --out DIR`"


model = pytest.fixture(scope="module")(model_of("llama"))
notes = pytest.fixture(scope="module")(notes_of_letters)


def run(model: Path, notes: Path, out: Path, *words: object) -> Done:
    return rwcore("heads", "cspa", model, notes, "--device", "cpu", "--max-length", 60, "--out", out, *words)


def test_late_heads(model: Path, notes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(model, notes, out, "--closer", 2)
    assert done.code == 0, done.err
    assert "8 heads" in done.rows[0]
    assert "of 4 documents" in done.rows[0]
    manifest = checked_manifest(out, "cspa", SCHEMA)
    best = manifest["best"]
    drawn = {f"explained_{one}" for one in ("negative", "both", "qk", "ov")}
    drawn |= {f"percentiles_{head}" for head in best} | {f"loss_{best[0]}"}
    promised = {name for name, when in promises(TITLE) if when == "always"}
    assert set(names(out)) == promised | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns) == documented(f"CSPA: `{name}`")
    table = pd.read_csv(out / "heads.csv")
    # Layers 1 and 2 of three, four heads each, four variants.
    assert table.groupby("layer").size().to_dict() == {1: 16, 2: 16}
    np.testing.assert_allclose(table["explained"], 1 - table["kl"] / table["kl_mean_ablation"], rtol=1e-6)
    negative = table[table["variant"] == "negative"].sort_values("explained", ascending=False)
    assert best == [f"{row.layer}.{row.head}" for row in negative.head(2).itertuples()]


def test_chosen_heads_by_position_without_figures(model: Path, tmp_path: Path) -> None:
    notes = write_notes(tmp_path, [text[:9] for text in TEXTS if len(text) >= 9])
    words = ("--heads", "2.1,0.3", "--variants", "both,qk", "--means", "position", "--keep", 2, "--no-self")
    done = run(model, notes, tmp_path / "out", *words, "--related", 2, "--no-plots", "--closer", 1)
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "out" / "heads.csv")
    assert table[["layer", "head", "variant"]].to_numpy().tolist() == [
        [0, 3, "both"], [0, 3, "qk"], [2, 1, "both"], [2, 1, "qk"],
    ]  # fmt: skip
    measure = json.loads((tmp_path / "out" / "manifest.json").read_text())["measure"]
    assert measure["choice"] == {"keep": 2, "self_attention": False}
    assert set(names(tmp_path / "out")) == {name for name, when in promises(TITLE) if when == "always"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--heads", "3.0"), ["3.0", "--heads", "layers 0 to 2"]),
        (("--heads", "1.4"), ["1.4", "heads 0 to 3"]),
        (("--heads", "last"), ["'last'", "--heads"]),
        (("--variants", "negative,none"), ["negative,none", "--variants"]),
        (("--variants", "qk,qk"), ["qk,qk"]),
        (("--variants", ""), ["--variants"]),
        (("--keep", "many"), ["'many'", "--keep"]),
        (("--keep", "1.5"), ["1.5", "--keep"]),
        (("--keep", "0"), ["--keep"]),
        (("--means", "position"), ["different lengths", "--means overall"]),
        (("--related", 0), ["--related"]),
        (("--related", 2), ["negative", "sign"]),
        (("--closer", -1), ["--closer"]),
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
