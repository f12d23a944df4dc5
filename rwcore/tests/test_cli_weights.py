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
from rwcore.cli.options import parse_layers
from rwcore.cli.weights import parse_plots
from rwcore.errors import OptionError
from rwcore.tests.checkpoint_pairs import at_random
from rwcore.tests.command_line import assert_explained, environment, names, planted_models, rwcore

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


# --- figures -----------------------------------------------------------------------------------------------


def test_plots_layers_and_palette_are_passed_on(models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("weights", models["llama"], "--no-null", "--out", out)
    assert rwcore(*words, "--plots", "fine, medians", "--layers", "0,2", "--palette", "accessible").code == 0
    assert [name for name in names(out) if name.endswith(".pdf")] == ["fine.pdf", "medians.pdf"]
    assert rwcore(*words, "--plots", "none").code == 0
    assert not [name for name in names(out) if name.endswith((".pdf", ".png"))]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--plots", "medain"), ("medain", "--plots", "medians")),
        (("--plots", "fine", "--layers", "7"), ("no layer 7", "--layers", "0 to 2")),
        (("--plots", "fine", "--layers", "first"), ("'first'", "--layers", "0,14,27")),
    ],
)
def test_wrong_figures_and_layers_are_explained(
    models: dict[str, Path], tmp_path: Path, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_explained(
        rwcore("weights", models["llama"], "--no-null", "--out", tmp_path / "o", *options), *parts
    )
    assert names(tmp_path / "o") == []


def test_lists_of_layers_and_figures() -> None:
    assert parse_layers("0,14, 27") == [0, 14, 27]
    assert parse_layers("0-3,8 – 9") == [0, 1, 2, 3, 8, 9]
    assert parse_layers("5-5") == [5]
    for text in ("", "1,,2", "3-1", "-1", "a", "1.5"):
        with pytest.raises(OptionError, match="no list of layers"):
            parse_layers(text)
    assert parse_plots(None) == ("default",)
    assert parse_plots("fine, medians,") == ("fine", "medians")
    assert parse_plots("none") == ()


# --- several models ----------------------------------------------------------------------------------------


def test_a_comparison_of_checkpoints(models: dict[str, Path], tmp_path: Path) -> None:
    first, out = at_random(models["llama"], tmp_path / "step0"), tmp_path / "out"
    words = (
        "weights", first, models["llama"], "--compare", "--change", "--layers", "1", "--out", out,
    )  # fmt: skip
    done = rwcore(*words)
    assert done.code == 0
    assert done.err == ""
    assert done.rows[0] == "2 models, eleven classes of gated neurons, weights as published"
    shares = pd.read_csv(out / "class_shares.csv").set_index(["model", "class"])["share"]
    at_start = f"{100 * shares[str(first), 'weakening']:.2f}"
    assert f"weakening {at_start} 9.09" in done.rows
    assert "neurons 66 66" in done.rows
    distances = pd.read_csv(out / "total_variation.csv")
    whole = distances.loc[distances["layer"].isna(), "total_variation"].iloc[0]
    assert any(row.startswith(f"step0 llama {whole:.4f}") for row in done.rows)
    moved = len(pd.read_csv(out / "changed_neurons.csv"))
    assert any(
        row.startswith(f"step0 → llama {moved} neurons ({moved / 66:.2%}) change their class")
        for row in done.rows
    )
    assert "unembedding of its own step0, llama" in done.rows
    r = pd.read_csv(out / "change_correlations.csv").query("vector == 'in' and cosine == 'linout'")["r"]
    assert any(row.startswith(f"change of in linout {r.min():+.2f} … {r.max():+.2f}") for row in done.rows)
    assert f"files {len(names(out))} in {out}" in done.rows
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == shlex.join(["rwcore", *map(str, words)])


def test_undefined_neurons_of_a_comparison_are_a_loud_warning(
    models: dict[str, Path], tmp_path: Path
) -> None:
    done = rwcore("weights", models["llama"], models["damaged"], "--compare", "--out", tmp_path / "out")
    assert done.code == 0
    assert f"WARNING: 3 neurons of {models['damaged']} have no class" in done.err
    assert str(models["llama"]) not in done.err
    assert "undefined 0.00 9.09" in done.rows


@pytest.mark.parametrize(
    ("named", "options", "parts"),
    [
        (("llama", "gpt2"), (), ("2 models are named", "--compare")),
        (("llama",), ("--compare",), ("two models or more, 1 given", "--compare")),
        (("llama", "llama"), ("--compare",), ("more than once",)),
        (("llama", "gpt2"), ("--compare",), ("different classes", "--classes plain")),
        (
            ("llama", "gpt2"),
            ("--compare", "--change", "--classes", "plain"),
            ("not of one shape", "--change"),
        ),
        (("llama", "damaged"), ("--compare", "--change"), ("22 neurons", "11 neurons", "--change")),
        (("llama",), ("--change",), ("two checkpoints", "--compare --change")),
        (("llama",), ("--flip", "own"), ("two checkpoints", "--flip")),
        (("llama", "damaged"), ("--compare", "--flip", "own"), ("--flip", "add --change")),
        (("llama", "damaged"), ("--compare", "--layers", "0"), ("--layers", "add --change")),
        (("llama", "damaged"), ("--compare", "--plots", "all"), ("--plots is for one model",)),
        (("llama", "damaged"), ("--compare", "--scheduler", "local"), ("--scheduler is for one model",)),
    ],
)
def test_what_cannot_be_compared_is_explained(
    models: dict[str, Path],
    tmp_path: Path,
    named: tuple[str, ...],
    options: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    done = rwcore("weights", *(models[name] for name in named), *options, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert names(tmp_path / "out") == []


@pytest.mark.slow
def test_a_gguf_file_gives_the_classes_of_the_folder_it_was_made_from(tmp_path: Path) -> None:
    write_gguf(build("llama", tmp_path / "folder", d_mlp=64), tmp_path / "tiny.gguf")
    counts = []
    for name in ("folder", "tiny.gguf"):
        assert rwcore("weights", tmp_path / name, "--no-null", "--out", tmp_path / f"out-{name}").code == 0
        counts.append((tmp_path / f"out-{name}" / "class_counts.csv").read_text())
    assert counts[0] == counts[1]
