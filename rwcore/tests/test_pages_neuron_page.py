"""The page of a neuron as text: complete, self-contained, escaped, small; and what it says."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.activations.examples import Entry, quadrant_codes
from rwcore.activations.quadrants import LISTS, QUADRANTS
from rwcore.errors import StoreError
from rwcore.pages.card_pictures import Cosine
from rwcore.pages.neuron_page import (
    Neighbour,
    NeuronPage,
    QuadrantFacts,
    border_distance,
    nearest_border,
    neuron_page,
    percent,
    with_neighbours,
)
from rwcore.pages.page_data import by_quantity, pack_examples, scale, unpack_examples
from rwcore.pages.page_examples import (
    RANDOM,
    StretchText,
    alike,
    digits,
    lists_of,
    quadrant_name,
    quantities_of,
    slug,
    snippet,
)
from rwcore.pages.page_pictures import BINS, density_picture, histogram, histogram_range
from rwcore.stats.classes import class_codes, classes_of
from rwcore.stats.cosines import RWCosines
from rwcore.stats.margins import class_margins
from rwcore.tests import neuron_site as site
from rwcore.tests.test_pages_explorer import Page

LIMIT = 700_000
NAN = float("nan")


@pytest.fixture(scope="module")
def usual() -> NeuronPage:
    return site.neuron_page_of(site.rows(30))


@pytest.fixture(scope="module")
def html(usual: NeuronPage) -> str:
    return neuron_page(usual)


@pytest.fixture(scope="module")
def odd() -> NeuronPage:
    return site.neuron_page_of(site.odd_rows())


def plain_page() -> NeuronPage:
    return site.neuron_page_of(site.plain_rows(), gated=False)


def views(page: NeuronPage) -> list[tuple[str, str, tuple[int, ...]]]:
    """(quadrant, quantity, ranks shown) of every list."""
    return [
        (quadrant, one.quantity, tuple(view.rank for view in one.examples))
        for quadrant in page.quadrants
        for one in lists_of(page.examples, page.texts, quadrant)
    ]


# --- the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["usual", "odd", "plain"])
def test_pages_nest_have_unique_ids_and_load_nothing(name: str, usual: NeuronPage, odd: NeuronPage) -> None:
    text = neuron_page({"usual": usual, "odd": odd, "plain": plain_page()}[name])
    page = Page(text)
    assert [one for one, count in page.ids.items() if count > 1] == []
    assert set(page.references) <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert page.loads == ["data:,"]
    assert "nan" not in page.text.lower().replace("nano", "").split()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "http" not in policy[1]


def test_the_largest_page_is_small_enough() -> None:
    page = site.full_page()
    assert [len(page.examples.lists[key]) for key in LISTS] == [16] * 14
    assert len(page.examples.stretches) == 14 * 16 + 4 * 4
    assert all(len(stretch.gate) == 64 + 1 + 32 for stretch in page.examples.stretches)
    assert len(neuron_page(page).encode("utf-8")) < LIMIT


def test_what_tokens_say_is_never_markup(odd: NeuronPage) -> None:
    text = neuron_page(odd)
    assert "<script>alert" not in text
    assert text.count("<script") == text.count("</script") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_text_can_be_read_without_a_script(usual: NeuronPage, html: str) -> None:
    found = re.findall(
        r'<li class="example" id="([^"]+)".*?<strong>([^<]+)</strong>.*?<mark>', html, re.DOTALL
    )
    expected = [
        (view.id, digits(view.entry.value))
        for quadrant in QUADRANTS
        for one in lists_of(usual.examples, usual.texts, quadrant)
        for view in one.examples
    ]
    assert found == expected
    entry = usual.examples.lists["gate+_in+", "post"][0]
    row = site.rows(30)[entry.row].tokens
    place = f"document {entry.row // 3}, row {entry.row}, position {entry.position} of {len(row)}"
    assert place in Page(html).text


def test_a_snippet_shows_white_space_and_joins_split_characters() -> None:
    text = StretchText(
        ("a ", "b\n", " \udcf0\udc9f", "\udc98\udc80", " c", "\udce2", " d"), frozenset(), 0, 9
    )
    assert snippet(text, 4) == ("a b⏎ 😀", "␣c", "\ufffd d")


# --- what it says ---------------------------------------------------------------------------------------


def test_quadrants_say_how_often_and_how_much(usual: NeuronPage, html: str) -> None:
    cells = re.findall(r'<section class="cell".*?</section>', html, re.DOTALL)
    assert [re.search(r"<h3[^>]*>([^<]+)", cell)[1] for cell in cells] == [  # type: ignore[index]
        "gate− in+", "gate+ in+", "gate− in−", "gate+ in−",
    ]  # fmt: skip
    total = sum(abs(one.means["post"]) * one.count for one in usual.quadrants.values())
    for cell, name in zip(cells, ("gate-_in+", "gate+_in+", "gate-_in-", "gate+_in-"), strict=True):
        facts = usual.quadrants[name]
        assert f"<strong>{percent(facts.frequency)}</strong>" in cell
        assert f"{facts.count:,} tokens" in cell
        assert percent(abs(facts.means["post"]) * facts.count / total) in cell
        assert digits(usual.examples.lists[name, "post"][0].value) in cell
        assert f'class="own" style="width:{100 * facts.frequency:.2f}%"' in cell


def test_an_empty_quadrant_never_occurs(odd: NeuronPage) -> None:
    text = neuron_page(odd)
    assert text.count(f"never in {odd.tokens} tokens") == 2
    empty = [one.count for one in odd.quadrants.values()]
    assert empty[2:] == [0, 0]
    assert not any(quadrant.startswith("gate-") for quadrant, *_ in views(odd))


def test_a_neuron_without_a_gate_has_two_halves() -> None:
    page = plain_page()
    text = Page(neuron_page(page)).text
    assert {(quadrant, quantity) for quadrant, quantity, _ in views(page)} == {
        (quadrant, quantity)
        for quadrant in ("gate+_in+", "gate-_in+")
        for quantity in ("post", "gate", RANDOM)
    }
    assert quadrant_name("gate-_in+", gated=False) == "in−"
    assert "two halves" in text
    assert "gate+" not in text
    assert "act(gate)" not in text
    facts, values = unpack_examples(pack_examples(page.examples, page.texts))
    assert facts["gated"] is False
    assert values.shape[0] == 2


def test_flat_lists_are_called_flat(usual: NeuronPage) -> None:
    entries = tuple(
        dataclasses.replace(one, value=-0.2784645) for one in usual.examples.lists["gate-_in+", "act"]
    )
    lists = {**usual.examples.lists, ("gate-_in+", "act"): entries}
    changed = dataclasses.replace(usual, examples=dataclasses.replace(usual.examples, lists=lists))
    assert neuron_page(changed).count("a flat extreme") == neuron_page(usual).count("a flat extreme") + 1


def test_random_tokens_are_not_ranked(html: str) -> None:
    section = re.search(r'<details class="list" id="pp-random">.*?</details>', html, re.DOTALL)
    assert section is not None
    assert section[0].count('<li class="example"') == 4
    assert "<span>1</span>" not in section[0]


# --- near-duplicates ------------------------------------------------------------------------------------


def test_the_same_text_up_to_the_peak_is_shown_once(odd: NeuronPage) -> None:
    shown = {(quadrant, quantity): ranks for quadrant, quantity, ranks in views(odd)}
    # Three rows with the same header; three that fire most at BOS, whatever follows it.
    assert shown["gate+_in+", "post"] == (1, 2, 5)
    assert Page(neuron_page(odd)).text.count("2 more like this") >= 2


def listed(*texts: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Groups of a list whose peaks are the last tokens of these texts."""
    page = site.neuron_page_of(site.odd_rows())
    values = torch.ones(max(map(len, texts)))
    stretches = tuple(
        dataclasses.replace(
            page.examples.stretches[0], row=number, start=0,
            gate=values[: len(text)], in_=values[: len(text)], act=values[: len(text)],
        )
        for number, text in enumerate(texts)
    )  # fmt: skip
    examples = dataclasses.replace(page.examples, stretches=stretches)
    entries = [Entry(number, len(text) - 1, 1.0) for number, text in enumerate(texts)]
    return alike(examples, [StretchText(text, frozenset(), 0, 99) for text in texts], entries)


