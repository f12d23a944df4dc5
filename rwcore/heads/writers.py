r"""What writes to the residual stream, heads and MLPs, and what each of them writes on average.

Mean ablation puts the mean in place of what a writer adds. There are two published baselines, and they give
different numbers: one vector over all tokens of a corpus (``overall``), or one for each position over rows of
equal length (``position``). Zero ablation takes away all that is added; the mean is then zero (``zero``).

Source: copy suppression specification, section 4.1; section 17, traps 13 and 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads.run import MLP, LayerParts, decoder_blocks, output_matrices, run_heads

OVERALL, POSITION, ZERO = "overall", "position", "zero"
BASELINES = (OVERALL, POSITION, ZERO)


@dataclass(frozen=True, order=True)
class Writer:
    """A head or an MLP.

    Attributes:
        layer: Its layer.
        head: Number of the head; None for the MLP of the layer.
    """

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"MLP {self.layer}" if self.head is None else f"{self.layer}.{self.head}"


def every_writer(layers: int, heads: int) -> list[Writer]:
    """All heads, layer by layer, then the MLPs.

    Args:
        layers: Layers of the model.
        heads: Heads of a layer.
    """
    found = [Writer(layer, head) for layer in range(layers) for head in range(heads)]
    return found + [Writer(layer) for layer in range(layers)]


def require_writers(model: Any, writers: list[Writer]) -> None:
    """Check that a model has some writers.

    Raises:
        OptionError: It has not.
        ModelError: The model is no decoder.
    """
    layers, heads = len(decoder_blocks(model)), output_matrices(model, 0).shape[0]
    there = {*every_writer(layers, heads)}
    wrong = [str(one) for one in writers if one not in there]
    if wrong:
        raise OptionError(
            f"the model has no {', '.join(wrong)}",
            where="heads",
            remedy=f"give layers from 0 to {layers - 1} and heads from 0 to {heads - 1}, such as 0.0",
        )


@dataclass(frozen=True, eq=False)
class WriterMeans:
    """What takes the place of what writers add: a vector for each of them, or one for each position.

    Attributes:
        z: Mean z of each head, as of `rwcore.heads.run.LayerParts`.
        mlp: Mean of what each MLP adds.
    """

    z: Float[Tensor, "layer *pos head d_head"]
    mlp: Float[Tensor, "layer *pos d_model"]

    @classmethod
    def zero(cls, model: Any) -> WriterMeans:
        """Nothing in place of anything: zero ablation."""
        layers = len(decoder_blocks(model))
        heads, d_head, d_model = output_matrices(model, 0).shape
        return cls(torch.zeros(layers, heads, d_head), torch.zeros(layers, d_model))

    def to(self, device: str | torch.device) -> WriterMeans:
        """The same on a device, as float32."""
        return WriterMeans(self.z.to(device).float(), self.mlp.to(device).float())

    def of_layer(
        self, layer: int, positions: int
    ) -> tuple[Float[Tensor, "*pos head d_head"], Float[Tensor, "*pos d_model"]]:
        """What replaces z and the MLP of a layer, for rows of so many positions.

        Raises:
            OptionError: There are means for each position, and not for so many.
        """
        if self.mlp.ndim == 2:
            return self.z[layer], self.mlp[layer]
        if positions > self.mlp.shape[1]:
            raise OptionError(
                f"rows of {positions} tokens, and means of {self.mlp.shape[1]} positions",
                where="--means position",
                remedy="use --means overall, or shorter rows",
            )
        return self.z[layer, :positions], self.mlp[layer, :positions]


def writer_sums(model: Any, batch: Batch, baseline: str = OVERALL) -> WriterMeans:
    """Sums over the tokens of a batch, or over its rows at each position, in float64.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        baseline: ``overall`` or ``position``.

    Raises:
        OptionError: Means by position are asked of rows of different lengths.
    """
    if baseline == POSITION and not bool(batch.mask.all()):
        raise OptionError(
            "the rows have different lengths, so that late positions would have the mean of few rows",
            where="--means position",
            remedy="use --means overall, or a corpus in full rows",
        )
    z: list[Tensor] = []
    mlp: list[Tensor] = []

    def visit(parts: LayerParts) -> None:
        assert parts.mlp is not None
        mask = batch.mask.to(parts.z.device)
        for values, kept in ((parts.z, z), (parts.mlp, mlp)):
            chosen = values if baseline == POSITION else values[mask]
            kept.append(chosen.double().sum(dim=0))

    run_heads(model, batch, visit, parts=(MLP,))
    return WriterMeans(torch.stack(z), torch.stack(mlp))
