"""``rwcore stimuli``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rwcore.studies.stimuli import PAIR_COLUMNS
from rwcore.studies.stimuli_export import COLUMNS, SCHEMA
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
from rwcore.tests.planted_bigram import FIRST, SECOND, bigram_texts, plant_bigram

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore stimuli MODEL CORPUS --out DIR`"
NEURONS = ("--neurons", "0.5,1.2")
CPU = ("--device", "cpu", "--max-length", 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_bigram(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("text"), bigram_texts())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labelled") / "labelled.jsonl"
    lines = [
        json.dumps({"text": text, **({"kind": "abc"[number % 3]} if number % 3 else {})})
        for number, text in enumerate(bigram_texts())
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_all_files_are_as_documented(model: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    (tmp_path / "list.txt").write_text("0.5  # planted\n1.2\n")
    words = ("--neurons", f"@{tmp_path / 'list.txt'}", "--above", 0, "--top", 3, "--pairs")
    done = rwcore("stimuli", model, text, *words, *CPU, "--out", out)
    assert done.code == 0, done.err
    rows = promises(TITLE)
    promised = {name for name, when in rows if when != "figure"}
    figures = [name for name, when in rows if when == "figure"]
    promised |= {
        f"{name.replace('NEURON', neuron)}.{suffix}"
        for name in figures
        for neuron in ("0.5", "1.2")
        for suffix in ("pdf", "png")
    }
    assert {*names(out)} == promised
    for name, columns in {**COLUMNS, "pairs.csv": PAIR_COLUMNS}.items():
        found = pd.read_csv(out / name)
        assert found.columns.tolist() == list(columns) == documented(f"Stimuli: `{name}`")
        assert len(found)
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore stimuli`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["measure"] == {"quantity": "pre", "above": 0.0, "seen": 10, "top": 3}
    assert manifest["neurons"]["neuron"] == [5, 2]
    assert manifest["label"] is None
    assert manifest["command"].startswith("rwcore stimuli")
    assert_all_listed(manifest, out)
    prefixes = pd.read_csv(out / "prefixes.csv")
    best = prefixes[(prefixes["neuron"] == 5) & (prefixes["text"] == SECOND) & (prefixes["length"] == 1)]
    assert best["prefix_text"].tolist()[0] == FIRST
    assert pd.read_csv(out / "tokens.csv").groupby("neuron")["by_mean"].sum().tolist() == [3, 3]
    assert "pre of 2 neurons" in done.rows[0]
    assert any(row.startswith("0.5 ") and "5.56 %" in row for row in done.rows)
    assert (
        (out / "neurons.md").read_text().startswith(f"What excites neurons of `{manifest['model']['model']}`")
    )
    assert r"\begin{table*}" in (out / "neurons.tex").read_text()


def test_inside_and_outside_of_labelled_documents(model: Path, labelled: Path, tmp_path: Path) -> None:
    words = (*NEURONS, "--quantity", "post", "--pairs", "--label", "kind=b", "--no-plots")
    done = rwcore("stimuli", model, labelled, *words, *CPU, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    found = pd.read_csv(tmp_path / "out" / "pairs.csv").set_index("where")
    assert found["documents"].to_dict() == {"all": 60, "inside": 20, "outside": 20}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["label"] == "kind=b"
    assert not [name for name in names(tmp_path / "out") if name.endswith(".png")]


def test_without_pairs_there_is_no_table_of_them(model: Path, text: Path, tmp_path: Path) -> None:
    done = rwcore("stimuli", model, text, "--neurons", "0.5", "--no-plots", *CPU, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "pairs.csv" not in names(tmp_path / "out")
    assert "correlations" not in done.out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--neurons", "0.8"), ("'0.8' names neurons", "0 to 7")),
        (("--neurons", "weakning"), ("weakning",)),
        (("--neurons", ""), ("to do",)),
        ((*NEURONS, "--label", "kind=b"), ("--label", "add --pairs")),
        ((*NEURONS, "--pairs", "--label", "kind"), ("'kind'", "KEY=VALUE")),
        ((*NEURONS, "--pairs", "--label", "kind=x"), ("kind=x", "values of kind", "b, c")),
        ((*NEURONS, "--pairs", "--label", "tongue=b"), ("tongue=b", "labels: kind")),
        (("--neurons", "0.5", "--pairs"), ("1 is less than 2", "--neurons")),
        ((*NEURONS, "--seen", -1), ("--seen",)),
        ((*NEURONS, "--top", 0), ("--top",)),
        ((*NEURONS, "--above", "nan"), ("--above",)),
        ((*NEURONS, "--tokens", 8), ("no word occurs more than 10 times", "--tokens")),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, labelled: Path, tmp_path: Path
) -> None:
    assert_explained(rwcore("stimuli", model, labelled, *words, *CPU, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()
