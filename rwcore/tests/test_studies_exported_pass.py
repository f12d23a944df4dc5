"""A pass read back from the folder of `rwcore activations`, and folders that are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.activations.artefact import MANIFEST as PASS_MANIFEST
from rwcore.activations.artefact import load, save
from rwcore.activations.top import TopLists
from rwcore.errors import OptionError, RwcoreError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.store import MANIFEST, Store, hash_file
from rwcore.studies.activation_export import export_activations, export_shard
from rwcore.studies.activations import SIGNS, ActivationStudy, PassOptions
from rwcore.studies.exported_pass import exported_pass
from rwcore.studies.neuron_examples import ExampleOptions, ExampleStudy
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.activation_parts import same
from rwcore.tests.pass_makers import random_corpus, tiny_study

CORPUS = random_corpus(rows=40, seed=7)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    return tiny_study(local, tmp_path_factory.mktemp("store"), CORPUS)


@pytest.fixture(scope="module")
def exported(study: ActivationStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_activations(study, tmp_path_factory.mktemp("out") / "new", plots="none").folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "out"))


@pytest.fixture
def weights(local: LocalModel, tmp_path: Path) -> WeightStudy:
    """The model on a machine that has not computed the pass."""
    return weight_study(local, store=Store(tmp_path / "elsewhere"))


def refused(weights: WeightStudy, folder: Path, kind: type[RwcoreError] = StoreError) -> RwcoreError:
    with pytest.raises(kind) as caught:
        exported_pass(weights, folder)
    assert caught.value.where
    assert caught.value.remedy
    return caught.value


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a JSON file, and what the manifest says about it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    if path.name != MANIFEST:
        sign(path)


def sign(path: Path) -> None:
    """Let the manifest accept a changed file."""

    def resign(manifest: dict[str, object]) -> None:
        (entry,) = [entry for entry in manifest["files"] if entry["name"] == path.name]  # type: ignore[attr-defined]
        entry["sha256"] = hash_file(path)

    edit(path.parent / MANIFEST, resign)


def test_it_is_the_pass_that_was_exported(
    exported: Path, study: ActivationStudy, weights: WeightStudy
) -> None:
    found = exported_pass(weights, exported)
    assert found.corpus.content_hash == CORPUS.content_hash
    assert torch.equal(found.signs, study.signs)
    assert all(map(same, found.unfolded.layers, study.unfolded.layers))
    assert all(map(same, found.activations.layers, study.activations.layers))
    assert torch.equal(found.summary.frequencies, study.summary.frequencies)
    assert len(list(found.without_groups())) == len(list(study.without_groups())) > 1
    assert found.provenance == study.provenance
    assert found.class_frequency().equals(study.class_frequency())


def test_what_decides_numbers_is_taken_from_the_pass(exported: Path, weights: WeightStudy) -> None:
    mine = PassOptions(k=99, token_budget=7, dtype="bfloat16", device="cpu", threads=1, shards=2)
    found = exported_pass(weights, exported, mine).options
    assert found == replace(mine, k=3, token_budget=40, dtype="float32")


def test_examples_of_an_export_are_those_of_the_pass(
    exported: Path, study: ActivationStudy, weights: WeightStudy
) -> None:
    pairs = [(0, 3), (2, 5)]
    options = ExampleOptions(before=3, after=2)
    one = ExampleStudy(study, options).examples(pairs)
    other = ExampleStudy(exported_pass(weights, exported, PassOptions(device="cpu")), options).examples(pairs)
    for left, right in zip(one, other, strict=True):
        assert dict(left.lists) == dict(right.lists)
        assert dict(left.random) == dict(right.random)
        assert torch.equal(left.sample.post, right.sample.post)


def test_a_name_does_not_matter_where_the_content_is_the_same(exported: Path, local: LocalModel) -> None:
    renamed = replace(local, spec=replace(local.spec, id="./tiny"))
    assert exported_pass(weight_study(renamed), exported).corpus.n_tokens == CORPUS.n_tokens


def test_no_folder_no_export(weights: WeightStudy, tmp_path: Path) -> None:
    assert "no such folder" in refused(weights, tmp_path / "nothing").what
    (tmp_path / "empty").mkdir()
    error = refused(weights, tmp_path / "empty")
    assert "has no manifest.json" in error.what
    assert "--out" in str(error.remedy)
    (tmp_path / "empty" / MANIFEST).write_text('{"schema": "rwcore-weights/1"}')
    assert "its manifest says 'rwcore-weights/1'" in refused(weights, tmp_path / "empty").what
    (tmp_path / "empty" / MANIFEST).write_text("[]")
    assert "no pass over a text" in refused(weights, tmp_path / "empty").what


@pytest.mark.parametrize("name", [PASS_MANIFEST, SIGNS, "layer_001.safetensors", "tokens.safetensors"])
def test_a_missing_file(name: str, weights: WeightStudy, folder: Path) -> None:
    (folder / name).unlink()
    error = refused(weights, folder)
    assert name in str(error)


@pytest.mark.parametrize("name", [PASS_MANIFEST, SIGNS, "layer_001.safetensors", "tokens.safetensors"])
def test_a_damaged_file(name: str, weights: WeightStudy, folder: Path) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    assert str(folder) in str(refused(weights, folder).where)


def test_an_export_that_was_interrupted(weights: WeightStudy, folder: Path) -> None:
    edit(folder / MANIFEST, lambda manifest: manifest.update(complete=False))
    assert "not complete" in refused(weights, folder).what


def test_a_part_of_a_pass(local: LocalModel, weights: WeightStudy, tmp_path: Path) -> None:
    study = tiny_study(local, tmp_path / "parts", CORPUS, shards=3)
    error = refused(weights, export_shard(study, 1, tmp_path / "shard"))
    assert "one part of a pass" in error.what
    assert "--merge" in str(error.remedy)


def test_a_part_that_calls_itself_a_whole(weights: WeightStudy, folder: Path) -> None:
    edit(folder / PASS_MANIFEST, lambda content: content.update(shards=[[1, 3]]))
    assert "one part of a pass" in refused(weights, folder).what


def test_a_pass_without_lists(local: LocalModel, weights: WeightStudy, tmp_path: Path) -> None:
    study = tiny_study(local, tmp_path / "store", CORPUS, k=0)
    folder = export_activations(study, tmp_path / "none", plots="none").folder
    error = refused(weights, folder, OptionError)
    assert "length 0" in error.what
    assert "--top" in str(error.remedy)


def test_another_model_is_named_with_each_difference(exported: Path, tmp_path: Path) -> None:
    other = local_model(build("llama", tmp_path / "other", seed=1), id="other")
    error = refused(weight_study(replace(other, revision="abc")), exported)
    assert "model: tiny → other" in error.what
    assert "revision:  → abc" in error.what
    assert "content: metadata:" in error.what


def test_another_processing(exported: Path, local: LocalModel) -> None:
    error = refused(weight_study(local, processing="raw"), exported)
    assert "processing: as_published → raw" in error.what
    assert "model: " not in error.what


def test_clipping_switched_off(exported: Path, local: LocalModel) -> None:
    free = replace(local, spec=replace(local.spec, clip_qkv=False))
    assert "clip_qkv: on → off" in refused(weight_study(free), exported).what


def test_another_corpus_in_the_folder(weights: WeightStudy, folder: Path) -> None:
    other = random_corpus(rows=40, seed=8)
    other.save(folder)
    error = refused(weights, folder)
    assert f"corpus: {CORPUS.content_hash} → {other.content_hash}" in error.what
    assert f"tokens: {CORPUS.n_tokens} → {other.n_tokens}" in error.what


def test_a_damaged_corpus(weights: WeightStudy, folder: Path) -> None:
    edit(folder / "corpus.json", lambda facts: facts.update(content_hash="sha256:0"))
    assert "no whole corpus" in refused(weights, folder).what


def planted(folder: Path, row: int | None, position: int | None) -> None:
    """Let the first place of a list be somewhere else."""
    found = load(folder)
    layer = found.layers[1]
    top = TopLists(layer.top.keys.clone(), layer.top.positions.clone())
    if row is not None:
        there = int(top.rows[4, 6, 0])
        top.keys[4, 6, 0] += 2 * (there - row)
    if position is not None:
        top.positions[4, 6, 0] = position
    changed = replace(found, layers=(found.layers[0], replace(layer, top=top), *found.layers[2:]))
    # Through a folder of its own: saving replaces a whole folder.
    save(folder / "pass", changed)
    for path in (folder / "pass").iterdir():
        shutil.move(path, folder / path.name)
        sign(folder / path.name)


@pytest.mark.parametrize(
    ("row", "position", "what"),
    [(40, None, "the text has 40 rows"), (3, 99, "position 99 of row 3"), (3, -1, "position -1 of row 3")],
)
def test_a_missing_document(
    row: int, position: int | None, what: str, weights: WeightStudy, folder: Path
) -> None:
    planted(folder, row, position)
    error = refused(weights, folder)
    assert "a missing document" in error.what
    assert "neuron 1.6" in error.what
    assert what in error.what


def test_a_pass_that_does_not_say_what_it_is(weights: WeightStudy, folder: Path) -> None:
    edit(folder / PASS_MANIFEST, lambda content: content["identity"].pop("processing"))  # type: ignore[attr-defined]
    assert "does not say processing" in refused(weights, folder).what
