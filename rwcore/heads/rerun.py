"""Run a model again from a layer on, with other values of heads: several ablations in one pass.

What enters the layer is known from a clean pass. Ablations of one layer are stacked along the batch axis:
each copy of the batch has its own z, and copies follow one another.

Source: self-repair specification, section 7; copy suppression specification, section 4.1 (total effects).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.ablation.prefix import BlockOutput, skipping
from rwcore.corpora.batches import Batch
from rwcore.heads.run import Final, Visit, decoder_blocks, replacing, require_layers, run_heads

NewZ = Callable[[Float[Tensor, "batch pos head d_head"]], Float[Tensor, "batch pos head d_head"]]
"""Gives the (raw) z that a copy goes on with, from that of the clean pass, which it must not change."""


@contextmanager
def entering(model: Any, layers: Collection[int]) -> Iterator[Mapping[int, BlockOutput]]:
    """Keep what enters some layers in a pass that is run inside the ``with`` block, for `rerun`.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        layers: Which; layer 0 is left out, for it is run from the embedding on.

    Raises:
        OptionError: The model has no such layer.
        ModelError: It is no decoder.
    """
    require_layers(model, layers)
    blocks, found = decoder_blocks(model), dict[int, BlockOutput]()

    def keep(module: Any, arguments: Any, output: Any, *, layer: int) -> None:
        found[layer] = BlockOutput.of(output)

    with ExitStack() as stack:
        for layer in sorted({*layers} - {0}):
            handle = blocks[layer - 1].register_forward_hook(partial(keep, layer=layer))
            stack.callback(handle.remove)
        yield found


@contextmanager
def copies_from(
    model: Any, batch: Batch, copies: int, layer: int, before: BlockOutput | None
) -> Iterator[Batch]:
    """Copies of a batch, stacked; passes over them inside the ``with`` block begin at a layer.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        copies: How many.
        layer: The first that is computed.
        before: What the block before it returned for the batch; None for layer 0.
    """
    with ExitStack() as stack:
        if before is not None:
            known = BlockOutput(before.hidden.repeat(copies, 1, 1), before.members)
            stack.enter_context(skipping(model, layer, known))
        tokens, mask = (values.repeat(copies, 1) for values in (batch.tokens, batch.mask))
        yield Batch(batch.number, batch.rows.repeat(copies), tokens, mask)


def rerun(
    model: Any,
    batch: Batch,
    layer: int,
    before: Mapping[int, BlockOutput],
    changes: Sequence[NewZ],
    visit: Visit | None = None,
    *,
    parts: Collection[str] = (),
    hooks: Collection[tuple[str, Callable[..., Any]]] = (),
) -> Final:
    """Run a batch from a layer on, once for each change of this layer's heads, in one pass.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        layer: The layer whose z is changed, at all positions together.
        before: What `entering` kept of a pass over the batch.
        changes: One for each copy.
        visit: Called for this layer and each later one, with all copies.
        parts: See `rwcore.heads.run.run_heads`.
        hooks: Further hooks, which see all copies.

    Returns:
        The end of the pass, with all copies.

    Raises:
        OptionError: The model has no such layer.
        ModelError: As `rwcore.heads.run.run_heads`.
    """

    def change(z: Tensor) -> Tensor:
        return torch.cat([new(one) for new, one in zip(changes, z.chunk(len(changes)), strict=True)])

    with copies_from(model, batch, len(changes), layer, before.get(layer)) as stacked:
        return run_heads(
            model,
            stacked,
            visit,
            parts=parts,
            layers=range(layer, len(decoder_blocks(model))),
            hooks=[*hooks, replacing(layer, change)],
        )
