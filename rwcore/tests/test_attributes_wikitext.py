"""Paragraphs of pages: what a reader sees, under the titles of its sections."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED, CONVENTIONS, FIXED
from rwcore.attributes.dump import Page
from rwcore.attributes.wikitext import cleaned, paragraphs
from rwcore.errors import OptionError


def found(text: str, convention: str = FIXED, *, wikitext: bool = True) -> list[tuple[str, str]]:
    page = Page("Zürich", text)
    return [(one.title, one.text) for one in paragraphs(page, wikitext=wikitext, convention=convention)]


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Zürich''' is ''the'' city", "Zürich is the city"),
        ("a [[city]] in [[Switzerland|the Swiss]] land", "a city in the Swiss land"),
        ("[[:Category:Cities]] [[Category:Cities]]", "Category:Cities "),
        ("[[File:Z.jpg|thumb|The [[lake]] of Zürich]]See", "See"),
        ("[[ image :z.png]][[Media:z.ogg]]!", "!"),
        ("It has{{convert|87|km2}} {{{1|no}}}people<!-- [[x]] -->.", "It has people."),
        ("Old<ref name=a>A [[book]]</ref><ref name=b />.", "Old."),
        ("R&amp;D&nbsp;&lt;b&gt;", "R&D\xa0<b>"),
        ("[https://x.org the site] [https://x.org] https://x.org", "the site  https://x.org"),
        ("one<br />two<br>three", "one two three"),
        ("x<sub>2</sub> <math>x^2</math><gallery>a.jpg</gallery>", "x2 "),
        ("__NOTOC__text", "text"),
        ("{| class=a\n| cell || {{x}}\n|}after", "after"),
        ("{| class=a\n|\n{| inner\n| cell\n|}\n|}after", "after"),
        ("* one\n* two\n", " one\n two\n"),
        ("<references />{{reflist}}", ""),
    ],
)
def test_what_a_reader_sees(wikitext: str, text: str) -> None:
    assert cleaned(wikitext) == text


@given(st.text(st.sampled_from("ab=[]{}|'<>/!-& \n*#:\"ref"), max_size=60))
def test_broken_wikitext_is_read_all_the_same(text: str) -> None:
    for convention in CONVENTIONS:
        for title, paragraph in found(text, convention):
            assert title.startswith("Zürich")
            assert paragraph == paragraph.strip() != ""
            assert "\n" not in paragraph


PAGE = """{{Infobox
| name = Zürich

| canton = [[Zürich]]
}}
'''Zürich''' is a city
at a lake.

It is old.
== History ==
Romans came.
=== Middle
Ages ===

=== ''Early'' [[modern]] time ===
Zwingli preached.



Then peace.

==== Deep ====
{| class="wikitable"
! a

! b
|}
Deep down.

== E=mc² ==
Einstein.
"""


def test_sections_and_paragraphs() -> None:
    assert found(PAGE) == [
        ("Zürich", "Zürich is a city at a lake."),
        ("Zürich", "It is old."),
        ("Zürich. History", "Romans came. === Middle Ages ==="),
        ("Zürich. History. Early modern time", "Zwingli preached."),
        ("Zürich. History. Early modern time", "Then peace."),
        ("Zürich. History. Early modern time. Deep", "Deep down."),
        ("Zürich. E=mc²", "Einstein."),
    ]


def test_as_published_a_page_is_split_before_it_is_read() -> None:
    assert found(PAGE, AS_PUBLISHED) == [
        # What reaches over a blank line is cut in two, and its halves are text.
        ("Zürich", "{{Infobox | name = Zürich"),
        ("Zürich", "| canton = Zürich }} Zürich is a city at a lake."),
        # A heading that follows a line is text.
        ("Zürich", "It is old. History Romans came. === Middle Ages ==="),
        ("Zürich. ''Early'' [[modern]] time", "Zwingli preached."),
        ("Zürich. ''Early'' [[modern]] time", "Then peace."),
        ("Zürich. ''Early'' [[modern]] time. Deep", '{| class="wikitable" ! a'),
        ("Zürich. ''Early'' [[modern]] time. Deep", "! b |} Deep down."),
        ("Zürich. E=mc²", "Einstein."),
    ]


def test_depth_is_half_the_number_of_equal_signs_only_as_published() -> None:
    text = "== A ==\n\n== x = y = z ==\n\none\n\n== B ==\n\ntwo"
    assert found(text) == [("Zürich. x = y = z", "one"), ("Zürich. B", "two")]
    assert found(text, AS_PUBLISHED) == [("Zürich. A. x = y = z", "one"), ("Zürich. B", "two")]


def test_the_line_after_a_heading_is_a_paragraph_of_its_section() -> None:
    for convention in CONVENTIONS:
        assert found("== A ==\none\n\n=B=\n\ntwo", convention) == [("Zürich. A", "one"), ("Zürich. B", "two")]


def test_only_sections_that_are_worth_it_are_read() -> None:
    page = Page(
        "A", "one\n\n== Lake ==<!-- b -->\ntwo\n\n=== C ===  \nthree\n\n== D ==\nthe [[lake]]\n\nfour"
    )
    asked: list[str] = []

    def worth(text: str) -> bool:
        asked.append(text)
        return "lake" in text.lower()

    found = [one.text for one in paragraphs(page, wikitext=True, convention=FIXED, worth=worth)]
    assert found == ["two", "three", "the lake", "four"]
    assert [text.splitlines()[0] for text in asked] == ["A", "A. Lake", "A. Lake. C", "A. D"]


def test_plain_text_is_not_wikitext() -> None:
    text = "if a[[0]] == {{b}}:\n\n== c ==\n \n\n\td"
    expected = [("Zürich", "if a[[0]] == {{b}}:"), ("Zürich", "== c =="), ("Zürich", "d")]
    for convention in CONVENTIONS:
        assert found(text, convention, wikitext=False) == expected


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    with pytest.raises(OptionError, match=r"mwparserfromhell") as caught:
        cleaned("text")
    assert "pip install 'rwcore[wiki]'" in str(caught.value)
    assert found("text", wikitext=False) == [("Zürich", "text")], "our own texts need no extra"
