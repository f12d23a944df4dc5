"""Neuron cards as pages and Markdown: self-contained, well-formed, escaped, and complete."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.models.vocabulary import shown
from rwcore.pages.card_pictures import Cosine, cosine_strips, signed
from rwcore.pages.cards import (
    NeuronCard,
    Norm,
    Token,
    TokenList,
    card_markdown,
    card_page,
    class_rule,
    index_page,
    interval,
    plain,
    swatch,
    token_markup,
    turned_text,
)
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES, class_codes
from rwcore.stats.cosines import RWCosines
from rwcore.tests.test_report_html import Page

ODD = [
    "␣micro",
    "</script><b>",
    "<!--",
    "a|b",
    "``x`",
    "⟨U+200B⟩",
    "&amp;",
    "العربية",
    '"quoted"',
    "<unused 50280>",
]
NAN = float("nan")


def lists(vectors: tuple[str, ...], matrices: tuple[str, ...] = ("unembedding",)) -> tuple[TokenList, ...]:
    return tuple(
        TokenList(
            vector,
            sign,
            matrix,
            tuple(Token(100 + n, text, sign * (1.5 - 0.1 * n)) for n, text in enumerate(ODD)),
        )
        for matrix in matrices
        for vector in vectors
        for sign in (1, -1)
        if (matrix, vector) != ("embedding", "out")
    )


def gated(**changes: object) -> NeuronCard:
    bins = tuple(range(50))
    card = NeuronCard(
        model="org/<model>",
        layer=31,
        neuron=9634,
        class_name="weakening",
        gated=True,
        turned=True,
        cosines=(
            Cosine("gatelin", 0.61, (0.0, 0.08), (0.0, 0.1), 0.99, bins),
            Cosine("gateout", -0.62, (-0.08, 0.08), (-0.09, 0.07), 0.01, bins),
            Cosine("linout", -0.63, (-0.08, 0.08), (-0.07, 0.06), 0.02, bins),
        ),
        norms=(Norm("gate", 1.25, 1.0), Norm("in", 0.8, 0.9), Norm("out", 2.5, 2.0)),
        ranked_by="signed",
        lists=lists(("gate", "in", "out"), ("unembedding", "embedding")),
        role="prediction",
        role_facts=(("kurtosis", 90.25),),
        provenance=(("model", "org/<model>"), ("rwcore", "0.1.0")),
    )
    return dataclasses.replace(card, **changes)  # type: ignore[arg-type]


def vanilla() -> NeuronCard:
    return gated(
        class_name="strengthening",
        gated=False,
        turned=None,
        cosines=(Cosine("linout", 0.8, (-0.1, 0.1), None, 0.9, (1, 0, 3)),),
        norms=(Norm("in", 1.0, 1.0), Norm("out", 1.0, 1.0)),
        lists=lists(("in", "out")),
        role=None,
        role_facts=(),
    )


def undefined() -> NeuronCard:
    cosines = tuple(dataclasses.replace(one, value=NAN, below=NAN) for one in gated().cosines)
    empty = tuple(dataclasses.replace(one, tokens=()) for one in gated().lists)
    return gated(class_name="undefined", cosines=cosines, lists=empty, role="none", role_facts=())


CARDS = {"gated": gated(), "vanilla": vanilla(), "undefined": undefined()}


@pytest.fixture(params=CARDS)
def card(request: pytest.FixtureRequest) -> NeuronCard:
    return CARDS[request.param]


def parsed(text: str, folder: Path) -> Page:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return Page(path)


def test_pages_are_well_formed_and_load_nothing(card: NeuronCard, tmp_path: Path) -> None:
    texts = (card_page(card), card_page(card, siblings=[card]), index_page([card], title="T", lead="L"))
    for text in texts:
        page = parsed(text, tmp_path)
        assert [name for name, count in page.ids.items() if count > 1] == []
        assert [load for load in page.loads if not load.startswith(("#", "data:"))] == []
        assert "@import" not in text
        assert "url(" not in text
        assert "http" not in text
        assert page.tags["script"] == 0
        assert page.tags["main"] == page.tags["h1"] == 1
        assert text.startswith("<!DOCTYPE html>")
        assert '<html lang="en">' in text


def test_everything_on_the_card_is_on_the_page(card: NeuronCard, tmp_path: Path) -> None:
    page = parsed(card_page(card), tmp_path)
    said = [card.name, card.model, card.class_name]
    said += [one.label for one in card.cosines] + [one.verdict for one in card.cosines]
    said += [interval(one.region) for one in card.cosines] + [signed(one.value) for one in card.cosines]
    said += [plain(one.value) for one in card.norms] + [plain(one.median) for one in card.norms]
    said += [one.name for one in card.lists] + [name for name, _ in card.role_facts]
    said += [text for one in card.lists for text in (token.text for token in one.tokens)]
    said += [signed(token.value) for one in card.lists for token in one.tokens]
    said += [text for pair in card.provenance for text in pair]
    if card.turned is not None:
        said.append(turned_text(card.turned))
    for part in said:
        assert part in page.text, part


def test_tokens_are_text_not_markup(tmp_path: Path) -> None:
    text = card_page(gated())
    page = parsed(text, tmp_path)
    assert page.tags["script"] == 0
    assert "</script><b>" in page.text
    assert "&lt;/script&gt;&lt;b&gt;" in text
    assert "&amp;amp;" in text
    assert "<bdi>العربية</bdi>" in text  # a right-to-left token must not turn its row round


@given(st.text(max_size=8))
def test_any_token_is_shown_as_it_is(text: str) -> None:
    made = str(token_markup(shown(text)))
    stripped = re.sub(r"</?i>", "", made)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        assert character not in stripped.replace(entity, "") or character == "&"
        stripped = stripped.replace(entity, character)
    assert stripped == shown(text)


def test_signs_are_set_apart_from_characters() -> None:
    assert token_markup("␣a␣") == "<i>␣</i>a<i>␣</i>"
    assert token_markup("x⟨E2⟩⟨80⟩") == "x<i>⟨E2⟩</i><i>⟨80⟩</i>"
    assert token_markup("<unused 7>") == "<i>&lt;unused 7&gt;</i>"
    assert token_markup("<unused␣7>") == "&lt;unused<i>␣</i>7&gt;"


def test_neighbours_are_linked(tmp_path: Path) -> None:
    cards = [gated(neuron=number) for number in (1, 2, 3)]
    links = [parsed(card_page(one, siblings=cards), tmp_path).links for one in cards]
    assert links == [
        ["#main", "index.html", "neuron-31.2.html"],
        ["#main", "index.html", "neuron-31.1.html", "neuron-31.3.html"],
        ["#main", "index.html", "neuron-31.2.html"],
    ]
    assert parsed(card_page(cards[0]), tmp_path).links == ["#main"]
    index = parsed(index_page(cards, title="Three", lead="Chosen.", files=["tokens.csv"]), tmp_path)
    assert index.links == ["#main", *(f"neuron-31.{n}.html" for n in (1, 2, 3)), "tokens.csv"]


def test_the_same_card_gives_the_same_page(card: NeuronCard) -> None:
    assert card_page(card) == card_page(dataclasses.replace(card))


def test_a_page_says_where_the_list_is_empty(tmp_path: Path) -> None:
    page = parsed(card_page(undefined()), tmp_path)
    assert page.text.count("this vector has no direction") == 10
    assert "a vector of this neuron is zero or not finite" in page.text
    assert "nan" not in page.text.lower()
    assert "nan" not in str(cosine_strips(undefined().cosines)).lower()
    assert "the vector has no direction" in card_markdown(undefined())


def test_bars_are_in_units_of_the_longest_of_both_signs() -> None:
    widths = re.findall(r'style="width:([\d.]+)%"', card_page(gated()))
    expected = [f"{100 * (1.5 - 0.1 * n) / 1.5:.1f}" for n in range(10)]
    assert widths == expected * 10


# --- Markdown ------------------------------------------------------------------------------------------


def cells(line: str) -> list[str]:
    """Cells of a row of a GitHub table: bars that are not escaped separate."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> str:
    """What a cell that is one code span shows."""
    inside = re.fullmatch(r"(`+)(.*?)\1", cell)
    assert inside, cell
    text = inside[2].replace(r"\|", "|")
    return text[1:-1] if text.startswith(" ") and text.endswith(" ") else text


