"""Cosines and norms: against the plain reference, invariances, bad vectors, streaming."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.errors import WeightsError
from rwcore.stats import cosines as module
from rwcore.stats.classes import class_codes
from rwcore.stats.cosines import COSINES, WeightStatistics, rw_cosines, weight_statistics
from rwcore.weights.layer import MlpLayer


def random_layers(seed=0, n_layers=2, n_neurons=30, d_model=16, gated=True):
    generator = torch.Generator().manual_seed(seed)

    def matrix():
        # A common direction, so that the cosines are not all small.
        return torch.randn(n_neurons, d_model, generator=generator) + torch.randn(
            d_model, generator=generator
        )

    return [MlpLayer(k, matrix() if gated else None, matrix(), matrix()) for k in range(n_layers)]


def vectors(layers):
    return {
        "gate": torch.stack([layer.gate for layer in layers]) if layers[0].gate is not None else None,
        "in": torch.stack([layer.in_ for layer in layers]),
        "out": torch.stack([layer.out for layer in layers]),
    }


def test_equals_the_reference():
    layers = random_layers()
    statistics = weight_statistics(layers)
    stacks = vectors(layers)
    for name, (a, b) in COSINES.items():
        expected = reference.cosine(stacks[a], stacks[b])
        torch.testing.assert_close(statistics.cosines.present()[name], expected, atol=2e-7, rtol=0)
    for name, norm in statistics.norms().items():
        torch.testing.assert_close(norm, reference.norms(stacks[name]), atol=0, rtol=1e-6)


def test_is_the_exact_cosine_rounded_once():
    layers = random_layers(n_layers=1, n_neurons=40, d_model=4096)
    stacks = {name: stack.double() for name, stack in vectors(layers).items()}
    for name, values in rw_cosines(layers).present().items():
        a, b = (stacks[side] for side in COSINES[name])
        exact = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
        # Half a unit in the last place of float32, plus what float64 sums may be off.
        assert ((values.double() - exact).abs() <= exact.abs() * 2**-24 * 1.001 + 1e-14).all()


def test_blocks_do_not_show(monkeypatch):
    layers = random_layers(n_neurons=37)
    whole = weight_statistics(layers).to_arrays()
    seen = []
    vecdot = torch.linalg.vecdot
    monkeypatch.setattr(
        torch.linalg, "vecdot", lambda a, b, out: seen.append(a.shape) or vecdot(a, b, out=out)
    )
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 5 * 16 + 1)
    blocked = weight_statistics(layers).to_arrays()
    assert set(seen) == {(5, 16), (2, 16)}
    assert whole.keys() == blocked.keys()
    for name in whole:
        torch.testing.assert_close(blocked[name], whole[name], atol=0, rtol=0)


def test_one_layer_is_held_at_a_time():
    alive = []

    def stream():
        for layer in random_layers(n_layers=4):
            fresh = replace(layer, in_=layer.in_.clone())
            alive.append(weakref.ref(fresh))
            yield fresh
            del fresh
            gc.collect()
            assert alive[-1]() is None, "the layer outlives its turn"

    weight_statistics(stream(), n_layers=4)
    assert len(alive) == 4


def test_inputs_are_not_changed():
    layers = random_layers()
    before = {name: stack.clone() for name, stack in vectors(layers).items()}
    weight_statistics(layers)
    after = vectors(layers)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_gradients_are_ignored():
    layer = random_layers(n_layers=1)[0]
    live = replace(layer, in_=layer.in_.clone().requires_grad_())
    result = rw_cosines([live]).linout
    assert not result.requires_grad
    assert torch.equal(result, rw_cosines([layer]).linout)


def test_ungated_layers_have_linout_only():
    statistics = weight_statistics(random_layers(gated=False))
    assert not statistics.cosines.gated
    assert statistics.cosines.gatelin is statistics.cosines.gateout is statistics.norm_gate is None
    assert list(statistics.cosines.present()) == ["linout"]
    gated = weight_statistics([replace(layer, gate=layer.in_) for layer in random_layers(gated=False)])
    assert torch.equal(gated.cosines.linout, statistics.cosines.linout)


@given(seed=st.integers(0, 2**20), exponent=st.integers(-30, 30))
def test_lengths_do_not_matter(seed, exponent):
    layers = random_layers(seed)
    scaled = [replace(layer, in_=layer.in_ * 2.0**exponent, out=layer.out * 3) for layer in layers]
    for name, values in rw_cosines(layers).present().items():
        torch.testing.assert_close(rw_cosines(scaled).present()[name], values, atol=2e-7, rtol=0)


@given(seed=st.integers(0, 2**20))
def test_rotation_does_not_matter(seed):
    layers = random_layers(seed)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(seed)))[0]
    turned = [MlpLayer(la.index, la.gate @ turn, la.in_ @ turn, la.out @ turn) for la in layers]
    for name, values in weight_statistics(layers).to_arrays().items():
        torch.testing.assert_close(weight_statistics(turned).to_arrays()[name], values, atol=1e-6, rtol=2e-6)


@given(seed=st.integers(0, 2**20))
def test_order_of_neurons_does_not_matter(seed):
    layers = random_layers(seed)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    moved = [MlpLayer(la.index, la.gate[order], la.in_[order], la.out[order]) for la in layers]
    for name, values in weight_statistics(layers).to_arrays().items():
        assert torch.equal(weight_statistics(moved).to_arrays()[name], values[:, order])


@given(seed=st.integers(0, 2**20))
def test_folding_gate_signs_changes_signs_only(seed):
    """C33: |gatelin|, linout, norms and classes are the same bits; gateout differs in sign at most."""
    layers = random_layers(seed)
    folded = [MlpLayer(la.index, *reference.refactor_glu(la.gate, la.in_, la.out)) for la in layers]
    before, after = weight_statistics(layers), weight_statistics(folded)
    assert (after.cosines.gatelin >= 0).all()
    assert torch.equal(after.cosines.gatelin, before.cosines.gatelin.abs())
    assert torch.equal(after.cosines.linout, before.cosines.linout)
    assert torch.equal(after.cosines.gateout.abs(), before.cosines.gateout.abs())
    for name, norm in before.norms().items():
        assert torch.equal(after.norms()[name], norm)
    assert torch.equal(class_codes(after.cosines), class_codes(before.cosines))


def test_cosines_never_leave_their_range():
    layer = random_layers(n_layers=1, n_neurons=2000, d_model=7)[0]
    parallel = MlpLayer(0, layer.in_ * 3, layer.in_, -layer.in_ * 0.7)
    values = rw_cosines([parallel])
    assert (values.gatelin == 1).all()
    assert (values.linout == -1).all()


def test_very_short_and_long_vectors_are_defined():
    layer = random_layers(n_layers=1)[0]
    extreme = MlpLayer(0, layer.gate * 1e-36, layer.in_ * 1e30, layer.out)
    values = weight_statistics([extreme])
    assert values.undefined().tolist() == [0]
    torch.testing.assert_close(values.cosines.gatelin, rw_cosines([layer]).gatelin, atol=1e-5, rtol=0)


def test_undefined_neurons_are_named_and_counted():
    layers = random_layers()
    layers[0].gate[3] = 0
    layers[0].out[3] = 0
    layers[1].in_[7, 2] = torch.nan
    layers[1].out[8, 0] = -torch.inf
    layers[1].out[9, 0], layers[1].out[9, 1] = torch.inf, torch.nan
    statistics = weight_statistics(layers)
    assert statistics.undefined().tolist() == [1, 3]
    assert statistics.undefined_neurons().to_dict("split")["data"] == [
        [0, 3, "gate", "zero"],
        [0, 3, "out", "zero"],
        [1, 7, "in", "nan"],
        [1, 8, "out", "inf"],
        [1, 9, "out", "nan"],
    ]
    cosines = statistics.cosines
    assert cosines.linout[1, 7].isnan()
    assert cosines.gateout[1, 7].isfinite()
    assert cosines.undefined().sum() == 4
    assert cosines.present()["gatelin"].isnan().nonzero().tolist() == [[0, 3], [1, 7]]


def test_no_undefined_neurons_give_an_empty_frame():
    frame = weight_statistics(random_layers()).undefined_neurons()
    assert list(frame.columns) == ["layer", "neuron", "vector", "why"]
    assert frame.empty
    assert frame["layer"].dtype == "int64"


@pytest.mark.parametrize("gated", [True, False])
def test_arrays_round_trip(gated):
    statistics = weight_statistics(random_layers(gated=gated))
    arrays = statistics.to_arrays()
    expected = ["gatelin", "gateout", "linout", "norm_gate", "norm_in", "norm_out"]
    assert list(arrays) == (expected if gated else ["linout", "norm_in", "norm_out"])
    again = WeightStatistics.from_arrays(arrays).to_arrays()
    assert all(torch.equal(again[name], array) for name, array in arrays.items())


def test_gated_and_ungated_layers_do_not_mix():
    first, second = random_layers()
    with pytest.raises(WeightsError, match="differ") as error:
        weight_statistics([first, replace(second, gate=None)])
    assert "layer 1: ungated" in str(error.value)


def test_layers_of_different_size_do_not_mix():
    (first, _), (_, second) = random_layers(), random_layers(n_neurons=31)
    with pytest.raises(WeightsError, match="31 neurons"):
        weight_statistics([first, second])


def test_matrices_of_a_layer_must_agree():
    layer = random_layers(n_layers=1)[0]
    # Positional construction checks shapes in tests; a caller without the checker gets our message.
    object.__setattr__(layer, "out", layer.out.T)
    with pytest.raises(WeightsError, match=r"differ in shape.*\(16, 30\)"):
        weight_statistics([layer])


def test_layers_must_come_in_order_and_number():
    layers = random_layers(n_layers=3)
    with pytest.raises(WeightsError, match="order"):
        weight_statistics(reversed(layers))
    with pytest.raises(WeightsError, match="3 layers came, expected 4"):
        weight_statistics(layers, n_layers=4)
    with pytest.raises(WeightsError, match="0 layers came, expected some"):
        weight_statistics([])
