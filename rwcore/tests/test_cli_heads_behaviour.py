"""`rwcore heads behaviour` from the command line to the files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from fixtures.ioi_words import write_toy_texts
from fixtures.planted_heads import plant_heads
from fixtures.tiny import build
from rwcore.studies.head_behaviour_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    OUTPUTS,
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
)

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads behaviour MODEL --out DIR`"
OPTIONS = ("--sequences", 6, "--length", 10, "--prompts", 12, "--tokens", 300, "--max-length", 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted")
    plant_heads(root / "model")
    write_toy_texts(root / "toy.toml")
    return root


def call(folder: Path, *words: object, out: Path) -> tuple[object, ...]:
    given = ("heads", "behaviour", folder / "model", "--ioi", folder / "toy.toml", *OPTIONS, *words)
    return (*given, "--out", out)


def test_files_are_those_of_outputs(folder: Path, tmp_path: Path) -> None:
    words = call(folder, out=tmp_path / "out")
    done = rwcore(*words)
    assert done.code == 0, done.err
    assert done.err == ""
    out = tmp_path / "out"
    expected: list[str] = []
    for name, when in promises(TITLE):
        expected += [f"{name}.pdf", f"{name}.png"] if when == "figure" else [name]
    assert names(out) == sorted(expected)
    for name, columns in COLUMNS.items():
        assert tuple(pd.read_csv(out / name).columns) == columns
        assert documented(f"Behaviour: `{name}`") == [*columns]
    manifest = json.loads((out / "manifest.json").read_text())
    assert {*documented("`manifest.json` of `rwcore heads behaviour`")} == {*manifest}
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["command"] == shlex.join(["rwcore", *map(str, words)])
    assert_all_listed(manifest, out)
    assert manifest["words"]["names"] == {"used": 8, "left_out": []}
    assert manifest["summary"]["scores"]["negative_heads"] == ["1.1"]
    assert "negative heads (among the best by both) 1.1" in done.rows
    assert "top head by copy suppression, anti-induction 1.1, 1.1 (the same)" in done.rows
    assert any(row.startswith("1.1 0.") for row in done.rows)
    assert f"9 files in {out}" in done.rows


@pytest.mark.slow
def test_twice_gives_the_same_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / f"cache-{name}"))
        assert rwcore(*call(folder, "--no-plots", out=tmp_path / name)).code == 0
    for name in COLUMNS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not [name for name in names(tmp_path / "one") if name.endswith(("pdf", "png"))]


def test_without_a_text(folder: Path, tmp_path: Path) -> None:
    done = rwcore(*call(folder, "--corpus", "none", "--no-plots", "--seed", 5, out=tmp_path / "out"))
    assert done.code == 0
    assert pd.read_csv(tmp_path / "out" / "lens_attention.csv").empty
    assert pd.read_csv(tmp_path / "out" / "resting.csv")["attention_first"].isna().all()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["corpus"] is None
    assert manifest["measure"]["seed"] == 5


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--prompts", 7), ("7 prompts", "even number")),
        (("--prompts", 2), ("--prompts",)),
        (("--length", 21), ("21 different tokens", "at most 20")),
        (("--length", 40), ("the model has 64 positions", "at most 31")),
        (("--sequences", 1), ("--sequences",)),
        (("--ioi", "nowhere.toml"), ("nowhere.toml", "ioi.toml")),
        (("--corpus", "nowhere"), ("nowhere",)),
    ],
)
def test_bad_options_are_explained(
    folder: Path, tmp_path: Path, words: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    assert_explained(rwcore(*call(folder, *words, out=tmp_path / "out")), *parts)
    assert not (tmp_path / "out").exists()


def test_names_that_a_tokenizer_has_not_are_explained(folder: Path, tmp_path: Path) -> None:
    done = rwcore("heads", "behaviour", folder / "model", *OPTIONS, "--out", tmp_path / "out")
    assert_explained(done, "has 0 of 137 names", "--ioi FILE")


def test_encoders_are_explained(folder: Path, tmp_path: Path) -> None:
    bert = build("bert", tmp_path / "bert")
    words = ("--ioi", folder / "toy.toml", *OPTIONS, "--out", tmp_path / "out")
    assert_explained(rwcore("heads", "behaviour", bert, *words), "no decoder")


def test_left_out_words_are_reported(folder: Path, tmp_path: Path) -> None:
    texts = (folder / "toy.toml").read_text().replace('"w0",', '"w0", "Anna",')
    (tmp_path / "more.toml").write_text(texts)
    words = call(
        folder, "--corpus", "none", "--no-plots", "--ioi", tmp_path / "more.toml", out=tmp_path / "out"
    )
    done = rwcore(*words)
    assert done.code == 0
    assert "left out, not one token: 1 names (8 used)" in done.err
