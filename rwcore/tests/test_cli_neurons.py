"""`rwcore neurons` from the command line to the files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.studies.neuron_export import COLUMNS
from rwcore.tests.command_line import assert_explained, documented, environment, names, rwcore

_environment = pytest.fixture(autouse=True)(environment)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plant("llama", tmp_path_factory.mktemp("planted") / "llama").folder
    return save_tokenizer(folder, 64)


def cards_in(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith("neuron-")]


def test_named_neurons(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("neurons", model, "2.7", "0.3", "--out", out, "-k", 4, "--matrix", "both")
    assert (done.code, done.err) == (0, "")
    assert cards_in(out) == [f"neuron-{name}.{end}" for name in ("0.3", "2.7") for end in ("html", "md")]
    neurons = pd.read_csv(out / "neurons.csv")
    assert list(zip(neurons["layer"], neurons["neuron"], strict=True)) == [(2, 7), (0, 3)]
    tokens = pd.read_csv(out / "tokens.csv", keep_default_na=False)
    assert tokens["rank"].max() == 4
    first = tokens.query("layer == 2 and matrix == 'unembedding' and vector == 'out' and sign == 1")
    row = next(row for row in done.rows if "2.7 " in row)
    assert " ".join(first["token"][:3]) in row
    assert neurons["class"][0] in row
    assert f"{neurons['linout'][0]:+.3f}" in row
    assert f"{len(names(out))} files in {out}; open index.html" in done.rows
    assert re.fullmatch(r"took \d+\.\d s, [\d.]+ [MG]iB of memory at most", done.rows[-1])
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    words = ["rwcore", "neurons", str(model), "2.7", "0.3", "--out", str(out), "-k", "4", "--matrix", "both"]
    assert manifest["command"] == shlex.join(words)
    assert manifest["options"] == {"k": 4, "matrix": "both", "by": "signed"}


def test_neurons_of_a_class(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("neurons", model, "--class", "conditional weakening", "--no-null", "--out", out)
    assert rwcore(*words, "--count", 2).code == 0
    chosen = pd.read_csv(out / "neurons.csv")
    assert chosen["class"].tolist() == ["conditional weakening"] * 2
    assert rwcore(*words).code == 0  # five by default
    assert len(pd.read_csv(out / "neurons.csv")) == 5
    assert len(cards_in(out)) == 10  # those of the first run are gone
    assert "random sample" in (out / "index.html").read_text(encoding="utf-8")


def test_case_studies_are_the_clearest_neurons(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = rwcore("neurons", model, "--case-studies", "--partition", 3, "--no-null", "--out", out)
    assert done.code == 0, done.err
    neurons = pd.read_csv(out / "neurons.csv")
    assert set(neurons["role"]) <= {"prediction", "suppression"}
    prediction = neurons[neurons["role"] == "prediction"]
    assert prediction["kurtosis"].iloc[0] == prediction["kurtosis"].max()
    assert prediction["class"].is_unique
    # The same neurons by name, with the roles that the table of roles gives them.
    named = [f"{row.layer}.{row.neuron}" for row in neurons.itertuples()]
    words = ("neurons", model, *named, "--roles", "--partition", 3, "--no-null", "--out", tmp_path / "again")
    assert rwcore(*words).code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "again" / "neurons.csv"), neurons)


def test_processing_and_order_are_passed_on(model: Path, tmp_path: Path) -> None:
    words = ("neurons", model, "1.1", "--no-null", "--processing", "raw", "--by", "absolute")
    assert rwcore(*words, "--out", tmp_path / "out").code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["processing"], manifest["options"]["by"]) == ("raw", "absolute")
    assert "weights: raw" in (tmp_path / "out" / "neuron-1.1.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("--class", "--case-studies", "give one of the three")),
        (("0.1", "--case-studies"), ("give one of the three",)),
        (("0.1", "--class", "weakening"), ("give one of the three",)),
        (("0.22",), ("no neuron 0.22", "0 to 21")),
        (("3.0",), ("no neuron 3.0", "layers are 0 to 2")),
        (("first",), ("'first' is no neuron", "LAYER.NEURON")),
        (("0.1", "-k", "0"), ("-k", "1 to 64")),
        (("0.1", "-k", "65"), ("-k", "1 to 64")),
        (("--class", "depletion"), ("no neuron class 'depletion'", "weakening")),
        (("--class", "weakening", "--count", "0"), ("--count",)),
        (("0.1", "--partition", "3"), ("--partition", "--roles")),
        (("--case-studies",), ("--partition", "1 to 65")),  # 1000 of 66 neurons
    ],
)
def test_wrong_use_is_explained(
    model: Path, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = rwcore("neurons", model, *words, "--no-null", "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert names(tmp_path / "out") == []


def test_a_foreign_tokenizer_is_explained(tmp_path: Path) -> None:
    folder = plant("llama", tmp_path / "m").folder
    save_tokenizer(folder, 40)
    done = rwcore("neurons", folder, "0.0", "--no-null", "--out", tmp_path / "out")
    assert_explained(done, "it has 40 tokens", "unembedding has 64 rows", "tokenizer.json")


def test_an_export_can_be_repeated_and_forced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    words = ("neurons", model, "0.0", "--no-null", "--out", tmp_path)
    assert_explained(rwcore(*words), "not empty", "--force")
    assert rwcore(*words, "--force").code == 0
    assert rwcore(*words).code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_tables_are_documented() -> None:
    for name, columns in COLUMNS.items():
        assert documented(f"`{name}`") == [*columns]
