"""Controls: neurons against random directions and shuffled labels, and that chance is found where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.chance import shuffled_runs
from rwcore.probing.controls import COLUMNS, CONTROLS, control_scores
from rwcore.probing.errors import ProbeError
from rwcore.probing.newton import fit_rows
from rwcore.probing.scores import scores
from rwcore.probing.tasks import ProbeTask
from rwcore.tests.probing_layers import planted_layer, planted_neuron


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """Of each feature, control and trial the best on validation."""
    return table.loc[table.groupby(["feature", "control", "trial"])["validation_mcc"].idxmax()]


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, list[ProbeTask], pd.DataFrame]:
    x, tasks = planted_layer(examples=2000, neurons=120)
    return x, tasks, control_scores(x, tasks, trials=2, keep=5, seed=1)


def test_the_table_has_a_row_for_each_column_that_was_kept(planted) -> None:
    _, tasks, table = planted
    assert tuple(table.columns) == COLUMNS
    counts = table.groupby(["control", "feature", "trial"]).size()
    assert (counts == 5).all()
    for control, trials in zip(CONTROLS, (1, 2, 2), strict=True):
        assert len(counts[control]) == trials * len(tasks)


def test_neurons_are_the_largest_mean_differences_scored_by_their_own_probes(planted) -> None:
    x, tasks, table = planted
    for task in tasks:
        rows = table[(table["feature"] == task.name) & (table["control"] == "neurons")]
        train = task.split.train
        activations, label = x[task.example].double(), task.label
        positive, negative = (activations[train][label[train] == one].mean(0) for one in (True, False))
        difference = ((positive - negative) / activations[train].std(0, correction=0)).abs()
        assert rows["direction"].tolist() == difference.argsort(descending=True)[:5].tolist()
        for row in rows.itertuples():
            probe = fit_rows(activations[train][:, [row.direction]], label[train])
            decided = probe.decide(activations[:, [row.direction]].T)[0]
            for part in ("validation", "test"):
                places = getattr(task.split, part)
                wanted = scores(label[places], decided[places])
                assert getattr(row, f"{part}_mcc") == pytest.approx(wanted["mcc"], abs=5e-3)
                assert getattr(row, f"{part}_f1") == pytest.approx(wanted["f1"], abs=5e-3)


def test_planted_neurons_beat_rotated_ones_and_these_beat_shuffled_labels(planted) -> None:
    _, tasks, table = planted
    best = chosen(table).set_index(["feature", "control"]).sort_index()
    for number, task in enumerate(tasks):
        neuron = best.loc[[(task.name, "neurons")]].iloc[0]
        rotated = best.loc[[(task.name, "random directions")]]
        assert neuron["direction"] == planted_neuron(number)
        assert neuron["test_mcc"] > 0.8
        assert (rotated["test_mcc"] < neuron["test_mcc"] - 0.2).all()
        assert (best.loc[[(task.name, "shuffled labels")]]["test_mcc"].abs() < 0.15).all()
    by_control = best.groupby("control")["test_mcc"].mean()
    assert by_control["neurons"] > by_control["random directions"] > by_control["shuffled labels"]


def test_a_direction_that_is_no_neuron_is_found_as_well_by_random_directions() -> None:
    """Rotated, the layer has no privileged neurons: the control says so, in the neurons' place."""
    x, tasks = planted_layer(examples=2000, neurons=60, features=1)
    q = torch.linalg.qr(torch.randn(60, 60, generator=torch.Generator().manual_seed(2))).Q
    mixed = ((x.float() / x.float().std(0)) @ q).half()
    best = chosen(control_scores(mixed, tasks, trials=4, keep=10, seed=0)).groupby("control")["test_mcc"]
    assert float(best.mean()["neurons"]) < 0.7
    assert abs(float(best.mean()["neurons"] - best.mean()["random directions"])) < 0.15


