"""Means of heads from a few batches, for readings of texts that are no corpus of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads.run import decoder_blocks
from rwcore.heads.writers import WriterMeans, writer_sums


def means_over(model: Any, batches: Iterable[Batch]) -> WriterMeans:
    """What heads and MLPs add on average over the tokens of some batches, float32, on the CPU.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batches: At least one.

    Raises:
        OptionError: There is no batch.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    z, mlp, tokens = torch.zeros(()), torch.zeros(()), 0
    for batch in batches:
        found = writer_sums(model, batch)
        z, mlp = z + found.z.cpu(), mlp + found.mlp.cpu()
        tokens += int(batch.mask.sum())
    if not tokens:
        raise OptionError("there is no text to take means over", where="means", remedy="give some tokens")
    return WriterMeans((z / tokens).float(), (mlp / tokens).float())


def means_of_layers(model: Any, z: Mapping[int, Float[Tensor, "*pos head d_head"]]) -> WriterMeans:
    """Means of the heads of a few layers, where nobody asks for others; those are zero.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        z: z̄ of each layer, at least of one.
    """
    blocks = decoder_blocks(model)
    some = next(iter(z.values()))
    nothing = torch.zeros(()).expand(some.shape)
    every = torch.stack([z.get(layer, nothing) for layer in range(len(blocks))])
    width = int(model.cfg.d_model)
    return WriterMeans(every, torch.zeros(()).expand(len(blocks), *some.shape[:-2], width))
