"""Made-up neurons on real texts, for the tests of their pages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pydoc_data.topics import topics

import torch
from torch import Tensor

from rwcore.activations.examples import Entry, NeuronExamples, SampleValues, Stretch, quadrant_codes
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.models.vocabulary import shown
from rwcore.pages.card_pictures import Cosine
from rwcore.pages.cards import NeuronCard, Norm, Token, TokenList
from rwcore.pages.neuron_page import NeuronPage, QuadrantFacts
from rwcore.pages.page_examples import StretchText

BOS = "<|endoftext|>"
BEFORE, AFTER = 64, 32
K = 16

# A row of all that goes wrong in pages: markup, white space, odd characters, and bytes that are no whole
# character, written as surrogateescape does.
ODD = (
    BOS, "<script>alert(1)</script>", " </", "<!--", " -->", "&amp;", "\t", "\n", "\n\n", " ", "   ", "\r\n",
    "é", " \udcf0\udc9f", "\udc98\udc80", "\udce2", "x", "\u200b", "\u00a0", "العربية", "文字", "\u0007",
    '"quoted\'', "␣", "\ufffd", "</script>", "\u2028", "\udc0a", " end", " <b>", "", "e\u0301", "👩‍👩‍👧",
)  # fmt: skip
ODD_PEAK = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the made-up corpus."""

    tokens: tuple[str, ...]
    gate: Tensor
    in_: Tensor

    @property
    def act(self) -> Tensor:
        """SiLU of the gate."""
        return torch.nn.functional.silu(self.gate)

    def values(self) -> tuple[Tensor, ...]:
        """In the order of `QUANTITIES`."""
        return self.gate, self.in_, self.act, self.act * self.in_


def words(text: str) -> list[str]:
    """A text in pieces as a tokenizer makes them."""
    return re.findall(r" ?[A-Za-z]{1,7}| ?\d| ?[^\w\s]{1,3}|\n+|\s+(?=\S)|\s+|\w", text)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def rows(count: int = 60, length: int = 256) -> tuple[Row, ...]:
    """Rows of real text; what the neuron does depends on the token and a little on those before it."""
    made = []
    texts = islice(sorted(topics.items()), count)
    habits: dict[str, Tensor] = {}
    for number, (_, text) in enumerate(texts):
        tokens = (BOS, *words(text)[: length - 1])
        for token in tokens:
            if token not in habits:
                habits[token] = torch.randn(2, generator=_generator(sum(map(ord, token)) * 31 + len(token)))
        own = torch.stack([habits[token] for token in tokens])
        noise = torch.randn(len(tokens), 2, generator=_generator(number)) * 0.6
        drift = torch.cumsum(torch.randn(len(tokens), 2, generator=_generator(1000 + number)), dim=0) * 0.03
        both = own + noise + drift
        made.append(Row(tokens, 1.4 * both[:, 0] - 0.9, both[:, 0] * 0.4 + 0.8 * both[:, 1] + 0.1))
    return tuple(made)


def _top(found: tuple[Row, ...], quadrant: str, quantity: str) -> tuple[Entry, ...]:
    """One entry of each row, best first."""
    entries = []
    for number, row in enumerate(found):
        values = row.values()[QUANTITIES.index(quantity)]
        inside = quadrant_codes(row.gate, row.in_) == QUADRANTS.index(quadrant)
        if inside.any():
            place = int(torch.where(inside, values.abs(), -1.0).argmax())
            entries.append(Entry(number, place, float(values[place])))
    return tuple(sorted(entries, key=lambda one: (-abs(one.value), one.row))[:K])


def stretches(found: tuple[Row, ...], entries: set[tuple[int, int]]) -> Iterator[Stretch]:
    """Windows around places of rows, those that overlap as one."""
    spans: list[list[int]] = []
    for number, place in sorted(entries):
        start, end = max(0, place - BEFORE), min(len(found[number].tokens), place + AFTER + 1)
        if spans and spans[-1][0] == number and start <= spans[-1][2]:
            spans[-1][2] = max(end, spans[-1][2])
        else:
            spans.append([number, start, end])
    for number, start, end in spans:
        row = found[number]
        yield Stretch(number, start, row.gate[start:end], row.in_[start:end], row.act[start:end])


