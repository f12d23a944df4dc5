"""Examples of ablated runs as the page shows them: coloured tokens, numbers, lists of next tokens."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rwcore.ablation.compare import REPORTED
from rwcore.ablation.continuations import LISTS
from rwcore.ablation.examples import DIRECTIONS, Example, RunExamples
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.card_pictures import MINUS, signed
from rwcore.pages.cards import token_markup
from rwcore.plots.ablation_names import SHORT_LABELS, UNITS

STEPS = 6
"""Shades on each side of 0."""
ROW_END = "end of row"
NOTHING = "-"
"""What stands in the lists of numbers for a token whose prediction does not count."""
HEADS = {
    "clean": "Clean",
    "ablated": "Ablated",
    "promoted": "Promoted",
    "suppressed": "Suppressed",
}


@dataclass(frozen=True)
class ColourScale:
    """Which shade a difference has: the same steps on both sides of 0, which has none.

    Step k begins at ``limit · (k / 7)^1.5``: small differences are told apart, the smallest have no colour.

    Attributes:
        limit: The largest magnitude.
    """

    limit: float

    @property
    def bounds(self) -> tuple[float, ...]:
        """Magnitudes where the steps begin."""
        return tuple(self.limit * (step / (STEPS + 1)) ** 1.5 for step in range(1, STEPS + 1))

    def step(self, difference: float) -> int:
        """-6 to 6; 0 for NaN, for 0 and for what is nearer to 0 than the first bound."""
        if math.isnan(difference) or not self.limit:
            return 0
        step = bisect_right(self.bounds, abs(difference))
        return -step if difference < 0 else step

    @classmethod
    def of(cls, examples: Sequence[Example]) -> ColourScale:
        """The scale of some examples, with all tokens around them."""
        differences = (value for one in examples for value in (one.difference, *one.differences))
        return cls(max((abs(value) for value in differences if math.isfinite(value)), default=0.0))


@dataclass(frozen=True)
class NextToken:
    """A token in a list of next tokens.

    Attributes:
        id: Its id.
        text: Its text.
        value: Its probability or logit difference in words.
        right: Whether it is the one that comes next.
    """

    id: int
    text: str
    value: str
    right: bool


@dataclass(frozen=True)
class ExampleView:
    """An example as the page shows it.

    Attributes:
        name: The predicted token.
        place: Document, row and position in words.
        start: Position of the first token of the context.
        clean: The metric without ablation, in words.
        ablated: The metric with it.
        difference: Clean - ablated.
        tokens: The context as markup, each token an element of its own.
        clean_values: The metric of each token's prediction, as texts with spaces between.
        ablated_values: Likewise of the ablated run.
        differences: Likewise clean - ablated.
        lists: Heading and tokens of each list of next tokens; none if they could not be computed.
    """

    name: str
    place: str
    start: int
    clean: str
    ablated: str
    difference: str
    tokens: Markup
    clean_values: str
    ablated_values: str
    differences: str
    lists: tuple[tuple[str, tuple[NextToken, ...]], ...]


@dataclass(frozen=True)
class MetricView:
    """The examples of a run and metric.

    Attributes:
        metric: As in ``ablation.csv``.
        name: The metric in words.
        unit: Its unit, perhaps empty.
        legend: Step and where it begins, from the most negative to the most positive; 0 in the middle.
        directions: ``rise`` and ``fall`` with their examples.
    """

    metric: str
    name: str
    unit: str
    legend: tuple[tuple[int, str], ...]
    directions: tuple[tuple[str, tuple[ExampleView, ...]], ...]


def metric_views(run: RunExamples, words: Vocabulary) -> list[MetricView]:
    """The examples of a run by metric and direction; all of a metric share one scale.

    Args:
        run: The run.
        words: Texts of the tokens.
    """
    views = []
    for metric in dict.fromkeys(one.metric for one in run.examples):
        chosen = [one for one in run.examples if one.metric == metric]
        scale = ColourScale.of(chosen)
        reported = REPORTED[metric]
        views.append(
            MetricView(
                reported,
                SHORT_LABELS[reported],
                UNITS[reported],
                _legend(scale),
                tuple(
                    (
                        direction,
                        tuple(_view(one, run, words, scale) for one in chosen if one.direction == direction),
                    )
                    for direction in DIRECTIONS
                ),
            )
        )
    return views


def _legend(scale: ColourScale) -> tuple[tuple[int, str], ...]:
    bounds = [f"{bound:#.2g}".removesuffix(".") for bound in scale.bounds]
    below = [(-step, f"{MINUS}{bounds[step - 1]}") for step in range(STEPS, 0, -1)]
    return (*below, (0, "0"), *((step, f"+{bounds[step - 1]}") for step in range(1, STEPS + 1)))


def _view(one: Example, run: RunExamples, words: Vocabulary, scale: ColourScale) -> ExampleView:
    value, change = numbers(one.metric)
    clean, ablated = [*one.clean_values], [*one.ablated_values]
    differences, texts = [*one.differences], [words[token] for token in one.tokens]
    predicted = one.predicted
    if predicted is None:  # what is predicted at the end of a row has a place of its own
        predicted = len(texts)
        for column, number in ((clean, one.clean), (ablated, one.ablated), (differences, one.difference)):
            column.append(number)
        texts.append(f"⟨{ROW_END}⟩")
    return ExampleView(
        texts[predicted],
        f"document {one.document}, row {one.row}, made at position {one.position}",
        one.start,
        value(one.clean),
        value(one.ablated),
        change(one.difference),
        _context(texts, [scale.step(number) for number in differences], predicted),
        " ".join(map(value, clean)),
        " ".join(map(value, ablated)),
        " ".join(map(change, differences)),
        _lists(one, run, words),
    )


def numbers(metric: str) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How the values of a metric and their differences are written; `NOTHING` for NaN."""
    digits = 0 if metric == "rank" else 3

    def value(number: float) -> str:
        return NOTHING if math.isnan(number) else f"{number:.{digits}f}"

    def change(number: float) -> str:
        return NOTHING if math.isnan(number) else signed(number, digits)

    return value, change


def shade(step: int) -> str:
    """The class of an element with this shade; empty for none."""
    return f"{'n' if step < 0 else 'p'}{abs(step)}" if step else ""


def _context(texts: Sequence[str], steps: Sequence[int], predicted: int) -> Markup:
    parts = []
    for place, (text, step) in enumerate(zip(texts, steps, strict=True)):
        tag = "mark" if place == predicted else "span"
        name = Markup(' class="{}"').format(shade(step)) if step else Markup("")
        # Only one token can be reached with the tabulator key; arrows go on from there.
        stop = Markup(' tabindex="0"') if place == predicted else Markup("")
        parts.append(Markup("<{0}{1}{2}>{3}</{0}>").format(tag, name, stop, token_markup(text)))
    return Markup("").join(parts)


def _lists(
    one: Example, run: RunExamples, words: Vocabulary
) -> tuple[tuple[str, tuple[NextToken, ...]], ...]:
    if run.continuations is None:
        return ()
    found = run.continuations.at(one.row, one.position)
    made = []
    for name in LISTS:
        text = probability if name in ("clean", "ablated") else logit
        tokens = (
            NextToken(token, words[token], text(value), token == one.next_token)
            for token, value in found[name]
        )
        made.append((HEADS[name], tuple(tokens)))
    return tuple(made)


def logit(value: float) -> str:
    """A difference of logits, with its sign."""
    return signed(value, 2)


def probability(value: float) -> str:
    """A probability in percent, without calling a small one none or a large one certain."""
    if 0 < value < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= value < 1 else f"{100 * value:.1f} %"
