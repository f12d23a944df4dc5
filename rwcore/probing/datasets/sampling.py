"""Which of the candidates of a feature become its examples, and the data set over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import NONE, Feature, FeatureDataset, Skipped

LEAST = 200
"""Examples of either class that a feature must have; with fewer a test split says little."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Labelled tokens of a corpus, before or after the choice of examples.

    Attributes:
        name: Name of the feature.
        family: The kind of feature.
        place: Places in ``corpus.tokens``, ascending.
        label: Whether each has the feature.
    """

    name: str
    family: str
    place: Int64[Tensor, " labelled"]
    label: Bool[Tensor, " labelled"]

    def pick(self, chosen: Bool[Tensor, " labelled"]) -> Candidate:
        """Some of the tokens."""
        return Candidate(self.name, self.family, self.place[chosen], self.label[chosen])


def priorities(corpus: TokenCorpus, seed: int) -> Int64[Tensor, " token"]:
    """A random rank of every token, the same for all features of a data set.

    Features that take their examples in one order share many of them, so fewer activations are needed.

    Source: sparse probing 3 (priority sampling).
    """
    return torch.randperm(corpus.n_tokens, generator=torch.Generator().manual_seed(seed))


def sample(
    candidate: Candidate, positives: int, negatives: int, priority: Int64[Tensor, " token"]
) -> Candidate:
    """The first so many candidates of either class by their rank; all, where there are fewer."""
    chosen = torch.zeros(len(candidate.place), dtype=torch.bool)
    for value, count in ((True, positives), (False, negatives)):
        of_class = (candidate.label == value).nonzero().flatten()
        order = priority[candidate.place[of_class]].argsort()
        chosen[of_class[order[:count]]] = True
    return candidate.pick(chosen)


def balanced(
    candidate: Candidate, size: int, low: float, high: float, priority: Int64[Tensor, " token"]
) -> Candidate:
    """At most ``size`` examples, with the natural share of positives moved into ``[low, high]``.

    ``n₊ = ⌊size · min(max(f, low), high)⌋`` and ``n₋ = size − n₊`` with f the share among the candidates.
    Where one class has fewer, all of it is taken and the other is not topped up.

    Source: sparse probing 3.4 (low 0.2, high 0.5).
    """
    share = float(candidate.label.float().mean()) if len(candidate.label) else 0.0
    positives = int(size * min(max(share, low), high))
    return sample(candidate, positives, size - positives, priority)


def token_dataset(
    name: str, corpus: TokenCorpus, candidates: Sequence[Candidate], *, least: int = LEAST
) -> FeatureDataset:
    """The data set whose examples are the tokens that any feature needs.

    Features with fewer than ``least`` examples of one class (at least one of each is needed) are left out
    and reported in ``skipped``.
    """
    kept, skipped = _enough(candidates, least)
    everything = torch.cat([one.place for one in kept]) if kept else torch.zeros(0, dtype=torch.int64)
    token = torch.from_numpy(np.unique(everything.numpy()))
    features = tuple(
        Feature(one.name, one.family, torch.searchsorted(token, one.place), one.label) for one in kept
    )
    row = torch.searchsorted(corpus.offsets, token, right=True) - 1
    return FeatureDataset(name, corpus, NONE, token, None, features, corpus.document[row], skipped)


def row_dataset(
    name: str,
    corpus: TokenCorpus,
    aggregation: str,
    valid: Bool[Tensor, " token"],
    candidates: Sequence[Candidate],
    *,
    group: Int64[Tensor, " row"] | None = None,
    least: int = LEAST,
) -> FeatureDataset:
    """The data set whose examples are rows; the places of the candidates are numbers of rows.

    The group of a row is its document if no other is given.
    """
    kept, skipped = _enough(candidates, least)
    features = tuple(Feature(one.name, one.family, one.place, one.label) for one in kept)
    group = corpus.document if group is None else group
    return FeatureDataset(name, corpus, aggregation, None, valid, features, group, skipped)


def _enough(candidates: Sequence[Candidate], least: int) -> tuple[list[Candidate], tuple[Skipped, ...]]:
    kept, skipped = [], []
    for one in candidates:
        positives = int(one.label.sum())
        negatives = len(one.label) - positives
        if min(positives, negatives) >= max(least, 1):
            kept.append(one)
        else:
            skipped.append(Skipped(one.name, one.family, positives, negatives, least))
    return kept, tuple(skipped)
