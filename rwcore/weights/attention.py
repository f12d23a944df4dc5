"""Attention weights of a model, one processed layer at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.models.spec import LocalModel
from rwcore.weights.families import Attention
from rwcore.weights.fold import AS_PUBLISHED, centre_bias, check_processing, processed_rows
from rwcore.weights.mlp import add_biases
from rwcore.weights.reader import ModelReader, Norm, open_model


@dataclass(frozen=True)
class AttentionLayer:
    """The attention matrices of one layer, in float32.

    Query head ``h`` reads key and value head ``h // (n_heads / n_kv_heads)``.

    Attributes:
        index: Position in the stack; encoder layers come before decoder layers.
        W_Q: Query matrices.
        W_K: Key matrices, one per key head.
        W_V: Value matrices, one per value head.
        W_O: Output matrices.
        b_Q: Query biases, or None.
        b_K: Key biases, or None.
        b_V: Value biases, or None; zero where they were folded into ``b_O``.
        b_O: Output bias, or None.
    """

    index: int
    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "kv_head d_model d_head"]
    W_V: Float[Tensor, "kv_head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    b_Q: Float[Tensor, "head d_head"] | None = None
    b_K: Float[Tensor, "kv_head d_head"] | None = None
    b_V: Float[Tensor, "kv_head d_head"] | None = None
    b_O: Float[Tensor, " d_model"] | None = None

    @property
    def n_heads(self) -> int:
        """Number of query heads."""
        return self.W_Q.shape[0]

    @property
    def n_kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.W_K.shape[0]

    def expanded(self) -> AttentionLayer:
        """The same layer with one key and value head per query head (grouped heads repeated)."""
        repeats = self.n_heads // self.n_kv_heads
        if repeats == 1:
            return self
        return replace(
            self,
            W_K=self.W_K.repeat_interleave(repeats, 0),
            W_V=self.W_V.repeat_interleave(repeats, 0),
            b_K=None if self.b_K is None else self.b_K.repeat_interleave(repeats, 0),
            b_V=None if self.b_V is None else self.b_V.repeat_interleave(repeats, 0),
        )


def attention_weights(local: LocalModel, layer: int, *, processing: str | None = None) -> AttentionLayer:
    """The attention weights of one layer, straight from the model's files.

    ``as_published``, in float32 and in this order:

    1. fold gain and bias of the norm before the attention into W_Q, W_K, W_V and their biases;
    2. LayerNorm only: remove the mean over ``d_model`` from W_Q, W_K, W_V, and from W_O and b_O;
    3. fold the value biases, as attention sums to one: ``b_O ← b_O + Σ_h b_V[h]·W_O[h]``, ``b_V ← 0``
       (LayerNorm only: centre b_O again).

    Norms of queries and keys (Qwen3, Gemma-3, OLMo-2) and norms after the attention (Gemma-2, Gemma-3,
    OLMo-2) are not folded. BERT, T5 and OPT-350m are left as stored; of T5's decoder the
    self-attention is returned.

    Args:
        local: The model.
        layer: Number of the layer, encoder layers first.
        processing: ``as_published`` or ``raw``; None for the model's own default.

    Raises:
        WeightsError: Files are missing, damaged, of an unknown architecture or of another shape.
        OptionError: Unknown ``processing``.
        IndexError: There is no such layer.

    Source:
        Copy Suppression, section 2.1 of our spec; TransformerLens' processing.
    """
    chosen = check_processing(processing or local.spec.processing)
    reader = open_model(local)
    shape = reader.shape
    if not -shape.n_layers <= layer < shape.n_layers:
        raise IndexError(f"layer {layer} of a model with {shape.n_layers} layers")
    process = chosen == AS_PUBLISHED and shape.processed
    return _read_layer(reader, layer % shape.n_layers, process)


def _read_layer(reader: ModelReader, layer: int, process: bool) -> AttentionLayer:
    shape = reader.shape
    tower, block = reader.block(layer)
    centre = process and shape.norm == "layer"
    norm = reader.norm(f"{block}{tower.attention_norm}") if process and tower.attention_norm else Norm()
    (q, b_q), (k, b_k), (v, b_v) = _read_qkv(reader, block, tower.attention, norm, centre)
    o = _read_output(reader, block + tower.attention.o, centre)
    b_o = reader.bias(block + tower.attention.o, shape.d_model)
    if centre and b_o is not None:
        b_o = centre_bias(b_o)
    if process and b_v is not None:
        repeats = shape.n_heads // shape.n_kv_heads
        b_o = add_biases(b_o, (b_v.repeat_interleave(repeats, 0)[:, :, None] * o).sum((0, 1)))
        b_o = centre_bias(b_o) if centre and b_o is not None else b_o
        b_v = torch.zeros_like(b_v)
    return AttentionLayer(layer, q, k, v, o, b_q, b_k, b_v, b_o)


_Projection = tuple[Tensor, Tensor | None]


def _read_qkv(
    reader: ModelReader, block: str, names: Attention, norm: Norm, centre: bool
) -> tuple[_Projection, _Projection, _Projection]:
    """Q, k and v as ``[head d_model d_head]`` with biases ``[head d_head]``."""
    shape = reader.shape

    def rows(stem: str, n_rows: int) -> _Projection:
        weight, folded = processed_rows(
            reader.matrix(stem, n_rows, shape.d_model), gain=norm.gain, shift=norm.shift, centre=centre
        )
        return weight, add_biases(reader.bias(stem, n_rows), folded)

    def split(weight: Tensor, n_heads: int) -> Tensor:
        return weight.reshape(n_heads, shape.d_head, -1).transpose(1, 2).contiguous()

    def separate(stem: str, n_heads: int) -> _Projection:
        weight, bias = rows(block + stem, n_heads * shape.d_head)
        return split(weight, n_heads), None if bias is None else bias.reshape(n_heads, shape.d_head)

    if names.q and names.k and names.v:
        return (
            separate(names.q, shape.n_heads),
            separate(names.k, shape.n_kv_heads),
            separate(names.v, shape.n_kv_heads),
        )
    fused, fused_bias = rows(f"{block}{names.qkv}", 3 * shape.n_heads * shape.d_head)
    # Axes of the rows; the one that says q, k or v comes to the front.
    axes = (shape.n_heads, 3, shape.d_head) if names.interleaved else (3, shape.n_heads, shape.d_head)
    front = 1 if names.interleaved else 0
    weights = fused.reshape(*axes, shape.d_model).movedim(front, 0)
    biases = None if fused_bias is None else fused_bias.reshape(axes).movedim(front, 0).contiguous()

    def part(which: int) -> _Projection:
        weight = weights[which].transpose(1, 2).contiguous()
        return weight, None if biases is None else biases[which]

    return part(0), part(1), part(2)


def _read_output(reader: ModelReader, stem: str, centre: bool) -> Tensor:
    """The output matrices as ``[head d_head d_model]``."""
    shape = reader.shape
    stored = reader.matrix(stem, shape.d_model, shape.n_heads * shape.d_head)
    weight, _ = processed_rows(stored.T, centre=centre)
    return weight.reshape(shape.n_heads, shape.d_head, shape.d_model)
