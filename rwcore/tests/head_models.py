"""Tiny models of the families that heads are tested on, and the planted one."""

import torch

from fixtures.planted_heads import CONTEXT, VOCAB, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.heads.readout import Readout
from rwcore.heads.writers import WriterMeans, writer_sums
from rwcore.models.load import load_bridge

FAMILIES = ("gpt2", "gpt_neox", "llama", "gemma2")
TOKENS = torch.tensor([[1, 5, 6, 7, 8, 20, 21], [1, 5, 6, 7, 9, 30, 31]])


def batch_of(tokens):
    """Rows without padding."""
    return Batch(0, torch.arange(len(tokens)), tokens, torch.ones_like(tokens, dtype=torch.bool))


BATCH = batch_of(TOKENS)


def tiny_parts(family, folder):
    """A tiny model with its read-out and its means over `BATCH`."""
    local = local_model(build(family, folder))
    model = load_bridge(local)
    return model, Readout.of(local), overall_means(model, BATCH)


def overall_means(model, batch):
    """Means over the tokens of one batch."""
    sums = writer_sums(model, batch)
    count = int(batch.mask.sum())
    return WriterMeans(sums.z / count, sums.mlp / count)


def repeating_rows(rows=12, seed=0):
    """Rows of a few words each, over and over, so that the planted model predicts what has been said."""
    generator = torch.Generator().manual_seed(seed)
    words = [torch.randperm(VOCAB - 4, generator=generator)[:3] + 4 for _ in range(rows)]
    picked = [one[torch.randint(3, (CONTEXT - 1,), generator=generator)] for one in words]
    return torch.stack([torch.cat([torch.tensor([1]), row]) for row in picked])


def planted_parts(folder):
    """The planted model, its read-out, a batch that repeats itself, and the means over it."""
    local = local_model(plant_heads(folder))
    model = load_bridge(local)
    batch = batch_of(repeating_rows())
    return model, Readout.of(local), batch, overall_means(model, batch)
