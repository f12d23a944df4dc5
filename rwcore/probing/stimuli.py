"""What excites one neuron: tokens, and the tokens before them.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 6 (polysemantic neurons); sparse
probing specification, sections 7.4 and 7.6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import require_least
from rwcore.probing.errors import ProbeError
from rwcore.probing.group_summary import STATISTICS, group_summary

SEEN = 10
"""Tokens that occur more often than this are looked at."""
CANDIDATES, CHOSEN = 250, 25
PREVIOUS = (1, 2, 3)
LEAST_OF_GROUP, GROUPS = 3, 10
TOP_SHARE = 0.01


def token_summary(
    values: Float[Tensor, " token"], corpus: TokenCorpus, *, where: Bool[Tensor, " token"] | None = None
) -> pd.DataFrame:
    """What a neuron (or the loss without it) is like at each token of the vocabulary.

    Args:
        values: One number at every token of the corpus; those that are NaN do not count.
        corpus: The rows.
        where: Which tokens count; all if None.

    Returns:
        One row per token id that occurs, ascending: ``token`` and `STATISTICS`.

    Raises:
        ProbeError: There is not one value for every token.
    """
    _require_fit(values, corpus)
    counted = _counted(values, where)
    frame = group_summary(values[counted], corpus.tokens.long()[counted])
    return frame.rename(columns={"group": "token"})


def exciting_tokens(
    summary: pd.DataFrame,
    strings: Mapping[int, str],
    *,
    by: str = "mean",
    seen: int = SEEN,
    top: int = CHOSEN,
) -> pd.DataFrame:
    """The alphabetic tokens at which a neuron is highest.

    Args:
        summary: From `token_summary`.
        strings: Text of each token.
        by: One of `STATISTICS`.
        seen: Only tokens that occur more often than this.
        top: How many.

    Returns:
        Rows of the summary, the largest first, ties by token id, with their ``text``.

    Raises:
        OptionError: ``top`` is less than 1.
    """
    require_least("top", top, 1)
    kept = _alphabetic(summary, strings, seen)
    return _largest(kept, kept[by], top).reset_index(drop=True)


def choose_tokens(
    summary: pd.DataFrame,
    strings: Mapping[int, str],
    *,
    seen: int = SEEN,
    candidates: int = CANDIDATES,
    chosen: int = CHOSEN,
) -> pd.DataFrame:
    """Tokens at which a neuron is sometimes high and often not: what came before decides.

    Of the alphabetic tokens seen often enough, the ``candidates`` with the largest maximum; of these the
    ``chosen`` with the largest standard deviation and the ``chosen`` with the largest distance from the third
    quartile to the maximum.

    Args:
        summary: From `token_summary`.
        strings: Text of each token.
        seen: Only tokens that occur more often than this.
        candidates: See above.
        chosen: See above.

    Returns:
        Rows of the summary with their ``text``, and whether each was chosen ``by_std`` and ``by_gap``; each
        token once, the largest maximum first.
    """
    kept = _alphabetic(summary, strings, seen)
    kept = _largest(kept, kept["max"], candidates)
    by_std = _largest(kept, kept["std"], chosen).index
    by_gap = _largest(kept, kept["max"] - kept["q3"], chosen).index
    kept = kept.assign(by_std=kept.index.isin(by_std), by_gap=kept.index.isin(by_gap))
    return kept[kept["by_std"] | kept["by_gap"]].reset_index(drop=True)


def prefix_groups(
    values: Float[Tensor, " token"],
    corpus: TokenCorpus,
    token: int,
    *,
    lengths: Sequence[int] = PREVIOUS,
    least: int = LEAST_OF_GROUP,
    top: int = GROUPS,
) -> pd.DataFrame:
    """What a neuron is like at one token, by the tokens right before it in its row.

    Args:
        values: One number at every token of the corpus.
        corpus: The rows.
        token: Its id.
        lengths: How many tokens before it make a group.
        least: Occurrences of the smallest group.
        top: How many groups of each length.

    Returns:
        Of each length the groups with the largest maximum, largest first: ``token``, ``length``, ``prefix``
        (ids, from left to right) and `STATISTICS`.

    Raises:
        ProbeError: There is not one value for every token.
        OptionError: A length is less than 1.
    """
    _require_fit(values, corpus)
    ids = corpus.tokens.long()
    position = torch.arange(corpus.n_tokens) - corpus.offsets[:-1].repeat_interleave(corpus.lengths)
    frames = [_no_groups()]
    for length in lengths:
        require_least("lengths", length, 1)
        place = ((ids == token) & (position >= length) & ~values.isnan()).nonzero()[:, 0]
        before = ids[place[:, None] + torch.arange(-length, 0)]
        prefixes, group = torch.unique(before, dim=0, return_inverse=True)
        frame = group_summary(values[place], group)
        frame = _largest(frame[frame["count"] >= least], frame["max"], top)
        shown = [tuple(prefixes[number].tolist()) for number in frame["group"]]
        frame.insert(0, "token", token)
        frame.insert(1, "length", length)
        frame.insert(2, "prefix", pd.Series(shown, index=frame.index, dtype=object))
        if len(frame):
            frames.append(frame.drop(columns="group"))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def distinct_groups(groups: pd.DataFrame, top: int) -> pd.DataFrame:
    """The groups of one token that are highest on average and not parts of each other.

    ``under the`` is a part of ``Distributed under the``: of two such groups the higher one stays, of equal
    ones the one with the shorter prefix.

    Args:
        groups: Rows of `prefix_groups` about one token.
        top: How many.

    Returns:
        Their rows, the largest mean first.
    """
    order = np.lexsort((groups["length"].to_numpy(np.int64), -groups["mean"].to_numpy(np.float64)))
    chosen: list[int] = []
    for row in order.tolist():
        prefix = groups["prefix"].iloc[row]
        others = (groups["prefix"].iloc[other] for other in chosen)
        if len(chosen) < top and not any(_nested(prefix, other) for other in others):
            chosen.append(row)
    return groups.iloc[chosen].reset_index(drop=True)


@dataclass(frozen=True)
class TopTokens:
    """Which tokens stand where a neuron is highest: few for one feature, many for several.

    Attributes:
        places: The places with the largest values.
        tokens: Different tokens at these places.
        half: The fewest tokens that stand at half of the places.
        by_chance: Different tokens to be expected at as many places drawn at random.
    """

    places: int
    tokens: int
    half: int
    by_chance: float


def top_tokens(
    values: Float[Tensor, " token"],
    corpus: TokenCorpus,
    *,
    share: float = TOP_SHARE,
    where: Bool[Tensor, " token"] | None = None,
) -> TopTokens:
    """Which tokens hold the highest values of a neuron.

    With N tokens of text, ``k = ⌈share · N⌉`` places and ``n_t`` occurrences of token t, chance meets
    ``Σ_t 1 - C(N - n_t, k) / C(N, k)`` different tokens.

    Args:
        values: One number at every token of the corpus; those that are NaN do not count.
        corpus: The rows.
        share: Of the tokens that count, rounded up; of equal values the earlier ones.
        where: Which tokens count; all if None.

    Raises:
        ProbeError: There is not one value for every token.
    """
    _require_fit(values, corpus)
    counted = _counted(values, where)
    found, ids = values[counted], corpus.tokens.long()[counted]
    places = math.ceil(share * len(ids))
    best = torch.argsort(found, descending=True, stable=True)[:places]
    held = torch.unique(ids[best], return_counts=True)[1].sort(descending=True)[0]
    half = int((held.cumsum(0) < (places + 1) // 2).sum()) + 1 if places else 0
    counts = torch.unique(ids, return_counts=True)[1].double()
    left = len(ids) - counts
    total = torch.tensor(len(ids), dtype=torch.float64)
    # log of C(N - n, k) / C(N, k); where fewer than k places are left, every draw meets the token.
    logs = [torch.lgamma(n + 1) - torch.lgamma((n - places).clamp(min=0) + 1) for n in (left, total)]
    missed = torch.where(left >= places, (logs[0] - logs[1]).exp(), 0.0)
    return TopTokens(places, len(held), half, float((1 - missed).sum()))


def share_above(
    values: Float[Tensor, " token"], threshold: float, *, where: Bool[Tensor, " token"] | None = None
) -> float:
    """The share of tokens at which a neuron is above a threshold; NaN without any token.

    Args:
        values: One number at every token; those that are NaN do not count.
        threshold: Must be exceeded.
        where: Which tokens count; all if None.
    """
    return float((values[_counted(values, where)] > threshold).double().mean())


def _counted(values: Float[Tensor, " token"], where: Bool[Tensor, " token"] | None) -> Bool[Tensor, " token"]:
    return ~values.isnan() if where is None else where & ~values.isnan()


def _nested(prefix: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one of the two is the end of the other."""
    shared = min(len(prefix), len(other))
    return prefix[len(prefix) - shared :] == other[len(other) - shared :]


