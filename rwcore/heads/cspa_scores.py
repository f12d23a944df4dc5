r"""How much of a head's effect copy suppression explains: from effects at tokens to shares with intervals.

With D the mean KL divergence of the ablated prediction from the clean one over all positions,

    explained = 1 - D_CSPA / D_MA

and likewise, with the increase Δ of the loss over all positions that have a next token, of mean Δ (net),
mean |Δ| (absolute) and mean Δ² (squared). Intervals are those of documents drawn with replacement, the same
ones above and below the fraction line.

Source: copy suppression specification, section 8.4; traps 6 (clean loss subtracted twice), 7 (the last bin of
percentile lines is drawn) and 21 (KL has more positions than the loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED, bootstrap_means
from rwcore.heads.cspa_run import CspaEffects, Head

MEASURES = ("explained", "net_loss", "absolute_loss", "squared_loss")
"""Shares that are explained: of KL, and of three means of the loss increase."""
LEAST_EFFECT = 1e-6
"""Nats of KL below which there is nothing to explain but rounding."""
COLUMNS = (
    "layer", "head", "variant", "tokens", "documents", "kl_mean_ablation", "kl",
    *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
    "loss_increase_mean_ablation", "loss_increase", "loss_std_mean_ablation", "loss_std",
)  # fmt: skip
LINE_COLUMNS = ("layer", "head", "variant", "bin", "tokens", "kl_mean_ablation", "kl", "explained")


@dataclass(frozen=True, eq=False)
class EffectSums:
    """Sums over the tokens of documents, or of rows.

    Attributes:
        number: Of each document or row.
        tokens: Its tokens.
        predictions: Those with a next token.
        sums: Σ KL over tokens; Σ Δ, Σ |Δ|, Σ Δ² of the loss over predictions. The first variant is mean
            ablation.
    """

    number: Int64[Tensor, " part"]
    tokens: Int64[Tensor, " part"]
    predictions: Int64[Tensor, " part"]
    sums: Float64[Tensor, "part head variant measure"]

    @classmethod
    def of(cls, effects: CspaEffects, row: Int64[Tensor, " token"], size: int) -> EffectSums:
        """Sums over the rows of a batch.

        Args:
            effects: At its tokens.
            row: Place of each token's row.
            size: Number of rows.
        """
        there = ~effects.clean_loss.isnan()
        loss = effects.loss.double().where(there, 0.0)
        values = torch.stack([effects.kl.double(), loss, loss.abs(), loss**2]).permute(3, 1, 2, 0)
        sums = torch.zeros(size, *values.shape[1:], dtype=torch.float64)
        return cls(
            number=torch.arange(size),
            tokens=torch.bincount(row, minlength=size),
            predictions=torch.bincount(row[there], minlength=size),
            sums=sums.index_add(0, row, values),
        )

    def of_documents(self, document: Int64[Tensor, " row"]) -> EffectSums:
        """Sums over documents, from those over rows.

        Args:
            document: Of every row of the corpus.
        """
        numbers, place = torch.unique(document[self.number], return_inverse=True)
        count = torch.zeros_like(numbers)
        empty = torch.zeros(len(numbers), *self.sums.shape[1:], dtype=torch.float64)
        return EffectSums(
            number=numbers,
            tokens=count.index_add(0, place, self.tokens),
            predictions=count.index_add(0, place, self.predictions),
            sums=empty.index_add(0, place, self.sums),
        )


def explained_table(
    documents: EffectSums,
    heads: Sequence[Head],
    variants: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> pd.DataFrame:
    """One row for each head and variant; columns `COLUMNS`.

    Shares are NaN where mean ablation has less KL than `LEAST_EFFECT`; intervals with less than two
    documents. The net share has a wide interval where mean ablation hurts about as often as it helps.

    Args:
        documents: Sums over documents.
        heads: As in the sums.
        variants: As in the sums, without mean ablation.
        draws: How many times documents are drawn.
        seed: Of the draws.
    """
    sums = documents.sums.numpy()
    counts = np.stack([documents.tokens.numpy(), *[documents.predictions.numpy()] * 3], axis=1)
    shape = sums.shape[1:]
    every = np.broadcast_to(counts[:, None, None], sums.shape).reshape(len(sums), -1)
    drawn = bootstrap_means(sums.reshape(len(sums), -1), every, draws=draws, seed=seed)
    drawn = drawn.reshape(draws, *shape)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum(axis=0)
    there = len(documents.number) > 1
    rows = []
    for place, (layer, head) in enumerate(heads):
        for number, variant in enumerate(variants, start=1):
            row: dict[str, object] = {"layer": layer, "head": head, "variant": variant}
            row |= {"tokens": int(documents.tokens.sum()), "documents": len(documents.number)}
            full, left = means[place, 0], means[place, number]
            row |= {"kl_mean_ablation": full[0], "kl": left[0]}
            shares = _share(left, full, full[0])
            draw = _share(drawn[:, place, number], drawn[:, place, 0], full[0])
            tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
            ends = np.quantile(draw, tails, axis=0) if there else np.full((2, len(MEASURES)), np.nan)
            for column, name in enumerate(MEASURES):
                row |= {name: shares[column], f"{name}_low": ends[0, column], f"{name}_high": ends[1, column]}
            row |= {"loss_increase_mean_ablation": full[1], "loss_increase": left[1]}
            row |= {"loss_std_mean_ablation": _spread(full), "loss_std": _spread(left)}
            rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS])


def percentile_line(
    by: Float[np.ndarray, " token"], *values: Float[np.ndarray, " token"], bins: int = 100
) -> Float64[np.ndarray, "bin value"]:
    """Means over tokens of similar effect: bins of equal size in the order of ``by``, the last one included.

    Args:
        by: What tokens are sorted by; ties stay in their order.
        values: What is averaged, beside the number of tokens and ``by``, which come first.
        bins: How many, or as many as there are tokens.
    """
    parts = np.array_split(np.argsort(by, kind="stable"), max(1, min(bins, len(by))))
    return np.array(
        [[len(part), *(one[part].mean(dtype=np.float64) for one in (by, *values))] for part in parts]
    )


def _share(
    left: Float64[np.ndarray, "*draw measure"], full: Float64[np.ndarray, "*draw measure"], effect: float
) -> Float64[np.ndarray, "*draw measure"]:
    if not effect >= LEAST_EFFECT:
        return np.full_like(left, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - left / full)


def _spread(means: Float64[np.ndarray, " measure"]) -> float:
    """Standard deviation from the means of Δ and Δ²."""
    return float(np.sqrt(max(means[3] - means[1] ** 2, 0.0)))
