"""Run a model and hand over the gates and inputs of each layer as they come; nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
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


def run_layers(model: Any, batch: Batch, visit: Visit) -> None:
    """Run a batch through a model, and call ``visit`` for each layer in order.

    The pass ends within the last MLP: its output, the final norm and the unembedding are never computed. What
    ``visit`` is given is the model's own memory: it must not be changed, and is gone afterwards.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), of a gated decoder.
        batch: Tokens, padded on the right; padding is hidden from attention.
        visit: Called once for each layer. An exception it raises ends the pass.

    Raises:
        NotGatedError: The MLPs have no gate.
        ModelError: The model has no blocks, or its MLP does not compute ``act(gate) · in``.
    """
    blocks = list(getattr(model, "blocks", None) or ())
    if not blocks:
        raise ModelError(
            "the bridge has no blocks to watch",
            where=type(model).__name__,
            remedy="activations need a decoder with one stack of layers",
        )
    if not getattr(model.cfg, "gated_mlp", False):
        raise NotGatedError(
            "quadrants of gate and input are asked of a model whose MLPs have no gate",
            where=str(model.cfg.model_name),
            remedy="use a gated model (Llama, OLMo, Gemma, Qwen, Mistral, …)",
        )
    functions = [_activation(block, layer) for layer, block in enumerate(blocks)]
    held: dict[str, Tensor] = {}

    def watch(layer: int, name: str) -> tuple[str, Callable[..., None]]:
        def hook(values: Tensor, hook: Any) -> None:
            held[name] = values
            if name == _HOOKS[-1]:
                gate, in_, post = (held.pop(each) for each in _HOOKS)
                act = functions[layer](gate)
                _check(act, in_, post, layer)
                visit(layer, gate, in_, act)
                if layer == len(blocks) - 1:
                    raise Finished

        return f"blocks.{layer}.mlp.{name}", hook

    hooks = [watch(layer, name) for layer in range(len(blocks)) for name in _HOOKS]
    if run_hooks(model, batch, hooks):
        return
    raise ModelError(
        "the hooks of the last MLP were not reached",
        where=f"blocks.{len(blocks) - 1}.mlp",
        remedy="load the model in compatibility mode",
    )


def add_batch(
    model: Any, batch: Batch, accumulator: ActivationAccumulator, groups: Int64[Tensor, " batch"]
) -> None:
    """Run a batch through a model and add it to the statistics of all layers.

    Args:
        model: As for `run_layers`.
        batch: As for `run_layers`; its mask says which tokens count.
        accumulator: On the model's device.
        groups: Group of documents of each row (see `groups`).

    Raises:
        ModelError: As for `run_layers`, or an activation is NaN or infinite (`NotFinite`). The statistics of
            the layers before it have the batch then, those behind it have not.
        NotGatedError: The MLPs have no gate.
        OptionError: The accumulator is of another shape.
    """
    device = accumulator.layers[0].statistics.counts.device
    mask = None if bool(batch.mask.all()) else batch.mask.to(device)
    rows, groups = batch.rows.to(device), groups.to(device)

    def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
        accumulator.layers[layer].update(gate, in_, act, mask, rows, groups)

    run_layers(model, batch, visit)


def _activation(block: Any, layer: int) -> Callable[[Tensor], Tensor]:
    """The function between gate and product, as the model's own module has it."""
    module = getattr(getattr(block, "mlp", None), "original_component", None)
    for name in ("act_fn", "act", "activation_fn"):
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
