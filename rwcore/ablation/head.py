"""Loss, entropy and rank from the last hidden states, without ever holding all logits.

Logits are made for a few tokens at a time. What is kept of them are three numbers a token; all of them come
from the same tile of logits, so that ranks compare numbers made by one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

# Logits of a tile. On a CPU it should stay near the cache, on a GPU every operation should be large.
CPU_LOGITS = 2**23
GPU_LOGITS = 2**27

CPU_BLOCK = 2**17
LOWEST = -1e30

PUBLISHED_EPSILON = 1e-8
"""What the original adds to probabilities inside the logarithm of the entropy."""


@dataclass(frozen=True, eq=False)
class Unembedding:
    """What makes logits from the output of the final norm: ``z = cap · tanh((W h + b) / cap)``.

    Attributes:
        weight: W.
        bias: b, if there is one.
        soft_cap: cap, or None for plain logits.
    """

    weight: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"] | None
    soft_cap: float | None

    @classmethod
    def of(cls, model: Any) -> Unembedding:
        """The unembedding of a bridge (`rwcore.models.load.load_bridge`)."""
        linear = model.unembed.original_component
        cap = getattr(model.cfg, "output_logits_soft_cap", None)
        return cls(linear.weight, getattr(linear, "bias", None), cap if cap and cap > 0 else None)

    def logits(self, hidden: Float[Tensor, "token d_model"]) -> Float[Tensor, "token vocab"]:
        """The logits of some tokens, float32."""
        found = torch.nn.functional.linear(hidden, self.weight, self.bias).float()
        if self.soft_cap is None:
            return found
        return found.div_(self.soft_cap).tanh_().mul_(self.soft_cap)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is known about the prediction at each token.

    Attributes:
        loss: ``-log P(next token)``, nats; NaN where there is no next token.
        entropy: ``-Σ_v P_v log P_v``, nats.
        rank: Number of tokens with a larger logit than the next token (of equal ones, all have the best
            rank); 0 is best, -1 where there is no next token.
    """

    loss: Float[Tensor, " token"]
    entropy: Float[Tensor, " token"]
    rank: Int32[Tensor, " token"]


@torch.no_grad()
def predictions(
    hidden: Float[Tensor, "token d_model"],
    targets: Int64[Tensor, " token"],
    unembedding: Unembedding,
    *,
    epsilon: float = 0.0,
    tile: int | None = None,
) -> Predictions:
    """Loss, entropy and rank of each token.

    With ``m = max z``, ``s = Σ e^(z - m)`` and ``t = Σ (z - m) e^(z - m)``: the loss is ``log s + m - z_y``,
    the entropy ``log s - t/s``. Both have terms of one sign, so that small entropies keep their digits.

    Args:
        hidden: Output of the final norm, before the unembedding.
        targets: The next token; -1 where there is none.
        unembedding: Of the same model.
        epsilon: Added to probabilities inside the logarithm of the entropy; `PUBLISHED_EPSILON` as published.
        tile: Logits held at a time; None for what suits the device.

    Source: ablations and frequencies specification, sections 3.2 and 10.2.
    """
    vocab = len(unembedding.weight)
    chosen = tile or (CPU_LOGITS if hidden.device.type == "cpu" else GPU_LOGITS)
    height = max(1, chosen // vocab)
    parts = [
        _tile(hidden[start : start + height], targets[start : start + height], unembedding, epsilon)
        for start in range(0, len(hidden), height)
    ]
    if not parts:
        parts = [_tile(hidden, targets, unembedding, epsilon)]
    return Predictions(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _tile(
    hidden: Tensor, targets: Tensor, unembedding: Unembedding, epsilon: float
) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"], Int32[Tensor, " token"]]:
    """One matrix product, then a few rows of logits at a time, which stay in cache."""
    logits = unembedding.logits(hidden)
    height = max(1, (CPU_BLOCK if hidden.device.type == "cpu" else GPU_LOGITS) // logits.shape[1])
    scratch = torch.empty_like(logits[:height])
    found = torch.empty(3, len(logits), device=logits.device)
    there = targets >= 0
    safe = targets.clamp(min=0)[:, None]
    for start in range(0, len(logits), height):
        rows = slice(start, start + height)
        _reduce(logits[rows], safe[rows], scratch, epsilon, found[:, rows])
    loss, entropy, rank = found
    return loss.where(there, torch.nan), entropy, rank.to(torch.int32).where(there, -1)


def _reduce(logits: Tensor, target: Tensor, scratch: Tensor, epsilon: float, found: Tensor) -> None:
    """Fill in loss, entropy and rank of some rows of logits, which are overwritten.

    Comparisons are made in place on floats, which on a CPU costs a tenth of making booleans; a float32 counts
    exactly to 2²⁴, more than there are tokens in any vocabulary.
    """
    held = scratch[: len(logits)]
    wanted = logits.gather(1, target)
    found[2] = held.copy_(logits).gt_(wanted).sum(dim=1)
    largest = logits.amax(dim=1, keepdim=True)
    logits -= largest
    torch.exp(logits, out=held)
    total = held.sum(dim=1)
    found[0] = total.log() - (wanted - largest)[:, 0]
    if epsilon:
        held /= total[:, None]
        found[1] = -torch.linalg.vecdot((held + epsilon).log_(), held)
    else:
        # A logit of minus infinity has no share, but 0 · -inf would be NaN.
        found[1] = total.log() - torch.linalg.vecdot(logits.clamp_(min=LOWEST), held) / total
