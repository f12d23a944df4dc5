"""`rwcore weights` from the command line to the files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build
from rwcore.tests.command_line import environment, names, planted_models, rwcore

_environment = pytest.fixture(autouse=True)(environment)
models = pytest.fixture(scope="module")(planted_models)


def test_weights_of_a_gated_model(models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("weights", models["llama"], "--out", out)
    assert done.code == 0
    assert done.err == ""
    counts = pd.read_csv(out / "class_counts.csv")
    assert (counts["count"] == 2).all()
    assert (pd.read_csv(out / "null_regions.csv")["region"] == "mismatched").sum() == 9
    assert "3 layers × 22 neurons, gated, weights as published" in done.rows[0]
    assert "conditional strengthening 6 9.09%" in done.rows
    assert "all 66" in done.rows
    assert "conditional strengthening peaks in layer 0 of 0–2 (2 neurons)" in done.rows
    last = pd.read_csv(out / "medians.csv").query("cosine == 'linout'")["median"].iloc[-1]
    assert f"median cos(in, out), last layer {last:+.4f}" in done.rows
    assert "undefined neurons 0" in done.rows
    assert f"files {len(names(out))} in {out}" in done.rows
    assert re.fullmatch(r"took \d+\.\d s, [\d.]+ [MG]iB of memory at most", done.rows[-1])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == shlex.join(["rwcore", "weights", str(models["llama"]), "--out", str(out)])


def test_weights_of_a_model_without_gates(models: dict[str, Path], tmp_path: Path) -> None:
    done = rwcore("weights", models["gpt2"], "--no-null", "--out", tmp_path / "out")
    assert done.code == 0
    counts = pd.read_csv(tmp_path / "out" / "class_counts.csv")
    assert set(counts["class"]) == {"strengthening", "orthogonal output", "weakening"}
    assert pd.read_csv(tmp_path / "out" / "half_coarse_counts.csv")["count"].sum() == counts["count"].sum()
    assert "not gated" in done.out
    assert "conditional" not in done.out


def test_undefined_neurons_are_a_loud_warning(models: dict[str, Path], tmp_path: Path) -> None:
    done = rwcore("weights", models["damaged"], "--no-null", "--out", tmp_path / "out")
    assert done.code == 0
    assert "WARNING: 3 of 33 neurons have no class" in done.err
    assert "1 out vectors are zero" in done.err
    assert "1 in vectors hold a NaN" in done.err
    assert "1 gate vectors hold an infinity" in done.err
    assert str(tmp_path / "out" / "undefined.csv") in done.err
    assert len(pd.read_csv(tmp_path / "out" / "undefined.csv")) == 3


def test_processing_and_classes_are_passed_on(models: dict[str, Path], tmp_path: Path) -> None:
    words = ("weights", models["llama"], "--no-null", "--out", tmp_path / "out")
    assert rwcore(*words, "--processing", "raw", "--classes", "plain").code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["processing"], manifest["classes"]) == ("raw", "plain")


def test_an_export_can_be_repeated_and_forced(models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("weights", models["gpt2"], "--no-null", "--out", out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert rwcore(*words).code == 2
    assert rwcore(*words, "--force").code == 0
    assert rwcore(*words).code == 0
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_gguf_file_gives_the_classes_of_the_folder_it_was_made_from(tmp_path: Path) -> None:
    write_gguf(build("llama", tmp_path / "folder", d_mlp=64), tmp_path / "tiny.gguf")
    counts = []
    for name in ("folder", "tiny.gguf"):
        assert rwcore("weights", tmp_path / name, "--no-null", "--out", tmp_path / f"out-{name}").code == 0
        counts.append((tmp_path / f"out-{name}" / "class_counts.csv").read_text())
    assert counts[0] == counts[1]
