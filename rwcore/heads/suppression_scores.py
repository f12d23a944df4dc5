r"""How much groups of heads and of neurons suppress what is already predicted, beside random groups.

With c of `rwcore.heads.suppression`, N positions, and only cells (position and layer) where the predicted
token is of the kinds that are asked for, a group g has

    S_g = -1/N Σ_cells Σ_{w in g} min(c_w, 0) ,    net_g = 1/N Σ_cells Σ_{w in g} c_w ,

    together_g = -1/N Σ_cells min(Σ_{w in g} c_w, 0) ,    against_g = S_g / (net_g + 2 S_g) ,

the last being the part of all it writes to predicted tokens, Σ|c|, that is against them. S adds up, but
writers without any preference have it too: half of what they write. ``together`` lets them cancel each other,
and ``against`` does not depend on how much they write.

Chance is a random group with as many members in each layer: E_g = Σ_ℓ m_ℓ S̄_ℓ with S̄_ℓ the mean over all
writers of the layer, exactly; its spread by draws without replacement. ``ratio`` is S_g / E_g.

A *negative head* has net < 0. It is chosen on one half of the documents and measured on the other, each half
in turn, so that nothing is chosen by what it is judged by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, SEED
from rwcore.heads.suppression import KINDS, Suppression

_CHUNK = 100
"""Draws of random groups that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What groups write, summed over the cells of each document, and what random groups are expected to.

    Attributes:
        own: Of the groups: -Σ min(c, 0), Σ c, and -Σ min(Σ_group c, 0).
        expected: The first two of them of random groups.
        counts: Positions of each document.
    """

    own: Float64[np.ndarray, "document group 3"]
    expected: Float64[np.ndarray, "document group 2"]
    counts: Int64[np.ndarray, " document"]


@dataclass(frozen=True)
class SuppressionScores:
    """What was measured on a corpus, as far as some kinds of predicted tokens go.

    Attributes:
        found: Of all positions.
        document: Number of the document of each position.
        kinds: Of `rwcore.heads.suppression.KINDS`.
        width: Neurons of each class in each layer, the undefined ones last.
    """

    found: Suppression
    document: Int64[Tensor, " token"]
    kinds: Collection[str]
    width: Int64[Tensor, "layer class"]
    draws: int = field(default=DRAWS, kw_only=True)

    @cached_property
    def place(self) -> Int64[Tensor, " token"]:
        """Which of the documents, from 0, each position belongs to."""
        place: Tensor = torch.unique(self.document, return_inverse=True)[1]
        return place

    @cached_property
    def half(self) -> Int64[Tensor, " token"]:
        """Half of each position's document: documents belong to the one and the other in turn."""
        return self.place % 2

    @cached_property
    def counts(self) -> Int64[np.ndarray, " document"]:
        """Positions of each document."""
        return torch.bincount(self.place).numpy()

    @cached_property
    def chosen(self) -> Bool[Tensor, "token layer"]:
        """The cells that count."""
        codes = torch.tensor([KINDS.index(one) for one in self.kinds], dtype=torch.int8)
        return torch.isin(self.found.kind, codes)

    @cached_property
    def head_sums(self) -> Float64[Tensor, "measure half layer head"]:
        """-Σ min(c, 0) and Σ c of each head over the cells of each half."""
        written = self.found.heads * self.chosen[..., None]
        sums = torch.zeros(2, 2, *written.shape[1:], dtype=torch.float64)
        for number, values in enumerate((-written.clamp(max=0), written)):
            sums[number].index_add_(0, self.half, values.double())
        return sums

    @cached_property
    def negative(self) -> Bool[Tensor, "half layer head"]:
        """The negative heads that are measured on each half: chosen on the other."""
        return (self.head_sums[1] < 0).flip(0)

    @cached_property
    def neuron_sums(self) -> Float64[Tensor, "measure layer neuron"]:
        """-Σ min(c, 0) and Σ c of each neuron."""
        codes = [KINDS.index(one) for one in self.kinds]
        sums = self.found.neurons[:, codes].sum(dim=1)
        return torch.stack([-sums[0], sums[1]])

    def of_heads(self, groups: Sequence[Bool[Tensor, "half layer head"]]) -> Sums:
        """Sums of groups of heads, each of which may be another one on each half of the documents."""
        written = self.found.heads * self.chosen[..., None]
        size = torch.stack([group.sum(dim=2) for group in groups], dim=2).double()
        parts = []
        for group in groups:
            mine = written * group[self.half]
            parts.append(self._cells(-mine.clamp(max=0).sum(dim=2), mine.sum(dim=2)))
        everything = torch.stack([-written.clamp(max=0).sum(dim=2), written.sum(dim=2)], dim=2).double()
        share = size[self.half] / written.shape[2]
        return self._sums(parts, torch.einsum("tlm,tlg->tgm", everything, share))

    def of_neurons(self, groups: Sequence[Collection[int]]) -> Sums:
        """Sums of groups of neurons: of classes, by their codes."""
        against, net = (values * self.chosen[..., None] for values in (self.found.against, self.found.net))
        share = torch.stack([self.group_size(group) for group in groups], dim=1) / self.layer_width[:, None]
        parts = [
            self._cells(-against[..., [*group]].sum(dim=2), net[..., [*group]].sum(dim=2)) for group in groups
        ]
        everything = torch.stack([-against.sum(dim=2), net.sum(dim=2)], dim=2).double()
        return self._sums(parts, torch.einsum("tlm,lg->tgm", everything, share))

    def group_size(self, group: Collection[int]) -> Float64[Tensor, " layer"]:
        """Neurons of some classes in each layer."""
        return self.width[:, [*group]].sum(dim=1).double()

    @property
    def layer_width(self) -> Float64[Tensor, " layer"]:
        """Neurons of each layer."""
        return self.width.sum(dim=1).double()

    def random_heads(
        self, groups: Sequence[Bool[Tensor, "half layer head"]]
    ) -> Float64[np.ndarray, "draw group 2"]:
        """-Σ min(c, 0) and Σ c of random heads, as many of each layer."""
        sizes = torch.stack([group.sum(dim=2).flatten() for group in groups])
        return random_sums(self.head_sums.flatten(1, 2).numpy(), sizes.numpy(), draws=self.draws)

    def random_neurons(self, groups: Sequence[Collection[int]]) -> Float64[np.ndarray, "draw group 2"]:
        """-Σ min(c, 0) and Σ c of random neurons, as many of each layer."""
        sizes = torch.stack([self.group_size(group).long() for group in groups])
        return random_sums(self.neuron_sums.numpy(), sizes.numpy(), draws=self.draws)

    def _cells(self, suppression: Tensor, net: Tensor) -> Float64[Tensor, "token 3"]:
        """Sums over the layers of what a group writes in each cell."""
        together = -net.clamp(max=0)
        return torch.stack([part.double().sum(dim=1) for part in (suppression, net, together)], dim=1)

    def _sums(self, parts: Sequence[Tensor], expected: Tensor) -> Sums:
        own = torch.stack([*parts], dim=1)
        return Sums(self._by_document(own).numpy(), self._by_document(expected).numpy(), self.counts)

    def _by_document(self, values: Tensor) -> Tensor:
        sums = torch.zeros(len(self.counts), *values.shape[1:], dtype=torch.float64)
        return sums.index_add_(0, self.place, values.double())


