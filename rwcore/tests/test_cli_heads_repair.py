"""`rwcore heads repair` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.studies.head_repair_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    Done,
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
    section,
    write_notes,
)

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads repair MODEL CORPUS --out DIR`"
TEXTS = [f"{letters} {letters[::-1]} and {letters * 2}" for letters in ("abcde", "fghij", "kab", "xyzfa")]
RANKS = "rank_N_over_Q"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("gemma2", tmp_path_factory.mktemp("model") / "gemma2")
    return save_letters(folder, SIZES["vocab"])


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("notes"), TEXTS)


def run(model: Path, notes: Path, out: Path, *words: object) -> Done:
    return rwcore(
        "heads", "repair", model, notes, "--device", "cpu", "--max-length", 60, "--out", out, *words
    )


def test_all_heads(model: Path, notes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(model, notes, out, "--heads", "all", "--share", 0.1)
    assert done.code == 0, done.err
    assert "12 heads" in done.rows[0]
    table = pd.read_csv(out / "heads.csv")
    top = table[table["selection"] == "top"]
    strongest = top.loc[top["direct"].idxmax()]
    head = f"{int(strongest['layer'])}.{int(strongest['head'])}"
    drawn = {name.replace("HEAD", head) for name, when in promises(TITLE) if when == "figure"}
    promised = {name for name, when in promises(TITLE) if when == "always"}
    assert set(names(out)) == promised | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns)
        plain = [one for one in columns if not one.startswith("rank_")]
        assert [one for one in documented(f"Repair: `{name}`") if one != RANKS] == plain
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore heads repair`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in section(TITLE)
    assert_all_listed(manifest, out)
    parts = table[[f"repair_{part}" for part in ("heads", "mlp", "norm", "post_norm")]].sum(axis=1)
    np.testing.assert_allclose(table["repair"], parts, atol=1e-3)
    assert table["repair_post_norm"].any()


@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_chosen_heads_without_figures(model: Path, notes: Path, tmp_path: Path, ablation: str) -> None:
    words = ("--heads", "2.1,0.3", "--ablation", ablation, "--mlps", "later", "--share", 0.2, "--top", 3)
    done = run(model, notes, tmp_path / "out", *words, "--no-plots")
    assert done.code == 0, done.err
    assert not [one for one in names(tmp_path / "out") if one.endswith(".png")]
    neurons = pd.read_csv(tmp_path / "out" / "neurons.csv")
    assert neurons.groupby(["layer", "head"]).size().to_dict() == {(0, 3): 3, (2, 1): 3}
    assert (neurons["neuron_layer"] >= neurons["layer"]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--heads", "first"), "no list of heads"),
        (("--heads", "9.0"), "no heads 9.0"),
        (("--share", "0"), "a share of 0"),
        (("--share", "0.001"), "a share of 0.001 of"),
        (("--top", "0"), "--top"),
    ],
)
def test_refused(model: Path, notes: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run(model, notes, tmp_path / "out", *words)
    assert_explained(done, said)
    assert not (tmp_path / "out").exists()


def test_help_has_an_example() -> None:
    done = rwcore("heads", "repair", "--help")
    assert done.code == 0
    assert "rwcore heads repair smollm2-135m-instruct-q4_1 handmade --tokens 2048" in done.out
