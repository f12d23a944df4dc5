"""`rwcore heads circuits` from the command line to the files."""

import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from fixtures.planted_heads import SUPPRESSOR, plant_heads
from rwcore.cli.heads.circuits import parse_tokens
from rwcore.cli.heads.names import parse_heads
from rwcore.errors import OptionError
from rwcore.studies.head_circuits_export import COLUMNS
from rwcore.tests.command_line import (
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
)

_environment = pytest.fixture(autouse=True)(environment)
SECTION = "`rwcore heads circuits MODEL --out DIR`"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return plant_heads(tmp_path_factory.mktemp("heads"))


def promised(*, figures=True, lists=True, page=True, circuits=("ov", "qk")):
    """Files that OUTPUTS.md promises."""
    found = set()
    for name, when in promises(SECTION):
        wanted = {"lists": lists, "figure": figures, "page": page}
        if any(kind in when and not made for kind, made in wanted.items()):
            continue
        for circuit in circuits:
            full = name.replace("CIRCUIT", circuit).replace("HEAD", "1.1").replace("TOKEN", "7")
            found |= {f"{full}.pdf", f"{full}.png"} if "figure" in when else {full}
    return found


def test_circuits_of_planted_heads(model, tmp_path):
    out = tmp_path / "out"
    done = rwcore("heads", "circuits", model, "--heads", "1.1", "--tokens", "'w3'", "--list", 5, "--out", out)
    assert done.code == 0
    assert done.err == ""
    assert set(names(out)) == promised()
    manifest = json.loads((out / "manifest.json").read_text())
    assert_all_listed(manifest, out)
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore heads circuits`"))
    for name, columns in COLUMNS.items():
        assert tuple(pd.read_csv(out / name).columns) == columns
        assert documented(f"Circuits: `{name}`") == list(columns)
    heads = pd.read_csv(out / "heads.csv")
    assert heads[["circuit", "layer", "head", "rank_0"]].to_numpy().tolist() == [
        ["OV", *SUPPRESSOR, 1.0],
        ["QK", *SUPPRESSOR, 1.0],
    ]
    lists = pd.read_csv(out / "token_lists.csv")
    assert set(lists[(lists["list"] == "suppressed") & (lists["place"] == 1)]["other_text"]) == {"w3"}
    assert set(load_file(out / "ranks.safetensors")) == {"tokens", "ov_001", "qk_001"}
    assert "1 heads, 24 of 24 tokens, embedding EE-A" in done.rows[0]


def test_sampled_rows_and_one_circuit(model, tmp_path):
    out = tmp_path / "out"
    options = ("--rows", 7, "--seed", 3, "--qk", "none", "--embedding", "raw", "--no-plots", "--no-page")
    assert rwcore("heads", "circuits", model, *options, "--out", out).code == 0
    assert set(names(out)) == promised(figures=False, lists=False, page=False, circuits=("ov",))
    heads = pd.read_csv(out / "heads.csv")
    assert len(heads) == 6
    assert {*heads["rows"]} == {7}
    # Heads that do nothing stand last, though none of their entries is below the own one.
    assert "| 1.1 " in (out / "best_ov.md").read_text().splitlines()[4]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--heads", "1.3"), ("heads 3 of a layer that has 3",)),
        (("--heads", "7"), ("'7' is no list of heads", "LAYER.HEAD")),
        (("--rows", "x"), ("'x' is no number of rows",)),
        (("--seed", 3), ("all tokens are looked at", "--seed")),
        (("--qk", "none", "--distance", 2), ("there is no QK", "--distance")),
        (("--qk", "W_U"), ("does not name two tables",)),
        (("--embedding", "EE-Z"), ("there is no 'EE-Z'",)),
        (("--tokens", "w3"), ("no list of quoted tokens",)),
        (("--tokens", "'w99'"), ("'w99' is not one token",)),
        (("--list", 0), ("--list",)),
    ],
)
def test_refused(model, tmp_path, options, parts):
    done = rwcore("heads", "circuits", model, *options, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()


def test_lists_on_the_command_line():
    assert parse_heads("11.10, 10.7,10.7", "--heads") == ((10, 7), (11, 10))
    assert parse_tokens(None) == []
    assert parse_tokens("""" token", ' the',"it's\"""") == [" token", " the", "it's"]
    for text in ("", "a", "'a' 'b'", "'a',"):
        with pytest.raises(OptionError):
            parse_tokens(text)
