"""Scores of groups of heads and neurons against sums written out, and chance that is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.heads.suppression_scores import against, random_sums
from rwcore.heads.suppression_tables import (
    GROUP_COLUMNS,
    HEAD_COLUMNS,
    LAYER_COLUMNS,
    NEURON_COLUMNS,
    Groups,
    ends,
    group_table,
    head_table,
    layer_table,
    neuron_table,
)
from rwcore.tests.suppression_makers import DOCUMENTS, HEADS, LAYERS, LENGTH, NEURONS, MadeUp

FAMILIES = {"all": (0, 1, 2), "some": (0,), "most": (1, 2), "none": ()}


def table_of(made, **options):
    scores = made.scores(**options)
    table = group_table(scores, Groups(scores.negative, FAMILIES), "predicted")
    assert tuple(table.columns) == GROUP_COLUMNS
    return table.set_index(["writers", "group"])


def test_neurons_by_hand():
    made = MadeUp()
    table = table_of(made)
    chosen = (made.kind > 0)[:, :, None]
    tokens = DOCUMENTS * LENGTH
    for name, codes in FAMILIES.items():
        inside = torch.isin(made.codes, torch.tensor(codes, dtype=torch.long))
        mine = (made.neurons * chosen * inside).double()
        row = table.loc["neurons", name]
        suppression = -float(mine.clamp(max=0).sum()) / tokens
        assert row["suppression"] == pytest.approx(suppression, rel=1e-5)
        assert row["net"] == pytest.approx(float(mine.sum()) / tokens, abs=1e-5)
        assert row["together"] == pytest.approx(-float(mine.sum(2).clamp(max=0).sum()) / tokens, abs=1e-5)
        everything = (made.neurons * chosen).clamp(max=0).double().sum(dim=(0, 2)) / tokens
        expected = -float((everything * inside.sum(1) / NEURONS).sum())
        assert row["expected"] == pytest.approx(expected, rel=1e-5)
        assert row["members"] == inside.sum()
        if codes:
            assert row["against"] == pytest.approx(suppression / (float(mine.abs().sum()) / tokens), rel=1e-5)
            assert row["ratio"] == pytest.approx(suppression / expected, rel=1e-5)
            assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert table.loc["neurons", "all"]["ratio"] == pytest.approx(1)
    assert np.isnan(table.loc["neurons", "none"]["ratio"])
    total = table.loc["heads", "all"]["share"] + table.loc["neurons", "all"]["share"]
    assert total == pytest.approx(1)


def test_heads_are_chosen_on_the_other_half():
    """Head 0 of layer 1 is negative in the first half alone, and counts in the second alone."""
    made = MadeUp()
    made.heads += 1.0
    first = made.document % 2 == 0
    made.heads[first, 1, 0] -= 5.0
    made.heads[:, 2, 3] -= 4.0
    scores = made.scores()
    negative = scores.negative.nonzero().tolist()
    assert negative == [[0, 2, 3], [1, 1, 0], [1, 2, 3]]
    row = table_of(made).loc["heads", "negative"]
    chosen = made.kind > 0
    sums = [(made.heads[:, 2, 3] * chosen[:, 2]), (made.heads[:, 1, 0] * chosen[:, 1])[~first]]
    wanted = -sum(float(one.double().clamp(max=0).sum()) for one in sums) / (DOCUMENTS * LENGTH)
    assert row["suppression"] == pytest.approx(wanted, rel=1e-5)
    assert row["members"] == 1.5
    heads = head_table(scores).set_index(["layer", "head"])
    assert heads.loc[(1, 0), "net_first_half"] < 0 < heads.loc[(1, 0), "net_second_half"]
    assert not heads.loc[(1, 0), "negative_for_first_half"]
    assert heads.loc[(1, 0), "negative_for_second_half"]


def test_noise_is_at_chance_and_a_planted_group_is_not():
    noise = table_of(MadeUp(1), draws=1000).loc["neurons", "some"]
    assert noise["random_low"] < noise["ratio"] < noise["random_high"]
    assert noise["over_random_low"] < 1 < noise["over_random_high"]
    assert noise["p"] > 0.05
    made = MadeUp(1)
    made.neurons[(made.codes == 0).expand_as(made.neurons)] -= 1.0
    planted = table_of(made, draws=1000).loc["neurons", "some"]
    assert planted["over_random_low"] > 1
    assert planted["against_ratio_low"] > 1
    assert planted["p"] < 0.01


def test_writing_more_is_not_writing_against():
    """Ten times as much in both directions: ten times the suppression, half of it against."""
    made = MadeUp(3)
    made.neurons[(made.codes == 0).expand_as(made.neurons)] *= 10
    row = table_of(made, draws=1000).loc["neurons", "some"]
    assert row["over_random_low"] > 1
    assert row["against"] == pytest.approx(0.5, abs=0.02)
    assert row["against_ratio_low"] < 1 < row["against_ratio_high"]


def test_random_sums_are_those_of_all_subsets():
    generator = np.random.default_rng(0)
    values = generator.random((2, 2, 6))
    sizes = np.array([[2, 3], [0, 1], [6, 6]])
    found = random_sums(values, sizes, draws=6000)
    first = np.array([values[:, 0, [*some]].sum(1) for some in itertools.combinations(range(6), 2)])
    second = np.array([values[:, 1, [*some]].sum(1) for some in itertools.combinations(range(6), 3)])
    np.testing.assert_allclose(found[:, 0].mean(0), first.mean(0) + second.mean(0), rtol=0.01)
    np.testing.assert_allclose(found[:, 0].var(0), first.var(0) + second.var(0), rtol=0.08)
    np.testing.assert_allclose(found[:, 1].mean(0), values[:, 1].mean(1), rtol=0.03)
    np.testing.assert_allclose(found[:, 2], np.broadcast_to(values.sum((1, 2)), (6000, 2)))


def test_random_sums_do_not_depend_on_other_groups():
    values = np.random.default_rng(0).random((1, 3, 9))
    alone = random_sums(values, np.array([[0, 4, 2]]), draws=250)
    beside = random_sums(values, np.array([[9, 9, 9], [0, 4, 2]]), draws=250)
    np.testing.assert_allclose(beside[:, 1], alone[:, 0])


def test_against_of_nothing_is_unknown():
    found = against(np.array([[0.0, 0.0], [1.0, -1.0], [0.0, 2.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(found, [np.nan, 1.0, 0.0, 0.5])


def test_ends_leave_out_what_is_no_number():
    values = np.column_stack([np.r_[np.arange(99.0), np.nan], np.full(100, np.nan), np.full(100, np.inf)])
    low, high = ends(values)
    assert 1 < low[0] < 4
    assert 94 < high[0] < 98
    assert np.isnan(low[1])
    assert high[2] == np.inf


def test_of_one_document_there_are_no_intervals():
    row = table_of(MadeUp(documents=1)).loc["neurons", "some"]
    assert row["suppression"] > 0
    assert row[["suppression_low", "ratio_low", "over_random_high", "against_ratio_low"]].isna().all()


def test_layers_add_up_to_groups():
    made = MadeUp()
    scores = made.scores()
    groups = Groups(scores.negative, FAMILIES)
    layers, table = layer_table(scores, groups), table_of(made)
    assert tuple(layers.columns) == LAYER_COLUMNS
    sums = layers.groupby(["writers", "group"])[["members", "suppression", "net", "together"]].sum()
    columns = ["members", "suppression", "net", "together"]
    pd.testing.assert_frame_equal(sums, table[columns].sort_index(), check_names=False, atol=1e-5)
    assert layers.groupby("layer")["cells"].first().tolist() == pytest.approx(
        (made.kind > 0).double().mean(0).tolist()
    )


def test_neurons_and_heads_that_suppress_most():
    made = MadeUp()
    made.neurons[:, 2, 7] -= 3
    scores = made.scores()
    neurons = neuron_table(scores, ["a", "b", "undefined"], made.codes.to(torch.int8).numpy(), 5)
    assert tuple(neurons.columns) == NEURON_COLUMNS
    assert len(neurons) == 5
    assert neurons.loc[0, ["layer", "neuron", "class"]].tolist() == [2, 7, "b"]
    assert neurons["suppression"].is_monotonic_decreasing
    chosen = made.kind[:, 2] > 0
    mine = (made.neurons[:, 2, 7] * chosen).double()
    assert neurons.loc[0, "net"] == pytest.approx(float(mine.mean()), rel=1e-5)
    everything = -(made.neurons * (made.kind > 0)[:, :, None]).clamp(max=0).double().mean(0)[2]
    assert neurons.loc[0, "ratio"] == pytest.approx(float(everything[7] / everything.mean()), rel=1e-5)
    heads = head_table(scores)
    assert tuple(heads.columns) == HEAD_COLUMNS
    assert len(heads) == LAYERS * HEADS
    assert heads.groupby("layer")["ratio"].mean().tolist() == pytest.approx([1] * LAYERS)
