"""Whether two kinds of writers suppress at the same places, where it is known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from rwcore.heads.suppression_overlap import COLUMNS, overlap_table
from rwcore.tests.suppression_makers import DOCUMENTS, LAYERS, LENGTH, MadeUp


def strengths(seed=5, layers=1):
    """How strongly something is suppressed at each position."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(DOCUMENTS * LENGTH, layers, 1, generator=generator).expand(-1, LAYERS, -1)


def negative_of(made):
    """Every head, in both halves."""
    return torch.ones(2, *made.heads.shape[1:], dtype=torch.bool)


def table_of(made):
    table = overlap_table(made.scores(), negative_of(made), (0,))
    assert tuple(table.columns) == COLUMNS
    return table.set_index("unit")


def everywhere(seed=0):
    """Every prediction counts, so that positions differ in nothing but what is written."""
    made = MadeUp(seed)
    made.kind[:] = 2
    return made


def test_positions_by_hand():
    made = MadeUp()
    row = table_of(made).loc["positions"]
    chosen = (made.kind > 0)[:, :, None]
    heads = -(made.heads * chosen).clamp(max=0).sum(dim=(1, 2)).numpy()
    neurons = -(made.neurons * chosen * (made.codes == 0)).clamp(max=0).sum(dim=(1, 2)).numpy()
    there = chosen.any(dim=1)[:, 0].numpy()
    heads, neurons = heads[there], neurons[there]
    top = round(len(heads) / 20)
    both = {*np.argsort(-heads)[:top]} & {*np.argsort(-neurons)[:top]}
    assert row["n"] == len(heads) < DOCUMENTS * LENGTH
    assert row["correlation"] == pytest.approx(spearmanr(heads, neurons).statistic, abs=1e-3)
    assert row["top"] == top
    assert row["both"] == len(both)
    assert row["lift"] == pytest.approx(len(both) * len(heads) / top**2)


def test_independent_writers_are_at_chance():
    row = table_of(everywhere()).loc["positions"]
    assert row["correlation_low"] < 0 < row["correlation_high"]
    assert row["correlation_excess_low"] < 0 < row["correlation_excess_high"]


def test_writers_that_share_positions():
    """Class 0 and the heads grow together, other neurons do not."""
    made = everywhere()
    strong = strengths()
    made.heads -= 6 * strong
    made.neurons -= 6 * strong * (made.codes == 0)
    table = table_of(made)
    row = table.loc["positions"]
    assert row["correlation_low"] > 0.5
    assert row["correlation_excess_low"] > 0
    assert row["lift_low"] > 2
    assert row["lift_ratio"] > 1.2
    assert table.loc["cells", "correlation_low"] > 0.3


def test_a_common_cause_is_not_more_than_random_neurons_have():
    """All writers grow together: far above independence, and at chance beside random neurons."""
    made = everywhere()
    strong = strengths()
    made.heads -= 6 * strong
    made.neurons -= 6 * strong
    row = table_of(made).loc["positions"]
    assert row["lift_low"] > 2
    assert row["lift_ratio_low"] < 1 < row["lift_ratio_high"]
    assert row["correlation_excess_low"] < 0.02


def test_cells_do_not_see_which_layers_are_strong():
    """The heads and class 0 are strong in the same layer, at unrelated positions."""
    made = everywhere()
    made.heads[:, 2] *= 50
    made.neurons[:, 2] *= 50
    found = table_of(made)
    assert abs(found.loc["cells", "correlation"]) < 0.15
    assert found.loc["layers", "n"] == LAYERS
    # Layer 1 has no neuron of class 0.
    assert found.loc["cells", "n"] == 2 * DOCUMENTS * LENGTH


def test_tokens_are_compared_by_their_means():
    made = everywhere()
    amount = made.predicted[..., None] / 2.0
    made.heads -= amount
    made.neurons -= amount
    row = table_of(made).loc["tokens"]
    assert row["n"] == 9
    assert row["correlation"] > 0.9


def test_without_negative_heads_nothing_is_said():
    made = MadeUp()
    table = overlap_table(made.scores(), ~negative_of(made), (0,)).set_index("unit")
    assert table.loc["positions", ["correlation", "lift", "lift_low", "lift_ratio"]].isna().all()
    assert table.loc["cells", "n"] == 0
