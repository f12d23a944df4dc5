"""Ablations by weight edits: for values that do not depend on the token, no hook is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from rwcore.ablation.hooks import by_layer, constants, require_fit
from rwcore.ablation.interventions import CONSTANT_MODES, Ablation, Intervention
from rwcore.errors import ModelError, OptionError


def editable(intervention: Intervention) -> bool:
    """Whether `edited` can do it: zero, mean or fixed at every token."""
    return intervention.mode in CONSTANT_MODES and intervention.everywhere


@contextmanager
def edited(model: Any, ablation: Ablation) -> Iterator[None]:
    """Ablate neurons by changing the model's weights inside the ``with`` block.

    The rows of the chosen neurons in W_out become zero, and what they write instead is a constant that is
    added to the output bias of the MLP, ``b_out + Σ_n σ_n · v_n · W_out[n]`` with the value v_n that is set
    in the folded convention. The bias is made where there is none. A pass costs what a clean one does.

    It equals `rwcore.ablation.hooks.ablating` in exact arithmetic. The sum is made in float64 and rounded
    once to the model's dtype, so in bfloat16 means differ in the third digit; zero has the same bits.

    The weights are put back bit for bit when the block ends, also by an exception.

    Args:
        model: As for `rwcore.ablation.hooks.ablating`.
        ablation: Whose intervention is `editable`.

    Raises:
        OptionError: The intervention depends on the token, or the model has no such layer or neuron.
        ModelError: The model has no blocks of MLPs, or their output weights cannot be changed.

    Source: ablations specification, sections 8.5 (I2, I3) and 10.2.
    """
    if not editable(ablation.intervention):
        raise OptionError(
            f"{ablation.intervention.label!r} depends on the token, and edited weights do not",
            where=ablation.neurons.name,
            remedy="use hooks (`ablating`)",
        )
    mlps = require_fit(model, ablation)
    values = constants(ablation)
    assert values is not None  # the mode is constant
    index = torch.from_numpy(ablation.neurons.neuron)
    with ExitStack() as stack:
        for layer, places in by_layer(ablation):
            out = _projection(mlps[layer], layer)
            rows = index[places].to(mlps[layer].W_out.device)
            written = values[places]
            if ablation.intervention.mode != "zero":
                stack.enter_context(_added_bias(out, _sum(mlps[layer].W_out, rows, written)))
            stack.enter_context(_zero_rows(mlps[layer], rows))
        yield


@torch.no_grad()
def flip_signs(model: Any, signs: Int8[Tensor, "layer neuron"]) -> None:
    """Multiply what a neuron reads by in, and what it writes, with its sign: w_in ← σ·w_in, w_out ← σ·w_out.

    With the gate signs of the model this folds them; the model computes the same, bit for bit. A second time
    undoes it.

    Args:
        model: As for `rwcore.ablation.hooks.ablating`; its MLPs have a gate.
        signs: +1 or -1 for every neuron.
    """
    for number, (mlp, sign) in enumerate(zip(require_fit(model), signs, strict=True)):
        reading, writing = getattr(mlp, "in").original_component, _projection(mlp, number)
        sign = sign.to(writing.weight)
        reading.weight.mul_(sign[:, None])
        if reading.bias is not None:
            reading.bias.mul_(sign)
        writing.weight.mul_(sign)


@contextmanager
def _zero_rows(mlp: Any, rows: Int64[Tensor, " chosen"]) -> Iterator[None]:
    weight = mlp.W_out.detach()  # [neuron d_model], a view of the parameter
    kept = weight[rows]
    try:
        weight[rows] = 0
        yield
    finally:
        weight[rows] = kept


@contextmanager
def _added_bias(out: Any, constant: Float[Tensor, " d_model"]) -> Iterator[None]:
    bias = out.bias
    if bias is None:
        try:
            out.bias = torch.nn.Parameter(constant.to(out.weight.dtype), requires_grad=False)
            yield
        finally:
            out.bias = None
        return
    # In place: the bridge keeps references to its parameters.
    values = bias.detach()
    kept = values.clone()
    try:
        values.copy_(kept.double() + constant)
        yield
    finally:
        values.copy_(kept)


def _sum(
    weight: Float[Tensor, "neuron d_model"], rows: Int64[Tensor, " chosen"], values: Float[Tensor, " chosen"]
) -> Float[Tensor, " d_model"]:
    """What some neurons with these values of post write, in float64."""
    return values.to(weight.device) @ weight.detach()[rows].double()


def _projection(mlp: Any, layer: int) -> Any:
    """The module with the parameters of W_out."""
    module = getattr(getattr(mlp, "out", None), "original_component", None)
    weight = getattr(module, "weight", None)
    if not hasattr(module, "bias") or weight is None or weight.data_ptr() != mlp.W_out.data_ptr():
        raise ModelError(
            "the output weights of the MLP cannot be changed in place",
            where=f"blocks.{layer}.mlp",
            remedy="use hooks (`ablating`)",
        )
    return module
