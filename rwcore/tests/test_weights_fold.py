"""Weight processing: what it must not change, what it must, and that it leaves its arguments alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from rwcore.benchmarks.reference import weights as reference
from rwcore.errors import NotGatedError, OptionError
from rwcore.weights import fold
from rwcore.weights.mlp import MlpLayer

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 12)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gated_layer(seed: int = 0, neurons: int = 20, d_model: int = 5) -> MlpLayer:
    gate, in_, out = (normal(seed + i, neurons, d_model) for i in range(3))
    return MlpLayer(0, gate, in_, out, b_gate=normal(seed + 3, neurons), b_in=normal(seed + 4, neurons))


def output(layer: MlpLayer, x: Tensor) -> Tensor:
    assert layer.gate is not None
    assert layer.b_gate is not None
    assert layer.b_in is not None
    gate = torch.nn.functional.silu(layer.gate @ x + layer.b_gate)
    return (gate * (layer.in_ @ x + layer.b_in)) @ layer.out


@given(seeds, sizes, sizes)
def test_folding_a_layer_norm_keeps_what_the_matrix_computes(seed: int, rows: int, d_model: int) -> None:
    w, x = normal(seed, rows, d_model).double(), normal(seed + 1, d_model).double()
    gain, shift = normal(seed + 2, d_model).double(), normal(seed + 3, d_model).double()
    normed = (x - x.mean()) / x.std(correction=0)
    before = w @ (normed * gain + shift)
    after = fold.centre_reading(fold.fold_norm(w, gain)) @ normed + fold.fold_shift(w, shift)
    assert_close(after, before)


@given(seeds, sizes, sizes, st.booleans(), st.booleans(), st.booleans())
def test_processed_rows_agrees_with_the_reference(
    seed: int, rows: int, d_model: int, with_norm: bool, centre: bool, transposed: bool
) -> None:
    w = normal(seed, d_model, rows).T if transposed else normal(seed, rows, d_model)
    gain, shift = (normal(seed + 1, d_model), normal(seed + 2, d_model)) if with_norm else (None, None)
    got, folded = fold.processed_rows(w, gain=gain, shift=shift, centre=centre)
    assert got.is_contiguous()
    for i in range(rows):
        vector, bias = reference.reading_vector(
            w[i].numpy(),
            0.0,
            None if gain is None else gain.numpy(),
            None if shift is None else shift.numpy(),
            centre=centre,
        )
        np.testing.assert_allclose(got[i], vector, atol=1e-6)
        if folded is not None:
            assert float(folded[i]) == pytest.approx(bias, abs=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_processed_rows_of_several_blocks_is_the_plain_computation(
    dtype: torch.dtype, transposed: bool
) -> None:
    rows, d_model = 2 * fold._BLOCK + 3, 40
    stored = (normal(0, d_model, rows).T if transposed else normal(0, rows, d_model)).to(dtype)
    gain, shift = normal(1, d_model), normal(2, d_model)
    got, folded = fold.processed_rows(stored, gain=gain, shift=shift, centre=True)
    plain = stored.float().contiguous()
    scaled = plain * gain
    assert got.dtype == torch.float32
    assert torch.equal(got, scaled - scaled.mean(-1, keepdim=True))
    assert torch.equal(folded, (plain * shift).sum(-1))


def test_processed_rows_never_shares_memory_with_its_input() -> None:
    stored = normal(0, 4, 3)
    fold.processed_rows(stored)[0].zero_()
    assert torch.equal(stored, normal(0, 4, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda w: fold.fold_norm(w, torch.full((3,), 2.0)),
        fold.centre_reading,
        fold.centre_writing,
        lambda w: fold.fold_shift(w, torch.ones(3)),
        lambda w: fold.gate_sign(w, -w),
    ],
)
def test_arguments_are_not_changed(function: Callable[[Tensor], Tensor]) -> None:
    w = normal(0, 4, 3)
    function(w)
    assert torch.equal(w, normal(0, 4, 3))


def test_out_is_written_and_returned() -> None:
    w = normal(0, 4, 3)
    assert fold.fold_norm(w, torch.full((3,), 2.0), out=w).data_ptr() == w.data_ptr()
    assert torch.equal(w, 2 * normal(0, 4, 3))


@given(seeds)
def test_centred_vectors_have_mean_zero_and_stay(seed: int) -> None:
    once = fold.centre_writing(normal(seed, 6, 9))
    assert float(once.mean(-1).abs().max()) < 1e-6
    assert_close(fold.centre_writing(once), once)


def test_centred_bias() -> None:
    assert torch.equal(fold.centre_bias(torch.tensor([1.0, 2.0, 6.0])), torch.tensor([-2.0, -1.0, 3.0]))


@given(seeds)
def test_folding_the_sign_of_the_gate(seed: int) -> None:
    layer = gated_layer(seed)
    folded = fold.fold_gate_sign(layer)
    assert folded.gate is layer.gate
    assert folded.b_gate is layer.b_gate
    assert bool(((folded.gate * folded.in_).sum(-1) >= 0).all())
    x = normal(seed + 9, 5)
    assert_close(output(folded, x), output(layer, x))
    assert torch.equal(fold.fold_gate_sign(folded).in_, folded.in_)
    # cos(in, out) does not change.
    assert torch.equal((folded.in_ * folded.out).sum(-1), (layer.in_ * layer.out).sum(-1))


@given(seeds)
def test_folded_sign_agrees_with_the_reference(seed: int) -> None:
    layer = gated_layer(seed)
    folded = fold.fold_gate_sign(layer)
    assert layer.gate is not None
    assert layer.b_in is not None
    assert folded.b_in is not None
    for i in range(20):
        in_, out, b_in = reference.refactor_glu(
            layer.gate[i].numpy(), layer.in_[i].numpy(), layer.out[i].numpy(), float(layer.b_in[i])
        )
        np.testing.assert_array_equal(folded.in_[i], in_)
        np.testing.assert_array_equal(folded.out[i], out)
        assert float(folded.b_in[i]) == b_in


def test_a_dot_product_of_zero_or_nan_keeps_the_neuron() -> None:
    gate = torch.tensor([[1.0, 0.0], [float("nan"), 1.0], [1.0, 1.0], [0.0, 0.0]])
    in_ = torch.tensor([[0.0, 3.0], [1.0, 1.0], [-1.0, 0.0], [1.0, 1.0]])
    layer = MlpLayer(0, gate, in_, torch.ones(4, 2))
    folded = fold.fold_gate_sign(layer)
    assert torch.equal(fold.gate_sign(gate, in_), torch.tensor([1.0, 1.0, -1.0, 1.0]))
    assert torch.equal(folded.in_, torch.tensor([[0.0, 3.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
    assert torch.equal(folded.out[2], torch.tensor([-1.0, -1.0]))
    assert folded.b_in is None


def test_sign_folding_copies_unless_told_otherwise() -> None:
    layer = gated_layer()
    fold.fold_gate_sign(layer)
    assert torch.equal(layer.in_, gated_layer().in_)
    assert torch.equal(layer.out, gated_layer().out)
    in_place = fold.fold_gate_sign(layer, in_place=True)
    assert in_place.in_ is layer.in_
    assert not torch.equal(layer.in_, gated_layer().in_)
    assert torch.equal(in_place.in_, fold.fold_gate_sign(gated_layer()).in_)


def test_sign_of_many_neurons_is_that_of_each() -> None:
    gate, in_ = normal(0, 2 * fold._BLOCK + 5, 4), normal(1, 2 * fold._BLOCK + 5, 4)
    assert torch.equal(fold.gate_sign(gate, in_), torch.sign((gate * in_).sum(-1)))


def test_an_mlp_without_a_gate_has_no_sign_to_fold() -> None:
    layer = MlpLayer(3, None, torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(NotGatedError, match="layer 3"):
        fold.fold_gate_sign(layer)


def test_unknown_processing_is_refused() -> None:
    assert fold.check_processing("raw") == "raw"
    with pytest.raises(OptionError, match=r"folded.*\n.*\n.*as_published, raw"):
        fold.check_processing("folded")
