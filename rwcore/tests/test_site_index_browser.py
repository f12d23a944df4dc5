"""The index of a site in a real Chromium: by hand, by keys and by link, on every screen, for everyone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
import pytest

from rwcore.stats.classes import RW_CLASSES
from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import start_chromium
from rwcore.tests.index_browser import Index, index_table, make_file, open_index
from rwcore.tests.index_site import PAGES, facts_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)
index_file = pytest.fixture(scope="module")(make_file)
table = pytest.fixture(scope="module")(index_table)
page = pytest.fixture(open_index)


@pytest.fixture
def emulated(page: Index) -> Iterator[Index]:
    yield page
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# --- the search box ----------------------------------------------------------------------------------------


def typed(page: Index, text: str) -> list[str]:
    from selenium.webdriver.common.keys import Keys

    page.find("#find").send_keys(Keys.CONTROL, "a", Keys.NULL, text or Keys.BACKSPACE)
    page.settle()
    return page.names


def test_neurons_are_found_by_name_whatever_the_filters_say(page: Index) -> None:
    page.go("class=undefined&layers=0")
    assert page.names == []
    assert page.text("#none") == "No neuron fits. Change or clear the filters."
    assert typed(page, "3.11") == ["3.11"]
    assert page.text("#status") == "1 neuron by name; the filters are set aside"
    assert page.find("#neurons tbody th a").get_attribute("href").endswith("/neurons/3.11.html")
    assert typed(page, "4.1 L2N7, 0:36") == ["0.36", "2.7", "4.1"]
    assert page.link == "find=4.1%20L2N7,%200:36&layers=0&class=undefined"
    assert typed(page, "") == []
    assert "find" not in page.link


def test_a_neuron_that_is_not_there_is_said_to_be_so(page: Index) -> None:
    before = page.names
    assert typed(page, "5.0 1.37") == before
    assert page.text("#wrong") == (
        "There is no neuron 5.0, 1.37: layers are 0 to 4, places in a layer 0 to 36."
    )
    assert typed(page, "4.") == before
    assert page.text("#wrong") == "Which neuron of layer 4? Type 4.0 to 4.36."
    typed(page, "4.0")
    assert not page.find("#wrong").is_displayed()


def test_pages_are_found_by_a_part_of_a_token(page: Index) -> None:
    expected = [
        f"{one.layer}.{one.neuron}"
        for one in facts_of().pages
        if any("script" in token for token in (*one.promoted, *one.suppressed))
    ]
    assert expected
    assert typed(page, "SCRIPT") == expected
    assert typed(page, "no such token") == []
    assert page.run("return document.scripts.length") == 2
    assert page.run("return typeof window.alerted") == "undefined"


# --- map, filters, links -----------------------------------------------------------------------------------


def test_a_cell_of_the_map_lists_its_neurons(page: Index, table: pd.DataFrame) -> None:
    code = int(table["class"].mode()[0])
    cell = f"#map td button[data-layer='3'][data-kind='{code}']"
    page.click(cell)
    expected = table[(table["layer"] == 3) & (table["class"] == code)].index.to_list()
    assert page.names == expected
    assert page.text(cell) == str(len(expected))
    assert page.find(cell).get_attribute("aria-pressed") == "true"
    assert page.link == f"show=all&layers=3&class={RW_CLASSES[code].name.replace(' ', '-')}"
    assert page.text("#class-now") == RW_CLASSES[code].name
    page.click(cell)
    assert page.text("#status").startswith("All 185 neurons")
    page.click("#map tbody tr:nth-child(1) th button")
    page.click("#map tbody tr:nth-child(2) th button")
    assert page.names == table[table["class"] <= 1].index.to_list()
    page.click("#map thead button[data-layer='2']")
    assert page.names == table[(table["class"] <= 1) & (table["layer"] == 2)].index.to_list()
    page.browser.back()
    page.settle()
    assert page.names == table[table["class"] <= 1].index.to_list()


def test_the_map_is_one_stop_for_the_keyboard(page: Index) -> None:
    from selenium.webdriver.common.keys import Keys

    focused = "return document.activeElement.getAttribute('aria-label')"
    assert page.run("return document.querySelectorAll('#map [tabindex=\"0\"]').length") == 1
    page.keys(Keys.ARROW_DOWN, at="#map [data-layer='2']")
    said = page.run(focused)
    assert said.startswith("layer 2, strengthening: ")
    assert page.text("#map-says") == said
    page.keys(Keys.ARROW_DOWN)  # over the class that this layer lacks
    assert page.run(focused).startswith("layer 2, conditional strengthening: ")
    page.keys(Keys.HOME)
    assert page.run(focused).startswith("conditional strengthening, all layers: ")
    page.keys(Keys.END, Keys.ARROW_UP, Keys.ENTER)
    assert page.link == "show=all&layers=4&class=atypical-strengthening"
    assert page.run("return document.querySelectorAll('#map [tabindex=\"0\"]').length") == 1


def test_filters_by_hand(page: Index, table: pd.DataFrame) -> None:
    from selenium.webdriver.common.keys import Keys

    page.click("[name=show][value=all]")
    page.find("#first").send_keys("1")
    page.find("#last").send_keys("2")
    page.run("document.querySelector('details.menu').open = true")
    page.click("[name=class][value='4']")
    page.click("[name=class][value='-1']")
    page.run("document.getElementById('where').value = 'gate-_in-'")
    page.find("#high").send_keys("40")
    page.settle()
    found = table[table["layer"].between(1, 2) & (table["class"].isin([4]) | table["class"].isna())]
    assert page.names == found[found["gate-_in-"] <= 0.4].index.to_list() != []
    assert page.text("#class-now") == "proportional change + 1"
    assert page.link == "show=all&layers=1-2&class=proportional-change,undefined&where=gate-_in-::40"
    page.keys(Keys.ESCAPE, at="[name=class][value='4']")
    assert not page.run("return document.querySelector('details.menu').open")
    assert page.run("return document.activeElement.tagName") == "SUMMARY"
    page.click("#clear")
    assert page.link == "show=all"
    assert page.text("#status").startswith("All 185 neurons")
    assert page.find("#high").get_property("value") == ""


def test_headers_sort_both_ways(page: Index, table: pd.DataFrame) -> None:
    page.click("[name=show][value=all]")
    page.click("[data-sort=low]")
    order = table.sort_values(["low", "neuron"], na_position="last").index.to_list()
    assert page.names == order[:50]
    assert page.find("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.keys("\ue007", at="[data-sort=linout]")
    assert page.names == table.sort_values(["linout", "neuron"], ascending=[False, True]).index.to_list()[:50]
    assert page.find("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert page.link == "show=all&sort=-linout"
    page.click("[data-sort=linout]")
    assert page.link == "show=all&sort=linout"


def test_a_link_brings_everything_back(page: Index) -> None:
    link = "show=all&layers=1-4&class=weakening,orthogonal-output&role=none,prediction&where=norm_out:0.5:"
    link += "&sort=-high&rows=25"
    page.open(link)
    before = page.names
    assert before
    assert page.link == link
    assert page.find("#low").get_property("value") == "0.5"
    assert page.find("#where").get_property("value") == "norm_out"
    assert page.text("#unit") == ""
    page.go("")
    assert page.names == [f"{layer}.{neuron}" for layer, neuron in PAGES]
    page.browser.back()
    page.settle()
    assert page.names == before


def test_what_a_link_says_wrongly_is_left_out_and_told(page: Index) -> None:
    wrong = ["layers=3-9", "class=green", "role=none,x", "where=low:a:", "where=lows::1", "sort=up", "rows=7"]
    wrong += ["from=9.9", "show=some", "bogus", "constructor=1", "find=%E0%A4%A"]
    page.open("&".join(["show=all", *wrong, "layers=4"]))
    assert page.text("#wrong") == f"Not understood in the link, and left out: {', '.join(wrong)}"
    assert page.names[0] == "4.0"
    assert page.link == "show=all&layers=4"
    page.open("show=all&layers=1&from=4.0")  # begins after the end of the answer
    assert page.names[0] == "1.0"


# --- pages that there are not ------------------------------------------------------------------------------


def test_a_row_without_a_page_shows_the_command_that_makes_it(page: Index) -> None:
    page.open("find=2.0 2.1")
    assert page.find("#neurons tbody tr:first-child a").text == "2.0"
    button = "#neurons tbody tr:nth-child(2) button"
    page.click(button)
    command = "rwcore pages demo --activations pass --neurons 2.1 --out site"
    assert page.text("tr.more code") == command
    assert page.find(button).get_attribute("aria-expanded") == "true"
    page.click("tr.more button")
    assert page.text("tr.more button") in ("Copied", "Selected: copy it")
    page.click(button)
    assert page.browser.find_elements("css selector", "tr.more") == []
    page.open("show=all&layers=2&rows=25")
    page.click("#make summary")
    bare = [f"2.{k}" for k in range(25) if (2, k) not in PAGES]
    assert page.text("#make-count") == str(len(bare))
    assert page.text("#make-command code") == command.replace("2.1", " ".join(bare))
    page.open()
    assert not page.find("#make").is_displayed()


def test_tokens_of_pages_are_text(page: Index) -> None:
    for inner, expected in (
        ("bdi", ["<script>alert(1)</script>", "␣the", "⏎⏎"]),
        ("bdi i", ["␣", "⏎", "⏎"]),
    ):
        tokens = f"document.querySelectorAll('#neurons tbody tr:first-child {inner}')"
        assert page.run(f"return [...{tokens}].map((one) => one.textContent)") == expected


# --- screens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_every_width(emulated: Index, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    emulated.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    emulated.open("show=all")
    assert emulated.run("return document.documentElement.scrollWidth") <= width
    if width == 1440:
        inside = "const box = document.getElementById('list'); return box.scrollWidth - box.clientWidth"
        assert emulated.run(inside) <= 0


def test_counts_in_the_map_are_legible_on_every_shade(emulated: Index) -> None:
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        emulated.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for share in (0, 10, 50, 100):
            emulated.run(f"document.querySelector('#map td button').style.setProperty('--s', '{share}%')")
            style = "const one = getComputedStyle(document.querySelector('#map td button'));"
            ink, ground = emulated.run(f"{style} return [one.color, one.backgroundColor]")
            assert contrast(ink, ground) >= 4.5


def contrast(ink: str, ground: str) -> float:
    """The contrast of two colours as CSS gives them, by the rule of WCAG."""

    def luminance(colour: str) -> float:
        parts = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
        scaled = parts if colour.startswith("color(srgb") else [part / 255 for part in parts]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in scaled]
        return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(luminance(one) for one in (ink, ground))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_finds_nothing_that_shuts_people_out(emulated: Index, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    emulated.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for link in ("", "show=all&layers=1&class=undefined,weakening&sort=-low", "find=9.9"):
        emulated.open(link)
        emulated.run("for (const one of document.querySelectorAll('details')) one.open = true")
        emulated.run("document.querySelector('#neurons .plain')?.click()")
        assert violations(emulated.browser) == []
