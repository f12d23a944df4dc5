"""The page of ablations in a real Chromium: by mouse, keys and link, light and dark, without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rwcore.pages.ablation import ablation_page
from rwcore.tests.ablation_report import EXAMPLES, WORDS, report
from rwcore.tests.explorer_page import Page, requests, start_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)

CONTEXT = "#run-1 .context"
FOCUSED = "return document.activeElement.textContent"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ablation") / "index.html"
    path.write_text(ablation_page(report()), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Page]:
    """The page, freshly opened; afterwards it must have asked for nothing and complained of nothing."""
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    opened = Page(browser, file.as_uri())
    opened.open()
    yield opened
    assert {one for one in requests(browser) if not one.startswith("data:")} <= {file.as_uri()}
    assert browser.get_log("browser") == []


@pytest.fixture
def widths(page: Page) -> Iterator[Page]:
    yield page
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def expected(place: int) -> str:
    """What is said about a token of the first example."""
    one = EXAMPLES[0]
    which = f"{WORDS[one.tokens[place]]}, token {one.start + place}: "
    if math.isnan(one.differences[place]):
        return which + "not counted"
    difference = f"{one.differences[place]:+.3f}".replace("-", "−")
    return f"{which}{one.clean_values[place]:.3f} → {one.ablated_values[place]:.3f}, Δ {difference}"


def test_focus_shows_the_numbers_of_each_token(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    assert page.text("#run-1 .readout") == ""
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_LEFT, at=f"{CONTEXT} mark")
    place = EXAMPLES[0].predicted
    assert place == 4
    assert page.run(FOCUSED) == "␣mic"
    assert page.text("#run-1 .readout") == expected(4) == "␣mic, token 26: 0.125 → 8.250, Δ −8.125"
    assert page.run("return document.activeElement.getAttribute('aria-label')") == expected(4)
    page.keys(Keys.HOME)
    for place in range(len(EXAMPLES[0].tokens)):
        assert page.text("#run-1 .readout") == expected(place)
        page.keys(Keys.ARROW_RIGHT)
    page.keys(Keys.ARROW_RIGHT)  # there is nothing beyond the last one
    assert page.run(FOCUSED) == WORDS[EXAMPLES[0].tokens[-1]]
    page.keys(Keys.HOME, Keys.ARROW_LEFT)
    assert page.text("#run-1 .readout") == expected(0) == "␣the, token 22: not counted"
    page.keys(Keys.END)
    assert page.text("#run-1 .readout") == expected(6)
    assert page.run("return document.querySelectorAll('#run-1 .context')[1].parentElement"
                    ".querySelector('.readout').textContent") == ""  # fmt: skip


def test_a_context_is_one_stop_for_the_keyboard(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ARROW_LEFT, at=f"{CONTEXT} mark")
    stops = f"document.querySelector('{CONTEXT}').querySelectorAll('[tabindex=\"0\"]')"
    assert page.run(f"return {stops}.length") == 1
    page.keys(Keys.TAB)
    assert page.run("return [...document.querySelectorAll('mark')].indexOf(document.activeElement)") == 1
    assert page.text("#run-1 .readout") == ""
    ActionChains(page.browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert page.run(FOCUSED) == "␣O"


def test_pointing_shows_the_numbers_and_leaving_hides_them(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    token = page.find(f"{CONTEXT} > :nth-child(3)")
    page.run("arguments[0].scrollIntoView({block: 'center'})", token)
    ActionChains(page.browser).move_to_element(token).perform()
    assert page.text("#run-1 .readout") == expected(2)
    ActionChains(page.browser).move_to_element(page.find("#run-1 .change strong")).perform()
    assert page.text("#run-1 .readout") == ""
    token.click()
    assert page.run(FOCUSED) == WORDS[EXAMPLES[0].tokens[2]]
    assert page.text("#run-1 .readout") == expected(2)


def test_what_a_token_says_is_text_and_not_markup(page: Page) -> None:
    assert page.text(f"{CONTEXT} > :nth-child(2)") == "<script>alert(1)</script>"
    assert page.run("return document.scripts.length") == 1


def test_a_link_opens_the_section_of_a_run(page: Page) -> None:
    assert page.run("return [...document.querySelectorAll('details')].map((one) => one.open)") == [
        True,
        False,
    ]
    page.click("a[href='#run-2']")
    assert page.run("return document.getElementById('run-2').open")
    page.open("run-2")
    assert page.run("return document.getElementById('run-2').open")
    page.keys("\ue014", at="#run-2 mark")
    assert page.text("#run-2 .readout").startswith("</details>, token 27: 3.000 → 3.250")


def test_every_token_has_a_name_and_a_role(page: Page) -> None:
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [
        (one["role"]["value"], one.get("name", {}).get("value", ""))
        for one in nodes
        if not one.get("ignored")
    ]
    boxes = [name for role, name in roles if role == "listbox"]
    assert boxes == ["Tokens and the differences of their predictions"] * len(EXAMPLES)
    options = [name for role, name in roles if role == "option"]
    assert len(options) == sum(len(one.tokens) + (one.next_token is None) for one in EXAMPLES)
    assert all(options)
    assert expected(4) in options


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_the_page_fits_every_width(widths: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    widths.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    widths.open()
    assert widths.run("return document.documentElement.scrollWidth") <= width
    if width == 1360:
        table = "const box = document.querySelector('.scroll'); return box.scrollWidth - box.clientWidth"
        assert widths.run(table) <= 0


def test_shades_are_those_of_the_differences_light_and_dark(page: Page) -> None:
    found = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours = page.run(
            f"return [...document.querySelector('{CONTEXT}').children].map((one) => "
            "[getComputedStyle(one).backgroundColor, getComputedStyle(one).borderBottomStyle])"
        )
        found.append(colours)
        none, raised, mark = colours[0], colours[6], colours[4]
        assert none[0] == "rgba(0, 0, 0, 0)"
        assert (mark[1], raised[1]) == ("solid", "dotted")
        red, green, blue = (float(part) for part in re.findall(r"[\d.]+", mark[0])[:3])
        assert blue > green > red  # below 0
        red, green, blue = (float(part) for part in re.findall(r"[\d.]+", raised[0])[:3])
        assert red > green > blue
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found[0] != found[1]