def test_sizes_of_neurons_do_not_decide_what_random_directions_see(planted) -> None:
    """A rotation of raw activations would be one of the largest neurons."""
    x, tasks, _ = planted
    loud = x.float().clone()
    loud[:, 0] *= 100
    names = ["validation_mcc", "test_mcc"]
    one, other = (control_scores(these, tasks[:1], keep=3, seed=4)[names] for these in (x.float(), loud))
    np.testing.assert_allclose(one, other, atol=2e-2)


def test_the_seed_decides(planted) -> None:
    x, tasks, table = planted
    pd.testing.assert_frame_equal(control_scores(x, tasks, trials=2, keep=5, seed=1), table)
    other = control_scores(x, tasks, trials=2, keep=5, seed=2)
    of_neurons = table["control"] == "neurons"
    pd.testing.assert_frame_equal(other[of_neurons], table[of_neurons])
    for control in CONTROLS[1:]:
        rows = table["control"] == control
        assert not other[rows].equals(table[rows])
        trials = [table[rows & (table["trial"] == trial)]["test_mcc"].tolist() for trial in (0, 1)]
        assert trials[0] != trials[1]


def test_without_validation_its_scores_are_missing_not_zero() -> None:
    x, tasks = planted_layer(published=True)
    table = control_scores(x, tasks, keep=2, seed=0)
    assert table[["validation_mcc", "validation_f1"]].isna().all(axis=None)
    assert table[["test_mcc", "test_f1"]].notna().all(axis=None)


@given(
    seed=st.integers(0, 10_000),
    documents=st.integers(1, 12),
    size=st.integers(1, 9),
    share=st.floats(0.05, 0.95),
)
def test_shuffles_keep_the_number_of_positives(seed: int, documents: int, size: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    label = torch.from_numpy(generator.random(documents * size) < share)
    group = torch.from_numpy(generator.permutation(documents * size) // size)
    drawn = shuffled_runs(label, group, generator)
    assert int(drawn.sum()) == int(label.sum())
    assert drawn.dtype == torch.bool


@pytest.mark.parametrize("size", [1, 2, 40])
def test_shuffled_labels_agree_with_the_labels_as_often_as_chance_would(size: int) -> None:
    """Also where documents are small, so that most have one label; and if there is one document only."""
    generator = np.random.default_rng(0)
    label = torch.from_numpy(generator.random(400) < 0.3)
    for group in (torch.arange(400) // size, torch.zeros(400, dtype=torch.int64)):
        drawn = [shuffled_runs(label, group, generator) for _ in range(100)]
        share = label.double().mean()
        agreement = torch.stack([(one == label).double().mean() for one in drawn]).mean()
        assert float(agreement) == pytest.approx(float(share**2 + (1 - share) ** 2), abs=0.02)


def test_shuffled_labels_stay_together_in_documents() -> None:
    """Five runs of positives have ten ends, the turn may cut one more; mixed freely there would be 150."""
    label = torch.arange(400) // 20 % 4 == 0
    drawn = shuffled_runs(label, torch.arange(400) // 20, np.random.default_rng(5)).reshape(20, 20)
    assert not torch.equal(drawn.reshape(-1), label)
    assert int((drawn[:, 1:] != drawn[:, :-1]).sum()) <= 11


def test_what_makes_no_sense_is_refused() -> None:
    x, tasks = planted_layer()
    for wrong in ({"trials": 0}, {"keep": 0}):
        with pytest.raises(OptionError, match="0 is less than 1"):
            control_scores(x, tasks, seed=0, **wrong)
    with pytest.raises(OptionError, match="2 data sets"):
        control_scores(x, [tasks[0], replace(tasks[1], dataset="other")], seed=0)
    x[tasks[0].example[0], 1] = torch.inf
    with pytest.raises(ProbeError, match="neuron 1 at example"):
        control_scores(x, tasks, seed=0)


def test_a_constant_neuron_does_no_harm() -> None:
    x, tasks = planted_layer(neurons=12)
    x[:, 0] = 0.5
    table = control_scores(x, tasks, keep=12, seed=0)
    constant = table[(table["control"] == "neurons") & (table["direction"] == 0)]
    assert len(constant) == len(tasks)
    assert (constant["test_mcc"] == 0).all()
    assert table.notna().all(axis=None)