def random_sums(
    values: Float64[np.ndarray, "measure stratum member"],
    sizes: Int64[np.ndarray, "group stratum"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Float64[np.ndarray, "draw group measure"]:
    """Sums over random members, drawn without replacement within each stratum.

    A draw orders each stratum at random, and every group takes the first of it: groups of one draw are not
    independent of each other, draws are.

    Args:
        values: Of every member.
        sizes: How many members of each stratum a group has.
        draws: How many.
        seed: Of the generator.
    """
    found = np.zeros((draws, len(sizes), len(values)))
    width = values.shape[2]
    for stratum, size in enumerate(sizes.T):
        most = int(size.max(initial=0))
        if not most:
            continue
        # Of its own, so that the draws for a group do not depend on which other groups are asked for.
        generator = np.random.default_rng([seed, stratum])
        for start in range(0, draws, _CHUNK):
            count = min(_CHUNK, draws - start)
            order = generator.permuted(np.tile(np.arange(width), (count, 1)), axis=1)[:, :most]
            running = values[:, stratum][:, order].cumsum(axis=2)
            running = np.concatenate([np.zeros_like(running[..., :1]), running], axis=2)
            found[start : start + count] += running[..., size].transpose(1, 2, 0)
    return found


def against(sums: Float64[np.ndarray, "*more measure"]) -> Float64[np.ndarray, "*more"]:
    """The part of Σ|c| that is negative, from -Σ min(c, 0) and Σ c; NaN where nothing is written."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = sums[..., 0] / (sums[..., 1] + 2 * sums[..., 0])
    return found
