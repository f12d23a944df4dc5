"""`rwcore heads suppression` from the command line to the files."""

import json

import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.studies.head_suppression_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
)
from rwcore.tests.head_commands import checked_manifest, model_of, notes_of_letters

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore heads suppression MODEL CORPUS --out DIR`"


model = pytest.fixture(scope="module")(model_of("llama"))
notes = pytest.fixture(scope="module")(notes_of_letters)


def run(model, notes, out, *words):
    options = ("--device", "cpu", "--max-length", 40, "--out", out)
    return rwcore("heads", "suppression", model, notes, *options, *words)


def test_files(model, notes, tmp_path):
    out = tmp_path / "out"
    done = run(model, notes, out, "--top", 7)
    assert done.code == 0, done.err
    assert "of 4 documents" in done.rows[0]
    assert any("negative heads" in row for row in done.rows)
    promised = dict(promises(TITLE))
    drawn = {f"{name}.{end}" for name, when in promised.items() if when == "figure" for end in ("pdf", "png")}
    assert set(names(out)) == {name for name, when in promised.items() if when == "always"} | drawn
    manifest = checked_manifest(out, "suppression", SCHEMA)
    for name, columns in COLUMNS.items():
        written = pd.read_csv(out / name).columns.tolist()
        assert written == list(columns)
        assert written == documented(f"Suppression: `{name}`")
    assert len(pd.read_csv(out / "neurons.csv")) == 7
    heads = pd.read_csv(out / "heads.csv")
    assert len(heads) == SIZES["layers"] * SIZES["heads"]
    first = heads[heads["negative_for_first_half"]]
    assert manifest["negative_heads"][0] == [f"{one.layer}.{one.head}" for one in first.itertuples()]


def test_in_context_without_figures(model, notes, tmp_path):
    out = tmp_path / "out"
    done = run(model, notes, out, "--in-context", "--least-probability", 0.01, "--no-plots")
    assert done.code == 0, done.err
    assert any("suppression of earlier tokens" in row for row in done.rows)
    measure = json.loads((out / "manifest.json").read_text())["measure"]
    assert measure["in_context"] is True
    assert measure["least_probability"] == 0.01
    assert not [name for name in names(out) if name.endswith(".png")]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--least-probability", 1), ["least probability", "--least-probability"]),
        (("--top", -1), ["--top"]),
    ],
)
def test_bad_options(model, notes, tmp_path, words, parts):
    assert_explained(run(model, notes, tmp_path / "out", *words), *parts)
    assert not (tmp_path / "out").exists()


def test_an_encoder(notes, tmp_path):
    folder = save_letters(build("bert", tmp_path / "bert"), SIZES["vocab"])
    assert_explained(run(folder, notes, tmp_path / "out"), "no decoder")
