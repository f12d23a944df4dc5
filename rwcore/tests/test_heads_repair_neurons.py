"""Which neurons repair: their sums are what MLPs repair, and each statistic says what it should."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.tiny import build, local_model
from rwcore.heads import repair_run
from rwcore.heads.readout import Readout
from rwcore.heads.repair import ZERO, RepairPlan
from rwcore.heads.repair_neurons import (
    CURVE,
    FRACTIONS,
    NOBODY,
    NeuronDetails,
    NeuronSums,
    exceeding,
    few_shares,
    gain_over_change,
    mlp_shares,
    recurrence,
    top_shares,
)
from rwcore.heads.repair_run import run_repair
from rwcore.models.load import load_bridge
from rwcore.tests.test_heads_repair import BATCH

FAMILIES = ("gpt2", "llama", "gemma2", "olmo2")
ALL = torch.arange(int(BATCH.mask.sum()) - len(BATCH.rows))


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    return load_bridge(local), Readout.of(local)


def test_neurons_of_the_last_mlp_add_up_to_its_repair(tiny):
    # SRT5: of all MLPs only where the last layer is ablated. In a sequential block that is one MLP.
    found = run_repair(tiny[0], BATCH, RepairPlan([(2, 0), (2, 3)]), tiny[1])
    assert torch.allclose(found.neurons.change, found.repairs.mlp, atol=1e-4)
    assert found.repairs.mlp.abs().max() > 1e-3
    earlier = run_repair(tiny[0], BATCH, RepairPlan([(1, 0)]), tiny[1])
    assert not torch.allclose(earlier.neurons.change, earlier.repairs.mlp, atol=1e-2)


def test_neurons_of_all_later_mlps_add_up_to_their_repair(tiny):
    plan = RepairPlan([(1, 0), (0, 2)], later=True)
    some = [ALL, ALL[3:7]]
    found = run_repair(tiny[0], BATCH, plan, tiny[1], some)
    for place, chosen in enumerate(some):
        details = found.details[place]
        assert torch.allclose(details.change, found.repairs.mlp[place][chosen], atol=2e-4)
    width = tiny[0].blocks[0].mlp.W_out.shape[0]
    assert found.details[0].neuron.min() >= width  # of layers 1 and 2
    assert found.details[0].neuron.max() < 3 * width


def test_details_are_those_of_the_selected_tokens(tiny):
    some = [torch.tensor([1, 4]), torch.tensor([], dtype=torch.int64)]
    found = run_repair(tiny[0], BATCH, RepairPlan([(2, 0), (1, 1)], ZERO), tiny[1], some)
    first, second = found.details
    assert torch.allclose(first.gain, found.neurons.gain[0, [1, 4]], atol=1e-5)
    assert torch.equal(
        first.neuron[:, 0] - 2 * tiny[0].blocks[0].mlp.W_out.shape[0], found.neurons.best[0, [1, 4]]
    )
    assert len(second.gain) == 0


def test_tokens_together_or_one_by_one(tiny, monkeypatch):
    plan, some = RepairPlan([(1, 0), (0, 2)], later=True), [ALL, ALL[:0]]
    whole = run_repair(tiny[0], BATCH, plan, tiny[1], some).details
    monkeypatch.setattr(repair_run, "SORTED", 1)
    for one, other in zip(whole, run_repair(tiny[0], BATCH, plan, tiny[1], some).details, strict=True):
        for name, values in vars(one).items():
            assert torch.equal(values.nan_to_num(-9), getattr(other, name).nan_to_num(-9)), name


CLEAN = torch.tensor([[-3.0, 1.0, 0.5, -1.0], [2.0, -1.0, 0.0, 1.0]])
ABLATED = torch.tensor([[-1.0, 2.0, 0.0, -1.0], [1.0, -1.5, 0.0, 4.0]])  # Δ: 2 1 -.5 0 and -1 -.5 0 3


class TestByHand:
    def test_sums(self):
        found = NeuronSums.of(CLEAN, ABLATED)
        assert found.gain.tolist() == [3, 3]
        assert found.anti_erasure.tolist() == [2, 0]  # n < 0 and Δ > 0
        assert found.change.tolist() == [2.5, 1.5]
        assert found.best.tolist() == [0, 3]
        assert found.best_clean.tolist() == [-3, 1]
        assert found.best_change.tolist() == [2, 3]
        assert found.few.tolist() == [2.5, 1.5]
        assert found.erased.tolist() == [-2.5, 2]

    def test_details(self):
        found = NeuronDetails.of(CLEAN, ABLATED, first=8)
        assert found.leading[:, 4:].isnan().all()
        assert found.leading[:, :4].tolist() == [[2, 1, 0, -0.5], [3, 0, -0.5, -1]]
        assert found.neuron.tolist() == [[8, 9, 11, 10, *[NOBODY] * 6], [11, 10, 9, 8, *[NOBODY] * 6]]
        assert found.clean[:, :4].tolist() == [[-3, 1, -1, 0.5], [1, 0, -1, 2]]
        assert found.top_percent.tolist() == [2, 3]
        # A quarter of the way along the sorted Δ (-.5, 0, 1, 2) one of 3.5 has moved.
        at = [0, CURVE // 4 + 1, CURVE // 2, CURVE - 1]
        np.testing.assert_allclose(found.curve[0, at], [0, 1 / 7, 1 / 7, 1], atol=1e-6)
        assert found.curve_clean[0, [CURVE // 2, CURVE - 1]].tolist() == [-1, -3]

    def test_statistics(self):
        found = NeuronDetails.of(CLEAN, ABLATED)
        np.testing.assert_allclose(top_shares(found), [2 / 3, 1])
        assert gain_over_change(found) == pytest.approx(1.2)  # the lower of 1.2 and 2
        over = exceeding(found.leading, torch.tensor([2.0, 10.0]), [0.5, 0.1])
        assert over[:4].tolist() == [[0.5, 1], [0, 0.5], [0, 0], [0, 0]]
        assert not over[4:].any()
        assert few_shares(torch.tensor([6.0, 1, 1]), torch.tensor([1.0, 2, -1])).tolist()[:2] == [3, 0.5]
        assert mlp_shares(torch.tensor([2.0, -1, 1, 1]), torch.tensor([1.0, 1, 4, -1])).tolist() == [
            1,
            0,
            0.25,
        ]

    def test_recurrence(self):
        found = recurrence(torch.tensor([[5, 1], [1, 7], [3, 1]]))
        assert found.iloc[0].tolist() == [1, 3, 1]
        assert found["tokens"].tolist() == [3, 1, 1, 1]
        assert recurrence(torch.tensor([[5, NOBODY]]))["neuron"].tolist() == [5]
        assert len(recurrence(torch.zeros(0, 2, dtype=torch.int64))) == 0


@given(seed=st.integers(0, 10_000), tokens=st.integers(1, 8), neurons=st.integers(2, 120))
@settings(max_examples=25, deadline=None)
def test_laws(seed, tokens, neurons):
    generator = torch.Generator().manual_seed(seed)
    clean, ablated, direct = (
        torch.randn(tokens, size, generator=generator) for size in (neurons, neurons, 1)
    )
    sums, details = NeuronSums.of(clean, ablated), NeuronDetails.of(clean, ablated)
    assert torch.allclose(sums.gain, details.gain)
    assert (sums.anti_erasure <= sums.gain + 1e-6).all()
    assert (details.curve.diff(dim=1) >= -1e-6).all()
    assert (details.leading[:, :neurons].diff(dim=1) <= 0).all()
    # SR20: by definition.
    over = exceeding(details.leading, direct[:, 0].abs(), FRACTIONS)
    assert (over.diff(dim=0) <= 0).all()
    assert (over.diff(dim=1) >= 0).all()
    shares = top_shares(details)
    assert ((shares.nan_to_num(0.5) >= 0) & (shares.nan_to_num(0.5) <= 1 + 1e-6)).all()


def test_fields_are_those_that_are_kept():
    sums = NeuronSums.of(CLEAN, ABLATED)
    assert {one.name for one in dataclasses.fields(NeuronSums)} == set(vars(sums))
    assert NeuronSums.stacked([sums, sums]).gain.shape == (2, 2)
