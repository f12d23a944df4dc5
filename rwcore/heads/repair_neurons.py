r"""Which neurons repair the loss of a head, and whether they do so by erasing less.

A neuron with coefficient a writes n = a (w·u)/s along the next token's direction u, with its output vector w
and the clean scale s of the final norm; n' likewise with a head ablated, and Δ = n' - n. *Erasure* is n < 0.
Of neurons that repair (Δ > 0) those with n < 0 show *Anti-Erasure*: they erase less, once the head that wrote
the prediction is gone. The others (n ≥ 0) boost.

Behind a norm of what an MLP adds, a is divided by that norm's scale and w has its gain.

Source: self-repair specification, section 3 (M1 to M8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.heads.run import decoder_blocks

LEADING, NAMED, CURVE = 50, 10, 51
"""Largest Δ that are kept of each token, neurons that are named, points of the curve of M3."""
NOBODY = -1
FEW = 5
"""Neurons whose Δ are compared with all that the MLP repairs (M6)."""
CAP = 3.0
"""Where the share of few neurons is cut off (M6)."""
FRACTIONS = (0.5, 0.1, 0.05, 0.025, 0.01)
"""Of the direct effect, that a single neuron's Δ is compared with (M1)."""


@dataclass(frozen=True, eq=False)
class MlpTerms:
    """What the neurons of one MLP write along the next token's direction in the clean pass.

    Attributes:
        along: (w·u)/s.
        clean: n.
    """

    along: Float[Tensor, "token neuron"]
    clean: Float[Tensor, "token neuron"]

    @classmethod
    def of(
        cls,
        model: Any,
        layer: int,
        coefficients: Float[Tensor, "token neuron"],
        u: Float[Tensor, "token d_model"],
        scale: Float[Tensor, " token"],
    ) -> MlpTerms:
        """Of the MLP of a layer; of a norm behind it the coefficients are divided by its scale."""
        block = decoder_blocks(model)[layer]
        vectors = block.mlp.W_out.detach()
        if hasattr(block, "ln2_post"):
            with torch.no_grad():
                # Families store the gain of a norm differently, and ones tell how it is applied.
                vectors = vectors * block.ln2_post.original_component(torch.ones_like(vectors[0]))
        along = u @ vectors.to(u.dtype).T / scale[:, None]
        return cls(along, coefficients * along)


@dataclass(frozen=True, eq=False)
class NeuronSums:
    """The neurons of the last MLP at each token, in a few numbers; logits.

    Attributes:
        gain: ΣΔ⁺, of the neurons that repair.
        anti_erasure: The part of it with n < 0.
        change: ΣΔ: what the last MLP repairs.
        few: Sum of the `FEW` largest Δ.
        best: The neuron with the largest Δ.
        best_clean: Its n.
        best_change: Its Δ.
        erased: Σn: what the last MLP's neurons write in the clean pass.
    """

    gain: Float[Tensor, "*head token"]
    anti_erasure: Float[Tensor, "*head token"]
    change: Float[Tensor, "*head token"]
    few: Float[Tensor, "*head token"]
    best: Int64[Tensor, "*head token"]
    best_clean: Float[Tensor, "*head token"]
    best_change: Float[Tensor, "*head token"]
    erased: Float[Tensor, "*head token"]

    @classmethod
    def of(cls, clean: Float[Tensor, "token neuron"], ablated: Float[Tensor, "token neuron"]) -> NeuronSums:
        """From n and n'."""
        delta = ablated - clean
        positive = delta.clamp(min=0)
        largest, place = delta.topk(min(FEW, delta.shape[1]), dim=1)
        return cls(
            gain=positive.sum(dim=1),
            anti_erasure=positive.where(clean < 0, 0.0).sum(dim=1),
            change=delta.sum(dim=1),
            few=largest.sum(dim=1),
            best=place[:, 0],
            best_clean=clean.gather(1, place[:, :1])[:, 0],
            best_change=largest[:, 0],
            erased=clean.sum(dim=1),
        )

    @classmethod
    def stacked(cls, heads: Sequence[NeuronSums]) -> NeuronSums:
        """Of several heads."""
        return cls(
            **{one.name: torch.stack([getattr(head, one.name) for head in heads]) for one in fields(cls)}
        )


