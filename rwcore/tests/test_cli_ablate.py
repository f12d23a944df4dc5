"""`rwcore ablate` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import build
from rwcore.ablation.compare import COLUMNS, REPORTED
from rwcore.studies.ablation_examples import EXAMPLE_COLUMNS, TOKEN_COLUMNS
from rwcore.studies.ablation_export import SCHEMA
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
TITLE = "`rwcore ablate MODEL CORPUS --out DIR`"
COMMON = ("--max-length", 32, "--batch-tokens", 60, "--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"), vocab=64)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["a b c d e f ", "g h i j ", "k l m n o p q r "]
    texts = [words[number % 3] * (1 + number % 4) for number in range(9)]
    return write_notes(tmp_path_factory.mktemp("text"), texts)


def test_a_grid_of_sets_modes_and_signs(model: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    words = ("--neurons", "orthogonal output:6", "--neurons", "0.1,1.3-5", "--mode", "zero,mean")
    done = rwcore("ablate", model, text, *COMMON, *words, "--out", out)
    assert done.code == 0, done.err
    assert f"{model} on {text}: " in done.rows[0]
    assert "6 runs beside the clean one" in done.rows[0]
    table = pd.read_csv(out / "ablation.csv", keep_default_na=False, na_values=[])
    assert table.columns.tolist() == list(COLUMNS) == documented("`ablation.csv`")
    assert len(table) == 6 * len(REPORTED)
    assert set(table["set"]) == {"orthogonal output@6", "0.1,1.3-5"}
    spelt = {
        (name.replace("METRIC", metric), when)
        for name, when in promises(TITLE)
        for metric in REPORTED.values()
    }
    promised = {name for name, when in spelt if when in ("always", "not with `--examples 0`")}
    promised |= {f"{name}.{suffix}" for name, when in spelt if when == "figure" for suffix in ("pdf", "png")}
    assert set(names(out)) == promised
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore ablate`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["failures"] == []
    assert_all_listed(manifest, out)
    sets = json.loads((out / "neurons.json").read_text())
    assert list(sets) == sorted(manifest["runs"])
    listed = sets["0.1,1.3-5 zero"]
    assert list(zip(listed["layer"], listed["neuron"], strict=True)) == [(0, 1), (1, 3), (1, 4), (1, 5)]
    for name, columns in (("examples.csv", EXAMPLE_COLUMNS), ("example_tokens.csv", TOKEN_COLUMNS)):
        found = pd.read_csv(out / name, keep_default_na=False, na_values=[])
        assert found.columns.tolist() == list(columns) == documented(f"`{name}`")
        assert set(found["set"]) == {"orthogonal output@6", "0.1,1.3-5"}
        assert not found["baseline"].any()
    page = (out / "index.html").read_text()
    assert page.count('<li class="example">') == len(pd.read_csv(out / "examples.csv"))
    shown = [row for row in done.rows if row.startswith("orthogonal output@6 zero ")]
    mean = table[(table["set"] == "orthogonal output@6") & (table["mode"] == "zero")].iloc[0]["mean"]
    assert f"{float(mean):+.4f}" in shown[0]


def test_conditions_have_no_baselines(model: Path, text: Path, tmp_path: Path) -> None:
    words = ("--neurons", "orthogonal output:6", "--gate", "+,-", "--post", "-", "--no-plots")
    done = rwcore("ablate", model, text, *COMMON, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "out" / "ablation.csv")
    assert set(zip(table["gate"], table["post"], strict=True)) == {("+", "-"), ("-", "-")}
    assert not table["baseline"].any()
    assert not [name for name in names(tmp_path / "out") if name.endswith(".png")]
    assert "<img" not in (tmp_path / "out" / "index.html").read_text()


def test_no_examples(model: Path, text: Path, tmp_path: Path) -> None:
    words = ("--neurons", "0.1", "--no-plots", "--examples")
    done = rwcore("ablate", model, text, *COMMON, *words, 0, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert not [name for name in names(tmp_path / "out") if "example" in name]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Predictions that change most" not in page
    assert "0.1" in page
    assert_explained(
        rwcore("ablate", model, text, *COMMON, *words, -1, "--out", tmp_path / "no"), "less than 0"
    )
    assert not (tmp_path / "no").exists()


def test_as_published_drops_what_did_not_change(model: Path, text: Path, tmp_path: Path) -> None:
    words = ("--neurons", "2.0", "--no-plots")
    for name, more in (("fixed", ()), ("published", ("--as-published",))):
        done = rwcore("ablate", model, text, *COMMON, *words, *more, "--out", tmp_path / name)
        assert done.code == 0, done.err
    fixed, published = (
        pd.read_csv(tmp_path / name / "ablation.csv").set_index("metric") for name in ("fixed", "published")
    )
    assert published["n"]["rank"] < fixed["n"]["rank"]
    assert json.loads((tmp_path / "published" / "manifest.json").read_text())["convention"] == "as_published"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("no neurons are named", "--grid published")),
        (("--neurons", "weakning"), ("weakning",)),
        (("--neurons", "9.0"), ("layers are 0 to 2",)),
        (("--neurons", "strengthening"), ("no such neurons",)),
        (("--neurons", "orthogonal output:5000"), ("fewer neurons",)),
        (("--neurons", "0.1", "--mode", "nil"), ("nil", "zero")),
        (("--neurons", "0.1", "--mode", "fixed"), ("parameter",)),
        (("--neurons", "0.1", "--gate", "plus"), ("plus",)),
        (("--neurons", "0.1", "--positions", "one"), ("one", "--positions")),
        (("--neurons", "0.1", "--grid", "published"), ("one of them",)),
        (("--grid", "published", "--gate", "+", "--no-baselines"), ("--gate and --no-baselines",)),
        (("--grid", "mine"), ("mine", "published")),
        (("--neurons", "0.1", "--workers", 0), ("0 workers",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, text: Path, tmp_path: Path
) -> None:
    assert_explained(rwcore("ablate", model, text, *COMMON, *words, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_a_condition_on_a_model_without_a_gate(text: Path, tmp_path: Path) -> None:
    plain = build("gpt2", tmp_path / "gpt2", vocab=64)
    words = ("--neurons", "0.1", "--gate", "+", "--no-plots")
    done = rwcore("ablate", plain, text, *COMMON, *words, "--out", tmp_path / "out")
    assert done.code == 0, "a run that fails is reported, and the others go on"
    assert "no gate" in done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [failure["name"] for failure in manifest["failures"]] == ["0.1 zero gate+"]


def test_clamping_is_another_run(text: Path, tmp_path: Path) -> None:
    olmo = build("olmo", tmp_path / "olmo", vocab=64, clip_qkv=0.02)
    tables = []
    for option in ("--clip-qkv", "--no-clip-qkv"):
        out = tmp_path / option
        words = ("--neurons", "0.1-9", "--no-plots", "--examples", 0, option, "--out", out)
        done = rwcore("ablate", olmo, text, *COMMON, *words)
        assert done.code == 0, done.err
        tables.append(pd.read_csv(out / "ablation.csv"))
    assert not tables[0]["mean"].equals(tables[1]["mean"])
