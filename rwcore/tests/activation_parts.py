"""Random batches of gates and inputs with ties, zeros and padding, for the tests of the activation pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.artefact import Activations
from rwcore.activations.groups import GROUPS, group_of
from rwcore.activations.statistics import LayerStatistics

IDENTITY = {"model": "tiny", "corpus": "sha256:00"}

Part = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def quadrants(gate: Tensor, in_: Tensor, mask: Tensor | None = None) -> Tensor:
    """In which quadrant each neuron is at each token, [quadrant *token neuron], from the signs alone."""
    gate_signs, in_signs = (gate > 0, gate < 0), (in_ > 0, in_ < 0)
    inside = torch.stack([gate_side & in_side for gate_side in gate_signs for in_side in in_signs])
    return inside if mask is None else inside & mask[..., None]


def random_batch(seed: int, n_batch: int = 4, n_pos: int = 9, n_neurons: int = 70) -> Part:
    """gate, in, act, mask, rows, groups."""
    generator = torch.Generator().manual_seed(seed)
    # Halves: ties in every list, and zeros.
    gate, in_ = (
        (torch.randn(n_batch, n_pos, n_neurons, generator=generator) * 4).round() / 2 for _ in range(2)
    )
    in_ *= 1 + torch.rand(n_neurons, generator=generator)
    lengths = torch.randint(1, n_pos + 1, (n_batch, 1), generator=generator)
    mask = torch.arange(n_pos)[None] < lengths
    rows = seed * n_batch + torch.randperm(n_batch, generator=generator)
    return gate, in_, torch.nn.functional.silu(gate), mask, rows, group_of(rows)


def same(left: LayerStatistics, right: LayerStatistics) -> bool:
    """Whether two statistics are the same bits."""
    pairs = zip(left.to_arrays().values(), right.to_arrays().values(), strict=True)
    return left.tokens == right.tokens and all(torch.equal(one, other) for one, other in pairs)


def same_all(left: Activations, right: Activations) -> bool:
    """Whether two artefacts are the same but for the shards they are made of."""
    facts = [
        (part.identity, part.batches, part.rows, part.group_tokens, len(part.layers))
        for part in (left, right)
    ]
    return facts[0] == facts[1] and all(map(same, left.layers, right.layers))


def activations(
    batches: Iterable[int], shard: tuple[int, int] = (0, 1), k: int = 3, n_layers: int = 2
) -> Activations:
    """A small pass; its batch ``b`` is the random batch with seed ``b``, times l + 1 in layer ``l``."""
    numbers = tuple(sorted(batches))
    accumulator = ActivationAccumulator(n_layers, 6, k)
    rows, group_tokens = 0, torch.zeros(GROUPS, dtype=torch.int64)
    for number in numbers:
        gate, in_, act, mask, where, groups = random_batch(number, n_neurons=6)
        rows += len(where)
        group_tokens.index_add_(0, groups, mask.sum(dim=1))
        for layer, one in enumerate(accumulator.layers):
            one.update(gate * (layer + 1), in_ * (layer + 1), act, mask, where, groups)
    return Activations(
        IDENTITY, (shard,), numbers, rows, accumulator.statistics(), tuple(group_tokens.tolist())
    )
