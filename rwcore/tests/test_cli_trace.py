"""``rwcore trace``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import build
from rwcore.studies.trace_export import SCHEMA
from rwcore.studies.trace_tables import COLUMNS, PARTS
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

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore trace MODEL --out DIR`"
TEXT = "w1 w5 w7 w30 w2"
PROMPT = ("--prompt", TEXT)
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("text"), ["w1 w2 w3", TEXT, "w9 w8"])


def test_a_prompt(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    words = ("--neurons", "orthogonal output:6", "--neurons", "0.1,1.3-5", "--gate", "-", "--post", "+")
    more = ("--target", "w4", "--layers", "0,2", "--layers", "1-2")
    done = rwcore("trace", model, *PROMPT, *CPU, *words, *more, "--out", out)
    assert done.code == 0, done.err
    assert "orthogonal output@6 + 0.1,1.3-5" in done.rows[0]
    assert "zero gate- post+; the prediction after 6 tokens" in done.rows[0]
    rows = promises(TITLE)
    promised = {name for name, when in rows if when == "always"}
    promised |= {f"{name}.{suffix}" for name, when in rows if when == "figure" for suffix in ("pdf", "png")}
    assert set(names(out)) == promised
    table = pd.read_csv(out / "trace.csv", keep_default_na=False)
    assert table.columns.tolist() == list(COLUMNS) == documented("`trace.csv`")
    assert list(dict.fromkeys(table["part"])) == list(PARTS) == documented("Parts of a trace")
    assert table[table["part"] == "group"]["layers"].tolist() == ["0,2", "1,2"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore trace`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["target"] == {"id": 8, "token": "w4"}
    assert manifest["command"].startswith("rwcore trace")
    assert_all_listed(manifest, out)
    listed = json.loads((out / "neurons.json").read_text())
    pairs = list(zip(listed["layer"], listed["neuron"], strict=True))
    assert {(0, 1), (1, 3), (1, 4), (1, 5)} <= {*pairs}
    assert len(pairs) == len({*pairs}) == manifest["ablation"]["neurons"]
    entropy = float(table[table["part"] == "ablated"].iloc[0]["entropy"])
    assert any(row.startswith(f"ablated {entropy:.4f} ") for row in done.rows)
    assert any(row.startswith("largest alone: neuron ") for row in done.rows)


def test_a_place_in_a_corpus_and_means_of_it(model: Path, text: Path, tmp_path: Path) -> None:
    place = ("--corpus", text, "--row", 1, "--position", 3, "--max-length", 16)
    words = ("--neurons", "0.1,1.3-5", "--mode", "mean", "--parts", "layers", "--no-plots")
    done = rwcore("trace", model, *place, *words, *CPU, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["prompt"]["tokens"] == ["<bos>", "w1", "w5", "w7"]
    assert manifest["next"]["token"] == "w30"
    assert (manifest["prompt"]["row"], manifest["prompt"]["position"]) == (1, 3)
    table = pd.read_csv(tmp_path / "out" / "trace.csv")
    assert {*table["part"]} == {"clean", "ablated", "layer", "up_to", "since"}
    assert table["loss"].notna().all()
    assert not [name for name in names(tmp_path / "out") if name.endswith(".png")]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--neurons", "0.1"), ("no prediction is named", "--row")),
        (("--corpus", "handmade", "--row", 1, "--neurons", "0.1"), ("no prediction is named",)),
        ((*PROMPT, "--row", 1, "--neurons", "0.1"), ("two predictions",)),
        (PROMPT, ("no neurons are named",)),
        ((*PROMPT, "--neurons", "weakning"), ("weakning",)),
        ((*PROMPT, "--neurons", "3.0"), ("layers are 0 to 2",)),
        ((*PROMPT, "--neurons", "0.1", "--target", "w4 w5"), ("not one token", "'w4', 'w5'")),
        (("--prompt", "", "--neurons", "0.1"), ("empty",)),
        (("--prompt", " ".join(["w1"] * 64), "--neurons", "0.1"), ("65 tokens", "64 positions")),
        ((*PROMPT, "--neurons", "0.1", "--mode", "zero,relu"), ("2 ablations", "one")),
        ((*PROMPT, "--neurons", "0.1", "--gate", "+,-"), ("2 ablations",)),
        ((*PROMPT, "--neurons", "0.1", "--mode", "mean"), ("--means",)),
        ((*PROMPT, "--neurons", "0.1", "--means", "handmade"), ("--mode mean",)),
        ((*PROMPT, "--neurons", "0.1", "--tokens", 5), ("--tokens", "--corpus")),
        ((*PROMPT, "--neurons", "0.1", "--positions", "1,6"), ("no position 6",)),
        ((*PROMPT, "--neurons", "0.1", "--layers", "1-x"), ("1-x", "--layers")),
        ((*PROMPT, "--neurons", "0.1", "--layers", "3"), ("no group of layers 3", "0 to 2")),
        ((*PROMPT, "--neurons", "0.1", "--parts", "layer"), ("'layer'", "positions")),
        ((*PROMPT, "--neurons", "0.1", "--left-out", -1), ("-1 neurons",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    assert_explained(rwcore("trace", model, *words, *CPU, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_not_there(model: Path, text: Path, tmp_path: Path) -> None:
    place = ("--corpus", text, "--max-length", 16, "--neurons", "0.1", "--out", tmp_path / "out")
    for row, position, what in ((3, 0, "no row 3"), (1, 6, "no position 6")):
        done = rwcore("trace", model, *place, "--row", row, "--position", position, *CPU)
        assert_explained(done, what, "are 0 to")


def test_a_condition_on_a_model_without_a_gate(tmp_path: Path) -> None:
    plain = build("gpt2", tmp_path / "gpt2")
    words = ("--neurons", "0.1", "--gate", "+")
    assert_explained(rwcore("trace", plain, *PROMPT, *words, *CPU, "--out", tmp_path / "out"), "no gate")
