r"""Run a model over a batch and look at what its heads and MLPs add to the residual stream.

What head h of layer ℓ adds at query position q is linear in its z, the attended values before the output
matrix:

    r_q = z_q W_O[h] ,    z_q = Σ_k A_qk v_k .

Families that normalise what a layer's attention adds (Gemma-2, Gemma-3, OLMo-2) scale all heads of a layer
alike at a position: ``r_q = (z_q W_O[h] ⊙ g) / s_q``. Here ``z`` is divided by s_q and g is part of the
output matrix, so that ``r = z W_O`` holds for every model. Biases of the attention belong to no head.

Source: copy suppression specification, sections 2 and 4; self-repair specification, section 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError

STREAM, PATTERN, VALUE, MLP, NEURONS = "stream", "pattern", "value", "mlp", "neurons"
PARTS = (STREAM, PATTERN, VALUE, MLP, NEURONS)
"""What may be looked at beside z."""

_Z, _POST = "attn.hook_z", "ln1_post.hook_scale"
_HOOKS = {
    STREAM: "hook_resid_pre",
    PATTERN: "attn.hook_pattern",
    VALUE: "attn.hook_v",
    MLP: "hook_mlp_out",
    NEURONS: "mlp.hook_post",
}
_LAST = "hook_out"
_FINAL, _SCALE = "ln_final.hook_in", "ln_final.hook_scale"


@dataclass(frozen=True, eq=False)
class LayerParts:
    """What one layer does in a pass, in the type of the model; parts that were not asked for are None.

    Attributes:
        layer: Its number.
        z: Attended values of each head, so that ``z @ output_matrices(model, layer)`` is what it adds.
        raw_z: The same before the norm behind the attention, where a family has one; else ``z`` itself.
        stream: The residual stream that enters the layer.
        pattern: Attention after the softmax.
        value: Values, with those of a group repeated for each of its heads.
        mlp: What the MLP adds to the stream.
        neurons: Activations of the MLP's neurons: the coefficients of their output vectors.
    """

    layer: int
    z: Float[Tensor, "batch pos head d_head"]
    raw_z: Float[Tensor, "batch pos head d_head"]
    stream: Float[Tensor, "batch pos d_model"] | None = None
    pattern: Float[Tensor, "batch head query key"] | None = None
    value: Float[Tensor, "batch pos head d_head"] | None = None
    mlp: Float[Tensor, "batch pos d_model"] | None = None
    neurons: Float[Tensor, "batch pos neuron"] | None = None


@dataclass(frozen=True, eq=False)
class Final:
    """How a pass ends.

    Attributes:
        stream: The residual stream before the final norm; of LayerNorm models its mean over d_model is zero.
        scale: Denominator of the final norm.
    """

    stream: Float[Tensor, "batch pos d_model"]
    scale: Float[Tensor, "batch pos"]


Visit = Callable[[LayerParts], None]


def run_heads(
    model: Any,
    batch: Batch,
    visit: Visit | None = None,
    *,
    parts: Collection[str] = (),
    layers: Collection[int] | None = None,
    hooks: Collection[tuple[str, Callable[..., Any]]] = (),
) -> Final:
    """Run a batch through a model, and call ``visit`` for each layer in order; logits are not computed.

    What ``visit`` is given is the model's own memory: it must not be changed, and is gone afterwards.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode; a decoder.
        batch: Tokens, padded on the right; padding is hidden from attention.
        visit: Called once for each layer. An exception it raises ends the pass.
        parts: Of `PARTS`.
        layers: Which layers are looked at; all if None.
        hooks: Further hooks, such as `replacing`; they come before ours.

    Raises:
        OptionError: The model has no such layer, or there is no such part.
        ModelError: The model is no decoder with one stack of layers, or shows something else than expected.
    """
    blocks = decoder_blocks(model)
    unknown = sorted({*parts} - {*PARTS})
    if unknown:
        raise OptionError(
            f"no such part of a layer: {unknown[0]}", where="parts", remedy=f"use some of {', '.join(PARTS)}"
        )
    wanted = sorted(range(len(blocks)) if layers is None else {*layers})
    require_layers(model, wanted)
    held: dict[str, Tensor] = {}
    ending: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            held[name] = values

        return hook

    def finish(layer: int) -> Callable[..., None]:
        def hook(values: Any, hook: Any) -> None:
            if visit is not None:
                visit(_parts_of(blocks[layer], layer, held))
            held.clear()

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            ending[name] = values
            if len(ending) == 2:
                raise Finished

        return hook

    ours: list[tuple[str, Callable[..., Any]]] = [*hooks]
    for layer in wanted if visit is not None else ():
        names = [_Z, *(_HOOKS[part] for part in parts)]
        if hasattr(blocks[layer], "ln1_post"):
            names.append(_POST)
        ours += [(f"blocks.{layer}.{name}", keep(name)) for name in names]
        ours.append((f"blocks.{layer}.{_LAST}", finish(layer)))
    ours += [(name, end(name)) for name in (_FINAL, _SCALE)]
    if not run_hooks(model, batch, ours):
        raise ModelError(
            "the final norm was not reached",
            where=str(model.cfg.model_name),
            remedy="load the model in compatibility mode",
        )
    return Final(ending[_FINAL], ending[_SCALE][..., 0])


def output_matrices(model: Any, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """W_O of each head, with the gain of a norm behind the attention folded in.

    Args:
        model: As for `run_heads`.
        layer: Number of the layer.
    """
    block = decoder_blocks(model)[layer]
    matrices: Tensor = block.attn.W_O.detach()
    if hasattr(block, "ln1_post"):
        return matrices * _gain(block.ln1_post, matrices)
    return matrices


def replacing(
    layer: int,
    new: Callable[[Float[Tensor, "batch pos head d_head"]], Float[Tensor, "batch pos head d_head"]],
) -> tuple[str, Callable[..., Any]]:
    """A hook that puts other values in place of the (raw) z of a layer, for `run_heads`.

    Args:
        layer: Number of the layer.
        new: Gives the values to go on with; may change some heads of a copy.
    """

    def hook(values: Tensor, hook: Any) -> Tensor:
        heads = new(values)
        if heads.shape != values.shape:
            raise ModelError(
                f"z has shape {list(values.shape)}, and what replaces it {list(heads.shape)}",
                where=f"blocks.{layer}.{_Z}",
                remedy="replace the z of every head and position of the batch that runs",
            )
        return heads

    return f"blocks.{layer}.{_Z}", hook


def decoder_blocks(model: Any) -> list[Any]:
    """The layers of a decoder, each with attention.

    Raises:
        ModelError: The model is an encoder, or has several stacks.
    """
    blocks = list(getattr(model, "blocks", None) or ())
    kind = str(getattr(model.cfg, "attention_dir", "causal") or "causal")
    if not blocks or kind != "causal" or not all(hasattr(block, "attn") for block in blocks):
        raise ModelError(
            "heads are asked of a model that is no decoder with one stack of layers",
            where=str(getattr(model.cfg, "model_name", type(model).__name__)),
            remedy="use a decoder (GPT-2, Pythia, Llama, OLMo, Gemma, Qwen, …)",
        )
    return blocks


def require_layers(model: Any, layers: Collection[int]) -> None:
    """Check that a model has some layers.

    Raises:
        OptionError: It has not, or there are none.
    """
    count = len(decoder_blocks(model))
    wrong = sorted(layer for layer in layers if not 0 <= layer < count)
    if wrong or not layers:
        raise OptionError(
            f"layers {', '.join(map(str, wrong)) or 'none'} of a model that has {count}",
            where="layers",
            remedy=f"give layers from 0 to {count - 1}",
        )


def _parts_of(block: Any, layer: int, held: dict[str, Tensor]) -> LayerParts:
    raw = held.get(_Z)
    if raw is None or raw.ndim != 4:
        raise ModelError(
            "the heads' attended values were not seen" if raw is None else f"z has shape {list(raw.shape)}",
            where=f"blocks.{layer}.{_Z}",
            remedy="load the model in compatibility mode",
        )
    post = held.get(_POST)
    value = held.get(_HOOKS[VALUE])
    if value is not None:
        value = value.repeat_interleave(raw.shape[2] // value.shape[2], dim=2)
    return LayerParts(
        layer,
        z=raw if post is None else raw / post[..., None],
        raw_z=raw,
        stream=held.get(_HOOKS[STREAM]),
        pattern=held.get(_HOOKS[PATTERN]),
        value=value,
        mlp=held.get(_HOOKS[MLP]),
        neurons=held.get(_HOOKS[NEURONS]),
    )


def _gain(norm: Any, like: Tensor) -> Float[Tensor, " d_model"]:
    """Gain of an RMS norm, as it is applied: families store it differently, and ones tell it."""
    with torch.no_grad():
        ones: Tensor = norm.original_component(torch.ones_like(like[0, 0]))
    return ones
