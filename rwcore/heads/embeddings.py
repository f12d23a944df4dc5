r"""Effective embeddings: what the first layer makes of a token that stands alone, without its position.

The model's own first block is run on prompts of one token each. Attention over one token is the identity, so
that with x the row of the embedding (as the model scales and normalises it), positions taken out,

    mid = x + Σ_h norm(x) W_V[h] W_O[h] + b ,    out = mid + MLP(norm(mid))

and in blocks that work in parallel ``out = mid + MLP(norm(x))``. b is what the biases of the attention add:
its output bias, and that of the values after the output matrix. The variants differ in ``mid``:

=======  ====================================  =======================================
`raw`    no block: x                           control
`EE-A`   ``mid = x``: attention taken out      the paper's definition
`EE-B`   ``mid`` without b                     behind the published ranks of OV and QK
`EE-C`   ``mid`` as the model computes it      a plain run of the block
=======  ====================================  =======================================

``EE-A`` is the whole of ``out`` ("including MLPs"), ``EE-A-MLP`` what the MLP adds ("only MLPs"), and
``EE-B-added`` what the whole block adds, ``out - x``; likewise for the other letters (``EE-A-added`` would be
``EE-A-MLP``).

Source: copy suppression specification, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.ablation.prefix import BlockOutput
from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, require_choice
from rwcore.heads.run import decoder_blocks, output_matrices
from rwcore.runtime import progress

RAW = "raw"
EMBEDDINGS = (
    RAW,
    "EE-A",
    "EE-B",
    "EE-C",
    "EE-A-MLP",
    "EE-B-MLP",
    "EE-C-MLP",
    "EE-B-added",
    "EE-C-added",
)
"""Names of the tables."""
PROMPTS = 1024
"""Prompts of one token that are run together."""

_ENTERS, _ATTENTION, _MLP, _LEAVES = (
    f"blocks.0.{name}" for name in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_out")
)
_POSITIONS = "hook_pos_embed"


@torch.no_grad()
def effective_embedding(
    model: Any, name: str, tokens: Int64[Tensor, " token"], *, prompts: int = PROMPTS
) -> Float[Tensor, "token d_model"]:
    """The effective embedding of some tokens, in float32, on the model's device.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode; a decoder.
        name: Of `EMBEDDINGS`.
        tokens: Their ids; the whole vocabulary for a table.
        prompts: How many are run together.

    Raises:
        OptionError: There is no such embedding.
        ModelError: The model is no decoder with one stack of layers; or the part that biases have cannot be
            told from the rest, as a norm comes behind the attention (EE-B).
    """
    require_choice("embedding", name, EMBEDDINGS)
    decoder_blocks(model)
    edits: list[tuple[str, Callable[..., Any]]] = []
    if _POSITIONS in model.hook_dict:
        edits.append((_POSITIONS, _zeros))
    if name.startswith("EE-A"):
        edits.append((_ATTENTION, _zeros))
    elif name.startswith("EE-B"):
        bias = _bias(model)
        edits.append((_ATTENTION, lambda values, hook: values - bias))
    parts = [
        _run(model, one, name, edits)
        for one in progress(torch.split(tokens, prompts), desc=f"embedding {name}", unit="batch")
    ]
    return torch.cat(parts) if parts else torch.empty(0, model.cfg.d_model)


def _run(
    model: Any, tokens: Tensor, name: str, edits: list[tuple[str, Callable[..., Any]]]
) -> Float[Tensor, "token d_model"]:
    """One batch of prompts through the first block."""
    seen: dict[str, Tensor] = {}

    def keep(place: str) -> Callable[..., None]:
        def hook(values: Any, hook: Any) -> None:
            seen[place] = BlockOutput.of(values).hidden
            if place == _LEAVES or name == RAW:
                raise Finished

        return hook

    column = tokens.cpu()[:, None]
    batch = Batch(0, torch.arange(len(column)), column, torch.ones_like(column, dtype=torch.bool))
    wanted = (_ENTERS, _LEAVES, *((_MLP,) if name.endswith("MLP") else ()))
    if not run_hooks(model, batch, [*edits, *((place, keep(place)) for place in wanted)]):
        raise ModelError(
            "the end of the first layer was not reached",
            where=str(model.cfg.model_name),
            remedy="load the model in compatibility mode",
        )
    if name == RAW:
        found = seen[_ENTERS]
    elif name.endswith("MLP"):
        found = seen[_MLP]
    else:
        found = seen[_LEAVES] - seen[_ENTERS] if name.endswith("added") else seen[_LEAVES]
    return found[:, 0].float()


def _zeros(values: Tensor, hook: Any) -> Tensor:
    return torch.zeros_like(values)


def _bias(model: Any) -> Tensor | float:
    """What the biases of the first attention add to the stream, the same for every token."""
    block = decoder_blocks(model)[0]
    b_O, b_V = getattr(block.attn, "b_O", None), getattr(block.attn, "b_V", None)
    if b_O is None and b_V is None:
        return 0.0
    if hasattr(block, "ln1_post"):
        raise ModelError(
            "a norm behind the attention mixes its biases with the rest",
            where=str(model.cfg.model_name),
            remedy="use EE-A or EE-C",
        )
    found = 0.0 if b_O is None else b_O.detach()
    if b_V is not None:
        W_O = output_matrices(model, 0)
        values = b_V.detach().reshape(-1, W_O.shape[1])
        found = found + torch.einsum("he,hed->d", values.repeat_interleave(len(W_O) // len(values), 0), W_O)
    return found
