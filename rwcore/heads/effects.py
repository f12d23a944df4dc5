r"""Direct effects: what each head and each MLP does to predictions without the help of later layers.

With x the final stream, s the scale of the final norm, r what a writer adds and m̄ what takes its place,

    x' = x - r + m̄ ,    ℓ' = (x' / s) W_U + b_U     (s frozen)

or with the scale s' of x' (recomputed). Of every token:

    loss_increase             loss(ℓ') - loss(ℓ): ablated - clean; above 0 the writer helps
    kl                        KL(softmax ℓ ‖ softmax ℓ')
    entropy_change_with_head  H(ℓ) - H(ℓ'): clean - ablated; above 0 the writer raises the entropy
    dla_next                  (ℓ - ℓ') at the next token: clean - ablated; above 0 it writes for it
    dla_predicted             likewise at the token that is predicted without an ablation

Without a soft cap the last two are the direct logit attribution ((r - m̄) / s) · W_U of the writer.

Source: copy suppression specification, sections 4.1, 12 and 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.metrics import next_tokens
from rwcore.corpora.batches import Batch
from rwcore.heads.readout import Change, ChangeEffects, Readout, change_effects
from rwcore.heads.run import MLP, Final, LayerParts, decoder_blocks, output_matrices, run_heads
from rwcore.heads.writers import Writer, WriterMeans, every_writer, require_writers

CHANGE_BYTES = 256 << 20
"""Of the changes of the final stream that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class WriterEffects:
    """Effects on the predictions at the tokens of a batch, row by row; nats. See the head of this module.

    Attributes:
        loss_increase: NaN where there is no next token.
        kl: At least 0.
        entropy_change_with_head: Clean - ablated.
        dla_next: NaN where there is no next token.
        dla_predicted: Clean - ablated.
    """

    loss_increase: Float[Tensor, "writer token"]
    kl: Float[Tensor, "writer token"]
    entropy_change_with_head: Float[Tensor, "writer token"]
    dla_next: Float[Tensor, "writer token"]
    dla_predicted: Float[Tensor, "writer token"]

    @classmethod
    def of(cls, found: ChangeEffects) -> WriterEffects:
        """With the signs of this module."""
        return cls(found.loss, found.kl, -found.entropy, -found.target_logit, -found.top_logit)


QUANTITIES = tuple(one.name for one in fields(WriterEffects))


@dataclass(frozen=True, eq=False)
class Predictions:
    """The tokens of a batch, row by row, and what their predictions are made of in the clean pass.

    Attributes:
        mask: Where they are in the batch.
        stream: Final residual stream x.
        scale: s.
        target: The next token; -1 where there is none.
    """

    mask: Bool[Tensor, "batch pos"]
    stream: Float[Tensor, "token d_model"]
    scale: Float[Tensor, " token"]
    target: Int64[Tensor, " token"]

    @classmethod
    def of(cls, batch: Batch, final: Final) -> Predictions:
        """From the end of a clean pass."""
        device = final.stream.device
        mask = batch.mask.to(device)
        target = next_tokens(batch)[batch.mask].to(device)
        return cls(mask, final.stream[mask].float(), final.scale[mask].float(), target)

    @property
    def hidden(self) -> Float[Tensor, "token d_model"]:
        """The normalised stream."""
        return self.stream / self.scale[:, None]

    def frozen(
        self,
        moved: Float[Tensor, "batch pos direction"],
        directions: Float[Tensor, "direction d_model"] | None = None,
    ) -> Change:
        """A change of the stream, read with the clean scale.

        Args:
            moved: x' - x, or its coefficients.
            directions: What they are coefficients of.
        """
        return Change(moved[self.mask].float() / self.scale[:, None], directions)

    def recomputed(self, moved: Float[Tensor, "batch pos d_model"]) -> Change:
        """The same, read with the scale of the changed stream: s'² = s² + mean(x'²) - mean(x²)."""
        after = self.stream + moved[self.mask].float()
        squares = after.square().mean(dim=1) - self.stream.square().mean(dim=1)
        return Change(after / (self.scale.square() + squares).sqrt()[:, None] - self.hidden)

    def effects(self, changes: Sequence[Change], readout: Readout) -> ChangeEffects:
        """What changes do; see `rwcore.heads.readout.change_effects`."""
        return change_effects(self.hidden, self.target, changes, readout)


