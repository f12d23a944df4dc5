"""Weight processing: fold norms into what reads them, centre, fold the gate's sign.

All functions take matrices with one row per neuron (or head dimension, or token) and ``d_model``
columns, in float32. They change their arguments only where ``out`` says so.

Source: the processing behind the published numbers, which is that of TransformerLens'
``from_pretrained`` (``fold_ln``, ``center_writing_weights``, ``center_unembed``, ``fold_value_biases``).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import NotGatedError, OptionError
from rwcore.weights.layer import MlpLayer

AS_PUBLISHED = "as_published"
RAW = "raw"
PROCESSINGS = (AS_PUBLISHED, RAW)

# Rows that are cast, transposed, scaled and centred together: 512 × 4096 float32 is 8 MiB, which stays
# in a shared L3 cache; measured best of 64 … 1024 for bfloat16 matrices of 11008 × 4096.
_BLOCK = 512


def check_processing(processing: str) -> str:
    """``processing`` itself.

    Raises:
        OptionError: It is not a known way of processing.
    """
    if processing not in PROCESSINGS:
        raise OptionError(
            f"unknown weight processing {processing!r}",
            where="processing",
            remedy=f"use one of {', '.join(PROCESSINGS)}",
        )
    return processing


def fold_norm(
    weight: Float[Tensor, "row d_model"],
    gain: Float[Tensor, " d_model"],
    out: Float[Tensor, "row d_model"] | None = None,
) -> Float[Tensor, "row d_model"]:
    """Fold the gain of a norm into the matrix that reads it: ``w ← γ ⊙ w``.

    Args:
        weight: Reading vectors.
        gain: Gain γ as it is applied (for Gemma ``1 + stored``).
        out: Where to write; may be ``weight``.
    """
    return torch.mul(weight, gain, out=out)


def fold_shift(
    weight: Float[Tensor, "row d_model"], shift: Float[Tensor, " d_model"]
) -> Float[Tensor, " row"]:
    """What the bias β of a norm adds to the bias of the matrix that reads it: ``Σ_d w_d β_d``.

    Args:
        weight: Reading vectors *before* the gain is folded.
        shift: Bias β of the norm.
    """
    return (weight * shift).sum(-1)


def centre_reading(
    weight: Float[Tensor, "row d_model"], out: Float[Tensor, "row d_model"] | None = None
) -> Float[Tensor, "row d_model"]:
    """Remove the mean over ``d_model`` from reading vectors behind a LayerNorm.

    The normalised input has mean zero, so this changes nothing that the matrix computes.

    Args:
        weight: Reading vectors with the gain folded in.
        out: Where to write; may be ``weight``.
    """
    return torch.sub(weight, weight.mean(-1, keepdim=True), out=out)


def centre_writing(
    weight: Float[Tensor, "row d_model"], out: Float[Tensor, "row d_model"] | None = None
) -> Float[Tensor, "row d_model"]:
    """Remove the mean over ``d_model`` from writing vectors, where every reader sits behind a LayerNorm.

    Args:
        weight: Writing vectors.
        out: Where to write; may be ``weight``.
    """
    return centre_reading(weight, out)


def centre_bias(bias: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """Remove the mean from a bias that is added to the residual stream."""
    return bias - bias.mean()


def gate_sign(
    gate: Float[Tensor, "neuron d_model"], in_: Float[Tensor, "neuron d_model"]
) -> Float[Tensor, " neuron"]:
    """Sign of ``Σ_d g_d i_d`` for each neuron, +1 for 0 (and for NaN, so that nothing else becomes NaN)."""
    sign = torch.empty(gate.shape[0], dtype=gate.dtype, device=gate.device)
    for start in range(0, gate.shape[0], _BLOCK):
        rows = slice(start, start + _BLOCK)
        negative = (gate[rows] * in_[rows]).sum(-1) < 0
        sign[rows] = 1.0 - 2.0 * negative
    return sign


def layer_gate_sign(layer: MlpLayer) -> Float[Tensor, " neuron"]:
    """`gate_sign` of the neurons of a layer.

    Raises:
        NotGatedError: The layer has no gate.
    """
    if layer.gate is None:
        raise NotGatedError(
            "the sign of the gate is asked of an MLP without a gate",
            where=f"layer {layer.index}",
            remedy="leave fold_sign off for this model",
        )
    return gate_sign(layer.gate, layer.in_)


def fold_gate_sign(layer: MlpLayer, *, in_place: bool = False) -> MlpLayer:
    """Flip ``in_``, ``b_in`` and ``out`` of the neurons whose gate and input vectors point apart.

    With ``s = sign(gate·in_)``: ``in_ ← s·in_``, ``b_in ← s·b_in``, ``out ← s·out``. The output of the layer
    is unchanged, and cos(gate, in_) ≥ 0 afterwards. Applying it twice changes nothing more.

    Args:
        layer: A processed layer: the sign depends on folding and centring.
        in_place: Overwrite the tensors of ``layer``.

    Raises:
        NotGatedError: The layer has no gate.
    """
    sign = layer_gate_sign(layer)
    column = sign[:, None]
    return replace(
        layer,
        in_=torch.mul(layer.in_, column, out=layer.in_ if in_place else None),
        out=torch.mul(layer.out, column, out=layer.out if in_place else None),
        b_in=None if layer.b_in is None else layer.b_in * sign,
    )


def processed_rows(
    stored: Tensor,
    *,
    gain: Float[Tensor, " d_model"] | None = None,
    shift: Float[Tensor, " d_model"] | None = None,
    centre: bool = False,
) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, " row"] | None]:
    """A stored matrix as a fresh float32 matrix with contiguous rows, folded and centred on the way.

    One pass over memory: each block of rows is cast, transposed and processed while it is in cache.

    Args:
        stored: ``[row, d_model]`` of any float dtype; may be a transposed view.
        gain: Gain to fold in.
        shift: Bias of the norm, whose contribution is returned.
        centre: Whether to remove the mean over ``d_model``, last.

    Returns:
        The matrix, and Σ_d w_d β_d of each row (None without ``shift``).
    """
    out = torch.empty(stored.shape, dtype=torch.float32, device=stored.device)
    folded = out.new_empty(out.shape[0]) if shift is not None else None
    for start in range(0, stored.shape[0], _BLOCK):
        block = stored[start : start + _BLOCK]
        rows = out[start : start + _BLOCK]
        if not block.is_contiguous():
            # Gather the columns, then transpose a small contiguous matrix: a strided copy that also
            # casts is three times slower.
            block = block.T.contiguous().T.contiguous()
        rows.copy_(block)
        if shift is not None and folded is not None:
            folded[start : start + _BLOCK] = fold_shift(rows, shift)
        if gain is not None:
            fold_norm(rows, gain, out=rows)
        if centre:
            centre_reading(rows, out=rows)
    return out, folded
