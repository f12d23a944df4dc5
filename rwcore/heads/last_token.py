"""What a model predicts behind a prompt, and what it would without the direct effect of one head."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.effects import Predictions, moved_by
from rwcore.heads.readout import Readout
from rwcore.heads.run import MLP, LayerParts, output_matrices, run_heads
from rwcore.heads.writers import Writer, WriterMeans, require_writers


@torch.no_grad()
def predictions_without(
    model: Any, tokens: Int64[Tensor, " pos"], head: Writer, means: WriterMeans, readout: Readout
) -> Float[Tensor, "run vocab"]:
    """Probabilities of the next token, clean and with a head mean-ablated (direct effect, frozen scale).

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        tokens: The prompt, BOS included if the model has one.
        head: Which head.
        means: What takes the place of what it adds.
        readout: On the model's device.

    Returns:
        Two rows, on the CPU: the clean prediction, and the one without the head.

    Raises:
        OptionError: The model has no such head, or there are no means for so long a prompt.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    require_writers(model, [head])
    mask = torch.ones(1, len(tokens), dtype=torch.bool)
    batch = Batch(0, torch.zeros(1, dtype=torch.int64), tokens[None].long(), mask)
    clean = Predictions.of(batch, run_heads(model, batch))
    means = means.to(clean.stream.device)
    changed: list[Tensor] = []

    def visit(parts: LayerParts) -> None:
        output = output_matrices(model, parts.layer).float()
        moved = moved_by(parts, means)[head.head]
        change = clean.frozen(moved if head.head is None else moved @ output[head.head])
        changed.append(clean.hidden[-1] + change.coefficients[-1])

    run_heads(model, batch, visit, parts=(MLP,), layers=[head.layer])
    both = torch.stack([clean.hidden[-1], *changed])
    return readout.capped(readout.logits(both)).softmax(dim=1).cpu()
