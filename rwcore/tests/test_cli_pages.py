"""`rwcore pages` from the command line to a site: what is written, added to, refused and left alone."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fixtures.tiny import build
from rwcore.studies.site_folder import SCHEMA
from rwcore.tests.command_line import assert_explained, documented, environment, promises, rwcore, write_notes

_environment = pytest.fixture(autouse=True)(environment)
TEXT = "the quick brown fox jumps over the lazy dog\n\n"
PASS = ("--device", "cpu", "--batch-tokens", 40)
SMALL = ("--no-roles", "--no-null", "-k", 3, "--device", "cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"), vocab=64)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("text"), [TEXT * (1 + number % 3) for number in range(12)])


@pytest.fixture(scope="module")
def acts(model: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `rwcore activations`."""
    folder = tmp_path_factory.mktemp("pass")
    words = ("activations", model, text, *PASS, "--top", 3, "--max-length", 32, "--plots", "none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RWCORE_CACHE", str(folder / "cache"))
        done = rwcore(*words, "--out", folder / "acts")
    assert done.code == 0, done.err
    return folder / "acts"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def links(folder: Path, neuron: str) -> list[str]:
    """Links to neighbours on the page of a neuron."""
    html = (folder / "neurons" / f"{neuron}.html").read_text(encoding="utf-8")
    return re.findall(r'<a rel="(?:prev|next)" href="([^"]+)"', html)


def test_a_site_of_named_neurons(model: Path, acts: Path, tmp_path: Path) -> None:
    site = tmp_path / "new" / "site"
    words = ("pages", model, "1.3", "0.2", "--neurons", "1.0-1", *SMALL, "--activations", acts, "--out", site)
    done = rwcore(*words)
    assert (done.code, done.err) == (0, "")
    neurons = ["0.2", "1.0", "1.1", "1.3"]
    assert [row.split()[0] for row in done.rows if re.match(r"\d+\.\d+ ", row)] == neurons
    assert f"open {site / 'index.html'}" in done.out
    pages = {f"neurons/{name}.html" for name in neurons}
    facts = manifest(site)
    layers = {f"data/layer-{layer:03d}.js" for layer in range(len(list(acts.glob("layer_*.safetensors"))))}
    assert files(site) == {"index.html", "manifest.json", *pages, *layers}
    assert {entry["name"] for entry in facts["files"]} == files(site) - {"manifest.json"}
    assert facts["schema"] == SCHEMA
    assert facts["complete"] is True
    assert facts["command"] == shlex.join(["rwcore", *map(str, words)])
    assert [links(site, name) for name in neurons] == [
        ["1.0.html"],
        ["0.2.html", "1.1.html"],
        ["1.0.html", "1.3.html"],
        ["1.1.html"],
    ]


def test_what_is_documented_is_what_is_written(model: Path, acts: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert rwcore("pages", model, "1.3", *SMALL, "--activations", acts, "--out", site).code == 0
    assert sorted(documented("`manifest.json` of `rwcore pages`")) == sorted(manifest(site))
    patterns = [
        re.escape(name).replace("LAYER", r"\d+").replace("NEURON", r"\d+").replace("NNN", r"\d{3}")
        for name, _ in promises("`rwcore pages MODEL --out DIR`")
    ]
    for name in files(site):
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in files(site)), pattern


