"""The weight study: right on planted models, computed once, found again, and never for other weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fixtures.planted import Planted, plant
from rwcore.errors import StoreError
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES, class_codes
from rwcore.stats.null import mismatched_region
from rwcore.store import Store
from rwcore.studies import weights as module
from rwcore.studies.weights import ARRAYS, WeightStudy, weight_study
from rwcore.weights.layer import MlpLayer


@pytest.fixture(scope="module", params=["llama", "olmo", "gpt2"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def llama(tmp_path: Path) -> Planted:
    return plant("llama", tmp_path / "llama")


def study_of(model: Planted, root: Path, **options: Any) -> WeightStudy:
    return weight_study(find(str(model.folder)), store=Store(root), **options)


def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "weight_statistics", fail)
    monkeypatch.setattr(module, "mismatched_region", fail)


def test_planted_classes_are_found(planted: Planted, tmp_path: Path) -> None:
    study = study_of(planted, tmp_path)
    classes = VANILLA_CLASSES if planted.family == "gpt2" else RW_CLASSES
    names = np.array([one.name for one in classes])[class_codes(study.cosines).numpy()]
    assert (names == planted.classes).all()
    counts = study.class_counts().set_index(["layer", "class"])["count"]
    for layer, row in enumerate(planted.classes):
        for one in classes:
            assert counts[layer, one.name] == (row == one.name).sum() > 0
    totals = study.class_totals().set_index("class")["count"]
    assert totals.sum() == planted.classes.size


def test_planted_cosines_are_found_with_gate_signs_folded(planted: Planted, tmp_path: Path) -> None:
    cosines = study_of(planted, tmp_path).cosines
    torch.testing.assert_close(cosines.linout.double(), torch.tensor(planted.linout), atol=1e-5, rtol=0)
    if planted.gatelin is None or planted.gateout is None:
        assert not cosines.gated
        return
    assert cosines.gatelin is not None
    assert cosines.gateout is not None
    sign = np.sign(planted.gatelin)
    found = torch.stack([cosines.gatelin, cosines.gateout]).double()
    wanted = torch.tensor(np.stack([np.abs(planted.gatelin), sign * planted.gateout]))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_raw_weights_are_another_artefact_with_other_answers(llama: Planted, tmp_path: Path) -> None:
    published, raw = study_of(llama, tmp_path), study_of(llama, tmp_path, processing="raw")
    assert published.folder != raw.folder
    assert not torch.allclose(published.cosines.linout, raw.cosines.linout, atol=0.05)
    assert raw.provenance["processing"] == "raw"


def test_the_second_study_finds_the_first_one_s_results(
    llama: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = study_of(llama, tmp_path)
    counts, regions = first.class_counts(), first.null_regions()
    no_computing(monkeypatch)
    second = study_of(llama, tmp_path)
    pd.testing.assert_frame_equal(second.class_counts(), counts)
    pd.testing.assert_frame_equal(second.null_regions(), regions)
    with pytest.raises(AssertionError, match="computed again"):
        _ = study_of(llama, tmp_path / "elsewhere").cosines


def test_other_weights_under_the_same_name_are_computed(llama: Planted, tmp_path: Path) -> None:
    first = study_of(llama, tmp_path)
    before = first.cosines.linout
    plant("llama", llama.folder, seed=1)
    second = study_of(llama, tmp_path)
    assert second.folder != first.folder
    assert not torch.equal(second.cosines.linout, before)


def test_an_interrupted_study_goes_on_at_the_layer_where_it_stopped(
    llama: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def interrupted(layer: MlpLayer) -> pd.DataFrame:
        measured.append(layer.index)
        if measured == [0, 1, 2]:
            raise KeyboardInterrupt
        return mismatched_region(layer)

    monkeypatch.setattr(module, "mismatched_region", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_of(llama, tmp_path).null_regions()
    found = study_of(llama, tmp_path).null_regions()
    assert measured == [0, 1, 2, 2]
    pd.testing.assert_frame_equal(study_of(llama, tmp_path / "other").null_regions(), found)


def test_regions_of_some_layers(llama: Planted, tmp_path: Path) -> None:
    study = study_of(llama, tmp_path)
    some, every = study.null_regions([2, 0]), study.null_regions()
    assert some["layer"].unique().tolist() == [2, 0]
    expected = pd.concat([every[every["layer"] == 2], every[every["layer"] == 0]], ignore_index=True)
    pd.testing.assert_frame_equal(some, expected)


def test_null_regions_are_those_of_each_layer_through_the_engine(llama: Planted, tmp_path: Path) -> None:
    asked: list[str] = []

    class Backwards:
        """An engine that runs the tasks in another order and returns results in theirs."""

        def map(self, function: Callable[..., Any], specs: Sequence[Any], *, desc: str) -> list[Any]:
            asked.append(desc)
            return [function(spec) for spec in reversed(specs)][::-1]

    study = study_of(llama, tmp_path, engine=Backwards())
    expected = pd.concat([mismatched_region(layer) for layer in study.mlp_weights()], ignore_index=True)
    pd.testing.assert_frame_equal(study.null_regions(), expected)
    assert len(asked) == 1


def test_a_located_model_and_a_spec_are_the_same(llama: Planted, tmp_path: Path) -> None:
    spec = find(str(llama.folder))
    assert weight_study(locate(spec), store=Store(tmp_path)).folder == study_of(llama, tmp_path).folder


def test_provenance_says_what_was_computed_from_what(planted: Planted, tmp_path: Path) -> None:
    facts = study_of(planted, tmp_path).provenance
    assert facts["definition"] == module.DEFINITION
    assert facts["processing"] == "as_published"
    assert facts["dtype"] == "float32"
    assert facts["model"] == locate(find(str(planted.folder))).identity()
    assert {"software", "machine", "date", "wall_seconds", "peak_memory_bytes"} <= facts.keys()


def test_a_damaged_artefact_is_named(llama: Planted, tmp_path: Path) -> None:
    study = study_of(llama, tmp_path)
    (study.folder / ARRAYS).write_bytes(b"rubbish")
    with pytest.raises(StoreError) as caught:
        _ = study_of(llama, tmp_path).statistics
    assert str(study.folder / ARRAYS) in str(caught.value)
