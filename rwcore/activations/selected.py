"""Some neurons at some tokens: what is kept of a pass when most of it is not wanted.

One forward pass of a batch serves all neurons. Of some rows (the sample) every neuron's values are kept; of
other rows only spans, each wanted by one neuron.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.capture import run_layers
from rwcore.corpora.batches import Batch

ABSENT = -1
KEPT = ("gate", "in", "act")
"""The quantities that are kept; post is ``act · in``."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What is kept.

    Attributes:
        neurons: Layer and number of each neuron, sorted, each once.
        rows: Rows of the sample, ascending.
        spans: Place (in ``neurons``), row, start and end of each span, sorted; those of one neuron and row do
            not overlap, and none is in a row of the sample.
    """

    neurons: Int64[Tensor, "neuron 2"]
    rows: Int64[Tensor, " row"]
    spans: Int64[Tensor, "span 4"]

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows a model has to read, ascending."""
        needed: Tensor = torch.unique(torch.cat([self.rows, self.spans[:, 1]]))
        return needed

    def spans_in(self, rows: Int64[Tensor, " batch"]) -> Int64[Tensor, "span 4"]:
        """The spans in the rows of a batch, in the order of all spans."""
        return self.spans[torch.isin(self.spans[:, 1], rows)]

    def sampled_in(self, rows: Int64[Tensor, " batch"]) -> Int64[Tensor, " row"]:
        """The rows of the sample in a batch, ascending."""
        return self.rows[torch.isin(self.rows, rows)]


@dataclass(frozen=True, eq=False)
class Selected:
    """What was kept of a batch; float32, on the CPU, signs of gates not folded.

    Attributes:
        sample: `KEPT` of every neuron at the tokens of `Selection.sampled_in`, row after row.
        spans: `KEPT` at the tokens of `Selection.spans_in`, span after span.
    """

    sample: Float[Tensor, "quantity sampled neuron"]
    spans: Float[Tensor, "quantity token"]


def run_selected(model: Any, batch: Batch, selection: Selection) -> Selected:
    """Run a batch through a model as far as needed, and keep what is selected.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, with gates or without.
        batch: Its rows and no others are looked for in the selection.
        selection: What is kept; its spans lie within their rows.

    Raises:
        ModelError: See `rwcore.activations.capture.run_layers`.
    """
    device, width = next(model.parameters()).device, batch.tokens.shape[1]
    layers, numbers = selection.neurons.to(device).T
    rows, lengths = selection.sampled_in(batch.rows), batch.mask.sum(dim=1)
    first = _places(batch.rows, rows) * width
    tokens = ranges(first, lengths[first // width]).to(device)
    place, row, start, end = selection.spans_in(batch.rows).T
    span_tokens = ranges(_places(batch.rows, row) * width + start, end - start).to(device)
    span_place = place.repeat_interleave(end - start).to(device)
    sample = torch.empty(len(KEPT), len(tokens), len(numbers), device=device)
    spans = torch.empty(len(KEPT), len(span_tokens), device=device)

    def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
        here = (layers == layer).nonzero()[:, 0]
        of_layer = (layers[span_place] == layer).nonzero()[:, 0]
        columns = numbers[span_place[of_layer]]
        for quantity, values in enumerate((gate, in_, act)):
            flat = values.flatten(0, 1)
            sample[quantity, :, here] = flat[tokens[:, None], numbers[here]].float()
            spans[quantity, of_layer] = flat[span_tokens[of_layer], columns].float()

    run_layers(model, batch, visit, layers=layers.unique().tolist(), plain=True)
    return Selected(sample.cpu(), spans.cpu())


def spans_around(
    place: Int64[Tensor, " entry"],
    row: Int64[Tensor, " entry"],
    position: Int64[Tensor, " entry"],
    lengths: Int64[Tensor, " row"],
    *,
    before: int | None,
    after: int | None,
) -> Int64[Tensor, "span 4"]:
    """The tokens around some places, merged where they overlap or touch.

    Args:
        place: Whose each entry is; spans of different ones are kept apart.
        row: Row of each entry.
        position: Its position in the row.
        lengths: Length of every row of the corpus.
        before: Tokens before each; None for all of the row.
        after: Tokens behind each; None for all of the row.

    Returns:
        ``place``, ``row``, ``start`` and ``end`` (behind the last token) of each span, sorted.
    """
    length = lengths[row]
    start = torch.zeros_like(position) if before is None else (position - before).clamp(min=0)
    end = length if after is None else torch.minimum(position + after + 1, length)
    # Sorted, the ends too: all are as wide.
    every: Tensor = torch.unique(torch.stack([place, row, start, end], dim=1), dim=0)
    if not len(every):
        return every
    opens = torch.ones(len(every), dtype=torch.bool)
    opens[1:] = (every[1:, :2] != every[:-1, :2]).any(dim=1) | (every[1:, 2] > every[:-1, 3])
    closes = torch.cat([opens[1:], torch.ones(1, dtype=torch.bool)])
    return torch.cat([every[opens, :3], every[closes, 3:]], dim=1)


def ranges(starts: Int64[Tensor, " range"], lengths: Int64[Tensor, " range"]) -> Int64[Tensor, " number"]:
    """``starts[0], starts[0] + 1, …`` (``lengths[0]`` numbers), then those of the next range."""
    before = lengths.cumsum(dim=0) - lengths
    return (starts - before).repeat_interleave(lengths) + torch.arange(int(lengths.sum()))


def _places(rows: Int64[Tensor, " batch"], wanted: Int64[Tensor, " row"]) -> Int64[Tensor, " row"]:
    """Where each row stands in a batch that has it."""
    ordered, order = rows.sort()
    return order[torch.searchsorted(ordered, wanted.contiguous())]
