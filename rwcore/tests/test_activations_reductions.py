"""Numbers made from tables of frequencies, against planted tables and slow references; shuffles."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.activations.frequencies import frequency_correlations
from rwcore.activations.reductions import (
    as_strong,
    correlations_of,
    gaps,
    in_expected_direction,
    lead_of_linout,
    over_depth,
    pooled_r,
    rise_in_last_layer,
    shuffled_cosines,
)
from rwcore.stats.cosines import RWCosines, rw_cosines
from rwcore.weights.fold import fold_gate_sign
from rwcore.weights.layer import MlpLayer

QUADRANTS = ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-")


def correlations(r: float) -> pd.DataFrame:
    """Pooled rows of gate > 0: this correlation with cos(in, out), smaller ones with the others."""
    rows = [("linout", r), ("gateout", -0.3), ("gatelin", 0.2)]
    return pd.DataFrame(rows, columns=["cosine", "r"]).assign(quadrant="summary", layer="all")


def by_quadrant(*r: float) -> pd.DataFrame:
    rows = [(name, "linout", "all", value) for name, value in zip(QUADRANTS, r, strict=True)]
    return pd.DataFrame(rows, columns=["quadrant", "cosine", "layer", "r"])


def test_gaps_leave_out_classes_without_neurons() -> None:
    frame = pd.DataFrame(
        {"class": ["a", "b", "c"], "true": [0.7, math.nan, 0.1], "baseline": [0.4, math.nan, 0.3]}
    )
    assert gaps(frame) == pytest.approx({"a": 0.3, "c": -0.2})


@pytest.mark.parametrize(("r", "lead"), [(-0.9, 0.6), (0.9, 0.6), (-0.1, -0.2), (0.0, -0.3)])
def test_lead_is_about_strength_and_not_sign(r: float, lead: float) -> None:
    assert lead_of_linout(correlations(r)) == pytest.approx(lead)
    assert pooled_r(correlations(r)) == r
    assert pooled_r(correlations(r), cosine="gateout") == -0.3


@pytest.mark.parametrize("place", range(4))
def test_one_wrong_sign_is_seen(place: int) -> None:
    r = [-0.8, -0.7, 0.6, 0.5]
    assert min(in_expected_direction(by_quadrant(*r)).values()) == 0.5
    r[place] *= -1
    assert min(in_expected_direction(by_quadrant(*r)).values()) < 0


def test_depth_is_in_the_order_of_numbers() -> None:
    layers = list(range(12))
    frame = pd.DataFrame({"layer": [*map(str, layers), "all"], "r": [-0.5] * 11 + [0.3, -0.4]})
    frame = frame.assign(quadrant="summary", cosine="linout").sample(frac=1, random_state=0)
    series = over_depth(frame)
    assert list(series.index) == layers
    assert rise_in_last_layer(series) == pytest.approx(0.8)
    assert math.isnan(rise_in_last_layer(series.where(series.index != 4)))


@pytest.fixture
def weights() -> list[MlpLayer]:
    generator = torch.Generator().manual_seed(1)
    return [
        MlpLayer(index, *(torch.randn(40, 24, generator=generator) for _ in range(3))) for index in range(2)
    ]


def test_a_shuffle_deals_out_the_outputs_within_each_layer(weights: list[MlpLayer]) -> None:
    folded = rw_cosines([fold_gate_sign(layer) for layer in weights])
    shuffles = shuffled_cosines(weights, 5, seed=3)
    assert len(shuffles) == 5
    for found in shuffles:
        torch.testing.assert_close(found.gatelin, folded.gatelin, atol=1e-6, rtol=0)
        for number, layer in enumerate(weights):
            unit = [x / x.norm(dim=1, keepdim=True) for x in (layer.gate, layer.in_, layer.out)]
            # Every neuron has the output of some neuron of its layer, and every output is taken once.
            apart = ((unit[1] @ unit[2].T) - found.linout[number][:, None]).abs()
            taken = apart.argmin(dim=1)
            assert float(apart.min(dim=1).values.max()) < 1e-5
            assert sorted(taken.tolist()) == list(range(40))
            sign = torch.where((layer.gate * layer.in_).sum(1) < 0, -1.0, 1.0)
            gateout = sign * (unit[0] * unit[2][taken]).sum(1)
            torch.testing.assert_close(found.gateout[number], gateout, atol=1e-6, rtol=0)
    assert not torch.equal(shuffles[0].linout, shuffles[1].linout)
    again = shuffled_cosines(weights, 5, seed=3)
    assert all(torch.equal(x.linout, y.linout) for x, y in zip(shuffles, again, strict=True))


@pytest.mark.parametrize("pooled", [True, False])
def test_fast_correlations_are_those_of_the_full_table(weights: list[MlpLayer], pooled: bool) -> None:
    """Also where a cosine is undefined, a whole layer has none, or a frequency does not vary."""
    cosines = rw_cosines([fold_gate_sign(layer) for layer in weights])
    gateout = cosines.gateout.clone()
    gateout[0, 3] = torch.nan
    gateout[1] = torch.nan
    linout = cosines.linout.clone()
    linout[1] = 0.1
    cosines = RWCosines(cosines.gatelin, gateout, linout)
    generator = torch.Generator().manual_seed(2)
    frequencies = {
        name: torch.rand(2, 40, generator=generator, dtype=torch.float64) for name in ("summary", *QUADRANTS)
    }
    frequencies["gate-_in+"][0] = 0.3
    full = frequency_correlations(frequencies, cosines).drop(columns=["p", "n"])
    rows = full[full["layer"] == "all"] if pooled else full
    found = correlations_of(frequencies, cosines, pooled=pooled)
    assert found["r"].isna().sum() == rows["r"].isna().sum() == (1 if pooled else 14)
    pd.testing.assert_frame_equal(
        found, rows.reset_index(drop=True), check_dtype=False, check_exact=False, rtol=1e-12
    )


def test_shuffling_finds_a_planted_correlation_and_no_other(weights: list[MlpLayer]) -> None:
    cosines = rw_cosines([fold_gate_sign(layer) for layer in weights])
    shuffles = shuffled_cosines(weights, 39)

    def as_strong_as(frequency: torch.Tensor) -> int:
        def r(of: RWCosines) -> float:
            return -pooled_r(correlations_of({"summary": frequency}, of, pooled=True))

        return as_strong(r(cosines), [r(one) for one in shuffles])

    noise = torch.rand(2, 40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert as_strong_as(0.5 - 0.5 * cosines.linout.double() + 0.1 * noise) == 0
    # Of unrelated frequencies every rank among 40 is as likely.
    ranks = [
        as_strong_as(torch.rand(2, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        for seed in range(10)
    ]
    assert 10 < np.mean(ranks) < 30


@pytest.mark.parametrize(("observed", "count"), [(0.5, 0), (0.3, 1), (0.2, 2), (0.0, 3), (math.nan, 3)])
def test_ties_and_nan_count_against_the_observation(observed: float, count: int) -> None:
    assert as_strong(observed, [0.3, 0.2, 0.1]) == count
