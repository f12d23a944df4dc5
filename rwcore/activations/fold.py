"""Fold the signs of the gates into statistics, after the fact.

Folding the sign σ = sign(gate·in) into the weights of a neuron (``in ← σ·in``, ``out ← σ·out``; see
`rwcore.weights.fold.fold_gate_sign`) leaves gate as it is and turns in and post around where σ = -1.
Statistics of such a neuron are those of the unfolded one with in+ and in- exchanged, and sums and extremes of
in and post negated. Frequencies are exchanged and **not** negated (a helper of the original does both).

The result is the same bits as a pass over the folded weights: negation is exact everywhere.

Source: ablations specification, section 5.1 and claim F17.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.activations.quadrants import LISTS, NEGATED, QUANTITIES, SWAPPED, SWAPPED_LISTS
from rwcore.activations.statistics import LayerStatistics
from rwcore.activations.summary import Summary
from rwcore.activations.top import EMPTY, TopLists
from rwcore.errors import OptionError


def fold_statistics(statistics: LayerStatistics, sign: Float[Tensor, " neuron"]) -> LayerStatistics:
    """The statistics of a layer whose gate signs are folded. Folding twice gives the first ones again.

    Args:
        statistics: Of the unfolded weights.
        sign: +1 or -1 for each neuron (see `rwcore.weights.fold.gate_sign`).

    Raises:
        OptionError: The signs are of another number of neurons, or other numbers.
    """
    turned = _turned(sign, (statistics.neurons,))
    negation = _negation(turned)
    top = statistics.top
    packed = torch.where(turned[:, None], _negated(top.keys)[list(SWAPPED_LISTS)], top.keys)
    positions = torch.where(turned[:, None], top.positions[list(SWAPPED_LISTS)], top.positions)
    return replace(
        statistics,
        counts=torch.where(turned, statistics.counts[list(SWAPPED)], statistics.counts),
        group_counts=torch.where(turned, statistics.group_counts[:, list(SWAPPED)], statistics.group_counts),
        sums=torch.where(turned, statistics.sums[list(SWAPPED)], statistics.sums) * negation,
        rest=statistics.rest * negation,
        top=TopLists(packed, positions),
    )


def fold_summary(summary: Summary, sign: Float[Tensor, "layer neuron"]) -> Summary:
    """The same of a summary of all layers; see `fold_statistics`."""
    turned = _turned(sign, tuple(summary.gate_frequency.shape))
    negation = torch.stack([_negation(layer) for layer in turned])
    in_list = torch.tensor([quantity in NEGATED for _, quantity in LISTS])[:, None, None]
    swapped, lists = list(SWAPPED), list(SWAPPED_LISTS)
    here, there = turned[:, None], turned[:, None, :, None]
    values = summary.top_values[:, lists]
    return replace(
        summary,
        frequencies=torch.where(here, summary.frequencies[:, swapped], summary.frequencies),
        means=torch.where(here[:, None], summary.means[:, swapped], summary.means) * negation[:, None],
        top_values=torch.where(there, torch.where(in_list, -values, values), summary.top_values),
        top_rows=torch.where(there, summary.top_rows[:, lists], summary.top_rows),
        top_positions=torch.where(there, summary.top_positions[:, lists], summary.top_positions),
    )


def _turned(sign: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(sign.shape) != shape or not bool((sign.abs() == 1).all()):
        raise OptionError(
            f"signs must be +1 or -1, of shape {list(shape)}",
            where=f"signs of shape {list(sign.shape)}",
            remedy="take them from the processed weights of the same model",
        )
    return sign < 0


def _negation(turned: Tensor) -> Int64[Tensor, "quantity neuron"]:
    """-1 for in and post of the neurons that are turned, 1 elsewhere."""
    one = torch.ones_like(turned, dtype=torch.int64)
    return torch.stack([torch.where(turned, -one, one) if name in NEGATED else one for name in QUANTITIES])


def _negated(packed: Int64[Tensor, "list neuron rank"]) -> Int64[Tensor, "list neuron rank"]:
    """Keys with the sign of in and post turned; zero and no entry have none."""
    out = packed.clone()
    for place, (_, quantity) in enumerate(LISTS):
        if quantity in NEGATED:
            signed = (packed[place] != EMPTY) & (packed[place] >> 32 > 0)
            out[place] = torch.where(signed, packed[place] ^ 1, packed[place])
    return out
