"""What is kept of a batch for probes: every neuron's activation at the examples, as float16.

One forward pass serves all data sets over a corpus. A token that is an example of several of them is kept
once; of examples that are rows, the pooled activations of each data set are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float16, Float32, Int64
from torch import Tensor

from rwcore.activations.capture import run_layers
from rwcore.corpora.batches import Batch
from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED, MEAN
from rwcore.probing.errors import ProbeError

TOKENS, ROWS = "tokens", "rows"
PLACE = "place"

# The first number that rounds to infinity: half a step above the largest, 65504.
_BEYOND = 65520.0


@dataclass(frozen=True, eq=False)
class Pooling:
    """How the tokens of a row become one example.

    Attributes:
        name: Name of the data set.
        aggregation: ``mean`` or ``max``.
        valid: Which tokens of the corpus are pooled.
    """

    name: str
    aggregation: str
    valid: Bool[Tensor, " token"]


@dataclass(frozen=True, eq=False)
class ExampleSelection:
    """What is kept of a pass.

    Attributes:
        corpus: The rows.
        token: Places in ``corpus.tokens`` of all examples that are tokens, ascending, each once.
        pooled: The data sets whose examples are the rows.
        layers: The layers, ascending.
        convention: ``fixed``, or ``as_published``: means are sums of float16 numbers over their count, in
            float16, and a maximum is taken with −1 at the tokens that are not valid (harmless for GELU, whose
            values are above −0.17, not for gated models).
    """

    corpus: TokenCorpus
    token: Int64[Tensor, " example"]
    pooled: tuple[Pooling, ...]
    layers: tuple[int, ...]
    convention: str = FIXED

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows a model has to read, ascending."""
        if self.pooled:
            return torch.arange(len(self.corpus))
        rows: Tensor = torch.unique(torch.searchsorted(self.corpus.offsets, self.token, right=True) - 1)
        return rows

    def tokens_in(self, place: Int64[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        """Which of some places in ``corpus.tokens`` are examples."""
        if not len(self.token):
            return torch.zeros_like(place, dtype=torch.bool)
        near = torch.searchsorted(self.token, place).clamp(max=len(self.token) - 1)
        return self.token[near] == place


def run_examples(model: Any, batch: Batch, selection: ExampleSelection) -> dict[str, Tensor]:
    """Run a batch through a model as far as needed, and keep the activations at the examples.

    The activation is post = act(gate) · in, or act where there is no gate.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, with gates or without.
        batch: Rows of the corpus of the selection.
        selection: What is kept.

    Returns:
        On the CPU: ``tokens/place`` [example], places of the examples that are tokens, and their activations
        ``tokens/LAYER`` [example neuron]; ``rows/place`` [batch], numbers of the rows, and of each pooled
        data set ``rows/NAME/LAYER`` [batch neuron]. Activations are float16.

    Raises:
        ProbeError: A value is not finite or has no place in float16; layer, neuron, document and position are
            named.
        ModelError: See `rwcore.activations.capture.run_layers`.
    """
    device, corpus = next(model.parameters()).device, selection.corpus
    place = corpus.offsets[batch.rows][:, None] + torch.arange(batch.tokens.shape[1])
    chosen = (selection.tokens_in(place) & batch.mask).flatten().nonzero()[:, 0]
    valid = {
        one.name: (one.valid[place.clamp(max=corpus.n_tokens - 1)] & batch.mask).to(device)
        for one in selection.pooled
    }
    at = chosen.to(device)
    kept: dict[str, Tensor] = {}
    if len(selection.token):
        kept[f"{TOKENS}/{PLACE}"] = place.flatten()[chosen]
    if selection.pooled:
        kept[f"{ROWS}/{PLACE}"] = batch.rows

    def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
        if len(selection.token):
            values = act.flatten(0, 1)[at].float() * in_.flatten(0, 1)[at].float()
            half, bad = _half(values)
            if bad is not None:
                raise _unfit(selection, layer, bad[1], int(place.flatten()[chosen[bad[0]]]), values[bad])
            kept[f"{TOKENS}/{layer}"] = half.cpu()
        post = act.float() * in_.float() if selection.pooled else act
        for one in selection.pooled:
            pooled = pool(post, valid[one.name], one.aggregation, selection.convention)
            half, bad = _half(pooled)
            if bad is not None:
                worst = _largest(post[bad[0], :, bad[1]], valid[one.name][bad[0]])
                raise _unfit(selection, layer, bad[1], int(place[bad[0], worst]), pooled[bad])
            kept[f"{ROWS}/{one.name}/{layer}"] = half.cpu()

    run_layers(model, batch, visit, layers=selection.layers, plain=True)
    return kept


def pool(
    post: Float32[Tensor, "batch pos neuron"],
    valid: Bool[Tensor, "batch pos"],
    aggregation: str,
    convention: str = FIXED,
) -> Float32[Tensor, "batch neuron"]:
    """The mean or maximum over the valid tokens of each row, each row having one at least.

    Args:
        post: Activations; what is not valid may hold anything.
        valid: Which tokens count.
        aggregation: ``mean`` or ``max``.
        convention: See `ExampleSelection.convention`.

    Source: sparse probing 4.
    """
    published, outside = convention == AS_PUBLISHED, ~valid[..., None]
    if aggregation != MEAN:
        return post.masked_fill(outside, -1.0 if published else -torch.inf).amax(dim=1)
    counts = valid.sum(dim=1, keepdim=True)
    if published:
        return (post.half().masked_fill(outside, 0).sum(dim=1) / counts.half()).float()
    return post.masked_fill(outside, 0).sum(dim=1) / counts


def select(
    corpus: TokenCorpus,
    tokens: Sequence[Tensor],
    pooled: Mapping[str, tuple[str, Bool[Tensor, " token"]]],
    layers: Sequence[int],
    convention: str = FIXED,
) -> ExampleSelection:
    """What several data sets over one corpus need together.

    Args:
        corpus: The rows.
        tokens: Places in ``corpus.tokens`` of the examples of each data set of tokens, int64.
        pooled: Of each data set of rows, by its name, the aggregation and the tokens that are valid.
        layers: The layers.
        convention: See `ExampleSelection.convention`.
    """
    token = torch.unique(torch.cat([torch.zeros(0, dtype=torch.int64), *tokens]))
    poolings = tuple(Pooling(name, *pooled[name]) for name in sorted(pooled))
    return ExampleSelection(corpus, token, poolings, tuple(sorted({*layers})), convention)


def _half(
    values: Float[Tensor, "example neuron"],
) -> tuple[Float16[Tensor, "example neuron"], tuple[int, int] | None]:
    """The values as float16, and where the first one is that has no place there."""
    half = values.half()
    # Extremes of float32 cost a tenth of looking at every float16; NaN is an extreme, too.
    low, high = values.aminmax() if values.numel() else (values.new_zeros(()), values.new_zeros(()))
    if bool((low > -_BEYOND) & (high < _BEYOND)):
        return half, None
    example, neuron = (~half.isfinite()).nonzero()[0].tolist()
    return half, (example, neuron)


def _largest(values: Float[Tensor, " pos"], valid: Bool[Tensor, " pos"]) -> int:
    """The position of the first value that is not finite, or else of the largest."""
    sizes = values.abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    return int(torch.where(valid, sizes, -1).argmax())


def _unfit(selection: ExampleSelection, layer: int, neuron: int, place: int, value: Tensor) -> ProbeError:
    corpus, number = selection.corpus, float(value)
    row = int(torch.searchsorted(corpus.offsets, place, right=True)) - 1
    finite = abs(number) < float("inf")
    return ProbeError(
        f"an activation is {number:g}"
        + (", which is beyond the largest number of float16, 65504" if finite else ""),
        where=f"layer {layer}, neuron {neuron}, document {int(corpus.document[row])} of {corpus.spec.id} "
        f"(row {row}), position {place - int(corpus.offsets[row])}",
        remedy="leave out this layer or this text"
        if finite
        else "the weights are damaged, or the type of the numbers is too narrow: try float32",
    )