def test_alike_is_a_jaccard_index_of_4_grams() -> None:
    long = tuple(f"t{number}" for number in range(40))
    changed_first = (*long[:8], "x", *long[9:])  # the first of the last 32: one of 29 grams
    changed_third = (*long[:10], "x", *long[11:])  # three of 29: 26 / 32 of all
    changed_fourth = (*long[:11], "x", *long[12:])  # four of 29: 25 / 33
    assert listed(long, ("other", *long[1:])) == [(0, 1)]
    assert listed(long, changed_first) == [(0, 1)]
    assert listed(long, changed_third) == [(0, 1)]
    assert listed(long, changed_fourth) == [(0,), (1,)]
    assert listed(long, long[:-1]) == [(0, 1)]  # 28 / 30


def test_short_texts_are_alike_only_if_they_are_the_same() -> None:
    assert listed(("a",), ("b",), ("a",), ("a", "b"), ("b",)) == [(0, 2), (1, 4), (3,)]


# --- values ---------------------------------------------------------------------------------------------


def test_values_and_texts_come_back_bit_for_bit(odd: NeuronPage) -> None:
    facts, values = unpack_examples(pack_examples(odd.examples, odd.texts))
    for row, name in enumerate(("gate", "in", "act")):
        own = torch.cat([by_quantity(stretch)[name] for stretch in odd.examples.stretches]).numpy()
        assert (values[row].view(np.int32) == own.view(np.int32)).all()
    post = torch.cat([stretch.post for stretch in odd.examples.stretches]).numpy()
    assert (values[2] * values[1] == post).all()
    first = facts["stretches"][0]  # type: ignore[index]
    assert first["text"].startswith("<|endoftext|><script>alert(1)</script> </<!-- -->&amp;\t\n\n\n")
    assert (first["row"], first["start"], first["rowLength"]) == (0, 0, len(site.ODD))
    assert first["special"] == [0]


