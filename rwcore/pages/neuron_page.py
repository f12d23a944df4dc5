"""The page of one neuron: what it is by its weights, where it fires, and examples; one file for a browser."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from markupsafe import Markup

from rwcore.activations.examples import NeuronExamples, quadrant_codes
from rwcore.activations.quadrants import QUADRANTS
from rwcore.errors import StoreError
from rwcore.models.vocabulary import shown
from rwcore.pages.card_pictures import MINUS, Cosine, signed
from rwcore.pages.cards import NeuronCard, card_context, plain
from rwcore.pages.page_data import by_quantity, pack_examples
from rwcore.pages.page_examples import (
    POST,
    ListView,
    StretchText,
    digits,
    lists_of,
    quadrant_name,
    quadrants_of,
    quantities_of,
    slug,
)
from rwcore.pages.page_pictures import density_picture, histogram, histogram_range, rough
from rwcore.pages.render import render
from rwcore.stats.classes import THRESHOLD, UNDEFINED_CODE, class_codes, classes_of
from rwcore.stats.cosines import RWCosines

SHOWN = 4
"""Examples of a list before "more"."""

_JUST_BEYOND = 1.0001
_MARKERS = ("<!-- neighbours -->", "<!-- /neighbours -->")
_BETWEEN = re.compile(f"(?<={_MARKERS[0]}).*?(?={_MARKERS[1]})", re.DOTALL)
_BY_PLACE = ("gate-_in+", "gate+_in+", "gate-_in-", "gate+_in-")  # as on the map: gate to the right, in up


@dataclass(frozen=True)
class QuadrantFacts:
    """How often a neuron is in a quadrant, and what it does there, over all tokens of the pass.

    Attributes:
        count: Tokens.
        frequency: Share of the tokens of the pass.
        class_frequency: The mean of that over the neurons of its class in all layers; NaN without a class.
        layer_frequency: The mean over the neurons of its layer.
        means: Mean in the quadrant of gate, in, act and post; NaN where it never occurs.
    """

    count: int
    frequency: float
    class_frequency: float
    layer_frequency: float
    means: Mapping[str, float]


@dataclass(frozen=True)
class Neighbour:
    """Another page to go to: its name and its address relative to this one."""

    name: str
    href: str


@dataclass(frozen=True)
class NeuronPage:
    """What the page of a neuron shows.

    Attributes:
        card: What there is to say from the weights.
        examples: Where it fires, gate sign folded.
        texts: Texts of the stretches of ``examples``.
        corpus: Id of the corpus.
        tokens: Tokens of the pass.
        quadrants: Facts of each quadrant that the neuron can be in: all four, or without a gate ``gate+_in+``
            and ``gate-_in+``.
        before: The page before this one, if any.
        after: The page behind it.
        index: Address of the index, relative to the page, if there is one.
        command: Command that makes this page.
        provenance: What the activations are of, by name; the card has that of the weights.
    """

    card: NeuronCard
    examples: NeuronExamples
    texts: tuple[StretchText, ...]
    corpus: str
    tokens: int
    quadrants: Mapping[str, QuadrantFacts]
    before: Neighbour | None
    after: Neighbour | None
    index: str | None
    command: str
    provenance: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Border:
    """The nearest border between classes.

    Attributes:
        cosine: The cosine that would have to change.
        at: Its value at the border, 0.5 or -0.5.
        distance: How far away that is.
        other: The class on the other side.
    """

    cosine: Cosine
    at: float
    distance: float
    other: str


@dataclass(frozen=True)
class Cell:
    """A quadrant as the page shows it.

    Attributes:
        id: Name of its section.
        name: Name for people.
        facts: Its facts.
        share: Share of the sum of |post| over all tokens; NaN if that is zero.
        extreme: The most extreme post, every digit; an en dash if there is none.
        peaks: The tokens at the most extreme posts, different ones, every character visible.
        lists: Its examples.
    """

    id: str
    name: str
    facts: QuadrantFacts
    share: float
    extreme: str
    peaks: tuple[str, ...]
    lists: tuple[ListView, ...]


def neuron_page(page: NeuronPage) -> str:
    """The page as HTML: one file that asks for nothing, and can be read without a script."""
    card, examples = page.card, page.examples
    cells = _cells(page)
    sample = examples.sample
    arrays = [values.double().numpy() for values in (sample.gate, sample.in_, sample.act)]
    density, curves = density_picture(*arrays) if examples.gated else (Markup(""), [])
    return render(
        "neuron_page.html",
        page=page,
        cells=cells,
        by_place=sorted(cells, key=lambda cell: [slug(one) for one in _BY_PLACE].index(cell.id)),
        density=density,
        curves=curves,
        distributions=_distributions(page),
        quantities=quantities_of(examples.gated),
        border=nearest_border(card.cosines),
        distance=border_distance,
        writes=[(sign, card.top("out", sign, 8)) for sign in (1, -1)],
        neighbours=_neighbours(page.before, page.after),
        data=pack_examples(examples, page.texts),
        percent=percent,
        digits=digits,
        islice=islice,
        SHOWN=SHOWN,
        **card_context(card),
    )


def with_neighbours(html: str, before: Neighbour | None, after: Neighbour | None) -> str:
    """A page with links to other neighbours.

    Raises:
        StoreError: The text has no place for them, or more than one: it is no page of a neuron.
    """
    made = _neighbours(before, after)
    changed, count = _BETWEEN.subn(lambda _: str(made), html)
    if count != 1:
        raise StoreError(
            f"the page of a neuron has one place for the links to its neighbours, this has {count}",
            remedy="move the file away, and make the page again",
        )
    return changed


def _neighbours(before: Neighbour | None, after: Neighbour | None) -> Markup:
    links = []
    if before:
        links.append(Markup('<a rel="prev" href="{}">← {}</a>').format(before.href, before.name))
    if after:
        links.append(Markup('<a rel="next" href="{}">{} →</a>').format(after.href, after.name))
    return Markup("").join(links)


def _cells(page: NeuronPage) -> list[Cell]:
    magnitudes = {
        name: abs(facts.means[POST]) * facts.count if facts.count else 0.0
        for name, facts in page.quadrants.items()
    }
    total = sum(magnitudes.values())
    cells = []
    for quadrant in quadrants_of(page.examples.gated):
        entries = page.examples.lists.get((quadrant, POST), ())
        cells.append(
            Cell(
                slug(quadrant),
                quadrant_name(quadrant, page.examples.gated),
                page.quadrants[quadrant],
                magnitudes[quadrant] / total if total > 0 else math.nan,
                digits(entries[0].value) if entries else "–",
                tuple(islice(dict.fromkeys(_peak_tokens(page, quadrant)), 3)),
                tuple(lists_of(page.examples, page.texts, quadrant)),
            )
        )
    return cells


def _peak_tokens(page: NeuronPage, quadrant: str) -> Sequence[str]:
    places = [page.examples.stretch_of(one) for one in page.examples.lists.get((quadrant, POST), ())]
    return [shown(page.texts[stretch].tokens[place]) for stretch, place in places]


def _distributions(page: NeuronPage) -> dict[str, object]:
    """Histograms by quadrant and quantity, and the axes of the quantities."""
    examples = page.examples
    quantities, sample = quantities_of(examples.gated), examples.sample
    codes = quadrant_codes(sample.gate, sample.in_)
    values = {name: by_quantity(sample)[name].double().numpy() for name in quantities}
    limits = {name: histogram_range(one) for name, one in values.items()}
    rows = []
    for quadrant in quadrants_of(examples.gated):
        inside = (codes == QUADRANTS.index(quadrant)).numpy()
        name, means = quadrant_name(quadrant, examples.gated), page.quadrants[quadrant].means
        pictures = [
            (
                histogram(values[quantity][inside], limits[quantity], means[quantity], f"{label} in {name}"),
                plain(means[quantity], 3),
            )
            for quantity, label in quantities.items()
        ]
        rows.append((name, int(np.count_nonzero(inside)), pictures))
    axes = [(rough(low), rough(high)) for low, high in limits.values()]
    return {"rows": rows, "axes": axes, "tokens": len(codes)}


def nearest_border(cosines: Sequence[Cosine]) -> Border | None:
    """The nearest border to another class; None for a neuron without a class.

    As the sign of the gate is free, cos(gate, in) is not negative, and only +0.5 is a border for it.
    """
    now = {one.name: one.value for one in cosines}
    here = _class_name(now)
    if here is None:
        return None
    found = []
    for one in cosines:
        for at in (THRESHOLD,) if one.name == "gatelin" else (-THRESHOLD, THRESHOLD):
            # What is on a border belongs to the inside.
            beyond = at if abs(one.value) > THRESHOLD else at * _JUST_BEYOND
            other = _class_name({**now, one.name: beyond})
            if other is not None and other != here:
                found.append(Border(one, at, abs(one.value - at), other))
    return min(found, key=lambda border: border.distance, default=None)


def _class_name(values: Mapping[str, float]) -> str | None:
    tensors = {name: torch.tensor([[value]]) for name, value in values.items()}
    cosines = RWCosines(tensors.get("gatelin"), tensors.get("gateout"), tensors["linout"])
    code = int(class_codes(cosines))
    return None if code == UNDEFINED_CODE else classes_of(cosines)[code].name


def border_distance(value: float) -> str:
    """How far a cosine is from the nearer of ±0.5, in words; nothing for NaN."""
    if math.isnan(value):
        return ""
    distance = abs(value) - THRESHOLD
    at = f"{'+' if value >= 0 else MINUS}{THRESHOLD:g}"
    return f"{signed(abs(distance), 3)[1:]} {'beyond' if distance > 0 else 'short of'} {at}"


def percent(value: float) -> str:
    """A share in percent, without calling a small one none; an en dash for NaN."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0\u202f%"
    hundred = 100 * value
    text = "<0.001" if hundred < 0.001 else f"{hundred:.2f}" if hundred >= 0.095 else f"{hundred:.2g}"
    return f"{text}\u202f%"
