"""Neurons beside random bases: against scikit-learn on rotated activations, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError
from rwcore.models.spec import LocalModel
from rwcore.probing.controls import DIRECTIONS, NEURONS
from rwcore.probing.datasets.features import Feature, FeatureDataset
from rwcore.probing.datasets.strings import token_strings
from rwcore.probing.random_basis import gaussian_matrix, random_frame
from rwcore.probing.sparsity import CurveOptions
from rwcore.probing.superposition import COMPOUND, MISSING_FIRST, MISSING_SECOND, POSITIVE
from rwcore.studies import probes as module
from rwcore.studies.probe_superposition import (
    JOINT_COLUMNS,
    LOSS_COLUMNS,
    RANK_COLUMNS,
    WIN_COLUMNS,
    SuperpositionTables,
    rotated,
    superposition_tables,
)
from rwcore.studies.probes import ProbeOptions, ProbeStudy
from rwcore.tests.probe_study_makers import tiny_model, tiny_study

CURVE = CurveOptions(sizes=(1, 2, 8), methods=("mean_dif", "telescopic", "random directions"))
OPTIONS = ProbeOptions(trials=2, kept=None, curve=CURVE)


def pairs(data: FeatureDataset, local: LocalModel) -> FeatureDataset:
    """A pair of words: tokens of a third of the vocabulary, but for some that are the second word."""
    third, other = data.features[:2]
    assert data.token is not None
    ids = data.corpus.tokens[data.token[third.example]].long()
    word = int(ids[third.label].mode().values)
    label = third.label & ~((ids == word) & (torch.arange(len(ids)) % 2 == 0))
    (name,) = token_strings(read_encoder(local), [word]).values()
    return replace(data, features=(Feature(f"first-{name.strip()}", COMPOUND, third.example, label), other))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ProbeStudy:
    made = tiny_study(local, tmp_path_factory.mktemp("store"), options=OPTIONS)
    return replace(made, datasets=(pairs(made.datasets[0], local), made.datasets[1]))


@pytest.fixture(scope="module")
def tables(study: ProbeStudy) -> SuperpositionTables:
    return superposition_tables(study)


def test_tables_are_at_the_layers_with_curves(study: ProbeStudy, tables: SuperpositionTables) -> None:
    for table, columns in (
        (tables.ranks, RANK_COLUMNS),
        (tables.wins, WIN_COLUMNS),
        (tables.loss, LOSS_COLUMNS),
        (tables.joint, JOINT_COLUMNS),
    ):
        assert table.columns.tolist() == [*columns]
    for one in study.found:
        asked = {(one.atlas.tasks[number].name, layer) for number, layer in study.pairs(one.atlas)}
        for table in (tables.ranks, tables.loss):
            rows = table[table["dataset"] == one.data.name]
            assert {*zip(rows["feature"], rows["layer"], strict=True)} == asked
    features = [task.name for one in study.found for task in one.atlas.tasks]
    assert features[1:] == ["third 1", "large ids"]
    for table in (tables.ranks, tables.wins, tables.loss):
        assert table["feature"].unique().tolist() == features
    assert {*tables.loss["method"]} == {"mean_dif", "telescopic"}
    assert {*tables.loss["k"]} == {1, 2, 8}
    assert (tables.loss["trials"] == 2).all()


def test_wins_are_those_of_the_first_ranks(tables: SuperpositionTables) -> None:
    first = tables.ranks[tables.ranks["rank"] == 1].pivot_table("mean", "feature", "control")
    wins = tables.wins.set_index("feature")
    for name in wins.index:
        assert wins.loc[name, "neuron_f1"] == first.loc[name, NEURONS]
        assert wins.loc[name, "control_f1"] == first.loc[name, DIRECTIONS]
        assert wins.loc[name, "wins"] == (first.loc[name, NEURONS] > first.loc[name, DIRECTIONS])


def test_losses_are_those_of_scikit_learn_on_rotated_activations(
    study: ProbeStudy, tables: SuperpositionTables
) -> None:
    one, number = study.found[0], 1
    (layer,) = {layer for feature, layer in study.pairs(one.atlas) if feature == number}
    task, x = one.atlas.tasks[number], study.kept(one, number, layer).x.double().numpy()
    train, test = task.split.train.numpy(), task.split.test.numpy()
    label = task.label.numpy()
    scaled = x / (10 * np.maximum(x[train].std(0), 1e-3))
    rotations = [random_frame(x.shape[1], x.shape[1], (layer, trial)) for trial in range(2)]
    rows = tables.loss.query("feature == 'third 1' and method == 'mean_dif'").set_index("k")
    for k in (1, 8):
        losses = [reference(scaled @ basis, label, train, test, k) for basis in rotations]
        neurons = reference(x, label, train, test, k)
        found = rows.loc[k]
        assert found["neurons"] == pytest.approx(neurons, rel=1e-3)
        assert found["directions"] == pytest.approx(np.mean(losses), rel=1e-3)
        percent = [100 * (loss / neurons - 1) for loss in (np.mean(losses), min(losses), max(losses))]
        np.testing.assert_allclose(
            found[["percent", "low", "high"]].astype(float), np.array(percent), atol=0.3
        )


def reference(
    x: np.ndarray[Any, Any],
    label: np.ndarray[Any, Any],
    train: np.ndarray[Any, Any],
    test: np.ndarray[Any, Any],
    k: int,
) -> float:
    """Test log loss of the balanced probe on the k columns of the largest mean difference."""
    x = x / (10 * np.maximum(x[train].std(0), 1e-3))
    of_train, known = x[train], label[train]
    difference = np.abs(of_train[known].mean(0) - of_train[~known].mean(0))
    best = np.argsort(-difference)[:k]
    probe = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=5000)
    probe.fit(of_train[:, best], known)
    return float(log_loss(label[test], probe.predict_proba(x[test][:, best])))


def test_bases_turn_activations_without_stretching_them(study: ProbeStudy) -> None:
    task = study.found[0].atlas.tasks[0]
    x = torch.randn(len(task.label), 6, generator=torch.Generator().manual_seed(0)).half() * 3
    turned = rotated(x, task, "fixed", (3, 1))
    scaled = x.double() / (10 * x[task.split.train].double().std(0, correction=0))
    torch.testing.assert_close(turned.norm(dim=1), scaled.norm(dim=1))
    assert not torch.allclose(turned, rotated(x, task, "fixed", (3, 2)))
    published = rotated(x, task, "as_published", (3, 1))
    torch.testing.assert_close(published, x.double() @ torch.from_numpy(gaussian_matrix(6, (3, 1))))


def test_joint_activations_are_those_of_the_best_neurons(
    study: ProbeStudy, tables: SuperpositionTables
) -> None:
    """Of the pair of words only; the best one first."""
    joint, one = tables.joint, study.found[0]
    task = one.atlas.tasks[0]
    assert {*joint["feature"]} == {task.name}
    assert {*joint["kind"]} == {POSITIVE, MISSING_FIRST, MISSING_SECOND}
    (layer,) = {*joint["layer"]}
    quality = one.atlas.quality(0)[one.atlas.layers.index(layer)]
    best = quality.argsort(descending=True, stable=True)[:5].tolist()
    kept = study.kept(one, 0, layer)
    places = {neuron: column for column, neuron in enumerate(kept.neurons.tolist())}
    for place, neuron in enumerate(best, 1):
        rows = joint[joint["place"] == place]
        assert {*rows["neuron"].astype(int)} == {neuron}
        assert rows["example"].tolist() == task.example.tolist()
        np.testing.assert_array_equal(rows["activation"], kept.x[:, places[neuron]].float())
        assert ((rows["kind"] == POSITIVE).to_numpy() == task.label.numpy()).all()


def test_the_second_time_nothing_is_run_and_more_bases_leave_the_atlas_alone(
    study: ProbeStudy, tables: SuperpositionTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = replace(study)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model is run again")

    with monkeypatch.context() as patched:
        patched.setattr(module, "example_pass", never)
        for name in ("ranks", "wins", "loss", "joint"):
            pd.testing.assert_frame_equal(getattr(superposition_tables(again), name), getattr(tables, name))
        patched.setattr(module, "probe_layer", never)
        with pytest.raises(AssertionError, match="run again"):  # controls need activations
            _ = replace(study, options=replace(OPTIONS, trials=3)).found
    root = study.weights.store.root
    atlases = folders(root / "probes")
    controls = folders(root / "probe-controls")
    assert replace(study, options=replace(OPTIONS, trials=1)).found[0].controls["trial"].max() == 0
    assert folders(root / "probes") == atlases
    assert len(folders(root / "probe-controls")) == 2 * len(controls)


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (replace(OPTIONS, trials=0), "random bases"),
        (
            replace(OPTIONS, curve=replace(CURVE, methods=("exact", "random directions"))),
            "none of the methods",
        ),
    ],
)
def test_nothing_to_compare_with_is_refused_before_anything_is_run(
    study: ProbeStudy, options: ProbeOptions, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "example_pass", None)
    with pytest.raises(OptionError, match=match) as error:
        superposition_tables(replace(study, options=options))
    assert "--superposition" in str(error.value)
