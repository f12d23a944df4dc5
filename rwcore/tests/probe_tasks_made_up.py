"""Features of made-up activations for tests of curves, tables and figures."""

from __future__ import annotations

import torch
from jaxtyping import Float16
from torch import Tensor

from rwcore.probing.splits import deal_groups, published_split, split_feature
from rwcore.probing.tasks import ProbeTask


def made_up(
    examples: int = 500,
    neurons: int = 24,
    true: tuple[int, ...] = (3, 11),
    *,
    shift: float = 2.5,
    per_document: int = 5,
    convention: str = "fixed",
    name: str = "planted",
    family: str = "text",
    seed: int = 0,
) -> tuple[Float16[Tensor, "labelled neuron"], ProbeTask]:
    """Activations of which some neurons are higher at positive examples, each less than the one before."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(examples, generator=generator) < 0.3
    label[:2] = torch.tensor([True, False])
    x = torch.randn(examples, neurons, generator=generator)
    for place, neuron in enumerate(true):
        x[label, neuron] += shift * 0.9**place
    group = torch.arange(examples) // per_document
    example = torch.arange(examples)
    split = (
        split_feature(deal_groups(group, seed=seed), example, label)
        if convention == "fixed"
        else published_split(label)
    )
    task = ProbeTask("made-up", family, name, example, label, group, split)
    return (x * torch.sigmoid(1.702 * x)).to(torch.float16), task
