"""`rwcore heads repair` from the command line to the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rwcore.studies.head_repair_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    Done,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
)
from rwcore.tests.head_commands import checked_manifest, model_of, notes_of_letters

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads repair MODEL CORPUS --out DIR`"
RANKS = "rank_N_over_Q"


model = pytest.fixture(scope="module")(model_of("gemma2"))
notes = pytest.fixture(scope="module")(notes_of_letters)


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
    checked_manifest(out, "repair", SCHEMA)
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