def test_a_scale_is_the_largest_magnitude_of_what_is_shown(usual: NeuronPage) -> None:
    for quantity in quantities_of(gated=True):
        shown = max(float(by_quantity(one)[quantity].abs().max()) for one in usual.examples.stretches)
        assert scale(usual.examples, quantity) == shown
    broken = dataclasses.replace(usual.examples.stretches[0], gate=torch.tensor([NAN, math.inf, -3e4]),
                                 in_=torch.ones(3), act=torch.ones(3))  # fmt: skip
    assert scale(dataclasses.replace(usual.examples, stretches=(broken,)), "gate") == 3e4


def test_digits_tell_every_float32_apart() -> None:
    assert digits(1.5614887475967407) == "+1.5614887"
    assert digits(-0.2784645) == "−0.2784645"
    assert digits(0.0) == "0"
    assert digits(-3.2e-9) == "−3.2e−09"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_digits_can_be_read_back(value: float) -> None:
    assert np.float32(digits(value).replace("−", "-")) == np.float32(value)


def test_percent_calls_little_not_nothing() -> None:
    found = [percent(one) for one in (NAN, 0.0, 1e-7, 0.00001234, 0.00123, 0.12345, 1.0)]
    assert [one.replace("\u202f", " ") for one in found] == [
        "–", "0 %", "<0.001 %", "0.0012 %", "0.12 %", "12.35 %", "100.00 %",
    ]  # fmt: skip


# --- borders --------------------------------------------------------------------------------------------

cosine = st.floats(-1, 1, width=32)


def given_cosines(gatelin: float, gateout: float, linout: float) -> tuple[Cosine, ...]:
    values = {"gatelin": gatelin, "gateout": gateout, "linout": linout}
    return tuple(Cosine(name, value, (0.0, 0.0), None, 0.5, (1,)) for name, value in values.items())


@given(st.floats(0, 1, width=32), cosine, cosine)
def test_the_nearest_border_is_the_margin_of_the_class(gatelin: float, gateout: float, linout: float) -> None:
    cosines = RWCosines(*(torch.tensor([[value]]) for value in (gatelin, gateout, linout)))
    border = nearest_border(given_cosines(gatelin, gateout, linout))
    assert border is not None
    assert border.distance == pytest.approx(float(class_margins(cosines)), abs=1e-6)
    assert border.other in {one.name for one in classes_of(cosines)}
    assert border.other != classes_of(cosines)[int(class_codes(cosines))].name


def test_borders_in_words() -> None:
    border = nearest_border(given_cosines(0.613, -0.522, -0.641))
    assert border is not None
    assert (border.cosine.name, border.at, border.other) == (
        "gateout",
        -0.5,
        "atypical conditional weakening",
    )
    assert border_distance(-0.522) == "0.022 beyond −0.5"
    assert border_distance(0.4) == "0.100 short of +0.5"
    assert border_distance(NAN) == ""
    assert nearest_border(given_cosines(0.1, NAN, NAN)) is None
    plain = nearest_border(given_cosines(0.0, 0.0, 0.45)[2:])
    assert plain is not None
    assert (plain.at, plain.other) == (0.5, "strengthening")


