"""What the pass knows about the neurons of one layer, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from rwcore.activations.fixed import Units, add_fixed, from_fixed
from rwcore.activations.groups import GROUPS, add_counts
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.top import TopLists, merge_top

_ARRAYS = 6  # the first fields are tensors of their own


@dataclass(frozen=True)
class LayerStatistics:
    """Counts, sums and extremes of the neurons of one layer over some tokens.

    Everything adds up exactly: see `merge_layers`. Sums are fixed-point integers (see `fixed`).

    Attributes:
        counts: Tokens in each quadrant.
        group_counts: The same for each group of documents (see `groups`); they add up to ``counts``.
        gate_positive: Tokens with gate > 0, whatever in is.
        sums: Σ of gate, in, act, post over the tokens of each quadrant.
        rest: Σ of them over the tokens in no quadrant (gate or in is exactly zero).
        squares: Σ of their squares over all tokens.
        top: The extremes, in the order of `quadrants.LISTS`.
        tokens: Number of tokens that were seen.
        units: Units of ``sums`` and ``rest``, and of ``squares``.
    """

    counts: Int64[Tensor, "quadrant neuron"]
    group_counts: Int32[Tensor, "group quadrant neuron"]
    gate_positive: Int64[Tensor, " neuron"]
    sums: Int64[Tensor, "quadrant quantity neuron"]
    rest: Int64[Tensor, "quantity neuron"]
    squares: Int64[Tensor, "quantity neuron"]
    top: TopLists
    tokens: int
    units: Units

    @classmethod
    def empty(
        cls,
        neurons: int,
        k: int,
        units: Units | None = None,
        device: str | torch.device = "cpu",
        groups: int = GROUPS,
    ) -> LayerStatistics:
        """The statistics of no tokens.

        Args:
            neurons: Neurons in the layer.
            k: Length of the lists of extremes; 0 for none.
            units: Units of the sums.
            device: Where the numbers are.
            groups: Number of groups of documents.
        """
        quadrant, quantity = len(QUADRANTS), len(QUANTITIES)

        def zeros(*size: int) -> Tensor:
            return torch.zeros(*size, neurons, dtype=torch.int64, device=device)

        return cls(
            counts=zeros(quadrant),
            group_counts=zeros(groups, quadrant).to(torch.int32),
            gate_positive=zeros(),
            sums=zeros(quadrant, quantity),
            rest=zeros(quantity),
            squares=zeros(quantity),
            top=TopLists.empty(len(LISTS), neurons, k, device),
            tokens=0,
            units=units or Units(),
        )

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.counts.shape[1]

    @property
    def groups(self) -> int:
        """Number of groups of documents."""
        return self.group_counts.shape[0]

    def frequencies(self) -> Float[Tensor, "quadrant neuron"]:
        """Share of all tokens, special tokens included, that are in each quadrant; float64, NaN of none."""
        return self.counts.to(torch.float64) / (self.tokens or torch.nan)

    def gate_frequency(self) -> Float[Tensor, " neuron"]:
        """P(gate > 0), float64; f(gate+_in+) + f(gate+_in-) and the tokens where in is exactly zero."""
        return self.gate_positive.to(torch.float64) / (self.tokens or torch.nan)

    def means(self) -> Float[Tensor, "quadrant quantity neuron"]:
        """Mean of each quantity over the tokens of each quadrant, float64; NaN where there are none."""
        return from_fixed(self.sums, self.units.sum_bits) / self.counts[:, None].to(torch.float64)

    def overall_means(self) -> Float[Tensor, "quantity neuron"]:
        """Mean of each quantity over all tokens, float64; Σ_q f_q μ_q and the tokens in no quadrant."""
        inside = from_fixed(self.sums, self.units.sum_bits).sum(dim=0)
        return (inside + from_fixed(self.rest, self.units.sum_bits)) / (self.tokens or torch.nan)

    def variances(self) -> Float[Tensor, "quantity neuron"]:
        """Variance of each quantity over all tokens, ``E[q²] - E[q]²``, float64, with denominator tokens."""
        mean_square = from_fixed(self.squares, self.units.square_bits) / (self.tokens or torch.nan)
        return (mean_square - self.overall_means() ** 2).clamp(min=0)

    def to(self, device: str | torch.device) -> LayerStatistics:
        """The same on another device."""
        moved = {name: values.to(device) for name, values in self.to_arrays().items()}
        return LayerStatistics.from_arrays(moved, self.tokens, self.units)

    def to_arrays(self) -> dict[str, Tensor]:
        """The tensors by name, as `from_arrays` takes them."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)[:_ARRAYS]}
        return plain | {"top_keys": self.top.keys, "top_positions": self.top.positions}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], tokens: int, units: Units) -> LayerStatistics:
        """The inverse of `to_arrays`."""
        plain = {field.name: arrays[field.name] for field in fields(cls)[:_ARRAYS]}
        return cls(
            **plain, top=TopLists(arrays["top_keys"], arrays["top_positions"]), tokens=tokens, units=units
        )


def merge_layers(left: LayerStatistics, right: LayerStatistics) -> LayerStatistics:
    """The statistics of the tokens of both; the same bits whichever is left.

    The two must be of the same layer, with the same units, groups and length of lists, and of different rows.

    Raises:
        OptionError: A sum does not fit its unit, or a count its type, any more.
    """
    units, tokens = left.units, left.tokens + right.tokens
    return replace(
        left,
        counts=left.counts + right.counts,
        group_counts=add_counts(left.group_counts, right.group_counts, tokens, "counts by group"),
        gate_positive=left.gate_positive + right.gate_positive,
        sums=add_fixed(left.sums, right.sums, units.sum_bits, "sums of activations"),
        rest=add_fixed(left.rest, right.rest, units.sum_bits, "sums of activations"),
        squares=add_fixed(left.squares, right.squares, units.square_bits, "sums of squares"),
        top=merge_top(left.top, right.top),
        tokens=tokens,
    )
