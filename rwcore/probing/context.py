"""What a neuron does inside and outside of a class of text: a language, a programming language, a source.

Values of a neuron are given token by token, in the order of the corpus. Tokens of rows without a class never
count, nor do the first positions of a row: at the very first one, a model shows the same whatever follows.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 5 (context neurons); sparse probing
specification, section 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import require_least
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.errors import ProbeError
from rwcore.probing.group_summary import STATISTICS, group_summary
from rwcore.probing.text_classes import UNLABELLED, TextClasses

BINS = 50
FIRST = 1
LEAST, TOP = 50, 20
"""The published numbers: tokens seen more than 50 times on both sides, the 20 with the largest difference."""

SIDES = ("outside", "inside")


def class_summary(
    values: Mapping[str, Float[Tensor, " token"]],
    corpus: TokenCorpus,
    classes: TextClasses,
    *,
    first: int = FIRST,
) -> pd.DataFrame:
    """What a neuron is like at the tokens of each class.

    Args:
        values: Quantity (``pre``, ``post``, …) → its value at every token.
        corpus: The rows.
        classes: Their classes.
        first: The first position that counts.

    Returns:
        One row per quantity and class that has tokens: ``quantity``, ``class``, ``rows`` and `STATISTICS`
        (``count`` is tokens).

    Raises:
        ProbeError: Values or classes do not fit the corpus.
    """
    of_token, counted = _counted(corpus, classes, first)
    rows = torch.bincount(classes.row[classes.row != UNLABELLED], minlength=len(classes.names))
    frames = []
    for quantity, found in _fitting(values, corpus).items():
        frame = group_summary(found[counted], of_token[counted])
        frame.insert(0, "quantity", quantity)
        frame.insert(1, "class", [classes.names[number] for number in frame["group"]])
        frame.insert(2, "rows", rows.numpy()[frame["group"]])
        frames.append(frame.drop(columns="group"))
    return pd.concat(frames, ignore_index=True)


def class_histogram(
    values: Mapping[str, Float[Tensor, " token"]],
    corpus: TokenCorpus,
    classes: TextClasses,
    own: str,
    *,
    bins: int = BINS,
    first: int = FIRST,
) -> pd.DataFrame:
    """How often a neuron has which value, inside and outside of a class.

    Args:
        values: As for `class_summary`.
        corpus: As for `class_summary`.
        classes: As for `class_summary`.
        own: The class.
        bins: Bins of equal width from the smallest value to the largest.
        first: As for `class_summary`.

    Returns:
        One row per quantity and bin: ``quantity``, ``low``, ``high``, and the tokens ``inside`` and
        ``outside``.

    Raises:
        ProbeError: There is no such class, or values or classes do not fit the corpus.
        OptionError: There are no bins.
    """
    require_least("bins", bins, 1)
    of_token, counted = _counted(corpus, classes, first)
    inside = (of_token == classes.place(own))[counted].numpy()
    frames = []
    for quantity, found in _fitting(values, corpus).items():
        here = found[counted].numpy().astype(np.float64)
        edges = np.histogram_bin_edges(here, bins)
        counts = {
            side: np.histogram(here[inside == bool(number)], edges)[0] for number, side in enumerate(SIDES)
        }
        columns = {"low": edges[:-1], "high": edges[1:], "inside": counts["inside"]}
        frames.append(pd.DataFrame({"quantity": quantity, **columns, "outside": counts["outside"]}))
    return pd.concat(frames, ignore_index=True)


def row_summary(
    values: Mapping[str, Float[Tensor, " token"]],
    corpus: TokenCorpus,
    classes: TextClasses,
    *,
    first: int = FIRST,
) -> pd.DataFrame:
    """Mean and maximum of a neuron in every row of a class.

    Args:
        values: As for `class_summary`.
        corpus: As for `class_summary`.
        classes: As for `class_summary`.
        first: As for `class_summary`; shorter rows are left out.

    Returns:
        One row per quantity and row of the corpus: ``quantity``, ``row``, ``document``, ``class``,
        ``tokens``, ``mean``, ``max``.

    Raises:
        ProbeError: Values or classes do not fit the corpus.
    """
    _, counted = _counted(corpus, classes, first)
    of_row = torch.arange(len(corpus)).repeat_interleave(corpus.lengths)[counted]
    frames = []
    for quantity, found in _fitting(values, corpus).items():
        frame = group_summary(found[counted], of_row)
        rows = frame["group"].to_numpy()
        columns = {
            "quantity": quantity,
            "row": rows,
            "document": corpus.document.numpy()[rows],
            "class": [classes.names[number] for number in classes.row.numpy()[rows]],
            "tokens": frame["count"],
        }
        frames.append(pd.DataFrame({**columns, "mean": frame["mean"], "max": frame["max"]}))
    return pd.concat(frames, ignore_index=True)


def token_disambiguation(
    values: Mapping[str, Float[Tensor, " token"]],
    corpus: TokenCorpus,
    classes: TextClasses,
    own: str,
    *,
    least: int = LEAST,
    top: int = TOP,
    first: int = FIRST,
) -> pd.DataFrame:
    """The tokens that are the same in both contexts, and at which the neuron differs most between them.

    Args:
        values: As for `class_summary`.
        corpus: As for `class_summary`.
        classes: As for `class_summary`.
        own: The class.
        least: Only tokens that occur more often than this on both sides.
        top: How many tokens.
        first: As for `class_summary`.

    Returns:
        One row per quantity and token, the largest absolute difference of means first: ``quantity``,
        ``token`` (its id), ``difference`` (inside minus outside), and ``inside_…``, ``outside_…`` for each
        of `STATISTICS`.

    Raises:
        ProbeError: There is no such class, or values or classes do not fit the corpus.
    """
    of_token, counted = _counted(corpus, classes, first)
    inside = (of_token == classes.place(own))[counted]
    tokens = corpus.tokens.long()[counted]
    frames = []
    for quantity, found in _fitting(values, corpus).items():
        sides = []
        for number, side in enumerate(SIDES):
            here = inside == bool(number)
            frame = group_summary(found[counted][here], tokens[here])
            names = {name: f"{side}_{name}" for name in STATISTICS}
            sides.append(frame[frame["count"] > least].rename(columns=names))
        both = sides[1].merge(sides[0], on="group").rename(columns={"group": "token"})
        both.insert(0, "quantity", quantity)
        both.insert(2, "difference", both["inside_mean"] - both["outside_mean"])
        order = np.lexsort((both["token"], -both["difference"].abs()))
        frames.append(both.iloc[order[:top]])
    return pd.concat(frames, ignore_index=True)


def _counted(
    corpus: TokenCorpus, classes: TextClasses, first: int
) -> tuple[Int64[Tensor, " token"], Bool[Tensor, " token"]]:
    """Class of every token, and which tokens count."""
    of_token = classes.of_tokens(corpus)
    return of_token, (of_token != UNLABELLED) & pooled(corpus, first)


def _fitting(
    values: Mapping[str, Float[Tensor, " token"]], corpus: TokenCorpus
) -> Mapping[str, Float[Tensor, " token"]]:
    """The values, if there is one for every token."""
    for quantity, found in values.items():
        if len(found) != corpus.n_tokens:
            raise ProbeError(
                f"{len(found):,} values of {quantity} are given for {corpus.n_tokens:,} tokens",
                where=corpus.spec.id,
                remedy="use the corpus that the values were taken on",
            )
    return values
