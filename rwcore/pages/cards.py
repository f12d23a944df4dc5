"""A card per neuron, and an index of several cards: as web pages without network, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup
from tabulate import tabulate

from rwcore.models.vocabulary import SIGNS
from rwcore.pages.card_pictures import MINUS, Cosine, cosine_strips, planar_picture, signed
from rwcore.pages.render import render
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES, RWClass

UNEMBEDDING, EMBEDDING = "unembedding", "embedding"
# What a large dot product of a token with a vector means, by matrix and vector.
MEANINGS = {
    (UNEMBEDDING, "gate"): "directions of tokens that open (+) or close (−) the gate",
    (UNEMBEDDING, "in"): "directions of tokens that are read with this sign",
    (UNEMBEDDING, "out"): "tokens that a positive activation promotes (+) or suppresses (−)",
    (EMBEDDING, "gate"): "tokens whose embedding opens (+) or closes (−) the gate",
    (EMBEDDING, "in"): "tokens whose embedding is read with this sign",
}


@dataclass(frozen=True)
class Token:
    """A token in a list.

    Attributes:
        id: Its row in the embedding or unembedding.
        text: Its text, every character visible (`rwcore.models.vocabulary.shown`).
        value: Its dot product with the vector of the list.
    """

    id: int
    text: str
    value: float


@dataclass(frozen=True)
class TokenList:
    """The tokens with the largest dot products with a vector, or its negative.

    Attributes:
        vector: ``gate``, ``in`` or ``out``.
        sign: 1 for the vector, -1 for its negative.
        matrix: ``unembedding`` or ``embedding``.
        tokens: Best first; none if the vector has no direction.
    """

    vector: str
    sign: int
    matrix: str
    tokens: tuple[Token, ...]

    @property
    def name(self) -> str:
        """``+gate``, ``−out``, …."""
        return f"{'+' if self.sign > 0 else MINUS}{self.vector}"


@dataclass(frozen=True)
class Norm:
    """The L2 norm of one vector of a neuron: ``gate``, ``in`` or ``out``; and the median of its layer."""

    vector: str
    value: float
    median: float


@dataclass(frozen=True)
class NeuronCard:
    """What there is to say about one neuron from the weights.

    Attributes:
        model: Id of the model.
        layer: Layer, from 0.
        neuron: Place in the layer, from 0.
        class_name: Read-write class, or ``undefined``.
        gated: Whether there is a gate.
        turned: Whether *in* and *out* were both turned round, so that cos(gate, in) ≥ 0; None without a gate.
        cosines: The cosines, gatelin, gateout, linout; linout alone without a gate.
        norms: The norms.
        ranked_by: ``signed`` or ``absolute``: what the tokens are ranked by.
        lists: The token lists.
        role: Functional role; ``none`` for a neuron without one, None if roles were not asked for.
        role_facts: Names and values that decided the role, such as the kurtosis.
        provenance: Names and texts: what the card was made from.
    """

    model: str
    layer: int
    neuron: int
    class_name: str
    gated: bool
    turned: bool | None
    cosines: tuple[Cosine, ...]
    norms: tuple[Norm, ...]
    ranked_by: str
    lists: tuple[TokenList, ...]
    role: str | None
    role_facts: tuple[tuple[str, float], ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """``layer.neuron``."""
        return f"{self.layer}.{self.neuron}"

    @property
    def stem(self) -> str:
        """Name of the card's files, without an ending."""
        return f"neuron-{self.name}"

    @property
    def rw_class(self) -> RWClass | None:
        """The class, None for an undefined neuron."""
        classes = RW_CLASSES if self.gated else VANILLA_CLASSES
        return next((one for one in classes if one.name == self.class_name), None)

    @property
    def matrices(self) -> list[str]:
        """The matrices there are lists through, in their order."""
        return list(dict.fromkeys(one.matrix for one in self.lists))

    def pairs(self, matrix: str) -> list[tuple[TokenList, TokenList]]:
        """Lists of a vector and of its negative, vector by vector."""
        named = {(one.vector, one.sign): one for one in self.lists if one.matrix == matrix}
        vectors = dict.fromkeys(vector for vector, _ in named)
        return [(named[vector, 1], named[vector, -1]) for vector in vectors]

    def top(self, vector: str, sign: int = 1, count: int = 3) -> list[Token]:
        """The first tokens of a vector through the unembedding (the embedding if there is nothing else)."""
        found = [one for one in self.lists if (one.vector, one.sign) == (vector, sign)]
        return list(found[0].tokens[:count]) if found else []