# --- pictures -------------------------------------------------------------------------------------------


def test_every_occupied_cell_of_the_map_is_drawn_once() -> None:
    gate, in_ = np.array([-1.0, 1.0, 1.0, 0.5]), np.array([2.0, -2.0, -2.0, 0.1])
    picture, curves = density_picture(gate, in_, np.maximum(gate, 0))
    shades = re.findall(r'class="(d\d)" d="([^"]+)"', str(picture))
    assert [(name, path.count("M")) for name, path in shades] == [("d1", 2), ("d7", 1)]
    assert curves == ["1", "0.2"]  # half and a tenth of the largest |post|, 2
    assert f"h{336 / BINS:g}" in shades[0][1]
    assert density_picture(*[np.array([NAN])] * 3) == ("", [])


def test_histograms_share_their_axis_and_mark_the_mean() -> None:
    values = np.array([-1.0, 0.0, 3.0, NAN])
    low, high = histogram_range(values)
    assert low < -1 < 3 < high
    picture = str(histogram(values, (low, high), 1.0, "gate"))
    share = (1.0 - low) / (high - low)
    assert f'class="mean" d="M{180 * share:.1f} ' in picture
    assert len(re.findall(r"M[\d.]+ 44v", picture)) == 3
    assert "mean" not in str(histogram(values[:0], (low, high), NAN, "gate"))


def test_distributions_count_the_sample(usual: NeuronPage, html: str) -> None:
    codes = quadrant_codes(usual.examples.sample.gate, usual.examples.sample.in_)
    for code, quadrant in enumerate(QUADRANTS):
        count = int((codes == code).sum())
        assert f"{quadrant_name(quadrant, True)}<small>{count:,} of sample</small>" in html


# --- neighbours -----------------------------------------------------------------------------------------


def test_neighbours_can_be_changed_later(usual: NeuronPage, html: str) -> None:
    before, after = Neighbour("1.2 <&>", "../1/2.html"), Neighbour("3.4", "../3/4.html")
    both = dataclasses.replace(usual, before=before, after=after)
    assert with_neighbours(html, before, after) == neuron_page(both)
    assert with_neighbours(neuron_page(both), None, None) == html
    assert 'href="../1/2.html">← 1.2 &lt;&amp;&gt;</a>' in neuron_page(both)
    assert with_neighbours(html, None, after) == neuron_page(dataclasses.replace(usual, after=after))


def test_a_text_cannot_be_taken_for_the_place_of_the_neighbours() -> None:
    rows = site.odd_rows()
    tokens = (*rows[0].tokens[:-2], "<!-- neighbours -->", "<!-- /neighbours -->")
    page = site.neuron_page_of(
        (dataclasses.replace(rows[0], tokens=tokens), *rows[1:]), command="<!-- neighbours -->"
    )
    assert "3.html" in with_neighbours(neuron_page(page), Neighbour("3", "3.html"), None)


@pytest.mark.parametrize("text", ["", "<html></html>", "<!-- neighbours --><!-- /neighbours -->" * 2])
def test_other_files_are_not_taken_for_pages(text: str) -> None:
    with pytest.raises(StoreError, match="one place for the links"):
        with_neighbours(text, None, None)


def test_slugs_of_quadrants_are_signs() -> None:
    assert [slug(one) for one in QUADRANTS] == ["pp", "pn", "np", "nn"]


def test_a_class_that_is_undefined_has_no_mean() -> None:
    page = site.neuron_page_of(site.odd_rows())
    card = dataclasses.replace(
        page.card,
        class_name="undefined",
        cosines=given_cosines(NAN, NAN, NAN),
        lists=(),
        role=None,
        role_facts=(),
    )
    quadrants = {name: dataclasses.replace(one, class_frequency=NAN) for name, one in page.quadrants.items()}
    text = neuron_page(dataclasses.replace(page, card=card, quadrants=quadrants))
    assert "class – · layer" in text
    assert "Nearest border" not in text
    assert 'class="class"' not in text
    assert isinstance(quadrants["gate+_in+"], QuadrantFacts)
