"""The likeliest continuations of several prompts at once."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.ablation.generation import (
    last_logits_only,
    read,
    require_decoder,
    require_finite,
    require_room,
    require_tokens,
)


@torch.no_grad()
def greedy(model: Any, prompts: Int64[Tensor, "batch pos"], tokens: int) -> Int64[Tensor, "batch token"]:
    """Continue prompts of equal length with the likeliest token each time; of equal ones the lowest id.

    Each text is the one `rwcore.ablation.generation.generate` writes without a temperature and stop tokens,
    but for predictions that are equal to rounding. There is no padding: prompts of different lengths are
    different calls. On a CPU a step for many short texts costs hardly more than one for a single text, for
    both read all weights once.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed); a decoder.
        prompts: Token ids, with the BOS if there is to be one.
        tokens: Tokens to add to each. Also after one that ends a text.

    Returns:
        The new tokens, on the CPU.

    Raises:
        OptionError: The prompts are empty, have a token that is not the model's, or leave no room in its
            context.
        ModelError: The model is no decoder, or a logit is not a number.

    Source: ablations and frequencies specification, section 4.1 (there as sampling from the likeliest one).
    """
    require_decoder(model)
    require_room(prompts.shape[1], tokens, model.cfg.n_ctx)
    require_tokens(prompts.flatten().tolist(), int(model.cfg.d_vocab))
    texts, kept = prompts, None
    with last_logits_only(model):
        for _ in range(tokens):
            logits, kept = read(model, texts if kept is None else texts[:, -1:], kept)
            best = logits.max(dim=1)
            require_finite(bool(best.values.isfinite().all()))
            texts = torch.cat([texts, best.indices[:, None].cpu()], dim=1)
    return texts[:, prompts.shape[1] :]
