"""The explorer in a real Chromium: by mouse, by keys and by link, on every screen, without a network."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwcore.stats.classes import UNDEFINED
from rwcore.tests.explorer_page import Page, explorer_file, open_page, requests, start_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

file = pytest.fixture(scope="module")(explorer_file)
browser = pytest.fixture(scope="module")(start_chromium)
page = pytest.fixture(open_page)

# --- by hand -----------------------------------------------------------------------------------------------


def test_dragging_changes_the_class(page: Page) -> None:
    page.open("class=conditional-strengthening")
    before = page.state("gate")
    page.drag("#handle-gate .grip", 0.9, -0.9)
    after = page.state("gate")
    assert after[0] - before[0] == pytest.approx(0.9, abs=0.03)
    assert after[1] - before[1] == pytest.approx(-0.9, abs=0.03)
    assert page.name == "strengthening" == page.expected()
    assert page.state("chosen") == "gate"
    assert page.run("return document.activeElement.id") == "handle-gate"
    assert page.run("return document.querySelector('input[name=preset]:checked')") is None
    assert page.link.startswith("gate=0.")


def test_of_tips_on_each_other_the_chosen_one_is_dragged(page: Page) -> None:
    page.open("class=strengthening&ring=out")
    page.drag("#handle-in .grip", -0.5, 0.8)
    assert page.state("in")[:2] == [0.98, 0.04]
    assert page.state("gate")[:2] == [0.98, -0.04]
    assert page.state("out")[1] == pytest.approx(0.8, abs=0.05)


def test_dragging_x_changes_what_the_neuron_adds_and_not_its_class(page: Page) -> None:
    page.open("class=strengthening")
    added = page.text("#f-out")
    page.drag("#handle-x .grip", 0.6, -0.8)
    assert page.name == "strengthening"
    assert page.text("#f-out") != added
    assert float(page.text("#f-gate").replace("−", "-")) > 0.8


def test_keys_move_a_tip(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("class=orthogonal-output")
    page.keys(Keys.TAB, at="#copy")  # the first tip comes after the buttons
    assert page.run("return document.activeElement.id") == "handle-gate"
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.state("gate")[:2] == pytest.approx([0.03, 0.91])
    page.browser.execute_script("document.activeElement.blur()")
    from selenium.webdriver.common.action_chains import ActionChains

    page.run("document.getElementById('handle-in').focus()")
    chain = ActionChains(page.browser).key_down(Keys.SHIFT)
    for _ in range(4):
        chain.send_keys(Keys.ARROW_RIGHT)
    chain.key_up(Keys.SHIFT).perform()
    page.settle()
    assert page.state("in")[:2] == pytest.approx([1.02, 1.04])
    assert page.name == "conditional strengthening" or page.name == page.expected()
    assert page.name == page.expected() != "orthogonal output"
    handle = page.find("#handle-in")
    assert handle.get_attribute("aria-valuetext") == "1.02, 1.04, angle 46 degrees, length 1.46"
    assert handle.get_attribute("aria-valuenow") == "46"
    page.browser.execute_async_script("setTimeout(arguments[0], 700)")
    assert page.text("#live").startswith(f"{page.name}. cos(gate, in) ")


def test_presets_are_one_stop_for_the_keyboard(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ARROW_DOWN, at="input[value='strengthening']")
    assert page.name == "atypical strengthening"
    page.keys(Keys.ARROW_DOWN)
    assert page.name == "conditional strengthening"


def test_numbers_can_be_typed_and_impossible_ones_are_held(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.click("details.numbers summary")
    field = page.find("input[data-vector=out][data-part='0']")
    everything = Keys.CONTROL, "a", Keys.NULL
    field.send_keys(*everything, "-1")
    page.settle()
    assert page.name == "weakening" == page.expected()
    field.send_keys(*everything, "50")
    page.settle()
    assert page.state("out")[0] == 2
    page.keys("\t")
    assert field.get_property("value") == "2"


def test_vectors_of_length_zero(page: Page) -> None:
    page.open("gate=1,0&in=0,0&out=1,0&x=0,0")
    assert page.name == UNDEFINED
    assert page.text("#meter-gatelin .words") == "no direction"
    assert "length 0" in page.text("#effect-text")
    page.open("class=weakening&x=0,0")
    assert page.name == "weakening"
    assert page.text("#f-post") == "0.00"
    assert "NaN" not in page.text("#lab")


def test_turning_in_and_out_round_changes_neither_class_nor_function(page: Page) -> None:
    page.open("class=atypical-weakening&x=0.9,0.6")
    added = page.text("#f-out")
    gateout = page.text("#meter-gateout .value")
    page.click("#flip")
    assert page.name == "atypical weakening"
    assert page.text("#f-out") == added
    assert page.text("#meter-gateout .value") == f"−{gateout}"
    page.click("#reset")
    assert page.link == "class=strengthening"


def test_activation_and_normalisation(page: Page) -> None:
    page.open("gate=-1,0&in=1,0&out=1,0&x=2,0")
    shown = {"swish": 1 / (1 + math.e), "gelu": 0.5 * math.erfc(1 / math.sqrt(2)), "relu": 0}
    for act, value in shown.items():
        page.run("const e = document.getElementById('act'); e.value = arguments[0];"
                 "e.dispatchEvent(new Event('change'))", act)  # fmt: skip
        page.settle()
        assert float(page.text("#f-post").replace("−", "-")) == pytest.approx(-value, abs=0.005)
    page.click("#normalise")
    assert page.text("#f-gate") == "−2.00"
    assert page.link.endswith("x=2,0&act=relu&norm=0")


# --- three dimensions --------------------------------------------------------------------------------------


def test_three_dimensions_by_mouse_and_keys(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("class=orthogonal-output")
    page.click("input[name=dims][value='3']")
    assert page.link == "class=orthogonal-output&d=3"
    assert page.name == "orthogonal output"
    assert page.run("return document.querySelectorAll('#ring .dot').length") > 200
    hollow = page.run("return document.querySelectorAll('#ring .dot.atypical').length")
    assert 0 < hollow < 200
    assert "atypical conditional" in page.text("#ring-text")
    view = [page.state("yaw"), page.state("pitch")]
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_UP, at="#scene")
    assert [page.state("yaw"), page.state("pitch")] == [view[0] - 5, view[1] - 5]
    assert page.name == "orthogonal output"
    assert f"view={view[0] - 5},{view[1] - 5}" in page.link
    z = page.state("in")[2]
    page.keys(Keys.PAGE_UP, Keys.PAGE_UP, at="#handle-in")
    assert page.state("in")[2] == pytest.approx(z + 0.1)
    gate = page.state("gate")
    page.drag("#handle-gate .grip", 0.8, 0.1)
    moved = np.array(page.state("gate")) - gate
    # Along the screen, which is turned: all three components change.
    assert (np.abs(moved) > 0.005).all()
    assert page.name == page.expected()


def test_dragging_the_ground_turns_the_view(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    page.open("class=weakening&d=3")
    before = [page.state(one) for one in ("gate", "in", "out", "x", "yaw")]
    scene = page.find("#scene")
    page.run("arguments[0].scrollIntoView({block: 'center'})", scene)
    ActionChains(page.browser).move_to_element_with_offset(scene, -180, -180).click_and_hold().move_by_offset(
        60, 20
    ).release().perform()
    page.settle()
    after = [page.state(one) for one in ("gate", "in", "out", "x", "yaw")]
    assert after[:4] == before[:4]
    assert after[4] != before[4]


def test_back_to_the_plane(page: Page) -> None:
    page.open("class=weakening&d=3")
    page.click("input[name=dims][value='2']")
    assert page.link == "class=weakening"
    assert page.state("in")[:2] == [-0.98, 0]
    assert not page.find(".numbers .third").is_displayed()


# --- links -------------------------------------------------------------------------------------------------


def test_a_link_restores_what_was_seen(page: Page) -> None:
    page.open("class=conditional-strengthening&ring=gate")
    page.drag("#handle-gate .grip", 0.5, -0.3)
    page.keys("\ue012", at="#handle-x")
    seen, link, name = page.run("return JSON.stringify(rwExplorer.state)"), page.link, page.name
    drawn = page.find("#shafts").get_attribute("innerHTML")
    page.open(link)
    assert page.run("return JSON.stringify(rwExplorer.state)") == seen
    assert (page.name, page.link) == (name, link)
    assert page.find("#shafts").get_attribute("innerHTML") == drawn


def test_a_link_with_everything(page: Page) -> None:
    link = (
        "gate=0.1,0.2,0.9&in=0.9,0.1,0&out=1,0,0.1&d=3&x=0.5,1,-0.2&act=gelu&norm=0&ring=x&view=40,-10"
        "&colours=paper"
    )
    page.open(link)
    assert page.state("dims") == 3
    assert page.state("x") == [0.5, 1, -0.2]
    assert (page.state("act"), page.state("normalise"), page.state("chosen")) == ("gelu", False, "x")
    assert page.run("return document.documentElement.dataset.palette") == "paper"
    assert page.name == page.expected()
    page.keys("\ue014", "\ue012", at="#handle-x")  # there and back
    assert page.link == link


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("class=enrichment", "class=enrichment"),
        ("class=weakening&act=tanh", "act=tanh"),
        ("gate=1,2,3&d=2", "gate=1,2,3"),
        ("gate=a,b", "gate=a,b"),
        ("d=4", "d=4"),
        ("class=weakening&<img src=x onerror=alert(1)>=1", "img"),
    ],
)
def test_a_link_that_is_not_understood_says_so(page: Page, link: str, said: str) -> None:
    page.open(link)
    assert said in page.text("#bad-link")
    assert page.name == page.expected() != UNDEFINED
    assert page.run("return document.querySelectorAll('img').length") == 0
    page.open("class=weakening")
    assert page.run("return document.getElementById('bad-link')") is None


def test_headings_keep_their_links_and_classes_can_be_shown_from_the_table(page: Page) -> None:
    page.click("nav a[href='#definitions']")
    assert page.link == "definitions"
    assert page.name == "strengthening"
    page.click("#class-weakening .show")
    assert page.name == "weakening"
    assert page.run("return document.activeElement.value") == "weakening"


def test_copying_a_link(page: Page) -> None:
    page.browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    page.open("class=weakening")
    page.click("#copy")
    assert page.text("#copy") in ("Copied", "See address bar")
    assert page.text("#live").startswith(("Link copied", "The link is"))
    assert page.link == "class=weakening"


# --- for everyone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_control_has_a_name(page: Page, dimensions: int) -> None:
    page.open(f"class=weakening&d={dimensions}")
    page.click("details.numbers summary")
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "radio", "checkbox", "combobox", "slider", "spinbutton", "link", "radiogroup", "table"}
    found = [
        (one["role"]["value"], one.get("name", {}).get("value", ""))
        for one in nodes
        if not one.get("ignored") and one.get("role", {}).get("value") in roles
    ]
    assert {role for role, _ in found} >= roles - {"table"}
    assert [role for role, name in found if not name.strip() and role != "table"] == []
    sliders = [name for role, name in found if role == "slider"]
    assert sliders == ["w_gate", "w_in", "w_out", "x, the residual stream"]
    assert sum(role == "spinbutton" for role, _ in found) == 4 * dimensions
    assert sum(role == "radio" for role, _ in found) == 11 + 2 + 4


def test_every_control_can_be_reached_with_tab(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open("class=weakening&d=3")
    page.run("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(26):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.append(page.run("const e = document.activeElement; return e.id || e.name || e.textContent"))
    wanted = ["preset", "dims", "act", "normalise", "reset", "copy", "scene", "handle-gate", "handle-in"]
    wanted += ["handle-out", "handle-x", "chosen", "flip", "palette"]
    assert [one for one in reached if one in wanted] == wanted


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_every_width(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for link in ("class=atypical-conditional-strengthening&d=3", "class=weakening&ring=x"):
            page.open(link)
            assert page.run("return document.documentElement.scrollWidth") <= width
            letters = "[...document.querySelectorAll('.label')].map((one) => one.getBoundingClientRect())"
            assert page.run(f"return Math.min(...{letters}.map((box) => box.height))") > 10
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_light_and_dark(page: Page) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in re.findall(r"\d+", colour)))
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert grounds[0] > 700 > 150 > grounds[1]


def test_colours_can_be_those_of_the_papers(page: Page) -> None:
    fill = "return getComputedStyle(document.querySelector('.map .cell')).fill"
    before = page.run(fill)
    page.run("const e = document.getElementById('palette'); e.value = 'paper';"
             "e.dispatchEvent(new Event('change'))")  # fmt: skip
    page.settle()
    assert page.run(fill) == "rgb(255, 255, 0)" != before
    assert page.link.endswith("colours=paper")


def test_requests_and_errors_are_noticed(browser: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_text("<img src='file:///nowhere/picture.png'><script>console.error('no')</script>")
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    browser.get(other.as_uri())
    assert "file:///nowhere/picture.png" in requests(browser)
    assert any("no" in entry["message"] for entry in browser.get_log("browser"))
