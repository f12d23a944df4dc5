"""A layer with planted neurons and the tasks they know, for tests of what probes a whole layer."""

from __future__ import annotations

import torch
from jaxtyping import Float16
from torch import Tensor

from rwcore.probing.splits import deal_groups, published_split, split_feature
from rwcore.probing.tasks import ProbeTask


def planted_layer(
    *,
    examples: int = 600,
    neurons: int = 24,
    features: int = 3,
    shift: float = 3.0,
    labelled: float = 0.8,
    document: int = 4,
    published: bool = False,
    seed: int = 0,
) -> tuple[Float16[Tensor, "example neuron"], list[ProbeTask]]:
    """Activations like those of a model, and tasks whose neurons are known.

    Feature f is carried by neuron ``planted_neuron(f)``, which is higher in its positive examples.

    Args:
        examples: How many.
        neurons: How many; sizes differ by powers of ten.
        features: How many, each over another choice of examples.
        shift: By how many standard deviations a planted neuron is higher.
        labelled: Share of the examples that a feature labels.
        document: Examples of each document.
        published: Split as published, without validation.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(examples) // document
    part = deal_groups(group, seed=seed)
    x = torch.randn(examples, neurons, generator=generator)
    tasks = []
    for number in range(features):
        chosen = torch.rand(examples, generator=generator) < labelled
        example = chosen.nonzero()[:, 0]
        label = torch.rand(len(example), generator=generator) < 0.3
        x[example[label], planted_neuron(number)] += shift
        name = f"feature {number}"
        split = published_split(label) if published else split_feature(part, example, label, name=name)
        tasks.append(ProbeTask("planted", "test", name, example, label, group[example], split))
    sizes = torch.logspace(-1, 1, neurons)[torch.randperm(neurons, generator=generator)]
    return (torch.nn.functional.silu(x) * sizes).to(torch.float16), tasks


def planted_neuron(feature: int) -> int:
    """The neuron that carries a feature."""
    return 3 * feature + 1
