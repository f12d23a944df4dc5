r"""How sure means and ratios of self-repair are, when documents are what is sampled.

Tokens of one document are not independent, so documents are drawn as a whole (`rwcore.ablation.bootstrap`).
Every draw gives the means of all heads, over the same selected tokens, and from these whatever is said about
a group of heads: R = ΣSR / ΣD, a share of heads, a correlation over heads. All quantities of a draw are of
the same documents, so differences between selections of tokens can be drawn, too.

Which tokens are selected stays as it is. A share of heads is pulled towards one half in the draws where heads
lie close to the threshold.

Source: self-repair specification, sections 2, 5 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED, bootstrap_means
from rwcore.heads.repair import Repairs
from rwcore.heads.repair_groups import LEAST_DUE, PARTS

Values = Mapping[str, Float[Tensor, "head token"]]
"""Quantities of every head at every token; NaN where there is none."""


def token_values(repairs: Repairs) -> dict[str, Float64[Tensor, "head token"]]:
    """What is averaged over tokens.

    Beside the parts of `Repairs`, ``due`` and ``repair``: ``clip_…``, repair and its parts over DE, cut off
    at 0 and 1; ``grows``, whether s > s'; ``ratio``, SR / D where D is at least a tenth of DE, its square
    ``ratio_square`` and whether it is ``over`` 1.

    Args:
        repairs: Of the heads.
    """
    whole = {name: values.double() for name, values in vars(repairs).items()}
    one = Repairs(**whole)
    whole |= {"due": one.due, "repair": one.repair}
    nothing = torch.full_like(one.direct, torch.nan)
    there = one.direct != 0
    for part in ("repair", *PARTS):
        whole[f"clip_{part}"] = torch.where(there, (whole[part] / one.direct).clamp(0, 1), nothing)
    ratio = torch.where(there & (one.due / one.direct >= LEAST_DUE), one.repair / one.due, nothing)
    whole["grows"] = (one.scale_ratio > 1).double()
    return whole | {
        "ratio": ratio,
        "ratio_square": ratio.square(),
        "over": (ratio > 1).double().where(ratio.isfinite(), nothing),
    }


@dataclass(frozen=True, eq=False)
class DrawnMeans:
    """Means of heads over tokens, in the sample and in draws of its documents.

    Attributes:
        values: By quantity. The first row is the whole sample; NaN where a draw has none of a head's tokens.
    """

    values: Mapping[str, Float64[np.ndarray, "draw head"]]

    @classmethod
    def of(
        cls,
        values: Values,
        document: Int64[Tensor, " token"],
        selected: Sequence[Int64[Tensor, " _"]] | None = None,
        *,
        draws: int = DRAWS,
        seed: int = SEED,
    ) -> DrawnMeans:
        """Means and draws; those of two selections of the same tokens are of the same documents.

        Args:
            values: At every token.
            document: Of every token.
            selected: Places of the tokens of each head; all if None.
            draws: How many times documents are drawn; none leaves the sample alone.
            seed: Of the draws.
        """
        _, place = torch.unique(document, return_inverse=True)
        heads, size = len(next(iter(values.values()))), int(place.max()) + 1
        shape = (size, heads, len(values))
        sums, counts = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
        for number, of_heads in enumerate(values.values()):
            for head in range(heads):
                tokens = slice(None) if selected is None else selected[head]
                found, at = of_heads[head][tokens].double(), place[tokens]
                sums[:, head, number].index_add_(0, at, found.nan_to_num(0.0))
                counts[:, head, number].index_add_(0, at, (~found.isnan()).long())
        totals, numbers = sums.reshape(size, -1).numpy(), counts.reshape(size, -1).numpy()
        with np.errstate(invalid="ignore"):
            means = [(totals.sum(axis=0) / numbers.sum(axis=0))[None]]
        if draws:
            means.append(bootstrap_means(totals, numbers, draws=draws, seed=seed))
        drawn = np.concatenate(means).reshape(-1, heads, len(values))
        return cls({name: drawn[..., number] for number, name in enumerate(values)})

    def __getitem__(self, name: str) -> Float64[np.ndarray, "draw head"]:
        return self.values[name]

    def only(self, heads: Bool[np.ndarray, " head"]) -> DrawnMeans:
        """Of some heads."""
        return DrawnMeans({name: of[:, heads] for name, of in self.values.items()})

    @property
    def lost(self) -> Bool[np.ndarray, " head"]:
        """Heads that lose at least a tenth of their direct effect, in the sample."""
        direct, due = self["direct"][0], self["due"][0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((direct != 0) & (due / direct >= LEAST_DUE))


def repaired(means: DrawnMeans, part: str = "repair") -> Float64[np.ndarray, " draw"]:
    """Repair, or a part of it, over loss, of the sums over heads."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nansum(means[part], axis=1) / np.nansum(means["due"], axis=1))


