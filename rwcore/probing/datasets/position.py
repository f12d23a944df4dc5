"""Where in its row a token stands: targets of regressions, and halves."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.datasets.sampling import LEAST, Candidate, balanced, priorities, token_dataset

PARTS = (2, 4, 8)


def position_targets(position: Int64[Tensor, " example"]) -> dict[str, Float64[Tensor, " example"]]:
    """The five published targets of a regression on the position.

    The position p, ``p/std``, ``p − mean``, ``(p − mean)/std`` and ``log₂(p + 1)``, with the population's
    mean and standard deviation over the examples.

    Source: sparse probing 3.10.
    """
    value = position.double()
    mean, std = value.mean(), value.std(correction=0)
    return {
        "position": value,
        "position_scaled": value / std,
        "position_centred": value - mean,
        "position_standardised": (value - mean) / std,
        "position_log": (value + 1).log2(),
    }


def position_features(
    corpus: TokenCorpus,
    *,
    length: int,
    parts: tuple[int, ...] = PARTS,
    size: int = 10_000,
    seed: int = 0,
    least: int = LEAST,
) -> FeatureDataset:
    """Binary features of the position: in the first half, quarter, … of a row of ``length`` tokens.

    Only rows of that length count, and of them all positions but 0, which a model marks in its own way.

    Args:
        corpus: The rows.
        length: Tokens of the rows that count.
        parts: Divisors: a positive stands before position ``length / part``.
        size: Examples of a feature, at most.
        seed: Seed of their choice.
        least: Examples of either class that a feature must have.
    """
    long = (corpus.lengths >= length).repeat_interleave(corpus.lengths)
    position = torch.arange(corpus.n_tokens) - corpus.offsets[:-1].repeat_interleave(corpus.lengths)
    place = (pooled(corpus, 1) & long & (position < length)).nonzero().flatten()
    priority = priorities(corpus, seed)
    candidates = [
        Candidate(f"position_first_{part}", "position", place, position[place] < length / part)
        for part in parts
    ]
    chosen = [balanced(one, size, 0.2, 0.5, priority) for one in candidates]
    return token_dataset("position", corpus, chosen, least=least)
