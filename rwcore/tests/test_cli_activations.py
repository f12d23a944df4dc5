"""`rwcore activations` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import build
from rwcore.activations.artefact import load
from rwcore.tests.activation_parts import same
from rwcore.tests.command_line import assert_explained, environment, names, rwcore, write_notes

_environment = pytest.fixture(autouse=True)(environment)
TEXT = "the quick brown fox jumps over the lazy dog\n\n"
COMMON = ("--top", 2, "--batch-tokens", 40, "--plots", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"), vocab=64)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve documents of different lengths."""
    return write_notes(tmp_path_factory.mktemp("text"), [TEXT * (1 + number % 3) for number in range(12)])


def test_a_pass_over_a_file(model: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("activations", model, text, *COMMON, "--max-length", 32, "--tokens", 100, "--out", out)
    assert done.code == 0, done.err
    assert f"{model} on {text}: " in done.rows[0]
    assert any(row.startswith("summary ") for row in done.rows)
    assert any("orthogonal output" in row for row in done.rows)
    assert "no neuron is of class " in done.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert 100 <= manifest["tokens"] < 132
    assert manifest["command"].startswith("rwcore activations ")
    assert manifest["options"]["k"] == 2
    assert manifest["corpus"]["recipe"]["max_length"] == 32
    assert not [name for name in names(out) if name.endswith((".pdf", ".png"))]
    frame = pd.read_csv(out / "class_frequency.csv")
    (line,) = [row for row in done.rows if row.startswith("orthogonal output ")]
    assert f"{frame.set_index('class')['true']['orthogonal output']:.3f}" in line


def test_shards_on_their_own_and_merged(model: Path, text: Path, tmp_path: Path) -> None:
    words = ("activations", model, text, *COMMON, "--max-length", 32)
    for shard in (0, 1):
        done = rwcore(*words, "--shards", 2, "--shard", shard, "--out", tmp_path / f"shard{shard}")
        assert done.code == 0, done.err
        assert f"shard {shard} of 2 is in {tmp_path / f'shard{shard}'}" in done.rows[0]
    parts = [word for shard in (1, 0) for word in ("--merge", tmp_path / f"shard{shard}")]
    missing = rwcore(*words, *parts[:2], "--out", tmp_path / "merged")
    assert_explained(missing, "shard 0 of 2 missing")
    assert not (tmp_path / "merged").exists()
    assert rwcore(*words, *parts, "--out", tmp_path / "merged").code == 0
    assert rwcore("cache", "clear", "--yes").code == 0
    assert rwcore(*words, "--out", tmp_path / "whole").code == 0
    pairs = zip(load(tmp_path / "merged").layers, load(tmp_path / "whole").layers, strict=True)
    assert all(same(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--shard", 0), ("--shard 0", "--shards N")),
        (("--shards", 2, "--shard", 2), ("no part 2 of 2", "0 to 1")),
        (("--workers", 0), ("0 workers",)),
        (("--workers", 2, "--scheduler", "tcp://127.0.0.1:1"), ("give one of them",)),
        (("--merge", "x", "--workers", 2), ("merging runs nothing",)),
        (("--shards", 2, "--shard", 1, "--workers", 2), ("one part is one task",)),
        (("--shards", 0), ("--shards", "1 or more")),
        (("--top", -1), ("--top", "0 or more")),
        (("--checkpoint-every", 0), ("--checkpoint-every", "1 or more")),
        (("--device", "tpu"), ("tpu", "cuda")),
        (("--scheduler", "nowhere"), ("nowhere",)),
        (("--tokens", 0), ("tokens", "less than 1")),
        (("--max-length", 5000), ("64 positions",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, text: Path, tmp_path: Path
) -> None:
    done = rwcore("activations", model, text, "--max-length", 32, *words, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()


def test_wrong_corpora_and_models(model: Path, text: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    short = ("--max-length", 32, *out)
    assert_explained(rwcore("activations", model, "hand-made", *out), "handmade")
    assert_explained(rwcore("activations", "no/such", text, *out), "no/such")
    (tmp_path / "empty.txt").write_text("")
    assert_explained(rwcore("activations", model, tmp_path / "empty.txt", *out), "empty")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert_explained(rwcore("activations", model, tmp_path / "latin.txt", *short), "UTF-8", "latin.txt")
    plain = build("gpt2", tmp_path / "gpt2", vocab=64)
    assert_explained(rwcore("activations", plain, text, *short), "no gate")
    assert not (tmp_path / "out").exists()


def test_help_names_every_option() -> None:
    done = rwcore("activations", "--help")
    assert done.code == 0
    for option in ("--tokens", "--resume", "--restart", "--shards", "--workers", "--merge", "--plots"):
        assert option in done.out
