"""Many ablations of one prompt at once: every row of a batch has its own part of an ablation.

A variant is some neurons of an ablation, at some positions. Variants of a prompt share all that comes
before the first layer in which one of them changes anything: the prompt runs as one row up to there, then
it becomes as many rows as there are variants.

Source: ablations and frequencies specification, section 10.2, item 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.hooks import ablating, by_layer, require_fit
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.metrics import run_to_the_end
from rwcore.corpora.batches import Batch
from rwcore.neurons import NeuronSet
from rwcore.runtime import counting

CPU_POSITIONS, GPU_POSITIONS = 2048, 16384
"""Positions of a batch of variants, on each kind of device."""


@dataclass(frozen=True)
class Variant:
    """A part of an ablation.

    Attributes:
        places: Which of its neurons, as places in its set, ascending.
        positions: At which positions; None for all.
    """

    places: tuple[int, ...]
    positions: tuple[int, ...] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is left of the ablation."""
        return not self.places or self.positions == ()


@contextmanager
def ablating_rows(
    model: Any,
    ablation: Ablation,
    neurons: Bool[Tensor, "batch neuron"],
    positions: Bool[Tensor, "batch pos"],
) -> Iterator[None]:
    """Ablate, in each row of the batches that run inside the ``with`` block, that row's own part.

    Everything is ablated as `rwcore.ablation.hooks.ablating` does, conditions included; then what the row's
    part does not cover is put back. The conditions of a row depend on that row only, so each runs as if it
    were alone. Passes inside the block must not record gradients.

    Args:
        model: As for `ablating`.
        ablation: The whole of it.
        neurons: Which neurons of the ablation are ablated in each row.
        positions: At which positions.

    Raises:
        OptionError: As `ablating`.
        NotGatedError: As `ablating`.
        ModelError: As `ablating`.
    """
    mlps = require_fit(model, ablation)
    with ExitStack() as stack:
        stack.enter_context(ablating(model, ablation))
        for layer, places in by_layer(ablation):
            device = mlps[layer].W_out.device
            index = torch.from_numpy(ablation.neurons.neuron)[places].to(device)
            rows = _Rows(index, neurons[:, places].to(device), positions.to(device))
            point = mlps[layer].hook_post
            stack.callback(point.register_forward_hook(rows.keep, prepend=True).remove)
            stack.callback(point.register_forward_hook(rows.put_back).remove)
        yield


class _Rows:
    """Puts back, after one layer was ablated, what the parts of the rows do not cover."""

    def __init__(
        self,
        index: Int64[Tensor, " chosen"],
        neurons: Bool[Tensor, "batch chosen"],
        positions: Bool[Tensor, "batch pos"],
    ) -> None:
        self._index, self._neurons, self._positions = index, neurons, positions
        self._kept: Tensor | None = None

    def keep(self, module: Any, arguments: Any, post: Float[Tensor, "*token neuron"]) -> None:
        """Before the ablation, which is in place."""
        self._kept = self._columns(post)

    def put_back(self, module: Any, arguments: Any, post: Float[Tensor, "*token neuron"]) -> None:
        """After it."""
        assert self._kept is not None  # this hook stands behind that of `keep`
        covered = self._neurons[:, None] & self._positions[:, :, None]
        # Some models (OPT) run rows and positions as one.
        covered = covered.reshape(self._kept.shape)
        post.index_copy_(-1, self._index, torch.where(covered, self._columns(post), self._kept))
        self._kept = None

    def _columns(self, values: Tensor) -> Tensor:
        return values.gather(-1, self._index.expand(*values.shape[:-1], len(self._index)))