@dataclass(frozen=True, eq=False)
class BatchEffects:
    """Direct effects in a batch.

    Attributes:
        clean_loss: NaN where there is no next token.
        clean_entropy: Of the clean prediction.
        effects: Of the writers, in the order asked for.
    """

    clean_loss: Float[Tensor, " token"]
    clean_entropy: Float[Tensor, " token"]
    effects: WriterEffects


def direct_effects(
    model: Any,
    batch: Batch,
    means: WriterMeans,
    readout: Readout,
    *,
    writers: Sequence[Writer] | None = None,
    recompute: bool = False,
) -> BatchEffects:
    """The direct effects of some writers at every token of a batch.

    The batch is run twice: changes are divided by the scale that the first pass ends with, and are not kept
    until the second one ends. What heads add is given by d_head numbers a token, so that all heads of a
    model cost as much as as many unembeddings as it has layers.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        means: What takes the place of what they add.
        readout: On the model's device.
        writers: Which; None for all heads, then all MLPs.
        recompute: Use the scale of the changed stream. It costs d_model numbers a token of heads, too.

    Returns:
        The effects, on the CPU.

    Raises:
        OptionError: The model has no such writer, or there are no means for such long rows.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    chosen = list(writers) if writers is not None else _all_of(model)
    require_writers(model, chosen)
    clean = Predictions.of(batch, run_heads(model, batch))
    means = means.to(clean.stream.device)
    tokens, count = len(clean.stream), len(chosen)
    kept = {name: torch.empty(count, tokens) for name in QUANTITIES}
    ending = {name: torch.empty(tokens) for name in ("clean_loss", "clean_entropy")}
    waiting: list[tuple[int, Change]] = []

    def measure() -> None:
        found = clean.effects([change for _, change in waiting], readout)
        places = [place for place, _ in waiting]
        for name, values in vars(WriterEffects.of(found)).items():
            kept[name][places] = values.cpu()
        for name, values in ending.items():
            values.copy_(getattr(found, name))
        waiting.clear()

    def visit(parts: LayerParts) -> None:
        output = output_matrices(model, parts.layer).float()
        moved = moved_by(parts, means)
        for place, writer in enumerate(chosen):
            if writer.layer != parts.layer:
                continue
            waiting.append((place, _change(clean, moved, writer, output, recompute=recompute)))
            if sum(one.coefficients.numel() * 4 for _, one in waiting) > CHANGE_BYTES:
                measure()

    run_heads(model, batch, visit, parts=(MLP,), layers={one.layer for one in chosen})
    measure()
    return BatchEffects(**ending, effects=WriterEffects(**kept))


def moved_by(parts: LayerParts, means: WriterMeans) -> Mapping[int | None, Tensor]:
    """How the stream moves if writers of a layer are ablated: m̄ - r of the MLP (None), z̄ - z of each head.

    Args:
        parts: The layer, with its MLP.
        means: On the same device.
    """
    assert parts.mlp is not None
    z, mlp = means.of_layer(parts.layer, parts.z.shape[1])
    heads = (z - parts.z.float()).unbind(dim=2)
    return {None: mlp - parts.mlp.float(), **dict(enumerate(heads))}


def _change(
    clean: Predictions, moved: Mapping[int | None, Tensor], writer: Writer, output: Tensor, *, recompute: bool
) -> Change:
    found = moved[writer.head]
    directions = None if writer.head is None else output[writer.head]
    if not recompute:
        return clean.frozen(found, directions)
    return clean.recomputed(found if directions is None else found @ directions)


def _all_of(model: Any) -> list[Writer]:
    return every_writer(len(decoder_blocks(model)), output_matrices(model, 0).shape[0])


def by_layer(writers: Sequence[Writer]) -> Iterator[tuple[int, list[Writer]]]:
    """The writers of each layer, in the order of the layers."""
    for layer in sorted({one.layer for one in writers}):
        yield layer, [one for one in writers if one.layer == layer]
