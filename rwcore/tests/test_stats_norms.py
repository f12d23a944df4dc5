"""Ranges of norms."""

from __future__ import annotations

import pytest
import torch

from rwcore.stats.cosines import weight_statistics
from rwcore.stats.norms import norm_ranges
from rwcore.weights.layer import MlpLayer


def layers(gated=True):
    def matrix(*lengths):
        return torch.tensor([[3.0 * length, 4.0 * length] for length in lengths])

    return [
        MlpLayer(0, matrix(1, 2, 3) if gated else None, matrix(1, 10, 1), matrix(8, 0.5, 2)),
        MlpLayer(1, matrix(0.1, 1, 1) if gated else None, matrix(2, 2, 2), matrix(1, 1, 0.25)),
    ]


def test_ranges_over_all_layers():
    frame = norm_ranges(weight_statistics(layers())).set_index("vector")
    assert list(frame.index) == ["gate", "in", "out", "in_out"]
    assert frame.loc["gate"].tolist() == pytest.approx([0.5, 15])
    assert frame.loc["in"].tolist() == [5, 50]
    assert frame.loc["out"].tolist() == [1.25, 40]
    # Of a neuron's own two norms: 25·{8, 5, 2} and 25·{2, 2, 0.5}.
    assert frame.loc["in_out"].tolist() == [12.5, 200]


def test_without_a_gate():
    assert norm_ranges(weight_statistics(layers(gated=False)))["vector"].tolist() == ["in", "out", "in_out"]


def test_infinite_norms_are_left_out_and_zero_is_not():
    stack = layers()
    stack[0].out[0, 0] = torch.inf
    stack[1].in_[0] = 0
    frame = norm_ranges(weight_statistics(stack)).set_index("vector")
    assert frame.loc["out"].tolist() == [1.25, 10]
    assert frame.loc["in"].tolist() == [0, 50]
    assert frame.loc["in_out"].tolist() == [0, 125]


def test_nothing_finite_has_no_range():
    stack = [MlpLayer(0, None, torch.full((2, 2), torch.nan), torch.ones(2, 2))]
    frame = norm_ranges(weight_statistics(stack)).set_index("vector")
    assert frame.loc["in"].isna().all()
    assert frame.loc["out", "min"] == pytest.approx(2**0.5)
