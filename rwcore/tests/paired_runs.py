"""Random runs and a corpus of random rows, for the tests of the paired comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from rwcore.ablation.run_metrics import NO_RANK, RunMetrics, last_of_row
from rwcore.corpora.tokens import TokenCorpus
from rwcore.tests.corpus_makers import rows_corpus


def corpus_of(lengths: list[int], document: list[int] | None = None) -> TokenCorpus:
    """Rows of these lengths; a document per row unless given."""
    return rows_corpus([[0] + [5] * (length - 1) for length in lengths], document)


def run_of(
    corpus: TokenCorpus, seed: int = 0, near: RunMetrics | None = None, step: float = 0.1
) -> RunMetrics:
    """A run with random numbers, or one with numbers near those of another, some of them the same."""
    generator = torch.Generator().manual_seed(seed)
    n, last = corpus.n_tokens, last_of_row(corpus)

    def noise() -> Tensor:
        return torch.randn(n, generator=generator)

    if near is None:
        loss, entropy, scale = (noise().exp() * 2 for _ in range(3))
        rank = (noise().exp() * 3).int()
    else:
        kept = torch.rand(n, generator=generator) < 0.3
        loss, entropy, scale = (
            torch.where(kept, old, old * (step * noise()).exp())
            for old in (near.loss, near.entropy, near.scale)
        )
        rank = torch.where(kept, near.rank, (near.rank + (2 * noise()).int()).clamp(min=0))
    return RunMetrics(
        loss=loss.masked_fill(last, torch.nan),
        entropy=entropy,
        rank=rank.masked_fill(last, NO_RANK),
        scale=scale,
    )