def neuron_examples(found: tuple[Row, ...], *, gated: bool = True, random: int = 4) -> NeuronExamples:
    """The examples of the neuron on rows."""
    lists = {key: _top(found, *key) for key in LISTS}
    gate, in_, act = (torch.cat([getattr(row, name) for row in found]) for name in ("gate", "in_", "act"))
    places = [(number, place) for number, row in enumerate(found) for place in range(len(row.tokens))]
    codes, drawn = quadrant_codes(gate, in_), {}
    for code, quadrant in enumerate(QUADRANTS):
        inside = (codes == code).nonzero().flatten()
        some: list[int] = inside[torch.randperm(len(inside), generator=_generator(code))[:random]].tolist()
        drawn[quadrant] = tuple(Entry(places[n][0], places[n][1], float(act[n] * in_[n])) for n in some)
    everything = [entry for one in (*lists.values(), *drawn.values()) for entry in one]
    around = tuple(stretches(found, {(entry.row, entry.position) for entry in everything}))
    return NeuronExamples(28, 473, gated, lists, drawn, around, SampleValues(gate, in_, act))


def texts_of(found: tuple[Row, ...], examples: NeuronExamples) -> tuple[StretchText, ...]:
    """Texts of the stretches; every third row begins a document."""
    made = []
    for one in examples.stretches:
        tokens = found[one.row].tokens[one.start : one.end]
        special = frozenset(place for place, token in enumerate(tokens) if token == BOS)
        made.append(StretchText(tokens, special, one.row // 3, len(found[one.row].tokens)))
    return tuple(made)


def facts(found: tuple[Row, ...], quadrant: str) -> QuadrantFacts:
    """What the pass would say of a quadrant."""
    values = [torch.cat(column) for column in zip(*(row.values() for row in found), strict=True)]
    inside = quadrant_codes(values[0], values[1]) == QUADRANTS.index(quadrant)
    count, total = int(inside.sum()), len(inside)
    means = {name: float(one[inside].mean()) for name, one in zip(QUANTITIES, values, strict=True)}
    return QuadrantFacts(count, count / total, 0.21, 0.25, means)


def card(*, gated: bool = True, layer: int = 28) -> NeuronCard:
    """A weakening neuron, not far from a border."""
    bell = tuple(round(900 * 2.718 ** -((place - 24.5) ** 2 / 40)) for place in range(50))
    lists = tuple(
        TokenList(
            vector, sign, matrix,
            tuple(Token(9 * n, shown(token), sign * (2.4 - 0.09 * n)) for n, token in enumerate(tokens[:16])),
        )
        for matrix in ("unembedding", "embedding")
        for vector in (("gate",) if gated else ()) + ("in", "out")
        for sign in (1, -1)
        if (matrix, vector) != ("embedding", "out")
        for tokens in [sorted({*rows()[ord(vector[0]) % 7 + sign].tokens[3:60]})]
    )  # fmt: skip
    cosines = (
        Cosine("gatelin", 0.613, (0.0, 0.08), (0.0, 0.1), 0.99, (*(0,) * 25, *bell[25:])),
        Cosine("gateout", -0.522, (-0.08, 0.08), (-0.09, 0.07), 0.01, bell),
        Cosine("linout", -0.641, (-0.08, 0.08), (-0.07, 0.06), 0.02, bell),
    )
    norms = (Norm("gate", 1.25, 1.0), Norm("in", 0.8, 0.9), Norm("out", 2.5, 2.0))
    return NeuronCard(
        model="org/made-up-135m",
        layer=layer,
        neuron=473,
        class_name="weakening",
        gated=gated,
        turned=True if gated else None,
        cosines=cosines if gated else cosines[2:],
        norms=norms if gated else norms[1:],
        ranked_by="signed",
        lists=lists,
        role="prediction",
        role_facts=(("kurtosis", 90.25), ("variance", 0.0123)),
        provenance=(("model", "org/made-up-135m"), ("processing", "folded norms"), ("rwcore", "0.1.0")),
    )


def neuron_page_of(found: tuple[Row, ...], *, gated: bool = True, **changes: object) -> NeuronPage:
    """The page of the neuron on rows."""
    examples = neuron_examples(found, gated=gated)
    quadrants: Mapping[str, QuadrantFacts] = {
        name: facts(found, name) for name in QUADRANTS if gated or name.endswith("in+")
    }
    page = NeuronPage(
        card=card(gated=gated),
        examples=examples,
        texts=texts_of(found, examples),
        corpus="python-topics",
        tokens=sum(len(row.tokens) for row in found),
        quadrants=quadrants,
        before=None,
        after=None,
        index="../../index.html",
        command="rwcore pages org/made-up-135m --activations pass --neurons 28.473 --out site",
        provenance=(("corpus", "python-topics"), ("pass", "k 16, one entry of a row")),
    )
    return dataclasses.replace(page, **changes)  # type: ignore[arg-type]


def plain_rows(count: int = 20) -> tuple[Row, ...]:
    """Rows of a neuron without a gate: in is 1."""
    return tuple(dataclasses.replace(row, in_=torch.ones_like(row.in_)) for row in rows()[:count])


def odd_rows() -> tuple[Row, ...]:
    """Rows with awkward texts and few tokens, in two quadrants only: gate is never negative.

    The first is `ODD`, its peak at `ODD_PEAK`; then a common beginning with different ends; then rows that
    fire most at BOS.
    """
    gate = torch.linspace(0.05, 1.0, len(ODD))
    gate[ODD_PEAK] = 4.0
    in_ = torch.tensor([1.0 if place % 2 == 0 else -0.5 for place in range(len(ODD))])
    in_[7] = 0.0
    made = [Row(ODD, gate, in_)]
    common = (BOS, *words("A shared header of a file that is the same in all of them, long enough to count"))
    for number in range(3):
        tokens = (*common, *words(f" and the end number {number} is different"))
        values = torch.full((len(tokens),), 0.25)
        values[len(common) - 1] = 3.0 - 0.1 * number
        made.append(Row(tokens, values, torch.full((len(tokens),), 0.75)))
    for number in range(3):
        tokens = (BOS, *words(f"text number {number} which does not matter"))
        values = torch.full((len(tokens),), 0.125)
        values[0] = 2.0
        made.append(Row(tokens, values, torch.full((len(tokens),), 1.0)))
    return tuple(made)


def full_page() -> NeuronPage:
    """The largest page: every entry of every list has a stretch of its own."""
    vocabulary = sorted({token for row in rows() for token in row.tokens[1:]})
    length, chosen = BEFORE + 1 + AFTER, _generator(5)
    lists: dict[tuple[str, str], tuple[Entry, ...]] = {}
    drawn: dict[str, tuple[Entry, ...]] = {}
    around: list[Stretch] = []
    texts: list[StretchText] = []

    def entries(quadrant: str, quantity: str, count: int) -> tuple[Entry, ...]:
        made = []
        for rank in range(count):
            gate, in_ = torch.randn(2, length, generator=chosen)
            gate[BEFORE] = (4.0 - rank / 8) * (1 if quadrant.startswith("gate+") else -1)
            in_[BEFORE] = (4.0 - rank / 8) * (1 if quadrant.endswith("in+") else -1)
            tokens = tuple(vocabulary[n] for n in torch.randint(len(vocabulary), (length,), generator=chosen))
            row = Row(tokens, gate, in_)
            value = float(row.values()[QUANTITIES.index(quantity)][BEFORE])
            made.append(Entry(len(around), BEFORE + 3, value))
            around.append(Stretch(len(around), 3, gate, in_, row.act))
            texts.append(StretchText(tokens, frozenset(), len(around) // 2, 512))
        return tuple(made)

    for key in LISTS:
        lists[key] = entries(*key, K)
    for quadrant in QUADRANTS:
        drawn[quadrant] = entries(quadrant, "post", 4)
    page = neuron_page_of(rows())
    examples = dataclasses.replace(page.examples, lists=lists, random=drawn, stretches=tuple(around))
    return dataclasses.replace(page, examples=examples, texts=tuple(texts))
