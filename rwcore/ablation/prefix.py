"""Leave out the first layers of a model: what they give is known from another pass over the same batch.

A neuron that is ablated in layer ℓ changes nothing before it. So the residual stream that enters layer ℓ is
that of a clean pass, which runs that begin at ℓ or later can share, bit for bit.

Source: ablations specification, section 10.2, item 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError


@dataclass(frozen=True, eq=False)
class BlockOutput:
    """What a block hands on to the next one.

    Attributes:
        hidden: The residual stream after the block, padding included.
        members: Blocks of some families return a tuple, and this is its length; 0 for the tensor itself.
            What follows the residual stream (attention patterns) no pass reads, and it is not kept.
    """

    hidden: Float[Tensor, "batch pos d_model"]
    members: int

    @classmethod
    def of(cls, output: Any) -> BlockOutput:
        """From what a block returned."""
        return cls(output[0], len(output)) if isinstance(output, tuple) else cls(output, 0)

    def as_returned(self) -> Tensor | tuple[Tensor | None, ...]:
        """As a block of this family returns it."""
        if self.members == 0:
            return self.hidden
        return (self.hidden, *(None,) * (self.members - 1))


@contextmanager
def skipping(model: Any, layers: int, output: BlockOutput) -> Iterator[None]:
    """Do not compute the first blocks of a model in forward passes inside the ``with`` block.

    Each of them returns at once what the last of them returned in another pass, so that everything after it
    sees what it would have seen. Blocks are not taken out: windows and caches go by the number of a layer.
    Embeddings and rotary tables are computed as ever. In half precision, where a pass keeps keys and values
    (see `rwcore.activations.forward.run_hooks`), those of skipped layers are not there afterwards.

    Hooks within skipped blocks do not fire: neurons there cannot be ablated or seen.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed: ``blocks``).
        layers: How many blocks are skipped.
        output: What block ``layers - 1`` returned for the batch that is run, see `run_first_layers`.

    Raises:
        OptionError: The model has not so many layers, or it is none.
        ModelError: (Inside the block) the batch has another shape than ``output``.
    """
    blocks = _blocks(model, layers)

    def known(*arguments: Any, **options: Any) -> Tensor | tuple[Tensor | None, ...]:
        given = arguments[0] if arguments else options["hidden_states"]
        if given.shape != output.hidden.shape:
            raise ModelError(
                f"the batch has shape {list(given.shape)}, and the known residual stream "
                f"{list(output.hidden.shape)}",
                where=f"the first {layers} layers",
                remedy="skip layers with what they gave for the same batch",
            )
        return output.as_returned()

    with ExitStack() as stack:
        for block in blocks:
            before = vars(block).get("forward")
            # Not `block.forward = …`: a bridge hands attributes on to the module that it wraps.
            object.__setattr__(block, "forward", known)
            if before is None:
                stack.callback(object.__delattr__, block, "forward")
            else:
                stack.callback(partial(object.__setattr__, block, "forward", before))
        yield


def run_first_layers(model: Any, batch: Batch, layers: int) -> BlockOutput:
    """Run a batch through the first layers of a model only.

    Args:
        model: As for `skipping`; layers that are skipped in turn are not computed here either.
        batch: Tokens, padded on the right; padding is hidden from attention.
        layers: How many.

    Returns:
        What block ``layers - 1`` returned, on the model's device and in its type.

    Raises:
        OptionError: The model has not so many layers, or it is none.
        ModelError: The block was not reached.
    """
    held: list[BlockOutput] = []

    def finish(module: Any, arguments: Any, output: Any) -> None:
        held.append(BlockOutput.of(output))
        raise Finished

    handle = _blocks(model, layers)[-1].register_forward_hook(finish)
    try:
        run_hooks(model, batch, [])
    finally:
        handle.remove()
    if not held:
        raise ModelError(
            "the block was not reached",
            where=f"blocks.{layers - 1} of {model.cfg.model_name}",
            remedy="prefixes need a decoder whose layers run one after another",
        )
    return held[0]


def _blocks(model: Any, layers: int) -> list[Any]:
    """The first blocks of a model."""
    blocks = list(getattr(model, "blocks", None) or ())
    if not 1 <= layers <= len(blocks):
        raise OptionError(
            f"the first {layers} layers are asked of a model that has {len(blocks)}",
            where="layers",
            remedy=f"give 1 to {len(blocks)}" if blocks else "use a decoder with one stack of layers",
        )
    return blocks[:layers]
