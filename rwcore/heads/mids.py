r"""Is it copy suppression where a head matters most? Three conditions on a prediction, and on all of them.

The predictions whose loss rises most if a head is mean-ablated (direct effect, frozen scale) are its
max-impact samples. With x the stream that enters the head's layer, s the final scale of the clean pass, A the
attention of the head and Δ = ((r - m̄) / s) W_U what it does to the logits, a prediction at query q is a
*case* of copy suppression if one token t has all of

    predicted   t stands at some position 0 … q, and is among the ten largest logits (x_q / s_q) W_U + b_U,
                over the whole vocabulary
    attended    t stands at one of the two positions of the context with the largest A_qk
    lowered     t is among the ten tokens with the lowest Δ, and Δ_t is negative

Position 0, where heads rest, is no source and does not count among the attended ones.

The code behind the published 80 % was not found: that position 0 is left out, and that one token must meet
all three, is our reading of its text.

Source: copy suppression specification, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.effects import Predictions, by_layer, moved_by
from rwcore.heads.readout import Readout
from rwcore.heads.run import MLP, PATTERN, STREAM, LayerParts, output_matrices, run_heads
from rwcore.heads.writers import Writer, WriterMeans, require_writers

LENS_TOP, ATTENDED, LOWERED = 10, 2, 10
"""How many tokens, positions and tokens are looked at."""
LARGEST = 0.05
"""Share of the predictions that are max-impact samples."""
TILE = 512
"""Tokens whose logits are in memory together."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Which predictions of some heads meet the conditions, each for some source.

    Attributes:
        predicted: Some source is among the ten most predicted tokens.
        attended: Some such source is also among the two most attended positions.
        lowered: Some such source is also among the ten tokens that the head lowers most: a case.
    """

    predicted: Bool[Tensor, "head token"]
    attended: Bool[Tensor, "head token"]
    lowered: Bool[Tensor, "head token"]


CONDITIONS = tuple(one.name for one in fields(Cases))


@torch.no_grad()
def copy_suppression_cases(
    model: Any, batch: Batch, heads: Sequence[Writer], means: WriterMeans, readout: Readout
) -> Cases:
    """Ask the conditions at every token of a batch, row by row.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        heads: Which heads.
        means: What takes the place of what they add.
        readout: On the model's device.

    Returns:
        The answers, on the CPU, in the order of the heads.

    Raises:
        OptionError: The model has no such head, or there are no means for such long rows.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    require_writers(model, [*heads])
    clean = Predictions.of(batch, run_heads(model, batch))
    device = clean.stream.device
    tokens, mask = batch.tokens.to(device), batch.mask.to(device)
    means = means.to(device)
    unbiased = Readout(readout.rows)
    of_layer = dict(by_layer(heads))
    found: dict[Writer, list[Tensor]] = {}

    def visit(parts: LayerParts) -> None:
        assert parts.stream is not None
        assert parts.pattern is not None
        stream = parts.stream[mask].float() / clean.scale[:, None]
        predicted = sources(tokens, largest_logits(stream, readout, LENS_TOP), mask)
        output = output_matrices(model, parts.layer).float()
        moved = moved_by(parts, means)
        for writer in of_layer[parts.layer]:
            assert writer.head is not None
            change = clean.frozen(moved[writer.head], output[writer.head])
            assert change.directions is not None
            # The head is taken away by the change: what it lowers, its absence raises.
            raised = change.coefficients @ change.directions
            lowered = sources(tokens, largest_logits(raised, unbiased, LOWERED, above=0.0), mask)
            looked_at = attended_tokens(parts.pattern[:, writer.head].float(), tokens)[mask]
            both = predicted & sources(tokens, looked_at, mask)
            found[writer] = [predicted.any(dim=1), both.any(dim=1), (both & lowered).any(dim=1)]

    run_heads(model, batch, visit, parts=(STREAM, PATTERN, MLP), layers=sorted(of_layer))
    return Cases(*(torch.stack([found[one][place] for one in heads]).cpu() for place in range(3)))


def sources(
    tokens: Int64[Tensor, "batch pos"],
    chosen: Int64[Tensor, "token number"],
    mask: Bool[Tensor, "batch pos"],
) -> Bool[Tensor, "token key"]:
    """At which positions of its context a query has one of some tokens; position 0 is no source.

    Args:
        tokens: The tokens of the rows.
        chosen: Of every query, the tokens that are looked for; -1 for none.
        mask: Where the queries are in the batch.
    """
    there = tokens[mask.nonzero()[:, 0]]
    found = (there[:, :, None] == chosen[:, None, :]).any(dim=2)
    return found & _context(mask)


def largest_logits(
    hidden: Float[Tensor, "token d_model"], readout: Readout, count: int, *, above: float = -torch.inf
) -> Int64[Tensor, "token number"]:
    """The tokens with the largest logits, before a soft cap, which keeps their order.

    Args:
        hidden: Normalised streams, or changes of them; logits of a few at a time are in memory.
        readout: On the same device.
        count: How many tokens.
        above: Logits that are not larger give -1 instead of their token.
    """
    parts = []
    for some in torch.split(hidden, TILE):
        logits = readout.logits(some)
        found = logits.topk(min(count, logits.shape[1]), dim=1)
        parts.append(found.indices.masked_fill(found.values <= above, -1))
    return torch.cat(parts)


def attended_tokens(
    pattern: Float[Tensor, "batch query key"], tokens: Int64[Tensor, "batch pos"]
) -> Int64[Tensor, "batch query number"]:
    """What stands at the positions of each context with the largest attention, position 0 left out.

    Args:
        pattern: Attention of a head; equal weights count in the order of their positions.
        tokens: The tokens of the rows.

    Returns:
        Tokens; -1 where a context has fewer positions.
    """
    size = pattern.shape[2]
    causal = torch.ones(size, size, dtype=torch.bool, device=pattern.device).tril()
    causal[:, 0] = False
    weights = pattern.masked_fill(~causal, -1.0)
    place = weights.argsort(dim=2, descending=True, stable=True)[..., :ATTENDED]
    found = tokens[:, None, :].expand(weights.shape).gather(2, place)
    return found.masked_fill(weights.gather(2, place) < 0, -1)


def largest_increases(increase: Float[Tensor, " token"]) -> Int64[Tensor, " largest"]:
    """The max-impact samples of a head: places of the N // 20 predictions with the largest loss increase.

    Args:
        increase: Of every token; NaN where there is no next token. At least one is looked at.
    """
    count = max(1, int(LARGEST * int(increase.isfinite().sum())))
    return increase.nan_to_num(nan=-torch.inf).topk(count).indices


def _context(mask: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "token key"]:
    """Positions 1 … q of each query."""
    query = mask.nonzero()[:, 1]
    key = torch.arange(mask.shape[1], device=mask.device)
    return (key <= query[:, None]) & (key > 0)
