"""MLP weights of a model, one processed layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from rwcore.errors import NotGatedError
from rwcore.models.spec import LocalModel
from rwcore.weights.fold import (
    AS_PUBLISHED,
    centre_bias,
    check_processing,
    fold_gate_sign,
    processed_rows,
)
from rwcore.weights.layer import MlpLayer
from rwcore.weights.reader import ModelReader, Norm, open_model
from rwcore.weights.shape import ModelShape

__all__ = ["MlpLayer", "MlpWeights", "mlp_weights"]


@dataclass(frozen=True)
class MlpWeights:
    """The MLP layers of a model: a sequence whose elements are read when they are asked for.

    Nothing is kept: every access reads and processes the layer again, into fresh tensors. A loop
    ``for layer in weights`` still holds one layer while the next is read; ``map(f, weights)`` does not
    and halves the peak.

    Attributes:
        shape: The model's shape.
        processing: ``as_published``, ``raw``, or ``bridge`` for the weights a live bridge holds.
        fold_sign: Whether the sign of the gate is folded.
        centre_gate: Whether the gate is centred like the input vectors.
        read: Reads a layer by its number.
    """

    shape: ModelShape
    processing: str
    fold_sign: bool
    centre_gate: bool
    read: Callable[[int], MlpLayer]

    def __len__(self) -> int:
        return self.shape.n_layers

    def __getitem__(self, layer: int) -> MlpLayer:
        if not -len(self) <= layer < len(self):
            raise IndexError(f"layer {layer} of a model with {len(self)} layers")
        return self.read(layer % len(self))

    def __iter__(self) -> Iterator[MlpLayer]:
        return map(self.read, range(len(self)))


def mlp_weights(
    local: LocalModel,
    *,
    processing: str | None = None,
    fold_sign: bool = False,
    centre_gate: bool = False,
) -> MlpWeights:
    """The MLP weights of a model on this machine, straight from its files.

    ``as_published``, all in float32 and in this order:

    1. fold the gain γ of the norm before the MLP into ``in_`` and ``gate``, and its bias β into their
       biases: ``b ← b + Σ_d w_d β_d``, ``w ← γ ⊙ w``;
    2. LayerNorm only: remove the mean over ``d_model`` from ``in_``, and from ``gate`` only with
       ``centre_gate``: the published numbers of OLMo rest on an uncentred gate;
    3. LayerNorm only: remove the mean over ``d_model`` from ``out`` and ``b_out``;
    4. with ``fold_sign``: `fold_gate_sign`.

    Gemma's norm after the MLP is not folded into ``out``. BERT and T5 are left as stored, as in the
    published numbers, and so is OPT-350m, whose norms follow its sublayers. ``raw`` is as stored for
    every model, cast to float32; ``fold_sign`` still applies.

    Args:
        local: The model.
        processing: ``as_published`` or ``raw``; None for the model's own default.
        fold_sign: Fold the sign of the gate, as in all published tables of gated models.
        centre_gate: Centre the gate as well.

    Returns:
        The layers, read on access.

    Raises:
        WeightsError: Files are missing, damaged or of an unknown architecture. A tensor that is damaged
            or of the wrong shape is reported when its layer is read.
        NotGatedError: ``fold_sign`` was asked of a model without a gate.
        OptionError: Unknown ``processing``.

    Source:
        RW functionalities, weights as the authors' loader processes them.
    """
    chosen = check_processing(processing or local.spec.processing)
    reader = open_model(local)
    shape = reader.shape
    require_gate(shape, fold_sign)
    process = chosen == AS_PUBLISHED and shape.processed

    def read(layer: int) -> MlpLayer:
        weights = _read_layer(reader, layer, process, centre_gate)
        return fold_gate_sign(weights, in_place=True) if fold_sign else weights

    return MlpWeights(shape, chosen, fold_sign, centre_gate, read)


def require_gate(shape: ModelShape, fold_sign: bool) -> None:
    """Refuse to fold the sign of a gate that is not there.

    Raises:
        NotGatedError: The model has no gate and ``fold_sign`` is set.
    """
    if fold_sign and not shape.gated_mlp:
        raise NotGatedError(
            f"the sign of the gate is asked of a model without a gate ({shape.architecture})",
            where="fold_sign",
            remedy="leave fold_sign off for this model",
        )


def _read_layer(reader: ModelReader, layer: int, process: bool, centre_gate: bool) -> MlpLayer:
    shape = reader.shape
    tower, block = reader.block(layer)
    centre = process and shape.norm == "layer"
    norm = reader.norm(f"{block}{tower.mlp_norm}") if process and tower.mlp_norm else Norm()

    def reading(stem: str, centred: bool) -> tuple[Tensor, Tensor | None]:
        weight, folded = processed_rows(
            reader.matrix(block + stem, shape.d_mlp, shape.d_model),
            gain=norm.gain,
            shift=norm.shift,
            centre=centred,
        )
        bias = reader.bias(block + stem, shape.d_mlp)
        return weight, add_biases(bias, folded)

    gate, b_gate = reading(tower.gate, centre and centre_gate) if tower.gate else (None, None)
    in_, b_in = reading(tower.in_, centre)
    out, _ = processed_rows(reader.matrix(block + tower.out, shape.d_model, shape.d_mlp).T, centre=centre)
    b_out = reader.bias(block + tower.out, shape.d_model)
    return MlpLayer(
        index=layer,
        gate=gate,
        in_=in_,
        out=out,
        b_gate=b_gate,
        b_in=b_in,
        b_out=centre_bias(b_out) if centre and b_out is not None else b_out,
    )


def add_biases(bias: Tensor | None, folded: Tensor | None) -> Tensor | None:
    """Sum of two biases either of which may be absent."""
    if bias is None or folded is None:
        return folded if bias is None else bias
    return bias + folded
