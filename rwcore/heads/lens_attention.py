r"""Does a head look at what the logit lens predicts?

With x^ℓ_q the stream that enters the layer, a token t of the context is predicted at q by x^ℓ_q · W_U[:, t]
(no scale, no b_U). Of the tokens at positions 1 … q that are no function words the one with the largest
value is *expected*, if it is positive; all its occurrences are. A token is *attended* if one of its
occurrences has the largest attention of positions 1 … q (or is among the three largest); all its
occurrences are, here too: the published counts have twice as many attended positions as queries. Position
0, where heads rest, is left out of both; queries at which it is not what is looked at most are also counted
alone.

Counts are those of pairs of a query and a position, and can be added up over batches.

Source: copy suppression specification, sections 7.3 (`FIVE`) and 7.4.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.cspa_filter import NOT_A_CANDIDATE, key_rows, lens_scores
from rwcore.heads.readout import Readout
from rwcore.heads.run import PATTERN, STREAM, LayerParts, run_heads

FIRST, THREE = "first", "three"
ATTENDED = {FIRST: 1, THREE: 3}
"""How many positions of a query count as attended."""
FIVE = 5

_ASKED = ("both", "attended", "awake_both", "awake_attended")
COUNTS = (
    "queries", "awake_queries", "expected", "awake_expected",
    *(f"{name}_{which}" for name in ATTENDED for which in _ASKED),
    "pairs", "long_queries", "in_five",
)  # fmt: skip
"""What is counted of each head: queries; those where position 0 is not attended most (awake); expected pairs;
attended ones, and those that are both; all pairs of a query and a position from 1 on; queries with more than
five positions, and those where the top token of the lens is among the five largest attentions."""
SUMS = ("attention_first", "attention_expected", "attention_others")
"""Sums of attention: on position 0, on expected positions, on others."""


@torch.no_grad()
def lens_attention(
    model: Any,
    batch: Batch,
    readout: Readout,
    skipped: Bool[Tensor, " vocab"],
    *,
    queries: Bool[Tensor, "batch pos"] | None = None,
) -> dict[str, Int64[Tensor, "layer head"] | Float64[Tensor, "layer head"]]:
    """`COUNTS` and `SUMS` of every head on a batch.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        readout: On the model's device.
        skipped: Which tokens are function words; none of them is expected. For ``in_five`` they count.
        queries: Which positions look; all but 0 if None.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    device = readout.rows.device
    tokens = batch.tokens.to(device)
    rows = key_rows(tokens, readout)
    positions = tokens.shape[1]
    causal = torch.ones(positions, positions, dtype=torch.bool, device=device).tril()
    causal[:, 0] = False  # where heads rest
    looking = batch.mask if queries is None else batch.mask & queries
    looking = looking.to(device) & (torch.arange(positions, device=device) > 0)
    allowed = causal & looking[:, :, None]
    counted: list[Tensor] = []
    summed: list[Tensor] = []

    def visit(parts: LayerParts) -> None:
        assert parts.stream is not None
        assert parts.pattern is not None
        scores = lens_scores(parts.stream.float(), torch.ones_like(tokens, dtype=torch.float32), rows)[..., 0]
        lens = _Lens.of(scores, tokens, allowed, skipped.to(device)[tokens])
        found = [lens.counts(parts.pattern[:, head].float()) for head in range(parts.pattern.shape[1])]
        counted.append(torch.stack([counts for counts, _ in found]))
        summed.append(torch.stack([sums for _, sums in found]))

    run_heads(model, batch, visit, parts=(STREAM, PATTERN))
    counts, sums = torch.stack(counted).cpu(), torch.stack(summed).cpu()
    named = {name: counts[..., number] for number, name in enumerate(COUNTS)}
    return named | {name: sums[..., number] for number, name in enumerate(SUMS)}


class _Lens:
    """What the lens says at every query of a layer."""

    def __init__(self, tokens: Tensor, allowed: Tensor, expected: Tensor, best: Tensor) -> None:
        self.tokens = tokens
        self.allowed = allowed  # pairs that are asked
        self.looking = allowed.any(dim=2)
        self.expected = expected  # occurrences of the candidate with the largest positive value
        self.best = best  # occurrences of the token with the largest value, function words too

    @classmethod
    def of(cls, scores: Tensor, tokens: Tensor, allowed: Tensor, skipped: Tensor) -> _Lens:
        candidates = scores.masked_fill(~(allowed & ~skipped[:, None, :]), NOT_A_CANDIDATE)
        largest = candidates.max(dim=2)
        expected = _occurrences(tokens, largest.indices[..., None], allowed) & (largest.values > 0)[..., None]
        top = scores.masked_fill(~allowed, NOT_A_CANDIDATE).argmax(dim=2, keepdim=True)
        return cls(tokens, allowed, expected, _occurrences(tokens, top, allowed))

    def counts(self, attention: Tensor) -> tuple[Tensor, Tensor]:
        """`COUNTS` and `SUMS` of a head."""
        others = attention.masked_fill(~self.allowed, -1.0)
        awake = self.looking & (others.max(dim=2).values > attention[:, :, 0])
        numbers = [
            self.looking.sum(),
            awake.sum(),
            self.expected.sum(),
            (self.expected & awake[..., None]).sum(),
        ]
        for size in ATTENDED.values():
            largest = others.topk(min(size, others.shape[2]), dim=2)
            # Queries with fewer positions: what fills the list is none of them.
            places = torch.where(largest.values >= 0, largest.indices, largest.indices[..., :1])
            attended = _occurrences(self.tokens, places, self.allowed)
            both = attended & self.expected
            numbers += [both.sum(), attended.sum()]
            numbers += [(both & awake[..., None]).sum(), (attended & awake[..., None]).sum()]
        long = self.looking & (torch.arange(attention.shape[1], device=attention.device) >= FIVE)
        least = attention.topk(min(FIVE, attention.shape[2]), dim=2).values[..., -1:]
        in_five = (self.best & (attention >= least)).any(dim=2) & long
        numbers += [self.allowed.sum(), long.sum(), in_five.sum()]
        asked = attention.double()
        sums = [
            (asked[:, :, 0] * self.looking).sum(),
            (asked * self.expected).sum(),
            (asked * (self.allowed & ~self.expected)).sum(),
        ]
        return torch.stack(numbers), torch.stack(sums)


def _occurrences(tokens: Tensor, places: Tensor, allowed: Tensor) -> Tensor:
    """Pairs of a query and a position that holds one of the tokens at some places of the query."""
    chosen = tokens[:, None, :].expand(-1, tokens.shape[1], -1).gather(2, places)
    found = torch.zeros_like(allowed)
    for number in range(chosen.shape[2]):
        found |= tokens[:, None, :] == chosen[..., number, None]
    return found & allowed
