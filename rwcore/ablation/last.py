"""The prediction at the last position of a prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.ablation.head import CPU_LOGITS, GPU_LOGITS, Unembedding
from rwcore.errors import ModelError, OptionError


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what is looked at in the prediction of the token after it.

    Attributes:
        tokens: Token ids, BOS included if the model has one.
        target: The token whose logit, probability and rank are wanted; None for the one that the clean
            model finds most probable.
        following: The token that really comes next, if there is one; the loss is that of this token.
    """

    tokens: tuple[int, ...]
    target: int | None = None
    following: int | None = None


@dataclass(frozen=True)
class Prediction:
    """What a model says about the next token.

    Attributes:
        entropy: ``-Σ_v P_v log P_v``, nats.
        argmax: The most probable token.
        target_logit: Logit of the target, of the unembedding as loaded (see `rwcore.ablation.trace`).
        target_probability: Its probability.
        target_rank: Number of tokens with a larger logit.
        loss: ``-log P(following token)``, nats; None if there is none.
    """

    entropy: float
    argmax: int
    target_logit: float
    target_probability: float
    target_rank: int
    loss: float | None = None


def require_prompt(model: Any, prompt: Prompt) -> None:
    """Check that a model can be given a prompt.

    Raises:
        OptionError: It is empty, longer than the context, or a token is none of the model's.
    """
    tokens, context = prompt.tokens, getattr(model.cfg, "n_ctx", None)
    name = str(model.cfg.model_name)
    if not tokens:
        raise OptionError("the prompt is empty", where="prompt", remedy="give at least one token")
    if isinstance(context, int) and 0 < context < len(tokens):
        raise OptionError(
            f"the prompt has {len(tokens)} tokens, and {name} has {context} positions",
            where="prompt",
            remedy="give a shorter prompt",
        )
    vocab = len(Unembedding.of(model).weight)
    for what, token in (
        ("target", prompt.target),
        ("next token", prompt.following),
        *(("prompt", token) for token in tokens),
    ):
        if token is not None and not 0 <= token < vocab:
            raise OptionError(
                f"there is no token {token}: {name} has {vocab}",
                where=what,
                remedy="tokenise the text with the tokenizer of this model",
            )


@torch.no_grad()
def read_predictions(
    model: Any, hidden: Float[Tensor, "variant d_model"], target: int, following: int | None
) -> list[Prediction]:
    """The predictions of some final hidden states; sums over the vocabulary are float64.

    Args:
        model: Of which they are; its unembedding is used.
        hidden: Output of the final norm.
        target: The target.
        following: The next token, if there is one.

    Raises:
        ModelError: A prediction is not finite.
    """
    unembedding = Unembedding.of(model)
    device = unembedding.weight.device
    tile = max(1, (CPU_LOGITS if device.type == "cpu" else GPU_LOGITS) // (2 * len(unembedding.weight)))
    found: list[Prediction] = []
    for start in range(0, len(hidden), tile):
        logits = unembedding.logits(hidden[start : start + tile].to(device)).double()
        wanted = logits[:, target]
        shifted = logits - logits.amax(dim=1, keepdim=True)
        log_total = shifted.exp().sum(dim=1).log()
        log_p = shifted - log_total[:, None]
        # A logit of minus infinity has no share, but 0 · -inf would be NaN.
        entropy = -(log_p.exp() * log_p.clamp(min=-1e30)).sum(dim=1)
        columns = (
            entropy.tolist(),
            logits.argmax(dim=1).tolist(),
            wanted.tolist(),
            log_p[:, target].exp().tolist(),
            (logits > wanted[:, None]).sum(dim=1).tolist(),
            [None] * len(logits) if following is None else (-log_p[:, following]).tolist(),
        )
        found += [Prediction(*row) for row in zip(*columns, strict=True)]
    if not all(math.isfinite(one.entropy) for one in found):
        raise ModelError(
            "a prediction is not finite",
            where=str(model.cfg.model_name),
            remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
        )
    return found
