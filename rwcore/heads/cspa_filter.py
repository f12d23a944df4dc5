r"""Which keys of a query a copy-suppression-preserving ablation (CSPA) keeps.

A head that suppresses copies looks from q at earlier tokens that are predicted at q now. How much t_k is
predicted is read off the stream x^ℓ_q that enters the head's layer, with the final scale s_q and without b_U:

    score(q, k) = (x^ℓ_q / s_q) · W_U[:, t_k]

Function words and keys behind q are no candidates. The threshold θ_q is the K_q-th largest score among first
occurrences; all occurrences from θ_q on are kept. Where there are fewer candidates than K_q, everything is.
These scores depend on the layer only, not on the head.

Source: copy suppression specification, section 8.2 and traps 4 and 27.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.heads.readout import Readout

NOT_A_CANDIDATE = -1e9
TOLERANCE = 1e-6
NO_TOKEN = -1
"""Fills sets of directions that are too short."""


@dataclass(frozen=True)
class QueryFilter:
    """How many keys are kept.

    Attributes:
        keep: A share (a float, at most 1) of the positions up to the query, K_q = ⌈keep · (q + 1)⌉, or K
            itself (an int).
        self_attention: Whether the query's own position is a candidate.

    Raises:
        OptionError: The share is not in (0, 1], or the number is less than 1.
    """

    keep: float | int = 0.05
    self_attention: bool = True

    def __post_init__(self) -> None:
        fits = self.keep >= 1 if isinstance(self.keep, int) else 0 < self.keep <= 1
        if not fits:
            raise OptionError(
                f"{self.keep} keys of a query cannot be kept",
                where="--keep",
                remedy="give a share such as 0.05 or a whole number such as 5",
            )

    def wanted(self, positions: int) -> Int64[Tensor, " query"]:
        """K_q of each position."""
        if isinstance(self.keep, int):
            return torch.full((positions,), self.keep)
        # A share such as 0.05 is stored a little too large: 140 times it must be 7, not the 8 above it.
        counts = [math.ceil(self.keep * (query + 1) - 1e-9) for query in range(positions)]
        return torch.tensor(counts, dtype=torch.int64)


def key_rows(
    tokens: Int64[Tensor, "batch pos"], readout: Readout, sets: Int64[Tensor, "vocab set"] | None = None
) -> Float[Tensor, "batch pos set d_model"]:
    """Centred columns of W_U that each key stands for: that of its token, or those of its set.

    Args:
        tokens: The tokens of the rows.
        readout: On the same device.
        sets: Of each token a set, `NO_TOKEN` where it is short (`rwcore.heads.semantic_sets`); None for the
            token alone.

    Returns:
        The columns; zero for `NO_TOKEN`.
    """
    if sets is None:
        return readout.centred(tokens)[:, :, None]
    members = sets.to(tokens.device)[tokens]
    return readout.centred(members.clamp(min=0)) * (members != NO_TOKEN)[..., None]


def lens_scores(
    stream: Float[Tensor, "batch pos d_model"],
    scale: Float[Tensor, "batch pos"],
    rows: Float[Tensor, "batch pos set d_model"],
) -> Float[Tensor, "batch query key set"]:
    """How much the tokens of the keys are predicted at each query: logits without a bias.

    Args:
        stream: What enters the layer.
        scale: Of the final norm, in the clean pass.
        rows: Of `key_rows`.
    """
    batch, positions, size, width = rows.shape
    found = (stream / scale[..., None]) @ rows.reshape(batch, positions * size, width).mT
    return found.reshape(batch, positions, positions, size)


def kept_keys(
    scores: Float[Tensor, "batch query key set"],
    tokens: Int64[Tensor, "batch pos"],
    skipped: Bool[Tensor, "batch pos"],
    choice: QueryFilter,
    missing: Bool[Tensor, "batch pos set"] | None = None,
) -> Bool[Tensor, "batch query key set"]:
    """The keys that are kept for each query; of sets of tokens, the pairs of key and token.

    Args:
        scores: Of `lens_scores`.
        tokens: The tokens of the rows, padded on the right.
        skipped: Keys whose tokens are function words.
        choice: How many.
        missing: Where a set has no token; None for nowhere.
    """
    batch, positions = tokens.shape
    causal = torch.ones(positions, positions, dtype=torch.bool, device=scores.device).tril()
    allowed = causal if choice.self_attention else causal.tril(-1)
    out = (~allowed | skipped[:, None, :])[..., None]
    if missing is not None:
        out = out | missing[:, None]
    candidates = scores.masked_fill(out, NOT_A_CANDIDATE)
    repeated = ~first_occurrences(tokens)[:, None, :, None]
    pool = candidates.masked_fill(repeated, NOT_A_CANDIDATE).reshape(batch, positions, -1)
    wanted = choice.wanted(positions).to(scores.device)
    largest = pool.topk(min(int(wanted.max()), pool.shape[2]), dim=2).values
    place = (wanted - 1).clamp(max=largest.shape[2] - 1)[None, :, None].expand(batch, -1, 1)
    threshold = largest.gather(2, place)
    # More than there are keys: fewer candidates than are wanted.
    threshold = threshold.masked_fill((wanted > pool.shape[2])[None, :, None], NOT_A_CANDIDATE)
    return (candidates + TOLERANCE >= threshold[..., None]) & causal[..., None]


def first_occurrences(tokens: Int64[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Where a token has not occurred before in its row."""
    same = tokens[:, :, None] == tokens[:, None, :]
    return ~same.tril(-1).any(dim=2)
