"""Tables of probed neurons: which neuron is the best, the published layout, intervals and controls."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.intervals import confusion_intervals
from rwcore.probing.newton import fit_rows
from rwcore.studies.ablation_tables import MINUS
from rwcore.studies.probe_tables import (
    FEATURE_COLUMNS,
    LAYER_COLUMNS,
    NEURON_COLUMNS,
    PUBLISHED_COLUMNS,
    Atlas,
    best_neurons,
    feature_table,
    layer_table,
    neuron_table,
)
from rwcore.studies.probe_texts import feature_latex, feature_markdown, feature_texts
from rwcore.tests.probe_tasks_made_up import made_up

COLUMNS = (
    "mean_dif", "f_stat", "p", "mi", "weight", "intercept", "scale", "validation_mcc", "validation_f1",
    "validation_pr_auc", "test_mcc", "test_f1", "test_precision", "test_recall", "test_pr_auc",
    "test_roc_auc",
)  # fmt: skip
LAYERS, NEURONS = (2, 5, 6), 7


def atlas(convention: str = "fixed", seed: int = 0) -> Atlas:
    """Random numbers: what is the best neuron, they decide."""
    generator = torch.Generator().manual_seed(seed)
    tasks = [
        made_up(examples=300, convention=convention, name=name, family=family)[1]
        for name, family in (("one_feature", "text"), ("other", "code"))
    ]
    size = (len(LAYERS), len(tasks), NEURONS)
    columns = {name: torch.rand(size, generator=generator) for name in COLUMNS}
    columns["weight"] -= 0.5
    if convention == "as_published":
        for name in columns:
            if name.startswith("validation"):
                columns[name].fill_(math.nan)
    return Atlas("org/model_x", tasks, LAYERS, 8, columns, "mean")


def test_the_first_columns_are_the_published_ones() -> None:
    file = "source model dataset feature layer neuron aggregation hook_loc k test_mcc test_f1_score "
    file += "test_precision test_recall coef percentile biasxnorm"
    ours = [name for name in file.split() if name not in ("source", "percentile", "biasxnorm")]
    assert [*PUBLISHED_COLUMNS] == ours
    table = neuron_table(atlas(), top=2)
    assert tuple(table.columns) == NEURON_COLUMNS
    assert NEURON_COLUMNS[: len(PUBLISHED_COLUMNS)] == PUBLISHED_COLUMNS
    assert table[
        ["hook_loc", "k", "aggregation", "model", "dataset"]
    ].drop_duplicates().to_numpy().tolist() == [["mlp.hook_post", 1, "mean", "org/model_x", "made-up"]]


@pytest.mark.parametrize(("convention", "by"), [("fixed", "validation"), ("as_published", "test")])
def test_best_neurons_by_a_plain_search(convention: str, by: str) -> None:
    found = atlas(convention)
    table = neuron_table(found, top=5)
    assert table["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    for number, task in enumerate(found.tasks):
        scored = sorted(
            (
                (float(found.columns[f"{by}_mcc"][place, number, neuron]), layer, neuron, place)
                for place, layer in enumerate(LAYERS)
                for neuron in range(NEURONS)
            ),
            reverse=True,
        )[:5]
        rows = table[table["feature"] == task.name].to_dict("records")
        assert [(row["layer"], row["neuron"]) for row in rows] == [one[1:3] for one in scored]
        assert best_neurons(found)[task.name] == scored[0][1:3]
        for row, (_, _, neuron, place) in zip(rows, scored, strict=True):
            at = (place, number, neuron)
            for published, own in (("test_mcc", "test_mcc"), ("test_f1_score", "test_f1"), ("coef", "weight"),
                                   ("test_precision", "test_precision"), ("mi", "mi")):  # fmt: skip
                assert row[published] == float(found.columns[own][at])
            assert row["polarity"] == ("+" if found.columns["weight"][at] > 0 else "-")
            assert row["family"] == task.family


def test_q_is_over_all_neurons_of_all_layers_of_the_feature() -> None:
    found = atlas()
    table = neuron_table(found, top=len(LAYERS) * NEURONS)
    for number, task in enumerate(found.tasks):
        p = found.columns["p"][:, number].double().numpy()
        wanted = false_discovery_control(p.ravel()).reshape(p.shape)
        for row in table[table["feature"] == task.name].to_dict("records"):
            assert row["q"] == pytest.approx(wanted[LAYERS.index(row["layer"]), row["neuron"]])


def test_between_equal_mcc_the_area_decides_and_unknown_is_worst() -> None:
    found = atlas()
    mcc, area = found.columns["validation_mcc"], found.columns["validation_pr_auc"]
    mcc[:, 0] = 0.2
    mcc[0, 0, 3] = mcc[2, 0, 1] = mcc[1, 0, 6] = 0.9
    area[0, 0, 3], area[2, 0, 1], area[1, 0, 6] = 0.5, 0.6, 0.4
    mcc[1, 0, 2] = math.nan
    table = neuron_table(found, top=21)
    rows = table[table["feature"] == "one_feature"]
    assert list(zip(rows["layer"], rows["neuron"], strict=True))[:3] == [(6, 1), (2, 3), (5, 6)]
    assert (rows["layer"].iloc[-1], rows["neuron"].iloc[-1]) == (5, 2)


def test_features_by_hand() -> None:
    found = atlas()
    table = feature_table(found)
    assert tuple(table.columns) == FEATURE_COLUMNS
    neurons = neuron_table(found, top=1)
    for name in ("layer", "neuron", "polarity", "validation_mcc", "test_mcc", "test_f1_score", "q"):
        assert table[name].tolist() == neurons[name].tolist()
    for number, (row, task) in enumerate(zip(table.to_dict("records"), found.tasks, strict=True)):
        assert (row["n"], row["positives"]) == (300, int(task.label.sum()))
        assert row["documents"] == 60
        test = task.split.test
        assert (row["test_n"], row["test_positives"]) == (len(test), int(task.label[test].sum()))
        assert row["relative_depth"] == row["layer"] / 7
        for limit in (95, 90, 80):
            mcc = found.columns["test_mcc"][:, number].flatten().tolist()
            assert row[f"neurons_{limit}"] == sum(one >= limit / 100 for one in mcc)
    unknown = ["test_mcc_low", "test_mcc_high", "direction_test_mcc", "shuffled_validation_mcc"]
    assert table[unknown].isna().all(axis=None)


def with_probe() -> tuple[Atlas, dict[str, Tensor]]:
    """An atlas whose best neuron has a real probe, and the activations of that neuron."""
    found = atlas()
    x, _ = made_up(examples=300)
    activations = {}
    for number, task in enumerate(found.tasks):
        (place,), (neuron,) = found.best(number, 1)
        train = task.split.train
        probe = fit_rows(x[train][:, [3]].double(), task.label[train])
        for name in ("weight", "intercept", "scale"):
            found.columns[name][place, number, neuron] = getattr(probe, name)[0]
        activations[task.name] = x[:, 3]
    return found, activations


def test_interval_is_of_the_probe_on_the_test_documents() -> None:
    found, activations = with_probe()
    table = feature_table(found, activations=activations)
    for row, task in zip(table.to_dict("records"), found.tasks, strict=True):
        train, test = task.split.train, task.split.test
        x = activations[task.name][:, None].double()
        decided = fit_rows(x[train], task.label[train]).decide(x[test].T)[0]
        wanted = confusion_intervals(task.label[test], decided[:, None] > 0, task.group[test])["mcc"][0]
        assert (row["test_mcc_low"], row["test_mcc_high"]) == pytest.approx((wanted.low, wanted.high))
        assert 0.3 < wanted.low < wanted.high < 1


def test_a_feature_of_whose_best_layer_nothing_was_kept_has_no_interval() -> None:
    found, activations = with_probe()
    gone = found.tasks[0].name
    del activations[gone]
    table = feature_table(found, activations=activations).set_index("feature")
    assert table["test_mcc_low"].isna().tolist() == [name == gone for name in table.index]
    assert table.loc[gone, "test_mcc"] == feature_table(found).set_index("feature").loc[gone, "test_mcc"]


def controls() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = [
        (feature, control, trial, direction, layer, *generator.random(2))
        for feature in ("one_feature", "other")
        for control in ("random directions", "shuffled labels", "neurons")
        for trial in range(3 if control == "random directions" else 1)
        for layer in LAYERS
        for direction in range(4)
    ]
    names = ["feature", "control", "trial", "direction", "layer", "validation_mcc", "test_mcc"]
    return pd.DataFrame(rows, columns=names)


def test_controls_are_chosen_as_neurons_are() -> None:
    given = controls()
    table = feature_table(atlas(), controls=given)
    for row in table.to_dict("records"):
        of_feature = given[given["feature"] == row["feature"]]
        for name, control in (("direction", "random directions"), ("shuffled", "shuffled labels")):
            best = [
                max(trial.to_dict("records"), key=lambda one: one["validation_mcc"])
                for _, trial in of_feature[of_feature["control"] == control].groupby("trial")
            ]
            for part in ("validation", "test"):
                mean = sum(one[f"{part}_mcc"] for one in best) / len(best)
                assert row[f"{name}_{part}_mcc"] == pytest.approx(mean)


def test_controls_are_chosen_on_test_as_published() -> None:
    given = controls().assign(validation_mcc=math.nan)
    table = feature_table(atlas("as_published"), controls=given)
    chosen = given[(given["feature"] == "other") & (given["control"] == "shuffled labels")]
    assert table["shuffled_test_mcc"][1] == chosen["test_mcc"].max()
    assert math.isnan(table["shuffled_validation_mcc"][1])


def test_layers_by_a_plain_search() -> None:
    found = atlas()
    table = layer_table(found)
    assert tuple(table.columns) == LAYER_COLUMNS
    assert table["layer"].tolist() == [*LAYERS] * 2
    for row in table.to_dict("records"):
        number = ["one_feature", "other"].index(row["feature"])
        scored = found.columns["validation_mcc"][LAYERS.index(row["layer"]), number].tolist()
        assert row["neuron"] == scored.index(max(scored))
        assert row["validation_mcc"] == max(scored)
        assert row["relative_depth"] == row["layer"] / 7


def test_conventions_are_not_mixed() -> None:
    mixed = replace(atlas(), tasks=[atlas().tasks[0], atlas("as_published").tasks[1]])
    with pytest.raises(OptionError, match="validation"):
        neuron_table(mixed)


def texts_of(**changed: Any) -> pd.DataFrame:
    found, activations = with_probe()
    return feature_table(found, activations=activations, controls=controls()).assign(**changed)


def test_texts() -> None:
    table = texts_of(test_mcc=[0.934, -0.126], test_mcc_low=[0.9, math.nan], polarity=["+", "-"])
    texts = feature_texts(table)
    assert texts.index.tolist() == ["one_feature", "other"]
    layer, neuron, high = table["layer"][0], table["neuron"][0], table["test_mcc_high"][0]
    assert texts["neuron"].tolist()[0] == f"{layer}.{neuron} +"
    assert texts["neuron"].tolist()[1].endswith(MINUS)
    assert texts["MCC (test)"].tolist() == [f"0.93 [0.90, {high:.2f}]", f"{MINUS}0.13"]
    assert texts["direction"].tolist() == [f"{value:.2f}" for value in table["direction_test_mcc"]]


def test_markdown_and_latex() -> None:
    table = texts_of()
    markdown = feature_markdown(table, "org/model_x", 21)
    assert markdown.startswith("The best neuron of `org/model_x` for each feature, chosen on validation,")
    assert "of 21 neurons" in markdown.splitlines()[0]
    assert len([line for line in markdown.splitlines() if line.startswith("| ")]) == 3
    latex = feature_latex(table, "org/model_x", 21)
    assert r"org/model\_x" in latex
    assert r"one\_feature" in latex
    assert r"95 \%" in latex
    assert MINUS not in latex
    assert "≥" not in latex
    published = feature_markdown(table.assign(validation_mcc=math.nan), "m", 21)
    assert "chosen on test," in published