@dataclass(frozen=True, eq=False)
class NeuronDetails:
    """The neurons at some tokens more closely: what M1 to M4 and M8 are made of.

    Attributes:
        gain: ΣΔ⁺.
        change: ΣΔ.
        top_percent: Sum of the largest Δ of a hundredth of the neurons, at least one.
        leading: The `LEADING` largest Δ; NaN where there are not so many neurons.
        neuron: The first `NAMED` of their neurons; `NOBODY` likewise.
        clean: n of these.
        curve: Σ|Δ| of the neurons with the smallest signed Δ over that of all, at `CURVE` shares of them.
        curve_clean: n of the neuron at each of these shares.
    """

    gain: Float[Tensor, " token"]
    change: Float[Tensor, " token"]
    top_percent: Float[Tensor, " token"]
    leading: Float[Tensor, "token rank"]
    neuron: Int64[Tensor, "token named"]
    clean: Float[Tensor, "token named"]
    curve: Float[Tensor, "token point"]
    curve_clean: Float[Tensor, "token point"]

    @classmethod
    def of(
        cls,
        clean: Float[Tensor, "token neuron"],
        ablated: Float[Tensor, "token neuron"],
        first: int = 0,
    ) -> NeuronDetails:
        """From n and n'.

        Args:
            clean: n.
            ablated: n'.
            first: Number of the first neuron.
        """
        delta = ablated - clean
        count = delta.shape[1]
        ordered, order = delta.sort(dim=1)
        largest, place = ordered.flip(1), order.flip(1)
        moved = ordered.abs().cumsum(dim=1)
        # Before the first neuron nothing has moved.
        moved = torch.cat([torch.zeros_like(moved[:, :1]), moved], dim=1) / moved[:, -1:]
        ranks = torch.linspace(0, count, CURVE, device=delta.device).round().long()
        named = place[:, :NAMED]
        return cls(
            gain=delta.clamp(min=0).sum(dim=1),
            change=delta.sum(dim=1),
            top_percent=largest[:, : max(1, count // 100)].sum(dim=1),
            leading=_padded(largest, LEADING, torch.nan),
            neuron=_padded(named + first, NAMED, NOBODY),
            clean=_padded(clean.gather(1, named), NAMED, torch.nan),
            curve=moved[:, ranks],
            curve_clean=clean.gather(1, order)[:, (ranks - 1).clamp(min=0)],
        )

    @classmethod
    def together(cls, parts: Sequence[NeuronDetails]) -> NeuronDetails:
        """Of the tokens of several, one after the other."""
        return cls(
            **{one.name: torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)}
        )


def exceeding(
    leading: Float[Tensor, "token rank"],
    direct: Float[Tensor, " token"],
    fractions: Sequence[float] = FRACTIONS,
) -> Float[Tensor, "rank fraction"]:
    """M1: share of tokens at which the n-th largest Δ exceeds a fraction of the head's direct effect."""
    bounds = direct[:, None, None] * torch.tensor(fractions, dtype=leading.dtype, device=leading.device)
    return (leading[:, :, None] > bounds).double().mean(dim=0).float()


def top_shares(details: NeuronDetails) -> Float[Tensor, " token"]:
    """M2: share of ΣΔ⁺ that a hundredth of the neurons has; NaN where no neuron repairs."""
    return torch.where(details.gain > 0, details.top_percent / details.gain, torch.nan)


def gain_over_change(details: NeuronDetails) -> float:
    """M4: median of ΣΔ⁺ / ΣΔ; NaN without tokens."""
    return float((details.gain / details.change).nanmedian())


def mlp_shares(mlp: Float[Tensor, " token"], repair: Float[Tensor, " token"]) -> Float[Tensor, " repaired"]:
    """M5: share of the MLPs in the repair of the tokens that are repaired, between 0 and 1."""
    there = repair > 0
    return (mlp[there].clamp(min=0) / repair[there]).clamp(max=1)


def few_shares(few: Float[Tensor, " token"], change: Float[Tensor, " token"]) -> Float[Tensor, " token"]:
    """M6: the `FEW` largest Δ over what the last MLP repairs, at most `CAP`; NaN where it repairs nothing.

    Published is the repair of all MLPs below the line, which other neurons have a part in.
    """
    return torch.where(change > 0, (few / change).clamp(max=CAP), torch.nan)


def recurrence(neuron: Int64[Tensor, "token named"]) -> pd.DataFrame:
    """M8: at which share of the tokens each neuron is among the first; columns neuron, tokens, share."""
    numbers, counts = torch.unique(neuron[neuron != NOBODY], return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    found = counts[order].numpy(force=True)
    return pd.DataFrame(
        {"neuron": numbers[order].numpy(force=True), "tokens": found, "share": found / max(len(neuron), 1)}
    )


def _padded(values: Tensor, width: int, nothing: float | int) -> Tensor:
    """The first columns, as many in every model."""
    missing = max(0, width - values.shape[1])
    return torch.nn.functional.pad(values[:, :width], (0, missing), value=nothing)
