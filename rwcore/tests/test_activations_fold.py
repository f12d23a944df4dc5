"""Folding gate signs after the pass is the same as a pass over folded weights (claim F17)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rwcore.activations.accumulate import LayerAccumulator
from rwcore.activations.artefact import Activations
from rwcore.activations.fold import fold_statistics, fold_summary
from rwcore.activations.groups import group_of
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES, SWAPPED
from rwcore.activations.statistics import LayerStatistics
from rwcore.activations.summary import summary_of
from rwcore.errors import OptionError
from rwcore.tests.activation_parts import same
from rwcore.weights.fold import fold_gate_sign, gate_sign
from rwcore.weights.layer import MlpLayer

N, D = 12, 6


def weights() -> MlpLayer:
    torch.manual_seed(3)
    gate, in_, out = (torch.randn(N, D) for _ in range(3))
    in_[0] = 0  # in is exactly zero: no quadrant, sign +1
    return MlpLayer(index=0, gate=gate, in_=in_, out=out, b_gate=None, b_in=None, b_out=None)


def run(layer: MlpLayer, x: Tensor, k: int = 5) -> LayerStatistics:
    gate, in_ = x @ layer.gate.T, x @ layer.in_.T
    gate[0, 0, 1] = -200.0  # act underflows: an extreme of zero has no sign
    accumulator = LayerAccumulator(LayerStatistics.empty(N, k))
    for start in range(0, len(x), 2):
        here = slice(start, start + 2)
        rows = torch.arange(start, min(start + 2, len(x)))
        accumulator.update(
            gate[here], in_[here], torch.nn.functional.silu(gate[here]), None, rows, group_of(rows)
        )
    return accumulator.statistics


def test_folding_after_the_pass_is_a_pass_over_folded_weights() -> None:
    layer, x = weights(), torch.randn(7, 5, D, generator=torch.Generator().manual_seed(0))
    sign = gate_sign(layer.gate, layer.in_)
    assert {-1.0, 1.0} == set(sign.tolist())
    before, folded = run(layer, x), run(fold_gate_sign(layer), x)
    assert not same(before, folded)
    assert same(fold_statistics(before, sign), folded)
    assert same(fold_statistics(folded, sign), before), "folding twice is not folding"


def test_frequencies_are_exchanged_and_not_negated() -> None:
    layer, x = weights(), torch.randn(7, 5, D, generator=torch.Generator().manual_seed(1))
    sign = gate_sign(layer.gate, layer.in_)
    before = run(layer, x)
    after = fold_statistics(before, sign)
    turned = sign < 0
    assert [QUADRANTS[place] for place in SWAPPED] == ["gate+_in-", "gate+_in+", "gate-_in-", "gate-_in+"]
    frequencies = before.frequencies()
    assert torch.equal(after.frequencies()[0, turned], frequencies[1, turned])
    assert torch.equal(after.frequencies()[0, ~turned], frequencies[0, ~turned])
    assert torch.equal(after.group_counts[:, 0, turned], before.group_counts[:, 1, turned])
    assert torch.equal(after.group_counts[:, 0, ~turned], before.group_counts[:, 0, ~turned])
    assert bool((after.frequencies() >= 0).all())
    assert torch.equal(after.gate_frequency(), before.gate_frequency())
    for number, name in enumerate(QUANTITIES):
        factor = -1 if name in ("in", "post") else 1
        assert torch.equal(
            after.overall_means()[number, turned], factor * before.overall_means()[number, turned]
        )
    assert torch.equal(after.variances(), before.variances())


def test_a_summary_folds_as_the_statistics_it_is_of() -> None:
    layer, x = weights(), torch.randn(3, 4, D, generator=torch.Generator().manual_seed(2))
    sign = gate_sign(layer.gate, layer.in_)
    before = run(layer, x)
    assert bool((before.top.rows == -1).any()), "no list is short"
    other = torch.ones(N)
    found = fold_summary(
        summary_of(Activations({}, (), (), 3, (before, before), ())), torch.stack([sign, other])
    )
    wanted = summary_of(Activations({}, (), (), 3, (fold_statistics(before, sign), before), ()))
    for name in ("frequencies", "gate_frequency", "means", "top_values", "top_rows", "top_positions"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=0, atol=0, equal_nan=True
        )


def test_signs_that_are_none_are_refused() -> None:
    empty = LayerStatistics.empty(3, 1)
    for sign in (torch.ones(2), torch.tensor([1.0, 0.0, -1.0]), torch.tensor([1.0, torch.nan, 1.0])):
        with pytest.raises(OptionError, match="signs"):
            fold_statistics(empty, sign)