def class_rule(rw_class: RWClass) -> str:
    """The rule that puts a neuron into a class, in words.

    Source: RW functionalities, definition of the classes; section 2.3 of the specification.
    """
    linout, *rest = rw_class.key
    parts = [{1: "cos(in, out) > 0.5", 0: "|cos(in, out)| ≤ 0.5", -1: f"cos(in, out) < {MINUS}0.5"}[linout]]
    if rest:
        gateout, typical = rest
        parts.append("|cos(gate, out)| > 0.5" if gateout else "|cos(gate, out)| ≤ 0.5")
        if linout and gateout:
            parts.append(
                f"cos(gate, in) {'' if typical else 'not '}beyond ±0.5 with the sign of their product"
            )
        elif linout or gateout:
            parts.append(f"|cos(gate, in)| {'≤' if typical else '>'} 0.5")
    return ", ".join(parts)


def plain(value: float, digits: int = 4) -> str:
    """A number of some significant digits; a real minus; an en dash for NaN."""
    return "–" if math.isnan(value) else f"{value:#.{digits}g}".replace("-", MINUS)


@lru_cache(maxsize=1 << 16)  # a page may show a hundred thousand tokens, most of them often
def token_markup(text: str) -> Markup:
    """A token for a page: signs that stand for spaces, control characters and bytes are set apart."""
    signs = frozenset(SIGNS.values()) | {"◌"}
    made, place = Markup(""), 0
    while place < len(text):
        end = place + 1
        if text[place] == "⟨":
            end = text.index("⟩", place) + 1
        elif text.startswith("<unused ") and place == 0:
            end = len(text)
        part = text[place:end]
        special = end > place + 1 or part in signs
        made += Markup("<i>{}</i>").format(part) if special else Markup("{}").format(part)
        place = end
    return made


def card_page(card: NeuronCard, *, siblings: Sequence[NeuronCard] = ()) -> str:
    """The web page of a neuron.

    Args:
        card: The neuron.
        siblings: All cards of the folder, in order: the page links to its neighbours and to the index.
    """
    names = [one.name for one in siblings]
    place = names.index(card.name) if card.name in names else None
    before = siblings[place - 1] if place else None
    after = siblings[place + 1] if place is not None and place + 1 < len(siblings) else None
    return render(
        "neuron_card.html",
        before=before,
        after=after,
        index=place is not None,
        **card_context(card),
    )


def card_context(card: NeuronCard) -> dict[str, object]:
    """What ``card_parts.html`` shows of a neuron, with the helpers of its macros."""
    return {
        "card": card,
        "strips": cosine_strips(card.cosines),
        "picture": planar_picture(card.cosines),
        "sections": [(matrix, [_columns(*pair) for pair in card.pairs(matrix)]) for matrix in card.matrices],
        **_helpers(),
    }


def index_page(cards: Sequence[NeuronCard], *, title: str, lead: str, files: Sequence[str] = ()) -> str:
    """The page that lists several cards.

    Args:
        cards: The cards, in the order to list them.
        title: Heading.
        lead: How the neurons were chosen.
        files: Names of files beside the page to link to.
    """
    return render("neuron_index.html", cards=cards, title=title, lead=lead, files=files, **_helpers())


def _helpers() -> dict[str, object]:
    return {
        "class_rule": class_rule,
        "signed": signed,
        "plain": plain,
        "interval": interval,
        "token_markup": token_markup,
        "swatch": swatch,
        "turned_text": turned_text,
        "MEANINGS": MEANINGS,
    }