def test_markdown_tables_hold_every_token() -> None:
    lines = card_markdown(gated()).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("**out**")))
    rows = [cells(line) for line in lines[start + 4 : start + 14]]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 11)]
    assert [code(row[1]) for row in rows] == ODD
    assert [code(row[3]) for row in rows] == ODD
    assert rows[0][2] == "+1.5000"
    assert rows[0][4] == "−1.5000"


def test_markdown_says_what_the_card_says(card: NeuronCard) -> None:
    text = card_markdown(card)
    assert text.startswith(f"# Neuron {card.name} of `{card.model}`\n")
    assert f"**{card.class_name}**" in text
    assert (f"**{card.role}**" in text) == (card.role is not None)
    for one in card.cosines:
        assert signed(one.value) in text
    for matrix in card.matrices:
        assert f"with the {matrix}" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(cells(row)) for row in rows} == {3, 6, *([5] if card is not CARDS["undefined"] else [])}
    assert text.endswith("\n")


def test_numbers() -> None:
    assert [signed(value) for value in (0.5, -0.25, NAN)] == ["+0.5000", "−0.2500", "–"]
    assert [plain(value, 3) for value in (4.4, -0.0023, NAN)] == ["4.40", "−0.00230", "–"]
    assert [interval(one) for one in (None, (0.0, 0.1), (-0.1, 0.2))] == [
        "–",
        "0 … +0.100",
        "−0.100 … +0.200",
    ]


