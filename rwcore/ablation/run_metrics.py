"""What one run of a model says about every token of a corpus: loss, entropy, rank and scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float32, Int32
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, StoreError

METRICS = ("loss", "entropy", "rank", "scale")
NO_RANK = -1
_REMEDY = "delete the run; it is computed again"


@dataclass(frozen=True, eq=False)
class RunMetrics:
    """Four numbers for each token, in the order of `TokenCorpus.tokens`; no padding.

    Loss and rank are about the prediction of the next token, so the last token of a row has none: its loss
    is NaN and its rank -1.

    Attributes:
        loss: -log P(next token), in nats.
        entropy: -Σ_v P_v log P_v of the prediction, in nats.
        rank: How many tokens of the vocabulary have a larger logit than the next token; 0 is the best.
        scale: Denominator of the final norm, in units of the residual stream.
    """

    loss: Float32[Tensor, " token"]
    entropy: Float32[Tensor, " token"]
    rank: Int32[Tensor, " token"]
    scale: Float32[Tensor, " token"]

    def to_arrays(self) -> dict[str, Tensor]:
        """The arrays by name, as `from_arrays` takes them."""
        return {metric: getattr(self, metric) for metric in METRICS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> RunMetrics:
        """The inverse of `to_arrays`.

        Raises:
            StoreError: Arrays are missing or too many, not vectors of one length, or of another type.
        """
        wanted = {field.name: torch.int32 if field.name == "rank" else torch.float32 for field in fields(cls)}
        found = {name: array.dtype for name, array in arrays.items()}
        sizes = {tuple(array.shape) for array in arrays.values()}
        if found != wanted or len(sizes) != 1 or len(sizes.pop()) != 1:
            shapes = {name: (str(array.dtype), tuple(array.shape)) for name, array in arrays.items()}
            raise StoreError(f"these are no metrics of a run: {shapes}", remedy=_REMEDY)
        return cls(**arrays)

    def require_fit(self, corpus: TokenCorpus, where: str | None = None) -> None:
        """Check that there is a number for every token of the corpus, and none where there cannot be one.

        Args:
            corpus: The corpus the run was on.
            where: The run, for the message.

        Raises:
            CorpusError: The run has another number of tokens.
            StoreError: A prediction has no finite number, or the last token of a row has one.
        """
        if len(self.loss) != corpus.n_tokens:
            raise CorpusError(
                f"the run has {len(self.loss):,} tokens and the corpus {corpus.spec.id} {corpus.n_tokens:,}",
                where=where,
                remedy="compare runs with the corpus they were made on",
            )
        last = last_of_row(corpus)
        reason = None
        if not torch.equal(self.loss.isnan(), last):
            reason = "the loss is NaN at other tokens than the last ones of the rows"
        elif not bool(self.loss[~last].isfinite().all()):
            reason = "a loss is infinite"
        elif not torch.equal(self.rank < 0, last) or not bool((self.rank[last] == NO_RANK).all()):
            reason = "the rank is -1 at other tokens than the last ones of the rows"
        elif not bool(self.entropy.isfinite().all()):
            reason = "an entropy is not finite"
        elif not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            reason = "a scale is not a positive number"
        if reason is not None:
            raise StoreError(f"these metrics cannot be compared: {reason}", where=where, remedy=_REMEDY)


def last_of_row(corpus: TokenCorpus) -> Bool[Tensor, " token"]:
    """True at the last token of every row."""
    last = torch.zeros(corpus.n_tokens, dtype=torch.bool)
    last[corpus.offsets[1:] - 1] = True
    return last


def first_of_row(corpus: TokenCorpus) -> Bool[Tensor, " token"]:
    """True at the first token of every row, which is BOS if the corpus has one."""
    first = torch.zeros(corpus.n_tokens, dtype=torch.bool)
    first[corpus.offsets[:-1]] = True
    return first
