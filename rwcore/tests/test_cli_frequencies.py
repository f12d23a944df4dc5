"""`rwcore frequencies`: a published file gives the numbers that the pass behind it gave."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.activations.summary import summary_of
from rwcore.errors import StoreError
from rwcore.studies.activations import ActivationStudy
from rwcore.studies.frequencies import PublishedFrequencies
from rwcore.tests.command_line import OUTPUTS, assert_explained, environment, names, rwcore
from rwcore.tests.pass_makers import random_corpus, tiny_study
from rwcore.tests.test_activations_artefact import published

_environment = pytest.fixture(autouse=True)(environment)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def study(model: Path, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    local = local_model(model, id=str(model))
    return tiny_study(local, tmp_path_factory.mktemp("store"), random_corpus(), k=16, token_budget=400)


@pytest.fixture(scope="module")
def files(study: ActivationStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pass in the published layout, gate signs folded and not."""
    folder = tmp_path_factory.mktemp("published")
    torch.save(published(summary_of(study.activations)), folder / "summary_refactored.pt")
    torch.save(published(summary_of(study.unfolded)), folder / "summary.pt")
    return folder


@pytest.mark.parametrize("name", ["summary_refactored.pt", "summary.pt"])
def test_a_published_file_gives_the_numbers_of_its_pass(
    name: str, model: Path, study: ActivationStudy, files: Path, tmp_path: Path
) -> None:
    done = rwcore("frequencies", model, files / name, "--plots", "none", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    folded = "refactored" in name
    assert done.rows[0] == f"{model} by {name}, gate signs {'' if folded else 'not '}folded in it"
    for quadrant, stem in (
        ("summary", "class_frequency"),
        ("gate+_in-", "class_frequency_gate_plus_in_minus"),
    ):
        found = pd.read_csv(tmp_path / "out" / f"{stem}.csv")
        expected = study.class_frequency(quadrant).assign(low=float("nan"), high=float("nan"))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    (line,) = [row for row in done.rows if row.startswith("orthogonal output ")]
    assert "–" in line, "no interval is known"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["source"]["name"] == name
    assert manifest["source"]["folded"] is folded
    assert f"Schema `{manifest['schema']}`" in OUTPUTS
    assert not [name for name in names(tmp_path / "out") if name.endswith((".pdf", ".safetensors"))]
    pooled = pd.read_csv(tmp_path / "out" / "frequency_correlations.csv")
    assert pooled["r"].to_numpy() == pytest.approx(
        study.correlations()["r"].to_numpy(), abs=1e-5, nan_ok=True
    )


def test_the_name_of_the_file_can_be_overruled(model: Path, files: Path, tmp_path: Path) -> None:
    words = ("frequencies", model, files / "summary.pt", "--refactored", "--plots", "none")
    assert rwcore(*words, "--out", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["source"]["folded"] is True


def test_a_file_about_another_model_is_refused(model: Path, files: Path, tmp_path: Path) -> None:
    other = build("llama", tmp_path / "other", layers=2)
    done = rwcore("frequencies", other, files / "summary.pt", "--out", tmp_path / "out")
    assert_explained(done, "3 layers of 24 neurons", "2 of 24", "summary.pt")
    missing = rwcore("frequencies", model, files / "none.pt", "--out", tmp_path / "out")
    assert_explained(missing, "none.pt")
    plain = build("gpt2", tmp_path / "plain")
    assert_explained(rwcore("frequencies", plain, files / "summary.pt", "--out", tmp_path / "out"), "no gate")
    assert not (tmp_path / "out").exists()


def test_frequencies_by_class_do_not_depend_on_folding(study: ActivationStudy, files: Path) -> None:
    """Classes and gate > 0 are the same; in+ and in- change places where the sign is negative (F17)."""
    right = PublishedFrequencies(study.weights, files / "summary.pt", folded=False)
    wrong = dataclasses.replace(right, folded=True)
    assert torch.equal(right.frequencies()["summary"], wrong.frequencies()["summary"])
    assert not torch.equal(right.frequencies()["gate+_in+"], wrong.frequencies()["gate+_in+"])
    with pytest.raises(StoreError, match="cannot read"):
        _ = PublishedFrequencies(study.weights, files, folded=False).summary