def test_an_older_site_is_added_to_and_foreign_files_stay(model: Path, acts: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    common = (*SMALL, "--activations", acts, "--out", site)
    assert rwcore("pages", model, "0.2", "1.3", *common).code == 0
    (site / "notes.txt").write_text("mine", encoding="utf-8")
    (site / "neurons" / "mine.html").write_text("mine", encoding="utf-8")
    before = (site / "neurons" / "1.3.html").read_text(encoding="utf-8")
    done = rwcore("pages", model, "1.0", *common)
    assert done.code == 0, done.err
    assert "3 pages, 2 of them from before" in done.out
    assert [links(site, name) for name in ("0.2", "1.0", "1.3")] == [
        ["1.0.html"],
        ["0.2.html", "1.3.html"],
        ["1.0.html"],
    ]
    assert (site / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (site / "neurons" / "mine.html").read_text(encoding="utf-8") == "mine"
    after = (site / "neurons" / "1.3.html").read_text(encoding="utf-8")
    assert after.replace("1.0.html", "0.2.html").replace("← 1.0", "← 0.2") == before
    assert [(page["layer"], page["neuron"]) for page in manifest(site)["pages"]] == [(0, 2), (1, 0), (1, 3)]
    # A page that somebody has removed is forgotten.
    (site / "neurons" / "1.0.html").unlink()
    assert rwcore("pages", model, *common).code == 0
    assert [(page["layer"], page["neuron"]) for page in manifest(site)["pages"]] == [(0, 2), (1, 3)]
    assert links(site, "0.2") == ["1.3.html"]


def test_an_interrupted_site_is_gone_on_with(model: Path, acts: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    common = (*SMALL, "--activations", acts, "--out", site)
    assert rwcore("pages", model, "0.2", "1.3", *common).code == 0
    facts = manifest(site)
    (site / "manifest.json").write_text(json.dumps({**facts, "complete": False}), encoding="utf-8")
    (site / "index.html").unlink()
    assert rwcore("pages", model, "0.3", *common).code == 0
    assert len(manifest(site)["pages"]) == 3
    assert manifest(site)["complete"] is True


def test_a_site_of_another_pass_is_refused(model: Path, acts: Path, text: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert rwcore("pages", model, "0.2", *SMALL, "--activations", acts, "--out", site).code == 0
    kept = {name: (site / name).read_bytes() for name in files(site)}
    words = ("pages", model, "0.2", *SMALL, "--corpus", text, "--max-length", 16, "--out", site)
    refused = rwcore(*words)
    assert_explained(refused, "about something else", "pass corpus: ", "pass token_budget: 40 there", "--out")
    assert "pass model" not in refused.err  # what is the same is not listed
    assert {name: (site / name).read_bytes() for name in files(site)} == kept
    assert_explained(
        rwcore("pages", model, "0.2", *SMALL, "--activations", acts, "--out", acts), "another export"
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine", encoding="utf-8")
    assert_explained(
        rwcore("pages", model, "0.2", *SMALL, "--activations", acts, "--out", other), "not empty"
    )


def test_a_corpus_makes_its_own_pass(model: Path, text: Path, acts: Path, tmp_path: Path) -> None:
    """The same as from a folder, where the options are the same."""
    words = (*SMALL, "--batch-tokens", 40, "--corpus", text, "--max-length", 32)
    done = rwcore("pages", model, "1.3", *words, "--out", tmp_path / "one")
    assert done.code == 0, done.err
    frame = manifest(tmp_path / "one")
    assert frame["pass"] is not None
    assert frame["tokens"] == manifest(acts)["tokens"]


def test_a_model_without_gates_has_two_quadrants(text: Path, tmp_path: Path) -> None:
    plain = build("gpt2", tmp_path / "gpt2", vocab=64)
    site = tmp_path / "site"
    done = rwcore("pages", plain, "1.3", *SMALL, "--corpus", text, "--max-length", 32, "--out", site)
    assert done.code == 0, done.err
    html = (site / "neurons" / "1.3.html").read_text(encoding="utf-8")
    body = re.sub(r"<style>.*?</style>|<script.*?</script>", "", html, flags=re.DOTALL)
    assert {name for name in ("in+", "in−", "gate+", "gate−", "act(gate)") if name in body} == {"in+", "in−"}
    index = (site / "index.html").read_text(encoding="utf-8")
    assert {name for name in ("in+", "in-", "gate+_in+") if f'"key": "{name}"' in index} == {"in+", "in-"}


def test_the_clearest_of_every_class(model: Path, acts: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = ("--class", "all", "--top", 2, *SMALL, "--activations", acts, "--out", site)
    assert rwcore("pages", model, *words).code == 0
    found = manifest(site)["pages"]
    assert len(found) >= 2
    assert max([page["class_name"] for page in found].count(page["class_name"]) for page in found) <= 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("0.999",), ("0.999", "layers are 0 to")),
        (("9.0",), ("9.0", "layers are 0 to")),
        (("three",), ("three", "LAYER.NEURON")),
        (("--class", "weakning"), ("weakning", "use one of")),
        (("--class", "all", "--top", 0), ("0 neurons", "--top")),
        (("--top", 3), ("of which class", "--class")),
        (("--tokens", 100), ("--tokens", "--corpus")),
        (("--dtype", "bfloat16"), ("--dtype", "--corpus")),
        (("--corpus", "handmade"), ("--activations, --corpus", "give one of them")),
        (("--partition", 5), ("--partition", "leave it out")),
        (("--before", -1), ("before", "0 or more")),
        (("0.1", "-k", 0), ("k",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], model: Path, acts: Path, tmp_path: Path
) -> None:
    done = rwcore("pages", model, *SMALL, "--activations", acts, *words, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()


def test_another_models_pass_is_refused(acts: Path, tmp_path: Path) -> None:
    other = build("llama", tmp_path / "other", vocab=64, seed=7)
    done = rwcore("pages", other, "0.1", *SMALL, "--activations", acts, "--out", tmp_path / "out")
    assert_explained(done, "was not made of", str(acts))
    assert not (tmp_path / "out").exists()


def test_no_texts_are_refused(model: Path, tmp_path: Path) -> None:
    assert_explained(rwcore("pages", model, "0.1", "--out", tmp_path / "out"), "which texts", "--corpus")
    done = rwcore("pages", model, "0.1", "--activations", tmp_path / "nothing", "--out", tmp_path / "out")
    assert_explained(done, "no such folder", "rwcore activations")
