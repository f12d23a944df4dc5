"""Embedding, unembedding and the norm between the last block and the unembedding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.models.spec import LocalModel
from rwcore.weights.fold import AS_PUBLISHED, check_processing, processed_rows
from rwcore.weights.mlp import add_biases
from rwcore.weights.reader import ModelReader, Norm, open_model
from rwcore.weights.sources.base import no_tensor

_BLOCK = 4096


@dataclass(frozen=True)
class Embedding:
    """Token and position embeddings in float32.

    Attributes:
        W_E: One row per token.
        W_pos: One row per position, or None for a model without learned positions.
        scale: What the model multiplies a row of ``W_E`` by (Gemma: √d_model; not applied here).
    """

    W_E: Float[Tensor, "vocab d_model"]
    W_pos: Float[Tensor, "pos d_model"] | None
    scale: float


@dataclass(frozen=True)
class Unembedding:
    """The map from the normalised residual stream to logits, in float32.

    Attributes:
        W_U: One column per token; a transposed view of rows that are contiguous per token.
        b_U: Bias, or None.
    """

    W_U: Float[Tensor, "d_model vocab"]
    b_U: Float[Tensor, " vocab"] | None


@dataclass(frozen=True)
class FinalNorm:
    """The norm before the unembedding.

    Attributes:
        kind: ``rms``, ``layer``, or ``none``.
        gain: Gain as it is applied (Gemma's 1 added); None where it has none or it was folded.
        shift: Bias, or None.
        eps: Epsilon.
    """

    kind: str
    gain: Float[Tensor, " d_model"] | None
    shift: Float[Tensor, " d_model"] | None
    eps: float


def embedding(local: LocalModel, *, processing: str | None = None) -> Embedding:
    """Token and position embeddings, straight from the model's files.

    ``as_published`` removes the mean over ``d_model`` for LayerNorm models, as from all weights that
    write to the residual stream. Rows of OPT's position table that no position uses are left out.

    Args:
        local: The model.
        processing: ``as_published`` or ``raw``; None for the model's own default.

    Raises:
        WeightsError: Files are missing, damaged, of an unknown architecture or of another shape.
        OptionError: Unknown ``processing``.
    """
    reader, process = _open(local, processing)
    family, shape = reader.family, reader.shape
    centre = process and shape.norm == "layer"
    tokens, _ = processed_rows(
        reader.table(f"{reader.base}{family.embed}.weight", shape.vocab), centre=centre
    )
    positions = None
    if family.position:
        name = reader.base + family.position
        # minGPT's is a bare parameter, all others are modules.
        stored = reader.table(name if name in reader.source.names else f"{name}.weight")
        positions, _ = processed_rows(stored[family.position_offset :], centre=centre)
    # Of all families only Gemma's, known by the offset of their gains, scale the embedding.
    return Embedding(tokens, positions, math.sqrt(shape.d_model) if family.norm_offset else 1.0)


def unembedding(local: LocalModel, *, processing: str | None = None) -> Unembedding:
    """The unembedding, straight from the model's files.

    ``as_published``, in float32 and in this order:

    1. fold gain γ and bias β of the final norm: ``b_U ← b_U + Σ_d β_d W_U[d]``, ``W_U ← γ ⊙ W_U``;
    2. LayerNorm only: remove the mean over ``d_model``;
    3. remove the mean over the vocabulary from W_U and b_U, unless the model soft-caps its logits
       (Gemma-2), which are then not invariant to a constant.

    A tied unembedding is read from the embedding. BERT, T5 and OPT-350m are left as stored (T5 multiplies
    its logits by ``d_model**-0.5`` where it is tied; that is not applied here).

    Args:
        local: The model.
        processing: ``as_published`` or ``raw``; None for the model's own default.

    Raises:
        WeightsError: Files are missing, damaged, of an unknown architecture or of another shape.
        OptionError: Unknown ``processing``.
    """
    reader, process = _open(local, processing)
    shape = reader.shape
    norm = _norm(reader) if process else Norm()
    name = _unembedding_name(reader)
    stored = reader.table(name, shape.vocab)
    rows, folded = processed_rows(
        stored, gain=norm.gain, shift=norm.shift, centre=process and shape.norm == "layer"
    )
    bias = _unembedding_bias(reader, name)
    bias = add_biases(bias, folded)
    if process and shape.softcap is None:
        rows -= _column_means(rows)
        bias = None if bias is None else bias - bias.mean()
    return Unembedding(rows.T, bias)


def final_norm(local: LocalModel, *, processing: str | None = None) -> FinalNorm:
    """The norm before the unembedding.

    Args:
        local: The model.
        processing: ``raw`` gives gain and bias; with ``as_published`` they are part of the unembedding
            (see `unembedding`) and None here. None for the model's own default.

    Raises:
        WeightsError: Files are missing, damaged, of an unknown architecture or of another shape.
        OptionError: Unknown ``processing``.
    """
    reader, process = _open(local, processing)
    shape = reader.shape
    if not shape.processed and not _has_final_norm(reader):
        return FinalNorm("none", None, None, shape.norm_eps)
    norm = Norm() if process else _norm(reader)
    return FinalNorm(shape.norm, norm.gain, norm.shift, shape.norm_eps)


def _open(local: LocalModel, processing: str | None) -> tuple[ModelReader, bool]:
    chosen = check_processing(processing or local.spec.processing)
    reader = open_model(local)
    return reader, chosen == AS_PUBLISHED and reader.shape.processed


def _has_final_norm(reader: ModelReader) -> bool:
    """Whether the norm's parameters are there; BERT and OPT-350m, with norms after sublayers, have none."""
    name = reader.family.final_norm
    return name is not None and f"{reader.base}{name}.weight" in reader.source.names


def _norm(reader: ModelReader) -> Norm:
    name = reader.family.final_norm
    return reader.norm(reader.base + name) if name else Norm()


def _unembedding_name(reader: ModelReader) -> str:
    if reader.shape.tied:
        return f"{reader.base}{reader.family.embed}.weight"
    found = next((name for name in reader.family.unembed if name in reader.source.names), None)
    if found is None:
        raise no_tensor(
            reader.family.unembed[0],
            reader.source.label(reader.family.unembed[0]).partition(": ")[0],
            f"{reader.remedy}; or set tie_word_embeddings in config.json if the embedding is meant",
        )
    return found


def _unembedding_bias(reader: ModelReader, name: str) -> Tensor | None:
    """The bias beside the unembedding, or the one the family keeps elsewhere."""
    elsewhere = reader.family.unembed_bias
    stem = (elsewhere or f"{name.removesuffix('.weight')}.bias").removesuffix(".bias")
    return reader.bias(stem, reader.shape.vocab)


def _column_means(rows: Float[Tensor, "vocab d_model"]) -> Float[Tensor, " d_model"]:
    """Mean over the vocabulary, summed in float64: a float32 sum over 256,000 rows loses digits."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, rows.shape[0], _BLOCK):
        total += rows[start : start + _BLOCK].sum(0)
    return (total / rows.shape[0]).float()
