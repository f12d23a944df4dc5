"""The explorer's page as text: complete, self-contained, escaped, legible; and the renderer under it."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from rwcore.pages import render as rendering
from rwcore.pages.explorer import MEANINGS, PALETTES, explorer_page, palette_css, rule_of, slug_of
from rwcore.pages.render import render, static
from rwcore.stats.classes import RW_CLASSES, discretise
from rwcore.stats.prototypes import PRESETS

VOID = {"meta", "link", "input", "br", "hr", "img"}
LOADING = {"src", "srcset", "poster", "xlink:href", "action", "background", "formaction"}


class Page(HTMLParser):
    """What the page holds; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.references: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.inputs: list[dict[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self._open.append(tag)
        if found.get("id"):
            self.ids[str(found["id"])] += 1
        for name, value in found.items():
            if name in ("aria-labelledby", "aria-describedby", "for"):
                self.references += str(value).split()
            if name == "href" and tag == "a":
                self.links.append(str(value))
            elif name in LOADING or name == "href":
                self.loads.append(str(value))
        if tag == "input":
            self.inputs.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data if not self._open or self._open[-1] not in ("script", "style") else ""


@pytest.fixture(scope="module")
def source() -> str:
    return explorer_page()


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_ids_are_unique_and_references_lead_somewhere(page: Page) -> None:
    assert max(page.ids.values()) == 1
    assert set(page.references) <= set(page.ids)
    inner = {link[1:] for link in page.links if "=" not in link}
    assert inner
    assert inner <= set(page.ids)


def test_nothing_is_loaded(source: str, page: Page) -> None:
    assert page.loads == ["data:,"]  # the empty icon, so that none is asked for
    assert all(link.startswith("#") for link in page.links)
    # The only addresses are names: of SVG elements, and patterns of the page itself.
    assert set(re.findall(r"\w+://[^\"'\s)]+", source)) == {"http://www.w3.org/2000/svg"}
    assert all(one.startswith("#") for one in re.findall(r"url\(([^)]*)\)", source))
    assert "@import" not in source


def test_every_class_is_defined_and_can_be_shown(page: Page) -> None:
    text = " ".join(page.text.split())
    presets = [one["value"] for one in page.inputs if one.get("name") == "preset"]
    assert presets == [slug_of(one.name) for one in RW_CLASSES]
    for one in RW_CLASSES:
        assert f"class-{slug_of(one.name)}" in page.ids
        assert f"#class={slug_of(one.name)}" in page.links
        assert MEANINGS[one.name] in text
    for word in (
        "strictly" if "strictly" in text else "exactly ±0.5 is small",
        "Gram determinant",
        "atypical",
    ):
        assert word in text


def holds(rule: str, value: float, gateout: float) -> bool:
    """Whether a cosine is as a cell of the table says."""
    number = re.search(r"0\.5", rule)
    if number is None:
        assert rule == "anything"
        return True
    large = discretise(value) != 0
    if rule == "|cos| ≤ 0.5":
        return not large
    if rule in ("> 0.5", "< −0.5"):
        return discretise(value) == (1 if ">" in rule else -1)
    assert rule.startswith("|cos| > 0.5")
    if "the sign of" in rule:
        return large and (value > 0) == (gateout > 0)
    if "the other sign than" in rule:
        return large and (value > 0) != (gateout > 0)
    return large


def test_the_table_of_rules_is_the_rule() -> None:
    import torch

    from rwcore.stats.classes import class_codes
    from rwcore.stats.cosines import RWCosines

    values = torch.linspace(-1, 1, 9)  # ±0.5 among them
    gatelin, gateout, linout = (
        one.reshape(1, -1) for one in torch.meshgrid(values, values, values, indexing="ij")
    )
    codes = class_codes(RWCosines(gatelin, gateout, linout))[0].tolist()
    rules = [rule_of(one) for one in RW_CLASSES]
    large = {}
    for code, a, b, c in zip(
        codes, gatelin[0].tolist(), gateout[0].tolist(), linout[0].tolist(), strict=True
    ):
        fits = [
            number
            for number, rule in enumerate(rules)
            if holds(rule.linout, c, b) and holds(rule.gateout, b, b) and holds(rule.gatelin, a, b)
        ]
        if not fits:
            # Large, with the wrong sign: atypical by the rule, but no vectors are there, and the table
            # leaves it out.
            assert min(abs(a), abs(b), abs(c)) > 0.5
            assert a * b * c < 0
            large[(a > 0, b > 0, c > 0)] = code
            continue
        assert fits == [code]
    assert set(large.values()) == {1, 8}


def test_data_of_the_script_are_those_of_the_library(source: str) -> None:
    found = re.search(r'<script id="rw-data" type="application/json">(.*?)</script>', source, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    assert [(one["name"], tuple(one["key"])) for one in data["classes"]] == [
        (o.name, o.key) for o in RW_CLASSES
    ]
    assert data["threshold"] == 0.5
    for dimensions, presets in PRESETS.items():
        for name, one in presets.items():
            shown = data["presets"][str(dimensions)][slug_of(name)]
            assert {key: tuple(value) for key, value in shown.items()} == {
                "gate": one.w_gate,
                "in": one.w_in,
                "out": one.w_out,
            }


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(one * 2 for one in digits) if len(digits) == 3 else digits
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG's contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_known_colours() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)


def test_text_is_legible_in_light_and_dark() -> None:
    blocks = re.findall(r":root \{(.*?)\}", static("explorer.css"), re.DOTALL)
    assert len(blocks) == 3  # light, dark, print
    for block in blocks:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", block))
        for ink in ("ink", "muted", "link", "gate", "in", "out", "x", "output", "after"):
            for ground in ("card", "bg", "zone", "here"):
                need = 4.5 if ground in ("card", "bg") or ink == "ink" else 3
                assert contrast(colours[ink], colours[ground]) >= need, (ink, ground, colours[ink])


def test_class_names_are_legible_on_their_colours() -> None:
    assert set(PALETTES) == {"paper", "accessible"}
    css = palette_css()
    for name in PALETTES:
        block = re.search(rf':root\[data-palette="{name}"\] \{{(.*?)\}}', css)
        assert block
        fills = dict(re.findall(r"--c-([a-z-]+): (#[0-9a-f]{6});", block[1]))
        inks = dict(re.findall(r"--i-([a-z-]+): (#[0-9a-f]{6});", block[1]))
        assert list(fills) == list(inks) == [slug_of(one.name) for one in RW_CLASSES]
        for slug, fill in fills.items():
            assert contrast(fill, inks[slug]) >= 3.9, (name, slug)


def test_palette_at_the_start_is_as_asked(source: str) -> None:
    assert '<html lang="en" data-palette="accessible">' in source
    paper = explorer_page("paper")
    assert '<html lang="en" data-palette="paper">' in paper
    assert '"palette": "paper"' in paper


def test_page_is_the_same_every_time(source: str) -> None:
    assert explorer_page() == source


# --- the renderer ----------------------------------------------------------------------------------------


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Templates of the test's own."""
    mine: dict[str, str] = {}
    environment = rendering._environment().overlay(loader=jinja2.DictLoader(mine))
    monkeypatch.setattr(rendering, "_environment", lambda: environment)
    return mine


def test_values_are_escaped_and_markup_is_not(templates: dict[str, str]) -> None:
    templates["t"] = "{{ a }}|{{ b }}"
    assert render("t", a="<b>&'", b=Markup("<i>")) == "&lt;b&gt;&amp;&#39;|<i>"


def test_a_missing_name_is_an_error(templates: dict[str, str]) -> None:
    templates["t"] = "{{ a.b }}"
    with pytest.raises(jinja2.UndefinedError, match="'a' is undefined"):
        render("t")


def test_templates_inline_static_files(templates: dict[str, str]) -> None:
    templates["t"] = '<style>{{ static("explorer.css") }}</style>'
    assert "--gate: #" in render("t")
    with pytest.raises(FileNotFoundError):
        static("nothing.css")


@pytest.mark.parametrize("text", ["'</SCRIPT>'", "</style >", "<!-- x"])
def test_a_file_that_would_end_its_element_is_refused(
    text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "bad.js").write_text(text)
    monkeypatch.setattr(rendering.resources, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"bad\.js holds"):
        static("bad.js")
