"""The examples of a neuron as its page shows them: near-duplicates together, with a text for every reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rwcore.activations.examples import Entry, NeuronExamples
from rwcore.activations.quadrants import LISTS, PLAIN_QUADRANTS, PLAIN_QUANTITIES, QUADRANTS
from rwcore.models.vocabulary import SIGNS, shown
from rwcore.pages.card_pictures import MINUS
from rwcore.pages.token_units import token_units

POST = "post"
ORDER = (POST, "in", "gate", "act")
"""Quantities in the order of interest."""
RANDOM = "random"

ALIKE_TOKENS = 32
GRAM = 4
ALIKE = 0.8
"""Two places are alike if the sets of 4-grams of the up to 32 tokens that end there have at least this
Jaccard index. What comes after a token cannot change what a neuron does there, so it does not count."""

# Around the peak, in the text that stands in the page itself.
WORDS_BEFORE, WORDS_AFTER = 14, 5


@dataclass(frozen=True)
class StretchText:
    """The text of a stretch.

    Attributes:
        tokens: Text of each token as it stands in the text; a byte that is no whole character as in
            ``bytes.decode(errors="surrogateescape")`` (`rwcore.models.vocabulary.Vocabulary.texts`).
        special: Places in the stretch of tokens that no text is made of, such as BOS.
        document: Number of the document that the row is of.
        row_length: Tokens of the whole row.
    """

    tokens: tuple[str, ...]
    special: frozenset[int]
    document: int
    row_length: int


@dataclass(frozen=True)
class ExampleView:
    """An example, and those of its list that are like it.

    Attributes:
        id: Name in the page, ``pn-post-3``.
        rank: Place in the list, from 1.
        entry: The example.
        stretch: Number of its stretch.
        place: Place of the peak in the stretch.
        value: The value at the peak, every digit of the float32.
        document: Number of the document.
        row_length: Tokens of the row.
        before: Text before the peak, every character visible.
        peak: The token at the peak.
        after: Text after it.
        alike: Rank and entry of those that are left out because they are like this one.
    """

    id: str
    rank: int
    entry: Entry
    stretch: int
    place: int
    value: str
    document: int
    row_length: int
    before: str
    peak: str
    after: str
    alike: tuple[tuple[int, Entry], ...]


@dataclass(frozen=True)
class ListView:
    """A list of examples.

    Attributes:
        id: Name in the page, ``pn-post``.
        quantity: What it is a list of, or ``random``.
        name: The same as people see it.
        count: How many places it has.
        ends: Its first and last value.
        flat: Whether all values are the same but for rounding.
        examples: What is shown, best first.
    """

    id: str
    quantity: str
    name: str
    count: int
    ends: tuple[float, float]
    flat: bool
    examples: tuple[ExampleView, ...]


def slug(quadrant: str) -> str:
    """``pn`` for gate+_in-: the name of a quadrant in links."""
    return "".join("p" if part.endswith("+") else "n" for part in quadrant.split("_"))


def quadrant_name(quadrant: str, gated: bool) -> str:
    """A quadrant as people see it: ``gate+ in−``, without a gate ``in+``."""
    return (quadrant if gated else PLAIN_QUADRANTS[quadrant]).replace("_", " ").replace("-", MINUS)


def quadrants_of(gated: bool) -> tuple[str, ...]:
    """The quadrants that a neuron can be in."""
    return QUADRANTS if gated else tuple(PLAIN_QUADRANTS)


def quantities_of(gated: bool) -> dict[str, str]:
    """The quantities that say something of a neuron, in the order of interest, with their names."""
    if gated:
        return {one: "act(gate)" if one == "act" else one for one in ORDER}
    return {one: PLAIN_QUANTITIES[one] for one in ORDER if one in PLAIN_QUANTITIES}


def digits(value: float) -> str:
    """A float32 with its sign and all digits that tell it apart from others; a real minus."""
    text = np.format_float_positional(np.float32(value), unique=True, trim="-")
    tiny = 0 < abs(value) < 1e-4
    text = np.format_float_scientific(np.float32(value), unique=True, trim="-") if tiny else text
    return (text if text.startswith("-") or value == 0 else f"+{text}").replace("-", MINUS)


def lists_of(examples: NeuronExamples, texts: Sequence[StretchText], quadrant: str) -> list[ListView]:
    """The lists of a quadrant that have examples, and its random tokens.

    Args:
        examples: The neuron.
        texts: Texts of its stretches.
        quadrant: The quadrant.
    """
    made = []
    for quantity, name in quantities_of(examples.gated).items():
        entries = examples.lists.get((quadrant, quantity), ()) if (quadrant, quantity) in LISTS else ()
        if entries:
            made.append(_list(examples, texts, quadrant, quantity, name, entries))
    drawn = examples.random.get(quadrant, ())
    return [*made, *([_list(examples, texts, quadrant, RANDOM, RANDOM, drawn)] if drawn else [])]


def _list(
    examples: NeuronExamples,
    texts: Sequence[StretchText],
    quadrant: str,
    quantity: str,
    name: str,
    entries: Sequence[Entry],
) -> ListView:
    own = f"{slug(quadrant)}-{quantity}"
    alone = [(number,) for number in range(len(entries))]
    views = []
    for group in alone if quantity == RANDOM else alike(examples, texts, entries):
        entry, rank = entries[group[0]], group[0] + 1
        stretch, place = examples.stretch_of(entry)
        text = texts[stretch]
        rest = tuple((number + 1, entries[number]) for number in group[1:])
        views.append(
            ExampleView(
                f"{own}-{rank}", rank, entry, stretch, place, digits(entry.value),
                text.document, text.row_length, *snippet(text, place), rest,
            )
        )  # fmt: skip
    ends = entries[0].value, entries[-1].value
    flat = len(entries) > 1 and math.isclose(*ends, rel_tol=1e-5)
    return ListView(own, quantity, name, len(entries), ends, flat, tuple(views))


def alike(
    examples: NeuronExamples, texts: Sequence[StretchText], entries: Sequence[Entry]
) -> list[tuple[int, ...]]:
    """Which places of a list have nearly the same text up to them: each group has its best place first.

    A place joins the first group whose best place it is alike to, see `ALIKE`.
    """
    groups: list[list[int]] = []
    grams: list[frozenset[tuple[str, ...]]] = []
    for number, entry in enumerate(entries):
        stretch, place = examples.stretch_of(entry)
        own = _grams(texts[stretch].tokens[max(0, place + 1 - ALIKE_TOKENS) : place + 1])
        for group, other in zip(groups, grams, strict=True):
            if len(own & other) >= ALIKE * len(own | other):
                group.append(number)
                break
        else:
            groups.append([number])
            grams.append(own)
    return [tuple(group) for group in groups]


def _grams(tokens: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """The 4-grams; of fewer than four tokens all of them as one."""
    return frozenset(tokens[n : n + GRAM] for n in range(max(1, len(tokens) - GRAM + 1)))


def snippet(text: StretchText, place: int) -> tuple[str, str, str]:
    """Text before the peak, at it and after it, every character visible but spaces."""
    first, last = max(0, place - WORDS_BEFORE), place + 1 + WORDS_AFTER
    before, after = text.tokens[first:place], text.tokens[place + 1 : last]
    return _visible(before), _visible(text.tokens[place : place + 1], spaces=False), _visible(after)


def _visible(tokens: Sequence[str], spaces: bool = True) -> str:
    # A character that is split over tokens is whole again here, but for one split at the peak.
    text = "".join(unit.text for unit in token_units(tokens))
    made = shown(text) if text else ""
    return made.replace(SIGNS[" "], " ") if spaces else made
