"""Sparsity curves: what is chosen, what it is judged on, what the controls give."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.errors import OptionError
from rwcore.probing.errors import ProbeError
from rwcore.probing.intervals import confusion_intervals
from rwcore.probing.logistic import fit_logistic
from rwcore.probing.scores import scores
from rwcore.probing.sparsity import COLUMNS, JUDGED, METHODS, CurveOptions, sparsity_curve
from rwcore.tests.probe_tasks_made_up import made_up

SMALL = CurveOptions(sizes=(1, 2, 4), exact_sizes=(1, 2), candidates=None)
NEVER = "mi"  # the estimate by neighbours is slow, and its ranking is tested where it is made


def curve(x: Any, task: Any, **options: Any) -> pd.DataFrame:
    return sparsity_curve(x, task, replace(SMALL, **options))


def row(table: pd.DataFrame, method: str, k: int) -> dict[str, Any]:
    chosen = table[(table["method"] == method) & (table["k"] == k)]
    assert len(chosen) == 1
    return {str(name): value for name, value in chosen.iloc[0].items()}


def places(text: str) -> list[int]:
    return [int(one) for one in text.split()]


@pytest.fixture(scope="module")
def all_methods() -> pd.DataFrame:
    methods = tuple(method for method in METHODS if method != NEVER)
    return curve(*made_up(), methods=methods)


def test_columns_and_rows(all_methods: pd.DataFrame) -> None:
    assert tuple(all_methods.columns) == COLUMNS
    expected = [
        (method, k)
        for method in METHODS
        if method != NEVER
        for k in (SMALL.exact_sizes if method == "exact" else SMALL.sizes)
    ]
    assert list(zip(all_methods["method"], all_methods["k"], strict=True)) == expected


@pytest.mark.parametrize("method", ["mean_dif", "f_stat", "l2", "svm", "telescopic", "exact"])
def test_planted_neurons_are_found(all_methods: pd.DataFrame, method: str) -> None:
    assert row(all_methods, method, 1)["neurons"] == "3"
    assert row(all_methods, method, 2)["neurons"] == "3 11"
    both = row(all_methods, method, 2)
    assert both["log_loss"] < row(all_methods, method, 1)["log_loss"] - 0.03
    assert both["test_mcc_low"] < both["test_mcc"] < both["test_mcc_high"]


def test_controls_are_worse(all_methods: pd.DataFrame) -> None:
    best = row(all_methods, "mean_dif", 1)["test_mcc"]
    assert best > 0.6
    assert row(all_methods, "random directions", 1)["test_mcc"] < best - 0.15
    assert row(all_methods, "random directions", 1)["neurons"] == ""
    assert abs(row(all_methods, "shuffled labels", 1)["test_mcc"]) < 0.25
    assert row(all_methods, "random", 1)["neurons"] not in ("3", "11")


@pytest.mark.parametrize("k", [1, 2, 4])
def test_every_number_by_hand(all_methods: pd.DataFrame, k: int) -> None:
    """A probe of scikit-learn on the neurons named, judged by the scores of one probe."""
    x, task = made_up()
    found = row(all_methods, "mean_dif", k)
    mean = x.double()
    train, test = task.split.train, task.split.test
    scale = 10 * mean[train].std(dim=0, correction=0).clamp(min=1e-3)
    label = task.label[train]
    delta = ((mean[train][label].mean(0) - mean[train][~label].mean(0)) / scale).abs()
    assert sorted(places(found["neurons"])) == sorted(delta.argsort(descending=True)[:k].tolist())
    probe = fit_logistic(mean[train][:, places(found["neurons"])], label)
    decided = probe.decide(mean[:, places(found["neurons"])])
    for part in ("validation", "test"):
        of_part = getattr(task.split, part)
        wanted = scores(task.label[of_part], decided[of_part])
        for name in JUDGED:
            assert found[f"{part}_{name}"] == pytest.approx(wanted[name], abs=1e-9)
    chance = torch.sigmoid(decided[test]).where(task.label[test], 1 - torch.sigmoid(decided[test]))
    assert found["log_loss"] == pytest.approx(float(-chance.log().mean()), rel=1e-6)
    interval = confusion_intervals(task.label[test], decided[test][:, None] > 0, task.group[test])["mcc"][0]
    assert (found["test_mcc_low"], found["test_mcc_high"]) == pytest.approx((interval.low, interval.high))


def test_nothing_but_training_rows_has_a_say_in_what_is_fitted() -> None:
    """Other labels and activations of validation and test change scores, and no choice."""
    x, task = made_up()
    first = curve(x, task, methods=("mean_dif", "telescopic", "exact"))
    elsewhere = torch.cat([task.split.validation, task.split.test])
    label, other = task.label.clone(), x.clone()
    label[elsewhere] = ~label[elsewhere]
    other[elsewhere] = other[elsewhere].flip(1) * 3
    second = curve(other, replace(task, label=label), methods=("mean_dif", "telescopic", "exact"))
    assert first["neurons"].tolist() == second["neurons"].tolist()
    assert first["gap"].tolist() == pytest.approx(second["gap"].tolist(), nan_ok=True)
    assert (first["test_mcc"] > 0.4).all()
    assert (second["test_mcc"] < 0.1).all()


def test_exact_reports_its_proof(all_methods: pd.DataFrame) -> None:
    for k in SMALL.exact_sizes:
        found = row(all_methods, "exact", k)
        assert found["status"] == "optimal"
        assert 0 <= found["gap"] <= 1e-4
    others = all_methods[all_methods["method"] != "exact"]
    assert others["gap"].isna().all()
    assert (others["status"] == "").all()
    assert (all_methods["seconds"] >= 0).all()
    # What took no time at all was not measured.
    assert all_methods.groupby("method")["seconds"].sum().min() > 0


def test_time_limit_is_never_called_optimal() -> None:
    x, task = made_up(neurons=60, true=tuple(range(40)), shift=0.4)
    found = curve(x, task, methods=("exact",), exact_sizes=(8,), gamma=1e3, seconds=1e-3)
    assert found["status"].tolist() == ["time limit"]
    assert found["gap"][0] > 1e-4


def test_exact_beats_or_equals_every_pair_of_its_candidates() -> None:
    """The neurons named have the lowest hinge loss of all pairs."""
    from rwcore.probing.subproblem import balanced_rows, hinge_probe

    x, task = made_up(examples=150, neurons=7, true=(3, 5), shift=1.0)
    found = curve(x, task, methods=("exact",))
    train = task.split.train
    normalised = x[train].double() / (10 * x[train].double().std(dim=0, correction=0))
    rows = balanced_rows(normalised.numpy(), task.label[train].numpy())
    gamma = 1 / math.sqrt(len(train))
    losses = {
        pair: hinge_probe(rows.on(pair), gamma).objective for pair in itertools.combinations(range(7), 2)
    }
    best = min(losses, key=lambda pair: losses[pair])
    assert tuple(places(row(found, "exact", 2)["neurons"])) == best


def test_sizes_that_the_neurons_do_not_suffice_for_are_left_out() -> None:
    x, task = made_up(neurons=12)
    found = sparsity_curve(x, task, CurveOptions(methods=("mean_dif", "exact"), candidates=3))
    assert found[found["method"] == "mean_dif"]["k"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]
    assert found[found["method"] == "exact"]["k"].tolist() == [1, 2, 3]
    with pytest.raises(OptionError, match="sizes"):
        curve(x, task, methods=("mean_dif",), sizes=(64,))


def test_same_seed_same_curve_and_another_seed_other_directions() -> None:
    x, task = made_up()
    methods = ("telescopic", "random directions", "shuffled labels")
    first, again, other = (
        curve(x, task, methods=methods, sizes=(1, 2), seed=seed).drop(columns="seconds") for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    same = (first["test_pr_auc"] == other["test_pr_auc"]).groupby(first["method"]).all()
    assert same.to_dict() == {"telescopic": True, "random directions": False, "shuffled labels": False}


def test_as_published_has_no_validation_and_keeps_the_elastic_net() -> None:
    x, task = made_up(convention="as_published")
    published = curve(x, task, methods=("mean_dif", "telescopic"), convention="as_published")
    fixed = curve(x, task, methods=("mean_dif", "telescopic"))
    for name in JUDGED:
        assert published[f"validation_{name}"].isna().all()
        assert fixed[f"validation_{name}"].isna().all()
    # 200 passes are enough where a neuron tells the label; the strong norm of a small k is another matter.
    assert row(published, "mean_dif", 1)["log_loss"] == pytest.approx(
        row(fixed, "mean_dif", 1)["log_loss"], rel=0.01
    )
    assert row(published, "telescopic", 1)["log_loss"] > row(fixed, "telescopic", 1)["log_loss"] + 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"methods": ("best",)}, {"sizes": ()}, {"exact_sizes": (0, 1)}],
)
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong)).removesuffix("s")):
        CurveOptions(**wrong)


def test_bad_input_is_refused() -> None:
    x, task = made_up()
    broken = x.clone()
    broken[int(task.split.train[4]), 7] = torch.inf
    with pytest.raises(ProbeError, match="neuron 7"):
        curve(broken, task, methods=("mean_dif",))
    one = replace(task, label=task.label.index_fill(0, task.split.test, False))
    with pytest.raises(ProbeError, match="positive"):
        curve(x, one, methods=("mean_dif",))


def test_non_finite_rows_outside_training_are_refused_too() -> None:
    x, task = made_up()
    x[int(task.split.test[0]), 3] = torch.nan
    with pytest.raises(ProbeError, match="neuron 3"):
        curve(x, task, methods=("mean_dif",))


def test_dead_neurons_are_harmless() -> None:
    x, task = made_up()
    x[:, 5] = 0
    found = curve(x, task, methods=("mean_dif", "telescopic"), sizes=(1, 24))
    assert np.isfinite(found[["test_mcc", "log_loss"]].to_numpy()).all()
    assert row(found, "mean_dif", 1)["neurons"] == "3"


def test_exact_is_among_the_candidates_only() -> None:
    """The two best are the same neuron twice: together they are worse than one of them and another."""
    x, task = made_up(neurons=6, true=(0,))
    x[:, 1] = x[:, 0]
    x[task.label, 4] += 1
    options = {"methods": ("exact",), "exact_sizes": (2,), "gamma": 1e3}
    assert curve(x, task, candidates=2, **options)["neurons"].tolist() == ["0 1"]
    assert curve(x, task, candidates=None, **options)["neurons"].tolist() != ["0 1"]