# --- rules and colours ---------------------------------------------------------------------------------


def test_the_rule_in_words_is_the_rule() -> None:
    """Every class is told apart by its rule, read back by a machine."""
    import torch

    generator = torch.Generator().manual_seed(0)
    triples = torch.rand(3, 1, 4000, generator=generator) * 2 - 1
    codes = class_codes(RWCosines(*triples))[0]
    for neuron, (gatelin, gateout, linout) in enumerate(triples[:, 0].T.tolist()):
        holds = []
        for one in RW_CLASSES:
            parts = class_rule(one).replace("−", "-").split(", ")
            text = ", ".join(parts)
            large = {"in, out": linout, "gate, out": gateout, "gate, in": gatelin}
            sign = math.copysign(1, linout * gateout)
            agrees = sign * gatelin > 0.5
            tests = {
                "cos(in, out) > 0.5": large["in, out"] > 0.5,
                "cos(in, out) < -0.5": large["in, out"] < -0.5,
                "|cos(in, out)| ≤ 0.5": abs(linout) <= 0.5,
                "|cos(gate, out)| > 0.5": abs(gateout) > 0.5,
                "|cos(gate, out)| ≤ 0.5": abs(gateout) <= 0.5,
                "|cos(gate, in)| > 0.5": abs(gatelin) > 0.5,
                "|cos(gate, in)| ≤ 0.5": abs(gatelin) <= 0.5,
                "cos(gate, in) beyond ±0.5 with the sign of their product": agrees,
                "cos(gate, in) not beyond ±0.5 with the sign of their product": not agrees,
            }
            # A condition with bars also holds the text of the one without.
            rest, verdicts = text, []
            for condition in sorted(tests, key=len, reverse=True):
                if condition in rest:
                    rest = rest.replace(condition, "")
                    verdicts.append(tests[condition])
            assert not rest.replace(",", "").strip(), rest
            holds.append(all(verdicts))
        assert [number for number, one in enumerate(holds) if one] == [int(codes[neuron])]


def test_rules_without_a_gate() -> None:
    rules = [class_rule(one) for one in VANILLA_CLASSES]
    assert rules == ["cos(in, out) > 0.5", "|cos(in, out)| ≤ 0.5", "cos(in, out) < −0.5"]


def test_swatches_have_the_colours_of_the_classes() -> None:
    assert swatch(gated()) == "rgb(0% 0% 100% / 1)"
    assert swatch(gated(class_name="atypical conditional strengthening")) == "rgb(50% 50% 0% / 0.5)"
    assert swatch(undefined()).endswith("/ 0)")
    assert card_page(gated(class_name="atypical weakening")).count('class="swatch atypical"') == 1


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-pdf-header-footer",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")
def test_a_card_with_ten_tokens_prints_on_one_page(tmp_path: Path) -> None:
    card = gated(lists=lists(("gate", "in", "out")))
    page, printed = tmp_path / "card.html", tmp_path / "card.pdf"
    page.write_text(card_page(card, siblings=[card]), encoding="utf-8")
    assert BROWSER is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *FLAGS, profile, f"--print-to-pdf={printed}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) == 1