def share_of(
    condition: Bool[np.ndarray, "draw head"], values: Float64[np.ndarray, "draw head"]
) -> Float64[np.ndarray, " draw"]:
    """Share of the heads that meet a condition, among those that have values in a draw."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray((condition & there).sum(axis=1) / there.sum(axis=1))


def correlation(means: DrawnMeans, first: str, second: str) -> Float64[np.ndarray, " draw"]:
    """Pearson correlation over heads of two quantities; NaN where one does not vary, or for two heads."""
    there = ~np.isnan(means[first]) & ~np.isnan(means[second])
    count = there.sum(axis=1, keepdims=True)
    x, y = (np.where(there, means[name], 0.0) for name in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (np.where(there, one - one.sum(axis=1, keepdims=True) / count, 0.0) for one in (x, y))
        found = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.where(count[:, 0] > 2, found, np.nan)


def of_late_heads(means: DrawnMeans) -> dict[str, Float64[np.ndarray, " draw"]]:
    """What is said about late heads together: shares of the loss, shares of heads, and how both grow.

    Args:
        means: Of the late heads.
    """
    due, repair = means["due"], means["repair"]
    return {
        "repaired": repaired(means),
        "repaired_by_heads": repaired(means, "heads"),
        "repaired_by_mlps": repaired(means, "mlp"),
        "repaired_by_scale": repaired(means, "norm"),
        "share_repaired": share_of(repair > 0, due),
        "share_imperfect": share_of((repair > 0) & (repair < due), due),
        "share_overrepaired": share_of(repair > due, due),
        "share_helped_by_scale": share_of(means["norm"] > 0, due),
        "correlation": correlation(means, "direct", "repair"),
    }


def scale_over_direct(means: DrawnMeans) -> Float64[np.ndarray, " draw"]:
    """Mean over heads of SR_norm / DE."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _mean(means["norm"] / means["direct"])


def excess_of_clipped(means: DrawnMeans) -> Float64[np.ndarray, " draw"]:
    """Sum of the clipped means of the parts minus that of the whole, on average over heads.

    It cannot be negative: where no part reaches 1, Σ max(x, 0) is at least max(Σx, 0).
    """
    return _mean(np.sum([means[f"clip_{part}"] for part in PARTS], axis=0) - means["clip_repair"])


def spread_of_ratio(means: DrawnMeans) -> Float64[np.ndarray, " draw"]:
    """Standard deviation of SR / D over the tokens of a head; the median over heads."""
    return _middle(np.sqrt((means["ratio_square"] - means["ratio"] ** 2).clip(min=0)))


def share_overcorrected(means: DrawnMeans) -> Float64[np.ndarray, " draw"]:
    """Share of the tokens of a head with SR > D; the median over heads."""
    return _middle(means["over"])


def mean_over_heads(means: DrawnMeans, name: str) -> Float64[np.ndarray, " draw"]:
    """Mean over heads of one quantity."""
    return _mean(means[name])


def ends_of(draws: Float64[np.ndarray, " draw"], level: float = LEVEL) -> tuple[float, float, float]:
    """The value in the sample, and between what it lies in the draws; NaN ends without draws.

    Args:
        draws: The value in the sample, then in each draw.
        level: Coverage.
    """
    drawn = draws[1:][np.isfinite(draws[1:])]
    if not len(drawn):
        return float(draws[0]), np.nan, np.nan
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return float(draws[0]), low, high


def _mean(values: Float64[np.ndarray, "draw head"]) -> Float64[np.ndarray, " draw"]:
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1))


def _middle(values: Float64[np.ndarray, "draw head"]) -> Float64[np.ndarray, " draw"]:
    found = np.full(len(values), np.nan)
    there = np.isfinite(values).any(axis=1)
    found[there] = np.nanmedian(values[there], axis=1)
    return found
