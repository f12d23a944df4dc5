"""`rwcore generate` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import BOS, build
from rwcore.studies.generation_export import COLUMNS, MARK, SCHEMA
from rwcore.tests.command_line import (
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    rwcore,
    section,
)

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore generate MODEL --out DIR`"
COMMON = ("--tokens", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"), vocab=64)


def test_texts_with_and_without_neurons(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    words = ("--prompt", "w3 w8", "--prompt", "w1", "--neurons", "orthogonal output:20", "--neurons", "0.1")
    done = rwcore("generate", model, *COMMON, *words, "--out", out)
    assert done.code == 0, done.err
    assert done.rows[0] == f"{model}: 8 texts. The likeliest token each time."
    table = pd.read_csv(out / "generations.csv", keep_default_na=False)
    assert table.columns.tolist() == list(COLUMNS) == documented("`generations.csv`")
    assert set(table["set"]) == {"clean", "orthogonal output@20", "0.1"}
    assert table["prompt"].unique().tolist() == [0, 1]
    assert names(out) == sorted(documented(TITLE))
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore generate`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in section(TITLE)
    assert manifest["command"].startswith("rwcore generate ")
    assert_all_listed(manifest, out)
    run_names = ["clean", "orthogonal output@20 zero", "orthogonal output@20 zero baseline", "0.1 zero"]
    assert [run["name"] for run in manifest["runs"]] == run_names * 2
    # What is printed is what was written.
    clean = table[(table["set"] == "clean") & (table["prompt"] == 0)]["text"]
    place = next(number for number, row in enumerate(done.rows) if row.startswith("prompt 0: w3 w8"))
    assert done.rows[place + 1].startswith("clean: 8 tokens, mean entropy ")
    assert done.rows[place + 2] == " ".join(clean)
    parted = next(run for run in manifest["runs"] if run["parts_at"] is not None)
    assert f"parts from the clean text at step {parted['parts_at']}" in done.out
    assert done.out.count(MARK) == sum(run["parts_at"] is not None for run in manifest["runs"])
    page = (out / "generations.md").read_text()
    assert page.count(MARK) == done.out.count(MARK) + 1  # the first line says what it means


def test_conditions_have_no_baselines(model: Path, tmp_path: Path) -> None:
    words = ("--prompt", "w3", "--neurons", "orthogonal output:6", "--gate", "+,-", "--post", "-")
    done = rwcore("generate", model, *COMMON, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "out" / "generations.csv", keep_default_na=False)
    assert set(zip(table["gate"], table["post"], strict=True)) == {("", ""), ("+", "-"), ("-", "-")}
    assert not table["baseline"].any()


def test_a_model_begins_by_itself_and_draws(model: Path, tmp_path: Path) -> None:
    words = ("--temperature", 1.5, "--top-k", 20, "--seed", 3, "--neurons", "0.1")
    for name in ("one", "two"):
        done = rwcore("generate", model, *COMMON, *words, "--out", tmp_path / name)
        assert done.code == 0, done.err
    assert "Drawn from the 20 likeliest at temperature 1.5 with seed 3." in done.out
    assert "prompt 0: (nothing but the first token)" in done.out
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["prompts"] == [{"text": "", "tokens": [BOS]}]
    assert manifest["decoding"] == {"tokens": 8, "temperature": 1.5, "top_k": 20, "seed": 3}
    texts = [(tmp_path / name / "generations.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_only_the_clean_text(model: Path, tmp_path: Path) -> None:
    done = rwcore("generate", model, *COMMON, "--prompt", "w3", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert ": 1 text. " in done.out


def test_means_are_measured_on_a_text(model: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("w1 w2 w3 w4 w5 w6 w7 w8\n" * 8)
    words = ("--prompt", "w3", "--neurons", "0.0-9", "--mode", "mean", "--means", notes)
    done = rwcore("generate", model, *COMMON, *words, "--max-length", 32, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["means"]["corpus"] == str(notes)
    assert manifest["means"]["tokens"] > 20


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--neurons", "weakning"), ("weakning",)),
        (("--neurons", "9.0"), ("layers are 0 to 2",)),
        (("--neurons", "strengthening"), ("no such neurons",)),
        (("--neurons", "orthogonal output:5000"), ("fewer neurons",)),
        (("--neurons", "0.1", "--mode", "nil"), ("nil", "zero")),
        (("--neurons", "0.1", "--mode", "fixed"), ("parameter",)),
        (("--neurons", "0.1", "--gate", "plus"), ("plus",)),
        (("--neurons", "0.1", "--positions", "one"), ("one", "--positions")),
        (("--neurons", "0.1", "--mode", "zero,mean"), ("--means handmade",)),
        (("--neurons", "0.1", "--means", "handmade"), ("--means", "--mode mean")),
        (("--neurons", "0.1", "--means-tokens", 5), ("--means-tokens",)),
        (("--tokens", 0), ("0 tokens", "--tokens")),
        (("--tokens", 100), ("64 positions", "at most 64")),
        (("--prompt", "w1 " * 70), ("71 tokens", "shorten the prompt")),
        (("--temperature", 0), ("--temperature",)),
        (("--temperature", -1), ("--temperature",)),
        (("--temperature", 1, "--top-k", 0), ("--top-k",)),
        (("--top-k", 5), ("--top-k", "--temperature 1")),
        (("--seed", 5), ("--seed", "--temperature 1")),
        (("--bos", "none"), ("nothing to continue",)),
        (("--workers", 0), ("0 workers",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    assert_explained(rwcore("generate", model, *COMMON, *words, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_be_asked(tmp_path: Path) -> None:
    bare = build("llama", tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    out = ("--out", tmp_path / "out")
    assert_explained(rwcore("generate", bare, "--prompt", "w1", *out), "tokenizer")
    plain = build("gpt2", tmp_path / "gpt2", vocab=64)
    words = ("--prompt", "w1", "--neurons", "0.1", "--gate", "+")
    assert_explained(rwcore("generate", plain, *COMMON, *words, *out), "no gate")
    assert_explained(rwcore("generate", "no/such-model", *out), "no/such-model")
    assert not (tmp_path / "out").exists()
