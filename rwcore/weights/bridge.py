"""MLP weights of a live TransformerBridge, in the layout of `rwcore.weights.mlp`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.families import MODEL_TYPES
from rwcore.weights.fold import fold_gate_sign, processed_rows
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import MlpWeights, require_gate
from rwcore.weights.shape import ModelShape, shape_of_config


def bridge_mlp_weights(bridge: Any, *, fold_sign: bool = False) -> MlpWeights:
    """The MLP weights a bridge holds, copied to float32 layer by layer.

    They are as the bridge was loaded: in compatibility mode that is "as published" but for BERT (whose
    ``out`` the bridge centres); without, they are raw.

    Args:
        bridge: A ``TransformerBridge`` (duck-typed: ``cfg`` and ``blocks`` or ``encoder_blocks`` and
            ``decoder_blocks``, whose ``mlp`` has ``W_in``, ``W_out`` and perhaps ``W_gate``).
        fold_sign: Fold the sign of the gate.

    Returns:
        Layers on the bridge's device, ``processing`` being ``bridge``.

    Raises:
        WeightsError: The bridge has no blocks, or blocks without an MLP.
        NotGatedError: ``fold_sign`` was asked of a model without a gate.
    """
    encoder = list(getattr(bridge, "encoder_blocks", None) or ())
    blocks = list(getattr(bridge, "blocks", None) or ()) or [
        *encoder,
        *(getattr(bridge, "decoder_blocks", None) or ()),
    ]
    if not blocks:
        raise WeightsError("the bridge has no blocks", where=type(bridge).__name__, remedy="load the model")
    shape = _shape(bridge, blocks, len(encoder))
    require_gate(shape, fold_sign)

    def read(layer: int) -> MlpLayer:
        weights = _read_layer(blocks[layer], layer)
        return fold_gate_sign(weights, in_place=True) if fold_sign else weights

    return MlpWeights(shape, "bridge", fold_sign, False, read)


def _shape(bridge: Any, blocks: list[Any], n_encoder: int) -> ModelShape:
    """From the Hugging Face config behind the bridge, else from the bridge's own."""
    config: Any = getattr(getattr(bridge, "original_model", None), "config", None)
    if getattr(config, "model_type", None) in MODEL_TYPES:
        where = f"config of {type(bridge.original_model).__name__}"
        return shape_of_config(config.to_dict(), where=where, remedy="load the model again")
    cfg = bridge.cfg
    mlp = _mlp(blocks[0], 0)
    d_model, d_mlp = mlp.W_in.shape
    softcap = float(getattr(cfg, "output_logits_soft_cap", None) or -1)
    return ModelShape(
        family="",
        architecture=type(bridge).__name__,
        n_layers=len(blocks),
        d_model=int(d_model),
        d_mlp=int(d_mlp),
        n_heads=int(cfg.n_heads),
        n_kv_heads=int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads),
        d_head=int(cfg.d_head),
        vocab=int(cfg.d_vocab),
        gated_mlp=getattr(mlp, "W_gate", None) is not None,
        norm="rms" if str(cfg.normalization_type).startswith("RMS") else "layer",
        activation=str(cfg.act_fn),
        tied=False,
        n_encoder_layers=n_encoder,
        softcap=softcap if softcap > 0 else None,
        norm_eps=float(cfg.eps),
    )


def _mlp(block: Any, layer: int) -> Any:
    mlp = getattr(block, "mlp", None)
    if mlp is None or getattr(mlp, "W_in", None) is None:
        raise WeightsError(
            "the block has no MLP with W_in and W_out",
            where=f"bridge block {layer}",
            remedy="mixtures of experts and models without MLPs are not supported",
        )
    return mlp


def _read_layer(block: Any, layer: int) -> MlpLayer:
    mlp = _mlp(block, layer)
    gate = getattr(mlp, "W_gate", None)

    def rows(matrix: Tensor) -> Tensor:
        # A copy: W_in is a view of the live model's own parameter.
        return processed_rows(matrix.detach())[0]

    def bias(name: str) -> Tensor | None:
        value = getattr(mlp, name, None)
        return None if value is None else value.detach().to(torch.float32, copy=True)

    # A bridge stores W_in and W_gate as [d_model neuron], W_out as [neuron d_model].
    return MlpLayer(
        index=layer,
        gate=None if gate is None else rows(gate.T),
        in_=rows(mlp.W_in.T),
        out=rows(mlp.W_out),
        b_gate=None if gate is None else bias("b_gate"),
        b_in=bias("b_in"),
        b_out=bias("b_out"),
    )
