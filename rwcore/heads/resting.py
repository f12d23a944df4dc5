r"""Where heads rest: keys against the bias of the query.

A head whose query has a bias b_Q looks at keys along b_Q unless something else asks for more. The cosine

    cos(k, b_Q) ,   k = x̂ W_K + b_K

is measured at every position of rows of random tokens. In heads of GPT-2 that suppress copies it is
positive at position 0, for whatever token, and negative elsewhere: attention goes to position 0 until a
prediction overcomes the difference. Models without a bias of queries are not asked (their cosines are NaN),
nor those that normalise queries after it is added. Rotation is left out: key and bias are compared as if
they stood at one position.

Source: copy suppression specification, section 11.1; trap 24 (other positions are negative, but not in a
tight range).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.heads.query_key import QKOptions, as_read, group_of, keys
from rwcore.heads.run import decoder_blocks

_INPUT = "attn.k.hook_in"
_OPTIONS = QKOptions(normalised=True, biases=True, distance=0)


def query_bias(model: Any, layer: int) -> Float[Tensor, "head d_head"] | None:
    """b_Q of a layer, that of the norm before the attention folded in; None where there is none.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        layer: Number of the layer.
    """
    attn = decoder_blocks(model)[layer].attn
    bias = getattr(attn, "b_Q", None)
    if bias is None or getattr(attn, "q_norm", None) is not None or not bool(bias.detach().any()):
        return None
    found: Tensor = bias.detach().float().reshape(len(attn.W_Q), -1)
    return found


@torch.no_grad()
def key_cosines(
    model: Any, batch: Batch, layers: Collection[int] | None = None
) -> Float[Tensor, "layer head batch pos"]:
    """cos(k, b_Q) of every head at every position; NaN where there is no bias. Padding is not left out.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        layers: Which layers are asked, all if None; the others have NaN, and nothing behind the last is run.

    Raises:
        ModelError: The model is no decoder.
    """
    blocks = decoder_blocks(model)
    heads = len(blocks[0].attn.W_Q)
    found = torch.full((len(blocks), heads, *batch.tokens.shape), torch.nan)
    asked = range(len(blocks)) if layers is None else layers
    biases = {layer: bias for layer in asked if (bias := query_bias(model, layer)) is not None}

    def look(layer: int, bias: Tensor) -> Callable[..., None]:
        attn = blocks[layer].attn
        weight = attn.W_K.detach().float()
        shift = 0.0 if attn.b_K is None else attn.b_K.detach().float().reshape(len(weight), 1, -1)

        def hook(values: Tensor, hook: Any) -> None:
            key = torch.einsum("bpd,gde->bgpe", values.float(), weight) + shift
            shared = key.repeat_interleave(heads // len(weight), dim=1)
            cosine = torch.nn.functional.cosine_similarity(shared, bias[:, None], dim=3)
            found[layer] = cosine.transpose(0, 1).cpu()
            if layer == max(biases):
                raise Finished

        return hook

    if biases:
        run_hooks(
            model, batch, [(f"blocks.{layer}.{_INPUT}", look(layer, one)) for layer, one in biases.items()]
        )
    return found


@torch.no_grad()
def table_key_cosines(
    model: Any, layer: int, table: Float[Tensor, "row d_model"]
) -> Float[Tensor, "head row"]:
    """cos(k, b_Q) with keys made of rows alone, such as effective embeddings of BOS; NaN without a bias.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        layer: Number of the layer.
        table: On the model's device, float32.
    """
    bias = query_bias(model, layer)
    heads = len(decoder_blocks(model)[layer].attn.W_Q)
    if bias is None:
        return torch.full((heads, len(table)), torch.nan)
    read = as_read(model, layer, table)
    made = [keys(model, layer, group_of(model, layer, head), read, _OPTIONS) for head in range(heads)]
    cosines = [torch.cosine_similarity(key, bias[head], dim=1) for head, key in enumerate(made)]
    return torch.stack(cosines).cpu()