def swatch(card: NeuronCard) -> str:
    """The colour of the card's class, as CSS."""
    return colour_of(card.rw_class)


def colour_of(rw_class: RWClass | None) -> str:
    """The colour of a class, as CSS; none for an undefined neuron."""
    red, green, blue, alpha = rw_class.rgba if rw_class else (1.0, 1.0, 1.0, 0.0)
    return f"rgb({red:.0%} {green:.0%} {blue:.0%} / {alpha:g})"


@dataclass(frozen=True)
class _Column:
    """The lists of one vector beside each other; bars are in units of the longest one."""

    vector: str
    matrix: str
    lists: tuple[TokenList, TokenList]
    longest: float

    def share(self, token: Token) -> str:
        """Length of a token's bar in percent."""
        return f"{100 * abs(token.value) / self.longest:.1f}" if self.longest > 0 else "0"


def _columns(plus: TokenList, minus: TokenList) -> _Column:
    longest = max((abs(token.value) for one in (plus, minus) for token in one.tokens), default=0.0)
    return _Column(plus.vector, plus.matrix, (plus, minus), longest)


def card_markdown(card: NeuronCard) -> str:
    """The card as Markdown."""
    parts = [f"# Neuron {card.name} of `{card.model}`"]
    facts = [f"Class: **{card.class_name}**" + (f" ({class_rule(card.rw_class)})" if card.rw_class else "")]
    if card.role is not None:
        values = ", ".join(f"{name} {plain(value, 3)}" for name, value in card.role_facts)
        facts.append(f"Role: **{card.role}**" + (f" ({values})" if values else ""))
    parts.append("  \n".join(facts))
    if card.turned is not None:
        parts.append(turned_text(card.turned))
    parts.append(
        _table(
            ["cosine", "value", "", "null, mismatched", "null, beta", "neurons of the layer below"],
            [
                [
                    one.label,
                    signed(one.value),
                    one.verdict,
                    interval(one.mismatched),
                    interval(one.beta),
                    "–" if math.isnan(one.below) else f"{one.below:.1%}",
                ]
                for one in card.cosines
            ],
        )
    )
    parts.append(
        _table(
            ["vector", "norm", "median of the layer"],
            [[one.vector, plain(one.value), plain(one.median)] for one in card.norms],
        )
    )
    for matrix in card.matrices:
        order = "magnitude of the dot product" if card.ranked_by == "absolute" else "dot product"
        parts.append(f"## Tokens by {order} with the {matrix}")
        for lists in card.pairs(matrix):
            rows = zip(*(one.tokens for one in lists), strict=True)
            body = [
                [str(rank), *(cell for token in row for cell in (_code(token.text), signed(token.value)))]
                for rank, row in enumerate(rows, start=1)
            ]
            heading = f"**{lists[0].vector}**: {MEANINGS[matrix, lists[0].vector]}"
            table = _table(["", *(cell for one in lists for cell in (one.name, "u·v"))], body)
            parts.append(f"{heading}\n\n{table}" if body else f"{heading}: the vector has no direction")
    parts.append("\n".join(f"- {name}: {text}" for name, text in card.provenance))
    return "\n\n".join(parts) + "\n"


def turned_text(turned: bool) -> str:
    """What was done about the sign that is free in a gated neuron."""
    stored = (
        "in and out of this neuron are shown turned round: as stored, cos(gate, in) is negative"
        if turned
        else "in and out of this neuron are shown as they are stored"
    )
    return f"Signs are such that cos(gate, in) ≥ 0; {stored}."


def interval(region: tuple[float, float] | None) -> str:
    """A region of chance in words; that of an absolute value begins at zero."""
    if region is None:
        return "–"
    low, high = region
    return f"0 … {signed(high, 3)}" if low == 0 else f"{signed(low, 3)} … {signed(high, 3)}"


def _table(headers: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _code(text: str) -> str:
    """A token as code; bars and backticks in it stay what they are, in a table too."""
    longest, run = 0, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", r"\|")
