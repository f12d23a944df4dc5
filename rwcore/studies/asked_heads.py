"""Which heads of a model a study is about, and whether it can be asked of the model at all."""

from __future__ import annotations

from collections.abc import Collection

from rwcore.errors import ModelError, OptionError
from rwcore.studies.weights import WeightStudy
from rwcore.weights.fold import AS_PUBLISHED
from rwcore.weights.shape import ModelShape, read_shape

Head = tuple[int, int]
"""Layer and number."""
LATE, ALL = "late", "all"
"""Heads by name; which are late a study says."""


def require_readable_heads(weights: WeightStudy) -> ModelShape:
    """Sizes of a model whose heads can be read: a decoder, with weights processed as published.

    Raises:
        OptionError: The weights are as stored: directions of tokens are those of processed ones.
        ModelError: The model is an encoder, or has one.
    """
    if weights.processing != AS_PUBLISHED:
        raise OptionError(
            "what heads write is read with processed weights",
            where=f"--processing {weights.processing}",
            remedy="leave it out",
        )
    shape = read_shape(weights.local)
    if shape.n_encoder_layers or shape.family == "bert":
        raise ModelError(
            "heads are asked of a model that is no decoder with one stack of layers",
            where=weights.local.spec.id,
            remedy="use a decoder (GPT-2, Pythia, Llama, OLMo, Gemma, Qwen, …)",
        )
    return shape


def asked_heads(weights: WeightStudy, heads: str | Collection[Head], late: range) -> tuple[Head, ...]:
    """The heads that are meant, ascending.

    Args:
        weights: The weight study of the model.
        heads: `LATE`, `ALL`, or layer and number of each.
        late: Which layers are late.

    Raises:
        OptionError: The model has no such head, or none is named.
    """
    shape = read_shape(weights.local)
    if isinstance(heads, str):
        layers = late if heads == LATE else range(shape.n_layers)
        return tuple((layer, head) for layer in layers for head in range(shape.n_heads))
    found = tuple(sorted({*heads}))
    if not found:
        raise OptionError("no heads are named", where="--heads", remedy="name some, or give all")
    require_heads(weights, found, "--heads")
    return found


def require_heads(weights: WeightStudy, heads: Collection[Head], where: str) -> None:
    """Check that a model has some heads.

    Raises:
        OptionError: It has not.
    """
    shape = read_shape(weights.local)
    layers, width = shape.n_layers, shape.n_heads
    wrong = [f"{one}.{two}" for one, two in heads if not (0 <= one < layers and 0 <= two < width)]
    if wrong:
        raise OptionError(
            f"{weights.local.spec.id} has no heads {', '.join(wrong)}",
            where=where,
            remedy=f"give layers 0 to {layers - 1} and heads 0 to {width - 1}, such as {layers - 1}.0",
        )
