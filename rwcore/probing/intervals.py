"""Intervals of scores when documents are what is sampled.

Documents are drawn with replacement and the score is computed again from the examples of those drawn, each as
often as its document was drawn; the interval goes from the 2.5 % to the 97.5 % quantile, as in
`rwcore.ablation.bootstrap`. Its ``documents`` are those of the class that is in fewer; if that is a single
one, there is no interval. The probe stays as it is: these are intervals of how well *this* probe does on
other text, not of how well a probe fitted to other text would do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED, Interval, bootstrap_means
from rwcore.errors import OptionError
from rwcore.probing.scores import CONFUSION_SCORES, RANK_SCORES, confusion_scores, rank_scores

_CHUNK_VALUES = 1 << 21
_ROUNDING = 1e-9


def confusion_intervals(
    label: Bool[Tensor, " example"],
    chosen: Bool[Tensor, "example probe"],
    group: Int64[Tensor, " example"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
) -> dict[str, list[Interval]]:
    """Intervals of the confusion scores of some probes; the same documents are drawn for all.

    Args:
        label: Of each example.
        chosen: What each probe calls positive.
        group: Document of each example.
        draws: How many times documents are drawn; draws without both classes are left out.
        seed: Of the generator.
        level: Coverage.

    Returns:
        For each of `rwcore.probing.scores.CONFUSION_SCORES`, an interval per probe.

    Raises:
        OptionError: There are no draws, or the level is not between 0 and 1.
    """
    documents, place = torch.unique(group, return_inverse=True)
    cells = torch.stack([label[:, None] & chosen, ~label[:, None] & chosen, label[:, None] & ~chosen], dim=2)
    columns = cells.reshape(len(label), -1).to(torch.float64)
    sums = torch.zeros(len(documents), columns.shape[1], dtype=torch.float64).index_add_(0, place, columns)
    sizes = torch.bincount(place, minlength=len(documents))
    # Shares of the drawn examples are as good as numbers: the scores are ratios of them.
    means = bootstrap_means(
        sums.numpy(), sizes[:, None].expand(-1, columns.shape[1]).numpy(), draws=draws, seed=seed
    )
    tp, fp, fn = torch.from_numpy(means).reshape(draws, chosen.shape[1], 3).unbind(2)
    drawn = confusion_scores(tp, fp, fn, (1 - tp - fp - fn).clamp(min=0))
    # A sum of shares may be a rounding error away from none or all.
    both = ((tp + fn) > _ROUNDING) & ((tp + fn) < 1 - _ROUNDING)
    fewest = _fewest_documents(label, place, len(documents))
    return {
        name: [_interval(values, fewest, level) for values in drawn[name].where(both, torch.nan).T]
        for name in CONFUSION_SCORES
    }


def rank_intervals(
    label: Bool[Tensor, " example"],
    score: Float[Tensor, " example"],
    group: Int64[Tensor, " example"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Intervals of the areas under both curves of one probe.

    Args:
        label: Of each example.
        score: Of each example.
        group: Document of each example.
        draws: How many times documents are drawn; draws without both classes are left out.
        seed: Of the generator.
        level: Coverage.

    Raises:
        OptionError: There are no draws, or the level is not between 0 and 1.
    """
    if draws < 1:
        raise OptionError(f"{draws} bootstrap draws", where="draws", remedy="give 1 or more, e.g. 2000")
    documents, place = torch.unique(group, return_inverse=True)
    fewest = _fewest_documents(label, place, len(documents))
    distinct, rank = torch.unique(score, return_inverse=True)
    generator = np.random.default_rng(seed)
    parts: list[dict[str, Tensor]] = []
    step = max(1, _CHUNK_VALUES // max(1, len(label)))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chances = np.full(len(documents), 1 / max(1, len(documents)))
        weights = torch.from_numpy(generator.multinomial(len(documents), chances, size=size))
        weights = weights.to(torch.float64)
        levels = [
            torch.zeros(size, len(distinct), dtype=torch.float64).index_add_(
                1, rank[of], weights[:, place[of]]
            )
            for of in (label, ~label)
        ]
        parts.append(rank_scores(levels[0], levels[1]))
    return {name: _interval(torch.cat([part[name] for part in parts]), fewest, level) for name in RANK_SCORES}


def _fewest_documents(
    label: Bool[Tensor, " example"], place: Int64[Tensor, " example"], documents: int
) -> int:
    """Documents that have an example of the class that is in fewer of them."""
    return min(int((torch.bincount(place[of], minlength=documents) > 0).sum()) for of in (label, ~label))


def _interval(drawn: Float64[Tensor, " draw"], documents: int, level: float) -> Interval:
    if not 0 < level < 1:
        raise OptionError(f"an interval of level {level}", where="level", remedy="use e.g. 0.95")
    kept = drawn[drawn.isfinite()]
    if documents < 2 or not len(kept):
        return Interval(math.nan, math.nan, math.nan, documents)
    low, high = np.quantile(kept.numpy(), [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, float(kept.std(correction=0)), documents)
