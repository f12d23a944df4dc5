"""Put the examples of a neuron together: its lists from a pass, its values from a sweep over some rows."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.activations.examples import Entry, NeuronExamples, SampleValues, Stretch, quadrant_codes
from rwcore.activations.quadrants import (
    LISTS,
    NEGATED,
    PLAIN_QUADRANTS,
    PLAIN_QUANTITIES,
    QUADRANTS,
    SWAPPED_LISTS,
)
from rwcore.activations.selected import spans_around
from rwcore.activations.top import EMPTY, TopLists, rows_of, values_of
from rwcore.errors import ModelError

Lists = Mapping[tuple[str, str], tuple[Entry, ...]]


@dataclass(frozen=True, eq=False)
class Kept:
    """What a sweep has kept of one neuron, gate sign folded.

    Attributes:
        lengths: Length of every row of the corpus.
        rows: Rows of the sample, ascending.
        sample: The neuron at all of their tokens.
        spans: Row, start and end of the spans in other rows, sorted.
        values: Gate, in and act at their tokens, span after span.
    """

    lengths: Int64[Tensor, " row"]
    rows: Int64[Tensor, " sampled"]
    sample: SampleValues
    spans: Int64[Tensor, "span 3"]
    values: SampleValues

    def stretch(self, row: int, start: int, end: int) -> Stretch:
        """The values at some tokens that were kept."""
        if row in self._sample_starts:
            source, first = self.sample, self._sample_starts[row] + start
        else:
            number = bisect_right(self._span_places, (row, start)) - 1
            source, first = self.values, self._span_starts[number] + start - self._span_places[number][1]
        here = slice(first, first + end - start)
        return Stretch(row, start, source.gate[here], source.in_[here], source.act[here])

    @cached_property
    def _sample_starts(self) -> dict[int, int]:
        return dict(zip(self.rows.tolist(), _starts(self.lengths[self.rows]), strict=True))

    @cached_property
    def _span_starts(self) -> list[int]:
        return _starts(self.spans[:, 2] - self.spans[:, 1])

    @cached_property
    def _span_places(self) -> list[tuple[int, int]]:
        return [(row, start) for row, start, _ in self.spans.tolist()]


def lists_of(top: TopLists, neuron: int, sign: int, *, gated: bool) -> Lists:
    """The lists of one neuron, gate sign folded; empty without a gate where they say nothing.

    Args:
        top: Of its layer, gate signs not folded.
        neuron: Its number in the layer.
        sign: Its gate sign.
        gated: Whether it has a gate.
    """
    packed = top.keys[:, neuron]
    columns = (values_of(packed).tolist(), rows_of(packed).tolist(), top.positions[:, neuron].tolist())
    entries = [
        [(row, position, value) for value, row, position in zip(*each, strict=True) if row != EMPTY]
        for each in zip(*columns, strict=True)
    ]
    lists = {}
    for place, (quadrant, quantity) in enumerate(LISTS):
        source = entries[SWAPPED_LISTS[place] if sign < 0 else place]
        turn = sign if quantity in NEGATED else 1
        shown = gated or (quadrant in PLAIN_QUADRANTS and quantity in PLAIN_QUANTITIES)
        lists[quadrant, quantity] = tuple(
            Entry(row, position, turn * value) for row, position, value in source if shown
        )
    return lists


def lists_hash(top: TopLists, neuron: int, sign: int) -> str:
    """``sha256:…`` over the lists and the sign of one neuron."""
    digest = hashlib.sha256(str(sign).encode())
    for array in (top.keys, top.positions):
        digest.update(array[:, neuron].contiguous().numpy().tobytes())
    return "sha256:" + digest.hexdigest()


def places_of(lists: Iterable[Sequence[Entry]]) -> Int64[Tensor, "2 entry"]:
    """Rows and positions of all entries."""
    found = [(entry.row, entry.position) for entry in chain.from_iterable(lists)]
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T


def assemble(
    layer: int,
    neuron: int,
    lists: Lists,
    kept: Kept,
    *,
    gated: bool,
    before: int | None,
    after: int | None,
    random: int,
    seed: int,
) -> NeuronExamples:
    """The examples of one neuron.

    Args:
        layer: Its layer.
        neuron: Its number in the layer.
        lists: From `lists_of`.
        kept: What was kept of it: the sample, and the tokens around all entries of the lists.
        gated: Whether it has a gate.
        before: Tokens shown before an entry; None for all of its row.
        after: Tokens shown behind it; None for all of its row.
        random: Tokens drawn from each quadrant, if it has so many in the sample.
        seed: Of what is drawn; other neurons draw other tokens.
    """
    drawn = _drawn(kept, (seed, layer, neuron), random)
    rows, positions = places_of([*lists.values(), *drawn.values()])
    spans = spans_around(torch.zeros_like(rows), rows, positions, kept.lengths, before=before, after=after)
    stretches = tuple(kept.stretch(*span) for span in spans[:, 1:].tolist())
    return NeuronExamples(layer, neuron, gated, lists, drawn, stretches, kept.sample)


def check_recomputed(examples: NeuronExamples, tolerance: float) -> None:
    """Whether the sweep has found at each listed place what the pass had found there.

    Args:
        examples: Of one neuron.
        tolerance: How far a value may be off, as a share of the largest one in its list.

    Raises:
        ModelError: It has not: the pass belongs to other weights.
    """
    for (quadrant, quantity), entries in examples.lists.items():
        bound = tolerance * max((abs(entry.value) for entry in entries), default=0.0)
        for entry in entries:
            number, place = examples.stretch_of(entry)
            found = float(examples.stretches[number].of(quantity)[place])
            # Not "more than the bound": it may be NaN.
            if not abs(found - entry.value) <= bound:
                place_name = f"position {entry.position} of row {entry.row}"
                raise ModelError(
                    f"{quantity} at {place_name} is {found:.6g}, and the pass has found {entry.value:.6g}",
                    where=f"neuron {examples.layer}.{examples.neuron}, list {quadrant} {quantity}",
                    remedy="the pass belongs to other weights: run `rwcore activations` on these",
                )


def _drawn(kept: Kept, seed: tuple[int, int, int], count: int) -> dict[str, tuple[Entry, ...]]:
    """Tokens of the sample from each quadrant, every one as likely as any other, none twice."""
    codes, post = quadrant_codes(kept.sample.gate, kept.sample.in_), kept.sample.post
    starts = torch.tensor(_starts(kept.lengths[kept.rows]), dtype=torch.int64)
    drawn = {}
    for place, name in enumerate(QUADRANTS):
        members = (codes == place).nonzero()[:, 0].numpy()
        generator = np.random.default_rng([*seed, place])
        tokens = torch.from_numpy(generator.choice(members, min(count, len(members)), replace=False))
        at = torch.searchsorted(starts, tokens, right=True) - 1
        columns = (kept.rows[at].tolist(), (tokens - starts[at]).tolist(), post[tokens].tolist())
        drawn[name] = tuple(map(Entry, *columns))
    return drawn


def _starts(lengths: Int64[Tensor, " part"]) -> list[int]:
    """Where each of some parts begins that stand one behind the other."""
    starts: list[int] = (lengths.cumsum(dim=0) - lengths).tolist()
    return starts
