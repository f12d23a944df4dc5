"""`rwcore roles` from the command line to the files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import build
from rwcore.tests import planted_roles as planted
from rwcore.tests.command_line import assert_explained, environment, names, rwcore
from rwcore.tests.planted_roles import plant_roles

_environment = pytest.fixture(autouse=True)(environment)
OPTIONS = ("--partition", 4, "--null-directions", 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_roles(tmp_path_factory.mktemp("planted")).folder


def test_roles_of_a_planted_model(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("roles", model, *OPTIONS, "--out", out)
    assert done.code == 0
    assert done.err == ""
    frame = pd.read_csv(out / "roles.csv")
    assert set(zip(frame["layer"], frame["neuron"], strict=True)) == (
        planted.PARTITION | planted.PREDICTION | planted.SUPPRESSION
    )
    assert "3 layers × 30 neurons, 600 tokens, weights as published" in done.rows[0]
    counts = {row.rsplit(" ", 1)[0] for row in done.rows}
    for role, count in (("partition", 4), ("prediction", 3), ("suppression", 2), ("entropy", 2)):
        assert any(row.startswith(f"{role} {count} ") for row in done.rows), counts
    for role, (layer, neuron) in planted.CLEAREST.items():
        assert any(row.startswith(f"clearest {role} neuron {layer}.{neuron} (") for row in done.rows)
    assert any(row.startswith("role and class hang together Cramér's V ") for row in done.rows)
    assert f"files {len(names(out))} in {out}" in done.rows
    assert re.fullmatch(r"took \d+\.\d s, [\d.]+ [MG]iB of memory at most", done.rows[-1])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == shlex.join(
        ["rwcore", "roles", str(model), *map(str, OPTIONS), "--out", str(out)]
    )


def test_options_are_passed_on(model: Path, tmp_path: Path) -> None:
    words = ("--entropy-neurons", 3, "--bos", 9, "--processing", "raw")
    assert rwcore("roles", model, *OPTIONS, *words, "--out", tmp_path / "out").code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["options"] == {
        "partition": 4,
        "null_directions": 4,
        "entropy_neurons": 3,
        "attention": True,
        "bos_token": 9,
    }
    assert manifest["processing"] == "raw"


def test_without_attention(model: Path, tmp_path: Path) -> None:
    done = rwcore("roles", model, *OPTIONS, "--no-attention", "--out", tmp_path / "out")
    assert done.code == 0
    assert not [row for row in done.rows if row.startswith("attention")]
    assert "attention.csv" not in names(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--partition", 90), ("--partition 90", "from 1 to 89")),
        (("--null-directions", 24), ("--null-directions 24", "from 1 to 23")),
        (("--entropy-neurons", 31), ("--entropy-neurons 31", "from 0 to 30")),
        (("--bos", 600), ("--bos 600", "from 0 to 599")),
        (("--scheduler", "nowhere"), ("nowhere", "local:N")),
    ],
)
def test_bad_options_are_explained(
    model: Path, tmp_path: Path, words: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    done = rwcore("roles", model, *OPTIONS, *words, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()


def test_the_default_partition_is_too_large_for_a_tiny_model(model: Path, tmp_path: Path) -> None:
    assert_explained(rwcore("roles", model, "--out", tmp_path / "out"), "--partition 1000", "from 1 to 89")


def test_a_model_whose_heads_normalise_is_explained(tmp_path: Path) -> None:
    folder = build("qwen3", tmp_path / "qwen3")
    assert_explained(
        rwcore("roles", folder, *OPTIONS, "--out", tmp_path / "out"), "normalise", "--no-attention"
    )
    assert rwcore("roles", folder, *OPTIONS, "--no-attention", "--out", tmp_path / "out").code == 0


@pytest.mark.slow
def test_workers_give_the_same_files(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert rwcore("roles", model, *OPTIONS, "--out", here).code == 0
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "another"))
    assert rwcore("roles", model, *OPTIONS, "--out", there, "--scheduler", "local:1").code == 0
    assert (here / "roles.csv").read_bytes() == (there / "roles.csv").read_bytes()
