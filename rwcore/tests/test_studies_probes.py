"""Whole probe studies: the right neurons at the right examples, nothing run twice, nothing left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.models.spec import LocalModel
from rwcore.parallel import open_engine
from rwcore.probing.sparsity import COLUMNS
from rwcore.studies import probes as module
from rwcore.studies.probe_findings import CLASS_COLUMNS, find, found_neurons
from rwcore.studies.probes import ProbeStudy
from rwcore.tests.example_makers import row_by_row
from rwcore.tests.probe_study_makers import OPTIONS, tiny_datasets, tiny_model, tiny_study

POST = 3


@pytest.fixture(scope="module", params=["llama", "gpt_neox"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def local(family: str, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return tiny_model(tmp_path_factory.mktemp("model"), family)


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ProbeStudy:
    return tiny_study(local, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def activations(study: ProbeStudy, local: LocalModel, family: str) -> dict[str, Tensor]:
    """Of each data set, post at its examples, one row after the other: [example layer neuron]."""
    rows = row_by_row(local, study.datasets[0].corpus, family)
    token = torch.cat([row[:, POST].permute(1, 0, 2) for row in rows])
    tokens = study.datasets[0].token
    assert tokens is not None
    return {"tokens": token[tokens], "rows": torch.stack([row[:, POST].mean(1) for row in rows])}


def test_the_best_neurons_are_those_of_scikit_learn(
    study: ProbeStudy, activations: dict[str, Tensor]
) -> None:
    """Every neuron of a feature, probed alone by the library on what the model does row by row."""
    for one in study.found:
        atlas, values = one.atlas, activations[one.data.name].numpy()
        for number, task in enumerate(atlas.tasks):
            x, label = values[task.example], task.label.numpy()
            train, test = task.split.train.numpy(), task.split.test.numpy()
            for place, neuron in [(0, 0), (len(atlas.layers) - 1, 3), (0, 5)]:
                column = x[:, place, neuron][:, None]
                scale = 10 * max(column[train].std(), 1e-3)
                probe = LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=1000)
                probe.fit(column[train] / scale, label[train])
                expected = matthews_corrcoef(label[test], probe.predict(column[test] / scale))
                weight = float(atlas.columns["weight"][place, number, neuron])
                assert weight == pytest.approx(probe.coef_[0, 0], rel=0.05, abs=0.02)
                # 256 codes: an example or two may change sides.
                assert float(atlas.columns["test_mcc"][place, number, neuron]) == pytest.approx(
                    expected, abs=0.06
                )


def test_kept_activations_are_those_of_the_best_neurons(
    study: ProbeStudy, activations: dict[str, Tensor]
) -> None:
    (one, _), number = study.found, 1
    task = one.atlas.tasks[number]
    (layer,) = {layer for feature, layer in study.pairs(one.atlas) if feature == number}
    kept = study.kept(one, number, layer)
    differences = one.atlas.columns["mean_dif"][one.atlas.layers.index(layer), number].abs()
    assert kept.neurons.tolist() == differences.argsort(descending=True, stable=True)[:8].tolist()
    expected = activations["tokens"][task.example][:, layer]
    torch.testing.assert_close(kept.x.float(), expected[:, kept.neurons], rtol=2e-3, atol=2e-4)
    best = int(one.atlas.quality(number)[one.atlas.layers.index(layer)].argmax())
    torch.testing.assert_close(kept.best.float(), expected[:, best], rtol=2e-3, atol=2e-4)


def test_a_feature_of_one_document_is_reported(study: ProbeStudy) -> None:
    (unsplit,) = study.unsplit
    assert unsplit.name == "first document"
    assert [task.name for task in study.found[0].atlas.tasks] == ["third 0", "third 1"]
    skipped = find(study).skipped
    assert skipped["feature"].tolist() == ["first document"]


def test_findings(study: ProbeStudy) -> None:
    found = find(study, top=5)
    shape = (len(study.layers), study.found[0].atlas.width)
    assert found.probed == shape[0] * shape[1]
    assert found.features["feature"].tolist() == ["third 0", "third 1", "large ids"]
    assert found.features["test_mcc_low"].notna().all()
    assert (found.features["test_mcc_low"] <= found.features["test_mcc"] + 1e-9).all()
    assert len(found.neurons) == 15
    assert len(found.layers) == 3 * shape[0]
    assert {*COLUMNS} <= {*found.curves.columns}
    sizes = found.curves.groupby("method")["k"].unique().map(sorted)
    assert sizes["mean_dif"] == [1, 2, 4]
    assert sizes["exact"] == [1, 2]
    assert {*found.controls["control"]} == {"neurons", "random directions", "shuffled labels"}
    numbers = found.curves.loc[found.curves["method"] == "mean_dif", "neurons"]
    assert all(0 <= int(number) < shape[1] for text in numbers for number in text.split())


def test_curves_have_the_neurons_of_the_layer(study: ProbeStudy) -> None:
    """The one neuron of the ranking is the one with the largest mean difference of its layer."""
    for one in study.found:
        curves = study.curves(one)
        for number, task in enumerate(one.atlas.tasks):
            row = curves[
                (curves["feature"] == task.name) & (curves["k"] == 1) & (curves["method"] == "mean_dif")
            ]
            place = one.atlas.layers.index(int(row["layer"].iloc[0]))
            assert int(row["neurons"].iloc[0]) == int(
                one.atlas.columns["mean_dif"][place, number].abs().argmax()
            )


def test_the_second_time_nothing_is_run(
    study: ProbeStudy, local: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find(study)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model is run again")

    monkeypatch.setattr(module, "example_pass", never)
    again = find(tiny_study(local, study.weights.store.root))
    assert first.features.equals(again.features)
    assert first.curves.equals(again.curves)


def test_examples_do_not_stay(study: ProbeStudy) -> None:
    """Of activations only those of the best neurons are kept."""
    assert study.found
    folder = study.weights.store.root / "example-pass"
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [*(study.weights.store.root / "probe-neurons").rglob("*.safetensors")]


def test_chosen_layers(local: LocalModel, tmp_path: Path) -> None:
    study = tiny_study(local, tmp_path, options=replace(OPTIONS, layers=(1,), curves=(1,), trials=0))
    found = find(study)
    assert {*found.layers["layer"]} == {1}
    assert {*found.curves["layer"]} == {1}
    assert found.controls.empty
    with pytest.raises(OptionError, match="layers from 0"):
        find(tiny_study(local, tmp_path, options=replace(OPTIONS, layers=(0, 99))))
    with pytest.raises(OptionError, match="layers from 0"):
        find(tiny_study(local, tmp_path, options=replace(OPTIONS, layers=(0,), curves=(1,))))


def test_as_published_has_no_validation(local: LocalModel, tmp_path: Path) -> None:
    found = find(tiny_study(local, tmp_path, options=replace(OPTIONS, convention="as_published")))
    assert found.features["validation_mcc"].isna().all()
    assert found.features["test_mcc"].notna().all()
    assert (found.features["test_n"] == np.ceil(0.3 * found.features["n"])).all()


def test_found_neurons_are_those_above_the_limit(study: ProbeStudy) -> None:
    found = found_neurons(study.found, 0.3)
    expected = {
        (layer, neuron)
        for one in study.found
        for number in range(len(one.atlas.tasks))
        for place, layer in enumerate(one.atlas.layers)
        for neuron in range(one.atlas.width)
        if one.atlas.columns["validation_mcc"][place, number, neuron] >= 0.3
    }
    assert {*found.neurons.pairs()} == expected
    assert find(study).classes.columns.tolist() == [*CLASS_COLUMNS]


def test_a_data_set_without_a_feature_is_left_out_and_refused_if_there_is_no_other(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(local, tmp_path)
    tokens, rows = study.datasets
    only = replace(tokens, features=(tokens.features[2],))
    found = find(replace(study, datasets=(only, rows)))
    assert {*found.features["dataset"]} == {"rows"}
    assert found.skipped[["dataset", "feature"]].to_numpy().tolist() == [["tokens", "first document"]]

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a model is run for nothing")

    monkeypatch.setattr(module, "example_pass", never)
    with pytest.raises(OptionError, match="tokens, first document"):
        find(replace(study, datasets=(only,)))


@pytest.mark.slow
def test_workers_find_the_same(tmp_path: Path) -> None:
    """Two processes, two parts of the pass."""
    local = tiny_model(tmp_path)
    assert len(tiny_datasets(local)) == 2
    alone = find(tiny_study(local, tmp_path / "one"))
    with open_engine("local:2") as engine:
        together = find(tiny_study(local, tmp_path / "two", engine=engine, parts=2))
    assert alone.features.equals(together.features)
    assert alone.neurons.equals(together.neurons)
    assert alone.classes.equals(together.classes)
