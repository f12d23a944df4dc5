"""Where a neuron fires: its lists of extremes and random tokens, with the text around them.

Everything here is of one neuron, gate sign folded. A neuron without a gate is a gated one whose in is always
1 (see `rwcore.activations.quadrants`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.quadrants import LISTS, QUADRANTS
from rwcore.errors import OptionError

NOWHERE = -1
"""Stands for the quadrant of a token that is in none."""


class _Values:
    """Gate, in and act of some tokens, and what follows from them."""

    gate: Float[Tensor, " token"]
    in_: Float[Tensor, " token"]
    act: Float[Tensor, " token"]

    @property
    def post(self) -> Float[Tensor, " token"]:
        """``act · in``, what the neuron multiplies its output vector with."""
        return self.act * self.in_

    def of(self, quantity: str) -> Float[Tensor, " token"]:
        """The values of one of `rwcore.activations.quadrants.QUANTITIES`."""
        values: Float[Tensor, " token"] = getattr(self, "in_" if quantity == "in" else quantity)
        return values


@dataclass(frozen=True, eq=False)
class Stretch(_Values):
    """Consecutive tokens of one row, and what the neuron does there; float32, on the CPU.

    Attributes:
        row: Row of the corpus.
        start: Position of the first token in the row.
        gate: Gate of each token.
        in_: Its input.
        act: Activation function of the gate.
    """

    row: int
    start: int
    gate: Float[Tensor, " token"]
    in_: Float[Tensor, " token"]
    act: Float[Tensor, " token"]

    @property
    def end(self) -> int:
        """Position behind the last token."""
        return self.start + len(self.gate)


@dataclass(frozen=True, eq=False)
class SampleValues(_Values):
    """What the neuron does at the tokens of a sample of rows, row after row; float32, on the CPU.

    Attributes:
        gate: Gate of each token.
        in_: Its input.
        act: Activation function of the gate.
    """

    gate: Float[Tensor, " token"]
    in_: Float[Tensor, " token"]
    act: Float[Tensor, " token"]


@dataclass(frozen=True)
class Entry:
    """One place of a list.

    Attributes:
        row: Row of the corpus.
        position: Position in the row.
        value: The list's quantity there, signed: as the pass has measured it, or, of a random token, its post
            in the sample.
    """

    row: int
    position: int
    value: float


@dataclass(frozen=True, eq=False)
class NeuronExamples:
    """The examples of one neuron.

    Attributes:
        layer: Its layer.
        neuron: Its number in the layer.
        gated: Whether it has a gate.
        lists: The lists of extremes, best first, by quadrant and quantity as in
            `rwcore.activations.quadrants.LISTS`. Empty where the quadrant never occurs, and, of a neuron
            without a gate, where the list says nothing.
        random: Tokens of the sample drawn from each quadrant, every one as likely as any other.
        stretches: The tokens around all entries, sorted by row and start; they do not overlap, and every
            entry lies in one.
        sample: The values of the whole sample.
    """

    layer: int
    neuron: int
    gated: bool
    lists: Mapping[tuple[str, str], tuple[Entry, ...]]
    random: Mapping[str, tuple[Entry, ...]]
    stretches: tuple[Stretch, ...]
    sample: SampleValues

    def stretch_of(self, entry: Entry) -> tuple[int, int]:
        """Where an entry is: the number of its stretch, and its place in it.

        Raises:
            OptionError: It is in none; it is of another neuron.
        """
        number = bisect_right(self._starts, (entry.row, entry.position)) - 1
        if number >= 0:
            stretch = self.stretches[number]
            if stretch.row == entry.row and entry.position < stretch.end:
                return number, entry.position - stretch.start
        raise OptionError(
            f"no stretch has position {entry.position} of row {entry.row}",
            where=f"examples of neuron {self.layer}.{self.neuron}",
            remedy="ask with an entry of this neuron",
        )

    @cached_property
    def _starts(self) -> list[tuple[int, int]]:
        return [(stretch.row, stretch.start) for stretch in self.stretches]


def quadrant_codes(gate: Float[Tensor, "*shape"], in_: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The quadrant of each token, a place in `QUADRANTS`; `NOWHERE` if gate or in is zero or not a number."""
    codes = torch.full(gate.shape, NOWHERE, dtype=torch.int64, device=gate.device)
    for place, name in enumerate(QUADRANTS):
        of_gate, of_in = (
            values if name[name.index(part) + len(part)] == "+" else -values
            for part, values in (("gate", gate), ("in", in_))
        )
        codes[(of_gate > 0) & (of_in > 0)] = place
    return codes


def to_arrays(examples: NeuronExamples) -> dict[str, Tensor]:
    """The lists, stretches and sample as tensors, as `from_arrays` takes them."""
    lists, stretches = [examples.lists[name] for name in LISTS], examples.stretches
    ends = [(stretch.row, stretch.start, stretch.end) for stretch in stretches]
    values = [torch.stack([stretch.gate, stretch.in_, stretch.act]) for stretch in stretches]
    return {
        "sample": torch.stack([examples.sample.gate, examples.sample.in_, examples.sample.act]),
        "stretches": torch.tensor(ends, dtype=torch.int64).reshape(-1, 3),
        "values": torch.cat([torch.empty(3, 0), *values], dim=1),
        **_entry_arrays("list", lists),
        **_entry_arrays("random", [examples.random[name] for name in QUADRANTS]),
    }


def from_arrays(layer: int, neuron: int, gated: bool, arrays: Mapping[str, Tensor]) -> NeuronExamples:
    """The inverse of `to_arrays`."""
    ends = arrays["stretches"]
    parts = torch.split(arrays["values"], (ends[:, 2] - ends[:, 1]).tolist(), dim=1)
    stretches = (
        Stretch(row, start, *values) for (row, start, _), values in zip(ends.tolist(), parts, strict=True)
    )
    return NeuronExamples(
        layer,
        neuron,
        gated,
        dict(zip(LISTS, _entries("list", arrays), strict=True)),
        dict(zip(QUADRANTS, _entries("random", arrays), strict=True)),
        tuple(stretches),
        SampleValues(*arrays["sample"]),
    )


def _entry_arrays(name: str, lists: Sequence[Sequence[Entry]]) -> dict[str, Tensor]:
    entries = [entry for each in lists for entry in each]
    return {
        f"{name}_lengths": torch.tensor([len(each) for each in lists], dtype=torch.int64),
        f"{name}_rows": torch.tensor([entry.row for entry in entries], dtype=torch.int64),
        f"{name}_positions": torch.tensor([entry.position for entry in entries], dtype=torch.int64),
        f"{name}_values": torch.tensor([entry.value for entry in entries], dtype=torch.float32),
    }


def _entries(name: str, arrays: Mapping[str, Tensor]) -> list[tuple[Entry, ...]]:
    columns = (arrays[f"{name}_{column}"].tolist() for column in ("rows", "positions", "values"))
    entries = map(Entry, *columns)
    return [tuple(islice(entries, length)) for length in arrays[f"{name}_lengths"].tolist()]