def _alphabetic(summary: pd.DataFrame, strings: Mapping[int, str], seen: int) -> pd.DataFrame:
    """The tokens that are letters, but for white space around them, and occur more often than ``seen``."""
    often = summary[summary["count"] > seen]
    texts = [strings.get(number, "") for number in often["token"]]
    words = np.array([text.strip().isalpha() for text in texts], dtype=bool)
    # Texts of other tokens may be bytes that are no character, which no column can hold.
    return often[words].assign(text=[text for text, word in zip(texts, words, strict=True) if word])


def _largest(frame: pd.DataFrame, by: pd.Series[float], top: int) -> pd.DataFrame:
    """The rows with the largest values, largest first; ties stay in their order."""
    values = by[frame.index].to_numpy(dtype=np.float64)
    return frame.iloc[np.argsort(-values, kind="stable")[:top]]


def _no_groups() -> pd.DataFrame:
    return pd.DataFrame(columns=["token", "length", "prefix", *STATISTICS])


def _require_fit(values: Tensor, corpus: TokenCorpus) -> None:
    if len(values) != corpus.n_tokens:
        raise ProbeError(
            f"{len(values):,} values are given for {corpus.n_tokens:,} tokens",
            where=corpus.spec.id,
            remedy="use the corpus that the values were taken on",
        )
