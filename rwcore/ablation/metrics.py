"""Run a model over batches and keep four numbers a token; logits are never kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.ablation.head import Unembedding, predictions
from rwcore.ablation.run_metrics import NO_RANK, RunMetrics
from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError

_SCALE, _HIDDEN = "ln_final.hook_scale", "unembed.hook_in"


@dataclass(frozen=True, eq=False)
class Ending:
    """How a forward pass ends, for every position of a batch.

    Attributes:
        hidden: Output of the final norm, which the unembedding reads.
        scale: Denominator of the final norm.
    """

    hidden: Float[Tensor, "batch pos d_model"]
    scale: Float[Tensor, "batch pos"]


def run_to_the_end(model: Any, batch: Batch) -> Ending:
    """Run a batch through a model up to the unembedding, which is left out.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), perhaps with hooks that ablate.
        batch: Tokens, padded on the right; padding is hidden from attention.

    Raises:
        ModelError: The model has no final norm or unembedding with hooks.
    """
    held: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            held[name] = values
            if name == _HIDDEN:
                raise Finished

        return hook

    if run_hooks(model, batch, [(name, watch(name)) for name in (_SCALE, _HIDDEN)]):
        return Ending(held[_HIDDEN], held[_SCALE][..., 0])
    raise ModelError(
        "the unembedding was not reached",
        where=str(model.cfg.model_name),
        remedy="load the model in compatibility mode; metrics need a decoder with an unembedding",
    )


class MetricsRecorder:
    """The metrics of all tokens of a corpus, filled in batch by batch.

    Args:
        corpus: The rows.
        metrics: What is known already: a checkpoint; None at the beginning.
    """

    def __init__(self, corpus: TokenCorpus, metrics: RunMetrics | None = None) -> None:
        self._corpus = corpus
        size = corpus.n_tokens
        self.metrics = metrics or RunMetrics(
            loss=torch.full((size,), torch.nan),
            entropy=torch.full((size,), torch.nan),
            rank=torch.full((size,), NO_RANK, dtype=torch.int32),
            scale=torch.full((size,), torch.nan),
        )

    def add(self, model: Any, batch: Batch, *, epsilon: float = 0.0) -> None:
        """Run a batch and keep what its tokens' predictions are like.

        Args:
            model: As for `run_to_the_end`.
            batch: Rows of the corpus.
            epsilon: See `rwcore.ablation.head.predictions`.

        Raises:
            ModelError: As for `run_to_the_end`, or a number is not finite; the document is named.
        """
        ending = run_to_the_end(model, batch)
        device = ending.hidden.device
        mask = batch.mask.to(device)
        found = predictions(
            ending.hidden[mask],
            next_tokens(batch)[batch.mask].to(device),
            Unembedding.of(model),
            epsilon=epsilon,
        )
        places = self._places(batch)
        self._check(found.entropy, places)
        for name, values in (
            ("loss", found.loss),
            ("entropy", found.entropy),
            ("rank", found.rank),
            ("scale", ending.scale[mask].float()),
        ):
            getattr(self.metrics, name)[places] = values.cpu()

    def _places(self, batch: Batch) -> Int64[Tensor, " token"]:
        """Where the tokens of a batch are in the corpus, row by row."""
        starts = self._corpus.offsets[batch.rows]
        return (starts[:, None] + torch.arange(batch.mask.shape[1]))[batch.mask]

    def _check(self, entropy: Tensor, places: Tensor) -> None:
        bad = (~entropy.isfinite()).nonzero()[:, 0].cpu()
        if len(bad):
            token = int(places[bad[0]])
            row = int(torch.searchsorted(self._corpus.offsets, token, right=True)) - 1
            raise ModelError(
                f"a prediction is not finite ({len(bad)} of {len(places)} in this batch)",
                where=f"document {int(self._corpus.document[row])} of {self._corpus.spec.id} (row {row}), "
                f"position {token - int(self._corpus.offsets[row])}",
                remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
            )


def next_tokens(batch: Batch) -> Int64[Tensor, "batch pos"]:
    """The token after each position of a row; -1 at the last one of the row, and in padding."""
    following = torch.full_like(batch.tokens, -1)
    following[:, :-1] = torch.where(batch.mask[:, 1:], batch.tokens[:, 1:], -1)
    return following
