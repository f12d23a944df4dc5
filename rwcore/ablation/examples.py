"""The predictions that an ablation changes most, with the text around them.

A prediction is made *at* a token, by what stands there and before it, and is about the *next* token. Where a
context is shown, each of its tokens has the difference of the prediction *of* this token, which was made at
the token before it.

Source: ablations and frequencies specification, section 6 (the original divides its flat indices by the wrong
size; here rows are found in the offsets of the corpus).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from rwcore.ablation.compare import FIXED, RunLabel, token_differences
from rwcore.ablation.continuations import Continuations
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError

RISE, FALL = "rise", "fall"
DIRECTIONS = (RISE, FALL)
"""``rise``: the metric is higher in the ablated run, so clean - ablated is below 0; ``fall``: it is lower."""
EXAMPLE_METRICS = ("loss", "entropy")
BEFORE, AFTER = 40, 8


@dataclass(frozen=True)
class Example:
    """One prediction in its context.

    Attributes:
        metric: One of `rwcore.ablation.run_metrics.METRICS`.
        direction: ``rise`` or ``fall``.
        row: Row of the corpus.
        document: The document that the row begins in.
        position: Position in the row at which the prediction is made, from 0.
        clean: The metric without ablation.
        ablated: The metric with it.
        difference: As `rwcore.ablation.compare.token_differences` has it: clean - ablated.
        next_token: Id of the token that is predicted; None at the end of a row.
        start: Position of the first token of the context.
        tokens: Ids of the context.
        clean_values: For each token of the context the metric of its prediction; NaN where none counts.
        ablated_values: Likewise of the ablated run.
        differences: Likewise clean - ablated.
    """

    metric: str
    direction: str
    row: int
    document: int
    position: int
    clean: float
    ablated: float
    difference: float
    next_token: int | None
    start: int
    tokens: tuple[int, ...]
    clean_values: tuple[float, ...]
    ablated_values: tuple[float, ...]
    differences: tuple[float, ...]

    @property
    def predicted(self) -> int | None:
        """Place of the predicted token in the context."""
        return None if self.next_token is None else self.position + 1 - self.start


@dataclass(frozen=True, eq=False)
class RunExamples:
    """The examples of one run.

    Attributes:
        label: What was ablated.
        neurons: How many neurons.
        examples: In the order of metrics and directions, the largest difference first.
        continuations: What the model predicts at their places; None if this could not be computed.
    """

    label: RunLabel
    neurons: int
    examples: tuple[Example, ...]
    continuations: Continuations | None


def find_examples(
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    *,
    count: int,
    metrics: Sequence[str] = EXAMPLE_METRICS,
    per_document: int | None = 1,
    before: int = BEFORE,
    after: int = AFTER,
    convention: str = FIXED,
) -> list[Example]:
    """The predictions with the largest rise and the largest fall of each metric.

    Args:
        clean: The run without ablation.
        ablated: The run with it, on the same corpus.
        corpus: The corpus.
        count: Most examples of a metric and direction; fewer if fewer predictions change that way.
        metrics: Some of `rwcore.ablation.run_metrics.METRICS`.
        per_document: Most examples of a metric and direction from one document, so that one document does not
            fill the list; None for any number.
        before: Tokens of the context up to the one at which the prediction is made.
        after: Tokens of the context behind the predicted one.
        convention: Which predictions count, see `rwcore.ablation.compare.differences`.

    Returns:
        Examples in the order of the metrics, rises before falls, the largest difference first; of equal ones
        that of the smaller row, then position.

    Raises:
        OptionError: A number is too small, or there is no such metric or convention.
        CorpusError: A run has not the tokens of the corpus.
        StoreError: A prediction that counts has no finite number.
    """
    for name, value, least in (
        ("count", count, 0),
        ("per_document", 1 if per_document is None else per_document, 1),
        ("before", before, 1),
        ("after", after, 0),
    ):
        if value < least:
            raise OptionError(f"{value} is less than {least}", where=name, remedy=f"give {least} or more")
    offsets = corpus.offsets.numpy()
    document = np.repeat(corpus.document.numpy(), np.diff(offsets))
    found = []
    for metric in metrics:
        changes = token_differences(clean, ablated, corpus, metric, convention=convention)
        values = [getattr(run, metric).numpy() for run in (clean, ablated)]
        for direction in DIRECTIONS:
            for place in extreme_places(changes, document, direction, count, per_document).tolist():
                row = int(np.searchsorted(offsets, place, side="right")) - 1
                around = _Around(place, int(offsets[row]), int(offsets[row + 1]), before, after)
                one, other = (float(run[place]) for run in values)
                found.append(
                    Example(
                        metric,
                        direction,
                        row,
                        int(corpus.document[row]),
                        place - around.begin,
                        one,
                        other,
                        float(changes[place]),
                        None if place + 1 == around.end else int(corpus.tokens[place + 1]),
                        around.first - around.begin,
                        tuple(corpus.tokens[around.first : around.last].tolist()),
                        around.of_tokens(values[0], changes),
                        around.of_tokens(values[1], changes),
                        around.of_tokens(changes, changes),
                    )
                )
    return found


@dataclass(frozen=True)
class _Around:
    """Which tokens are shown around a prediction; all places are in the tokens of the corpus.

    Attributes:
        place: Where the prediction is made.
        begin: First token of its row.
        end: End of its row.
        before: As for `find_examples`.
        after: As for `find_examples`.
    """

    place: int
    begin: int
    end: int
    before: int
    after: int

    @property
    def first(self) -> int:
        return max(self.begin, self.place + 1 - self.before)

    @property
    def last(self) -> int:
        return min(self.end, self.place + 2 + self.after)

    def of_tokens(self, values: NDArray[np.generic], changes: NDArray[np.float64]) -> tuple[float, ...]:
        """Values of the predictions of the tokens; each was made at the token before, in the same row."""
        made_at = range(self.first - 1, self.last - 1)
        counts = (place >= self.begin and not math.isnan(changes[place]) for place in made_at)
        return tuple(
            float(values[at]) if there else math.nan for at, there in zip(made_at, counts, strict=True)
        )


def extreme_places(
    differences: Float64[np.ndarray, " token"],
    document: Int64[np.ndarray, " token"],
    direction: str,
    count: int,
    per_document: int | None = 1,
) -> Int64[np.ndarray, " chosen"]:
    """Where the largest differences of one sign are.

    Only as many differences are sorted as are needed: the others are compared with a bound.

    Args:
        differences: Clean - ablated; NaN where none counts.
        document: Document of each token.
        direction: ``rise`` for the most negative ones, ``fall`` for the most positive ones. 0 is neither.
        count: Most places.
        per_document: Most places of one document; None for any number.

    Returns:
        Places, the largest difference first, equal ones in the order of the tokens.
    """
    downwards = differences if direction == RISE else -differences
    places = np.flatnonzero(downwards < 0)
    values = downwards[places]
    wanted = count
    while True:
        inside = np.arange(len(values))
        if 0 < wanted < len(values):
            # With all that equal the bound, so that which of them come first is decided by their order.
            inside = np.flatnonzero(values <= np.partition(values, wanted - 1)[wanted - 1])
        order = places[inside[np.argsort(values[inside], kind="stable")]]
        chosen = _first_of_documents(order, document, count, per_document)
        if len(chosen) == count or len(inside) == len(values):
            return chosen
        wanted *= 8


def _first_of_documents(
    order: Int64[np.ndarray, " place"], document: NDArray[np.int64], count: int, per_document: int | None
) -> Int64[np.ndarray, " chosen"]:
    seen: Counter[int] = Counter()
    chosen: list[int] = []
    for place in order.tolist():
        if len(chosen) == count:
            break
        seen[number := int(document[place])] += 1
        if per_document is None or seen[number] <= per_document:
            chosen.append(place)
    return np.array(chosen, np.int64)