@torch.no_grad()
def last_hidden(
    model: Any,
    tokens: Sequence[int],
    ablation: Ablation,
    variants: Sequence[Variant],
    *,
    budget: int | None = None,
    desc: str = "variants",
) -> Float[Tensor, "variant d_model"]:
    """What the unembedding reads at the last position of a prompt, under each part of an ablation.

    Variants are stacked along the batch, those that begin in late layers together, so that early layers run
    once for all of them. Another batch shape may move the last digits of a result (SmolLM2's logits by less
    than 1e-5), nothing more.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode.
        tokens: The prompt, one row.
        ablation: The whole ablation.
        variants: Parts of it, in any order.
        budget: Positions of a batch; None for what suits the device. 1 is one variant at a time.
        desc: Name of the progress bar.

    Returns:
        In the order of the variants.

    Raises:
        OptionError: The model does not have one of the neurons.
        NotGatedError: There is a condition and the MLPs have no gate.
        ModelError: As `rwcore.ablation.hooks.ablating` and `rwcore.ablation.metrics.run_to_the_end`.
    """
    require_fit(model, ablation)
    layers = ablation.neurons.layer
    device = next(model.parameters()).device
    most = budget or (CPU_POSITIONS if device.type == "cpu" else GPU_POSITIONS)
    height = max(1, most // len(tokens))
    first = [min((int(layers[place]) for place in one.places), default=0) for one in variants]
    order = sorted(range(len(variants)), key=lambda number: first[number])
    found: dict[int, Tensor] = {}
    with counting(desc=desc, total=len(variants), unit="variant") as count:
        for start in range(0, len(order), height):
            chunk = order[start : start + height]
            hidden = _run(model, tokens, ablation, [variants[number] for number in chunk])
            found.update(zip(chunk, hidden, strict=True))
            count(len(chunk))
    width = int(model.cfg.d_model)
    return torch.stack([found[number] for number in range(len(variants))]) if found else torch.empty(0, width)


def _run(
    model: Any, tokens: Sequence[int], ablation: Ablation, variants: Sequence[Variant]
) -> Float[Tensor, "variant d_model"]:
    """One batch of variants."""
    used = sorted({place for one in variants for place in one.places})
    column = {place: number for number, place in enumerate(used)}
    neurons = torch.zeros(len(variants), len(used), dtype=torch.bool)
    positions = torch.ones(len(variants), len(tokens), dtype=torch.bool)
    for row, one in enumerate(variants):
        neurons[row, [column[place] for place in one.places]] = True
        if one.positions is not None:
            positions[row] = False
            positions[row, list(one.positions)] = True
    part = part_of(ablation, used)
    layer = min(part.neurons.layer.tolist(), default=0)
    # The distances of ALiBi are made once for all layers, for as many rows as the model is given.
    alibi = getattr(model.cfg, "positional_embedding_type", None) == "alibi"
    with ExitStack() as stack:
        if not alibi:
            stack.callback(_grow(model.blocks[layer], len(variants)).remove)
        stack.enter_context(ablating_rows(model, part, neurons, positions))
        ending = run_to_the_end(model, one_prompt(tokens, len(variants) if alibi else 1))
    return ending.hidden[:, -1]


def _grow(block: Any, rows: int) -> Any:
    """From this block on, one row is as many."""

    def hook(module: Any, arguments: Any, stream: Float[Tensor, "1 pos d_model"]) -> Tensor:
        return stream.expand(rows, -1, -1).contiguous()

    return block.hook_in.register_forward_hook(hook)


def one_prompt(tokens: Sequence[int], rows: int = 1) -> Batch:
    """A prompt as a batch, perhaps several times."""
    repeated = torch.tensor([list(tokens)] * rows, dtype=torch.int64)
    return Batch(0, torch.arange(rows), repeated, torch.ones_like(repeated, dtype=torch.bool))


def part_of(ablation: Ablation, places: Sequence[int]) -> Ablation:
    """The same ablation of some of its neurons, given as places in its set."""
    chosen = list(places)
    given = ablation.neurons
    return replace(
        ablation,
        neurons=NeuronSet(given.name, given.layer[chosen], given.neuron[chosen]),
        signs=ablation.signs[chosen],
        values=None if ablation.values is None else ablation.values[chosen],
    )
