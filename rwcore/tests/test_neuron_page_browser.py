"""The page of a neuron in a real Chromium: by mouse, keys and link, light and dark, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwcore.pages.page_data import by_quantity, scale
from rwcore.pages.token_units import BROKEN
from rwcore.tests import neuron_site as site
from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import requests, start_chromium
from rwcore.tests.neuron_browser import NeuronSite, channels, contrast, luminance, said

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)

FIRST = "#pp-post-1"
FOCUSED = "return document.activeElement.textContent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("neurons")


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[NeuronSite]:
    """The site; afterwards it must have asked for nothing but its pages, and complained of nothing."""
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    yield NeuronSite(browser, folder)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    asked = {one for one in requests(browser) if not one.startswith("data:")}
    assert all(Path(one.removeprefix("file://")).parent == folder for one in asked)
    assert browser.get_log("browser") == []


# --- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["usual", "plain"])
def test_focus_and_arrows_tell_the_numbers(page: NeuronSite, name: str) -> None:
    from selenium.webdriver.common.keys import Keys

    made = page.visit(name)
    entry = made.examples.lists["gate+_in+", "post"][0]
    rows = site.rows(30) if name == "usual" else site.plain_rows()
    tokens = rows[entry.row].tokens
    readout = f"{FIRST} .rw-readout"
    assert page.text(readout) == ""
    page.run(f"document.querySelector('{FIRST} mark').focus()")
    for step, key in enumerate([None, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT]):
        if key:
            page.keys(key)
        position = entry.position + step
        assert page.run(FOCUSED) == tokens[position]
        assert page.text(readout).endswith(said(made, entry.row, position))
    page.keys(Keys.HOME)
    assert page.text(readout).endswith(said(made, entry.row, max(0, entry.position - 24)))
    page.keys(Keys.ARROW_LEFT)  # nothing before the first one
    assert page.text(readout).endswith(said(made, entry.row, max(0, entry.position - 24)))
    assert len(page.texts(f"{FIRST} [tabindex]")) == 1
    page.keys(Keys.TAB)
    assert page.text(readout) == ""


def test_pointing_tells_the_numbers_and_leaving_hides_them(page: NeuronSite) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    made = page.visit("usual")
    entry = made.examples.lists["gate+_in+", "post"][0]
    token = page.find(f"{FIRST} mark")
    page.run("arguments[0].scrollIntoView({block: 'center'})", token)
    ActionChains(page.browser).move_to_element(token).perform()
    assert page.text(f"{FIRST} .rw-readout").endswith(said(made, entry.row, entry.position))
    ActionChains(page.browser).move_to_element(page.find(f"{FIRST} strong")).perform()
    assert page.text(f"{FIRST} .rw-readout") == ""
    token.click()
    assert page.run("return document.activeElement.localName") == "mark"


def test_a_character_of_several_tokens_tells_all_their_numbers(page: NeuronSite) -> None:
    made = page.visit("odd", "context=whole")
    page.run(
        f"[...document.querySelectorAll('{FIRST} [role=option]')].find((one) => one.textContent === ' 😀')"
        ".dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))"
    )
    lines = page.texts(f"{FIRST} .rw-readout .line")
    place = site.ODD.index(" \udcf0\udc9f")
    assert lines == [f"·😀 {said(made, 0, place)}", said(made, 0, place + 1)]


def test_the_peak_is_marked_and_is_where_the_pass_says(page: NeuronSite) -> None:
    made = page.visit("usual")
    entries = made.examples.lists["gate+_in+", "post"][:4]
    assert page.texts("#pp-post > .examples mark") == [
        site.rows(30)[one.row].tokens[one.position] for one in entries
    ]
    shown = [float(one.replace("−", "-")) for one in page.texts("#pp-post > .examples strong")]
    assert np.array(shown, np.float32).tolist() == [one.value for one in entries]


# --- text -----------------------------------------------------------------------------------------------


def test_the_text_of_an_example_is_the_text(page: NeuronSite) -> None:
    page.visit("odd", "context=whole")
    shown = page.run(f"return document.querySelector('{FIRST} .rw-tokens').textContent")
    expected = "".join(site.ODD).replace("\udcf0\udc9f\udc98\udc80", "😀").replace("\udce2", BROKEN)
    assert shown == expected.replace("\udc0a", "\n")
    assert page.run("return document.scripts.length") == 2
    signs = page.run(f"return [...document.querySelectorAll('{FIRST} i')].map((one) => one.dataset.sign)")
    assert {"·", "⏎", "⇥", "⇤", "⟨E2⟩", "⟨U+200B⟩", "⟨U+00A0⟩", "⟨empty⟩"} <= set(signs)


def test_more_context_is_shown_when_asked_for(page: NeuronSite) -> None:
    made = page.visit("usual")
    entry = made.examples.lists["gate+_in+", "post"][0]
    stretch = next(
        one for one in made.examples.stretches if one.row == entry.row and one.end > entry.position
    )
    tokens = site.rows(30)[entry.row].tokens
    near = "".join(tokens[max(0, entry.position - 24) : entry.position + 13])
    text = f"return document.querySelector('{FIRST} .rw-tokens').textContent"
    assert page.run(text) == near
    page.click(f"{FIRST} .text button[aria-label$=before]")
    assert page.run(text) == "".join(tokens[stretch.start : entry.position + 13])
    assert page.run("return document.activeElement.localName") == "mark"
    page.click("input[name=context][value=whole]")
    assert page.run(text) == "".join(tokens[stretch.start : stretch.end])


# --- colours --------------------------------------------------------------------------------------------

PAINTED = """
return [...document.querySelectorAll(arguments[0])].map((one) => {
  const style = getComputedStyle(one);
  return [one.style.getPropertyValue('--share'), style.backgroundColor, style.borderBottomStyle, style.color];
});"""


@pytest.mark.parametrize("quantity", ["post", "in", "gate", "act"])
def test_colours_are_those_of_the_values(page: NeuronSite, quantity: str) -> None:
    made = page.visit("usual", f"colour={quantity}&context=whole")
    largest = scale(made.examples, quantity)
    pairs = []
    for rank, entry in enumerate(made.examples.lists["gate+_in+", "post"][:4], start=1):
        number, _ = made.examples.stretch_of(entry)
        values = by_quantity(made.examples.stretches[number])[quantity].tolist()
        painted = page.run(PAINTED, f"#pp-post-{rank} [role=option]")
        assert len(painted) == len(values)
        pairs += [(value, *one) for value, one in zip(values, painted, strict=True)]
    for value, share, colour, line, _ in pairs:
        assert float(share[:-1]) == pytest.approx(100 * abs(value) / largest, abs=0.0501)
        red, _, blue = channels(colour)
        if abs(value) > 0.02 * largest:
            assert (blue > red) == (value > 0)
        assert line == ("solid" if value > 0 else "dotted")
    by_share: dict[tuple[str, bool], set[str]] = {}
    for value, share, colour, *_ in pairs:
        by_share.setdefault((share, value > 0), set()).add(colour)
    assert all(len(colours) == 1 for colours in by_share.values())  # equal for equal, in all examples
    for positive in (True, False):
        sizes = sorted(
            (abs(value), luminance(colour)) for value, _, colour, *_ in pairs if (value > 0) == positive
        )
        light = [one for _, one in sizes]
        assert all(a >= b - 2e-3 for a, b in pairwise(light))  # darker for more
    small = [float(share[:-1]) for value, share, *_ in pairs if abs(value) < 0.1 * largest]
    assert small
    assert max(small) <= 10


def test_nothing_is_the_paper(page: NeuronSite) -> None:
    page.visit("odd", "context=whole&colour=in")
    place = 7  # where in is zero
    share, colour, line, _ = page.run(PAINTED, f"{FIRST} [data-unit='{place}']")[0]
    assert (share, colour) == ("0.0%", "rgba(0, 0, 0, 0)")
    assert page.run(f"return document.querySelector(\"{FIRST} [data-unit='7']\").className") == ""
    assert line == "solid"  # transparent, as where there is no sign


def test_the_legend_has_the_numbers_of_the_scale(page: NeuronSite) -> None:
    made = page.visit("usual")
    largest = scale(made.examples, "post")
    ends = [float(one.replace("−", "-")) for one in page.texts("#legend span")]
    assert ends == [float(f"{part * largest:.2g}") for part in (-1, -0.5, -0.25, 0, 0.25, 0.5, 1)]
    page.click("input[name=scale][value=root]")
    assert page.run(PAINTED, "#legend span")[4][0] == "50.0%"  # a quarter of it
    page.click("input[name=colour][value=gate]")
    assert float(page.texts("#legend span")[-1]) == float(f"{scale(made.examples, 'gate'):.2g}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read_on(page: NeuronSite, scheme: str) -> None:
    page.emulate(prefers_color_scheme=scheme)
    page.visit("usual")
    found = page.run(
        """
        const box = document.querySelector('.rw-tokens');
        return ['positive', 'negative'].flatMap((name) => Array.from({length: 21}, (_, step) => {
          const token = document.createElement('span');
          token.className = name;
          token.style.setProperty('--share', `${5 * step}%`);
          box.append(token);
          const style = getComputedStyle(token);
          return [style.color, style.backgroundColor, getComputedStyle(box).color];
        }));"""
    )
    assert min(contrast(ink, paper) for ink, paper, _ in found) >= 4.5
    assert {(ink, other) for ink, _, other in found} == {(found[0][0], found[0][0])}
    assert (luminance(found[0][1]) > 0.5) == (scheme == "light")


# --- keys, links, other ways to read ----------------------------------------------------------------------


def test_what_is_chosen_is_in_the_link(page: NeuronSite) -> None:
    from selenium.webdriver.common.keys import Keys

    page.visit("usual")
    assert page.link == ""
    page.keys(Keys.ARROW_RIGHT, at="input[name=colour]:checked")
    assert page.link == "colour=in"
    page.click("input[name=scale][value=root]")
    page.click("#nn-act > summary")
    page.click("#pp-post > summary")
    assert page.link == "colour=in&scale=root&open=nn-act&closed=pp-post"
    painted = page.run(PAINTED, "#nn-act-1 mark")
    page.open(page.link)
    page.wait()
    assert page.link == "colour=in&scale=root&open=nn-act&closed=pp-post"
    assert page.run(PAINTED, "#nn-act-1 mark") == painted
    assert not page.run("return document.getElementById('pp-post').open")


def test_a_link_leads_to_its_example(page: NeuronSite) -> None:
    page.visit("usual", "pn-gate-9&colour=gate")
    assert page.run("return document.querySelector('.here').id") == "pn-gate-9"
    top = page.run("return document.querySelector('.here').getBoundingClientRect().top")
    assert 0 < top < 400
    assert page.texts("#pn-gate-9 [role=option]")
    page.click("#pn-gate-9 .result a")
    assert page.link == "pn-gate-9&colour=gate&open=pn-gate"
    page.click(".cell a[href='#nn']")
    assert page.link.startswith("nn&")
    assert page.run("return document.querySelectorAll('.here').length") == 0


def test_everything_can_be_reached_with_the_keyboard(page: NeuronSite) -> None:
    from selenium.webdriver.common.keys import Keys

    page.visit("usual")
    page.keys(Keys.TAB)
    assert page.run(FOCUSED) == "Skip to content"
    where = "const at = document.activeElement; return at.closest('.example')?.id ?? at.name ?? at.localName"
    reached = []
    for _ in range(60):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.run(where))
    assert {"colour", "scale", "context", "pp-post-1", "pp-post-4", "summary"} <= {*reached}
    page.run(f"document.querySelector('{FIRST} mark').focus()")
    outline = page.run("return getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"


def test_more_examples_are_filled_when_opened(page: NeuronSite) -> None:
    page.visit("usual")
    assert page.texts("#pp-post-5 [role=option]") == []
    page.click("#pp-post .more > summary")
    assert len(page.texts("#pp-post-5 [role=option]")) > 20
    assert page.texts("#pp-in-1 [role=option]") == []
    page.click("#pp-in > summary")
    assert len(page.texts("#pp-in-1 [role=option]")) > 10


def test_near_duplicates_are_behind_one_example(page: NeuronSite) -> None:
    page.visit("odd")
    assert page.texts("#pp-post .example .result span") == ["1", "2", "5"]
    page.click("#pp-post-2 .alike > summary")
    assert page.texts("#pp-post-2 .alike li")[0].startswith("3: +")


@pytest.mark.parametrize("width", [360, 768, 1360])
@pytest.mark.parametrize("name", ["usual", "odd", "plain"])
def test_the_page_fits_every_width(page: NeuronSite, width: int, name: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.visit(name, "context=whole")
    assert page.run("return document.documentElement.scrollWidth") <= width


def test_without_a_script_there_is_the_text(page: NeuronSite) -> None:
    made = page.visit("usual")
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.browser.get(page.uri)
        assert not page.find("#controls").is_displayed()
        entry = made.examples.lists["gate+_in+", "post"][0]
        text = page.find(f"{FIRST} .text").text
        assert site.rows(30)[entry.row].tokens[entry.position].strip() in text
        assert len(text) > 40
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_there_are_no_controls(page: NeuronSite) -> None:
    page.visit("usual")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find("#controls").is_displayed()
    assert not page.find(".text button").is_displayed()
    assert page.find(f"{FIRST} mark").is_displayed()
    assert page.run(PAINTED, f"{FIRST} mark")[0][1] != "rgba(0, 0, 0, 0)"


# --- access and speed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["usual", "odd"])
def test_axe_finds_no_serious_violation(page: NeuronSite, name: str, scheme: str) -> None:
    page.emulate(prefers_color_scheme=scheme)
    page.visit(name)
    if name == "odd":  # few tokens, so that everything can be looked at
        page.run("for (const one of document.querySelectorAll('details')) one.open = true")
        page.settle()
    page.run(f"document.querySelector('{FIRST} mark').focus()")
    page.browser.set_script_timeout(120)
    found = violations(page.browser)
    page.browser.set_script_timeout(20)
    assert [one for one in found if one[1] in ("serious", "critical")] == []


def test_the_largest_page_can_be_used_at_once(page: NeuronSite, record_property: Any) -> None:
    page.visit("full")
    ready = float(page.run("return document.documentElement.dataset.ready"))
    record_property("interactive_ms", ready)
    assert ready < 3000  # 200 ms on an idle machine
    begun = page.run("return performance.now()")
    page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    page.settle()
    assert page.run("return document.querySelectorAll('.example [role=option]').length") > 240 * 30
    assert page.run("return performance.now()") - begun < 8000
