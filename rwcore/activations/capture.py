"""Run a model and hand over the gates and inputs of each layer as they come; nothing is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, NotGatedError

Visit = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called with the layer and gate, in and act, each ``[batch pos neuron]``."""

_HOOKS = ("hook_pre", "hook_pre_linear", "hook_post")
_PLAIN_HOOKS = ("hook_pre", "hook_post")


def run_layers(
    model: Any, batch: Batch, visit: Visit, *, layers: Collection[int] | None = None, plain: bool = False
) -> None:
    """Run a batch through a model, and call ``visit`` for each layer in order.

    The pass ends within the last MLP: its output, the final norm and the unembedding are never computed. What
    ``visit`` is given is the model's own memory: it must not be changed, and is gone afterwards.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), of a gated decoder.
        batch: Tokens, padded on the right; padding is hidden from attention.
        visit: Called once for each layer. An exception it raises ends the pass.
        layers: Which layers are looked at, at least one; the pass ends within the last of them. All if None.
        plain: Take a decoder without gates too, as one whose in is always 1 (see
            `rwcore.activations.quadrants`).

    Raises:
        NotGatedError: The MLPs have no gate, and ``plain`` is not set.
        ModelError: The model has no blocks, or its MLP does not compute ``act(gate) · in``.
    """
    blocks = list(getattr(model, "blocks", None) or ())
    if not blocks:
        raise ModelError(
            "the bridge has no blocks to watch",
            where=type(model).__name__,
            remedy="activations need a decoder with one stack of layers",
        )
    gated = bool(getattr(model.cfg, "gated_mlp", False))
    if not (gated or plain):
        raise NotGatedError(
            "quadrants of gate and input are asked of a model whose MLPs have no gate",
            where=str(model.cfg.model_name),
            remedy="use a gated model (Llama, OLMo, Gemma, Qwen, Mistral, …)",
        )
    wanted = sorted(range(len(blocks)) if layers is None else {*layers})
    functions = {layer: _activation(blocks[layer], layer) for layer in wanted}
    names = _HOOKS if gated else _PLAIN_HOOKS
    held: dict[str, Tensor] = {}

    def watch(layer: int, name: str) -> tuple[str, Callable[..., None]]:
        def hook(values: Tensor, hook: Any) -> None:
            held[name] = values
            if name == names[-1]:
                gate, *rest, post = (held.pop(each) for each in names)
                act = functions[layer](gate)
                in_ = rest[0] if rest else act.new_ones(()).expand_as(act)
                _check(act, in_, post, layer)
                visit(layer, gate, in_, act)
                if layer == wanted[-1]:
                    raise Finished

        return f"blocks.{layer}.mlp.{name}", hook

    hooks = [watch(layer, name) for layer in wanted for name in names]
    if run_hooks(model, batch, hooks):
        return
    raise ModelError(
        "the hooks of the last MLP were not reached",
        where=f"blocks.{wanted[-1]}.mlp",
        remedy="load the model in compatibility mode",
    )


def add_batch(
    model: Any,
    batch: Batch,
    accumulator: ActivationAccumulator,
    groups: Int64[Tensor, " batch"],
    *,
    plain: bool = False,
) -> None:
    """Run a batch through a model and add it to the statistics of all layers.

    Args:
        model: As for `run_layers`.
        batch: As for `run_layers`; its mask says which tokens count.
        accumulator: On the model's device.
        groups: Group of documents of each row (see `groups`).
        plain: As for `run_layers`.

    Raises:
        ModelError: As for `run_layers`, or an activation is NaN or infinite (`NotFinite`). The statistics of
            the layers before it have the batch then, those behind it have not.
        NotGatedError: As for `run_layers`.
        OptionError: The accumulator is of another shape.
    """
    device = accumulator.layers[0].statistics.counts.device
    mask = None if bool(batch.mask.all()) else batch.mask.to(device)
    rows, groups = batch.rows.to(device), groups.to(device)

    def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
        accumulator.layers[layer].update(gate, in_, act, mask, rows, groups)

    run_layers(model, batch, visit, plain=plain)


def _activation(block: Any, layer: int) -> Callable[[Tensor], Tensor]:
    """The function between gate and product, as the model's own module has it."""
    module = getattr(getattr(block, "mlp", None), "original_component", None)
    for name in ("act_fn", "act", "activation_fn", "gelu_impl"):
        function = getattr(module, name, None)
        if callable(function):
            found: Callable[[Tensor], Tensor] = function
            return found
    raise ModelError(
        f"{type(module).__name__} names no activation function",
        where=f"blocks.{layer}.mlp",
        remedy="activations need an MLP that computes act(gate) · in",
    )


def _check(act: Tensor, in_: Tensor, post: Tensor, layer: int) -> None:
    """Whether the model multiplies what we think it does, on one token."""
    ours, theirs = (act[0, 0] * in_[0, 0]).float(), post[0, 0].float()
    # Generous: bfloat16 has three digits. NaN is located later.
    if not torch.allclose(ours, theirs, rtol=0.05, atol=1e-3, equal_nan=True):
        raise ModelError(
            f"post differs from act(gate) · in by up to {float((ours - theirs).abs().max()):.3g}",
            where=f"blocks.{layer}.mlp",
            remedy="the bridge and the model disagree about this activation function",
        )
