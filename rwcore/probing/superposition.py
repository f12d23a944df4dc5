"""Many features in few neurons: are neurons better than other directions, and do they answer together?

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 4 (superposition of compound words);
sparse probing specification, section 7.3 and claims C58-C60, C83, C84.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import DRAWS, LEVEL, SEED, bootstrap_means
from rwcore.probing.controls import DIRECTIONS, NEURONS
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.errors import ProbeError

POSITIVE, MISSING_FIRST, MISSING_SECOND = "positive", "missing_first", "missing_second"
COMPOUND = "compound"
"""Family of the pairs of words of `rwcore.probing.datasets.compound_words`."""
JOINT = 5


def rank_curves(
    scores: pd.DataFrame, *, score: str = "test_f1", by: str = "validation_f1", within: Sequence[str] = ()
) -> pd.DataFrame:
    """The score of the best direction, the second best, …: of neurons, and of random directions beside them.

    Args:
        scores: A row per direction: ``feature``, ``control``, ``trial``, and scores;
            see `rwcore.probing.controls.control_scores`.
        score: What is shown.
        by: What directions are ranked by. As published, that is the score itself, on the test rows.
        within: Further columns that are kept apart, such as ``layer``.

    Returns:
        A row per feature, control and rank: those columns, ``rank`` from 1, ``mean`` over the trials that
        have so many directions, ``low`` and ``high`` (the worst and best trial), ``trials``, and
        ``ranked_by``, the mean of what they are ranked by.

    Raises:
        ProbeError: A column is missing.
    """
    keys = [*within, "feature", "control"]
    _require_columns(scores, [*keys, "trial", score, by])
    ordered = scores.sort_values(by, ascending=False, kind="stable")
    ranked = ordered.assign(rank=ordered.groupby([*keys, "trial"]).cumcount() + 1)
    found = ranked.groupby([*keys, "rank"], sort=True).agg(
        mean=(score, "mean"),
        low=(score, "min"),
        high=(score, "max"),
        trials=(score, "size"),
        ranked_by=(by, "mean"),
    )
    return found.reset_index()


def neuron_wins(curves: pd.DataFrame, *, rank: int = 1, against: str = DIRECTIONS) -> pd.DataFrame:
    """Whether the neuron of a rank is better than the mean direction of that rank, feature by feature.

    Args:
        curves: From `rank_curves`. Where there are several layers, that counts on either side which is best
            by what directions are ranked by: on validation, so that nothing is chosen on test.
        rank: From 1.
        against: The control.

    Returns:
        A row per feature that has both: ``feature``, ``neuron``, ``control``, ``difference``, ``wins``
        (a tie is no win).
    """
    at = curves[curves["rank"] == rank]
    sides = []
    for control in (NEURONS, against):
        rows = at[at["control"] == control]
        sides.append(rows.loc[rows.groupby("feature")["ranked_by"].idxmax()].set_index("feature")["mean"])
    both = pd.concat(sides, axis=1, keys=["neuron", "control"], join="inner").sort_index()
    both["difference"] = both["neuron"] - both["control"]
    both["wins"] = both["difference"] > 0
    return both.rename_axis("feature").reset_index()


def log_loss_increase(
    neurons: pd.DataFrame, directions: pd.DataFrame, keys: Sequence[str] = ("feature", "k")
) -> pd.DataFrame:
    """How much worse the probes on k random directions are than those on k neurons, in percent.

    ``100 · (mean log loss of the directions - that of the neurons) / that of the neurons``

    Args:
        neurons: Sparsity curves of neurons: ``keys`` and ``log_loss``.
        directions: Those of random directions, a row per trial.
        keys: What belongs together.

    Returns:
        A row per combination that both have: ``keys``, ``neurons``, ``directions`` (mean log losses),
        ``percent``, ``low`` and ``high`` (that of the best and the worst trial), ``trials``.

    Raises:
        ProbeError: A column is missing.
    """
    for frame in (neurons, directions):
        _require_columns(frame, [*keys, "log_loss"])
    of_neurons = neurons.groupby([*keys])["log_loss"].mean().rename("neurons")
    of_trials = directions.groupby([*keys])["log_loss"].agg(
        directions="mean", low="min", high="max", trials="size"
    )
    both = pd.concat([of_neurons, of_trials], axis=1, join="inner").sort_index()
    for name, losses in (("percent", "directions"), ("low", "low"), ("high", "high")):
        both[name] = 100 * (both[losses] - both["neurons"]) / both["neurons"]
    return both[["neurons", "directions", "percent", "low", "high", "trials"]].reset_index()


def occurrence_kinds(data: FeatureDataset, feature: str, second: Collection[int]) -> list[str]:
    """Which of the three kinds each labelled example of a pair of words is.

    An example that lacks the pair is the second word without the first (`MISSING_FIRST`), or what follows the
    first word without being the second.

    Args:
        data: From `rwcore.probing.datasets.compound_words.compound_words`.
        feature: The pair.
        second: Ids that are the second word, in any case and with or without a space: not all of them need
            occur behind the first word.

    Raises:
        ProbeError: The examples are no tokens, or there is no such pair.
    """
    found = {one.name: one for one in data.features}.get(feature)
    if data.token is None or found is None:
        raise ProbeError(
            f"{data.name} has no pair of words {feature!r}",
            where="feature",
            remedy="use a data set of compound words and one of its features",
        )
    token = data.corpus.tokens[data.token[found.example]]
    is_second = torch.isin(token.long(), torch.tensor(sorted(second), dtype=torch.int64))
    return [
        POSITIVE if positive else MISSING_FIRST if ends else MISSING_SECOND
        for positive, ends in zip(found.label.tolist(), is_second.tolist(), strict=True)
    ]


def joint_activations(
    x: Float[Tensor, "example neuron"],
    kinds: Sequence[str],
    names: Sequence[str],
    best: Sequence[int],
    *,
    most: int = JOINT,
) -> pd.DataFrame:
    """The activations of a feature's best neurons beside each other, and what each example is.

    Args:
        x: Activations of the labelled examples.
        kinds: Of each example, see `occurrence_kinds`.
        names: What each column of ``x`` is called, such as ``3.609``.
        best: Columns, the best one first.
        most: How many are taken.

    Returns:
        A row per example: ``kind`` and a column per neuron.

    Raises:
        ProbeError: There are not as many kinds as examples.
    """
    if len(kinds) != len(x):
        raise ProbeError(
            f"{len(kinds)} examples have a kind, and {len(x)} activations",
            where="kinds",
            remedy="give the rows of the labelled examples of the feature",
        )
    chosen = list(best)[:most]
    columns = {names[column]: x[:, column].float().numpy() for column in chosen}
    return pd.DataFrame({"kind": list(kinds), **columns})


@dataclass(frozen=True)
class Correlation:
    """A correlation with its 95 % interval over documents.

    Attributes:
        r: Pearson's; NaN where one side is constant, or there are fewer than two values.
        low: Lower end; NaN with fewer than two documents.
        high: Upper end.
        n: Values.
        documents: Documents.
    """

    r: float
    low: float
    high: float
    n: int
    documents: int


def correlation(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    document: Int64[Tensor, " n"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Correlation:
    """Pearson's correlation of two neurons over tokens or rows, whole documents drawn for its interval.

    Args:
        x: One neuron.
        y: The other.
        document: Document of each value; numbers of their own where values are independent.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        OptionError: There are no draws.
    """
    if len(x) < 2:
        return Correlation(np.nan, np.nan, np.nan, len(x), len(torch.unique(document)))
    # About the mean of all, so that squares of neurons far from zero do not swallow their spread.
    a, b = (values.double() - values.double().mean() for values in (x, y))
    products = torch.stack([a, b, a * a, b * b, a * b], dim=1)
    documents, place = torch.unique(document, return_inverse=True)
    sums = torch.zeros(len(documents), 5, dtype=torch.float64).index_add_(0, place, products)
    counts = torch.bincount(place, minlength=len(documents))[:, None].expand(-1, 5)
    r = float(_pearson(products.mean(0)[None])[0])
    if len(documents) < 2:
        return Correlation(r, np.nan, np.nan, len(x), len(documents))
    means = bootstrap_means(sums.numpy(), counts.numpy(), draws=draws, seed=seed)
    drawn = _pearson(torch.from_numpy(means))
    drawn = drawn[drawn.isfinite()]
    low, high = np.nan, np.nan
    if len(drawn):
        low, high = np.quantile(drawn.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Correlation(r, low, high, len(x), len(documents))


def correlation_by_class(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    inside: Bool[Tensor, " n"],
    document: Int64[Tensor, " n"],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Correlation]:
    """The correlation of two neurons within a class of text and outside of it (claim C84).

    Args:
        x: One neuron.
        y: The other.
        inside: Which values are of the class.
        document: As for `correlation`.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        ``inside`` and ``outside``.

    Raises:
        OptionError: There are no draws.
    """
    return {
        side: correlation(x[of], y[of], document[of], draws=draws, seed=seed)
        for side, of in (("inside", inside), ("outside", ~inside))
    }


def mean_max_correlation(summary: pd.DataFrame, *, seen: int = 0) -> float:
    """Pearson's correlation of a neuron's mean and maximum over the tokens of the vocabulary (claim C83).

    Args:
        summary: From `rwcore.probing.stimuli.token_summary`.
        seen: Only tokens that occur more often than this.
    """
    kept = summary[summary["count"] > seen]
    return float(kept["mean"].corr(kept["max"]))


def _pearson(means: Float[Tensor, "draw 5"]) -> Float[Tensor, " draw"]:
    """From the means of x, y, x², y² and xy; NaN where one of the two hardly varies."""
    x, y, xx, yy, xy = means.unbind(1)
    spread = ((xx - x * x).clamp(min=0) * (yy - y * y).clamp(min=0)).sqrt()
    return torch.where(spread > 0, (xy - x * y) / spread, torch.nan).clamp(-1, 1)


def _require_columns(frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ProbeError(
            f"the scores have no column {missing[0]!r}",
            where=", ".join(map(str, frame.columns)),
            remedy="use the scores of directions as the controls give them",
        )
