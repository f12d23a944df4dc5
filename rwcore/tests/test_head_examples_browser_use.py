"""Examples of heads in a real Chromium: by mouse, key and link, light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import Page, requests, start_chromium
from rwcore.tests.head_browser import (
    COLOURS,
    RECORD,
    changes,
    make_file,
    open_page,
    painted,
    shifted,
    signed,
    word,
)
from rwcore.tests.head_records import HOSTILE, TEXTS
from rwcore.tests.neuron_browser import contrast

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)
file = pytest.fixture(scope="module")(make_file)
page = pytest.fixture(open_page)

UNREAD = "The data of this page cannot be read: "
FOCUSED = "return document.activeElement.textContent"


def test_pointing_shows_and_clicking_keeps(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    page.open("row=4&at=2")
    held = page.text("#details")
    ActionChains(page.browser).move_to_element(page.find("#tokens > :nth-child(6)")).perform()
    tokens = RECORD["rows"][0]["tokens"]
    assert page.text("#details h2") == f"Prediction of {word(tokens[5])}"
    assert page.text("#details") != held
    ActionChains(page.browser).move_to_element(page.find("h1")).perform()
    assert page.text("#details") == held
    page.click("#tokens > :nth-child(6)")
    assert page.link == "row=4&head=2.1&at=4"
    ActionChains(page.browser).move_to_element(page.find("h1")).perform()
    assert page.text("#details h2") == f"Prediction of {word(tokens[5])}"
    page.click("#tab-attention")  # the same prediction: now the token where it is made
    assert page.text("#details h2") == f"At {word(tokens[4])}"
    assert (
        page.run("return document.querySelector('#tokens > [aria-selected=true]').textContent") == TEXTS[0][4]
    )


def test_keys(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ARROW_RIGHT, at="#tab-loss")
    assert page.run(FOCUSED) == "Logits"
    assert page.find("#tab-logits").get_attribute("aria-selected") == "true"
    page.keys(Keys.END)
    assert page.run(FOCUSED) == "CSPA"
    page.keys(Keys.ARROW_RIGHT)
    assert page.run(FOCUSED) == "Loss"
    page.keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, at="#tokens [tabindex='0']")
    tokens = RECORD["rows"][0]["tokens"]
    assert page.text("#details h2") == f"Prediction of {word(tokens[3])}"
    assert "at=" not in page.link
    page.keys(Keys.ENTER)
    assert page.link.endswith("at=2")
    page.keys(Keys.HOME)
    assert page.text("#details") == "No predictionNothing predicts the first token."
    page.keys(Keys.ENTER)  # there is nothing to keep
    assert page.link.endswith("at=2")
    page.keys(Keys.ARROW_RIGHT, at="input[name=effect]:checked")
    assert page.link == "row=4&head=2.1&effect=direct_rescaled&at=2"
    assert page.run("return document.activeElement.value") == "direct_rescaled"


def test_tokens_that_share_a_character(page: Page) -> None:
    page.open("row=7&tab=lens&at=5")
    assert page.run(
        "return [...document.querySelectorAll('#tokens > .query')].map((one) => one.textContent)"
    ) == [" 😀"]
    assert page.text("#details h2") == "At ⟨98⟩"
    buttons = ".pieces button"
    pressed = (
        "return [...document.querySelectorAll('.pieces [aria-pressed=true]')].map((one) => one.textContent)"
    )
    assert page.run(f"return [...document.querySelectorAll('{buttons}')].map((one) => one.textContent)") == [
        *"456"
    ]
    assert page.run(pressed) == ["5"]
    page.click(f"{buttons}:nth-child(3)")
    assert page.run(pressed) == ["6"]
    assert page.link.endswith("at=6")
    page.click("#tab-loss")
    found = shifted(changes(1))
    largest = max(found[4:7], key=abs)
    above, below, share = page.run(COLOURS)[4]
    assert (above, below) == (largest > 0, largest < 0)
    assert share == pytest.approx(min(100, 100 * abs(largest) / 2.5), abs=0.06)


def test_links_restore_what_is_shown(page: Page) -> None:
    link = "row=10&head=3.0&effect=total&tab=logits&show=raised&range=own&at=12"
    page.open(link)
    assert page.text("#details h2") == f"At {word(RECORD['rows'][2]['tokens'][12])}"
    assert page.run("return [...document.querySelectorAll('input:checked')].map((one) => one.value)") == [
        "total", "raised", "on"
    ]  # fmt: skip
    page.click("#range"), page.click("#range")
    assert page.link == link
    page.run("location.hash = 'row=7&tab=attention&weight=pattern'")
    page.settle()
    assert page.find("#tab-attention").get_attribute("aria-selected") == "true"
    assert page.text("#facts").startswith("Head 2.1 in sequence 7")
    for wrong in ("row=99&head=9.9&effect=x&tab=none&at=-1", "at=1e9", "at=x", "%%%"):
        page.open(wrong)
        assert page.text("#facts").startswith("Head 2.1 in sequence 4")
        painted(page, shifted(changes(0)), 2.5)


def test_the_strongest_predictions_are_links(page: Page) -> None:
    every = [
        (change, row, query)
        for row in range(len(TEXTS))
        for query, change in enumerate(changes(row)[:-1])
        if query or not RECORD["rows"][row]["bos"]
    ]
    lists = "return [...document.querySelectorAll('#strongest ol')].map((list) => [...list.children].map("
    found = page.run(f"{lists}(one) => one.firstChild.textContent))")
    assert found == [
        [signed(one[0]) for one in sorted(every, reverse=True)[:5]],
        [signed(one[0]) for one in sorted(every)[:5]],
    ]
    _, row, query = min(every)
    page.click("#strongest section:last-child a")
    assert page.link == f"row={RECORD['rows'][row]['number']}&head=2.1&at={query}"
    assert page.text("#details h2") == f"Prediction of {word(RECORD['rows'][row]['tokens'][query + 1])}"


def test_what_is_in_the_record_is_text(page: Page) -> None:
    page.open("row=7&at=2")
    assert page.run("return document.scripts.length") == 2
    assert page.text("#details h2") == f"Prediction of {HOSTILE}"
    assert page.run("return document.querySelector('#tokens').textContent") == "".join(TEXTS[1]).replace(
        "".join(TEXTS[1][4:7]), " 😀"
    )


def test_a_record_that_cannot_be_read_is_a_problem_that_is_said(
    page: Page, file: Path, tmp_path: Path
) -> None:
    source = file.read_text(encoding="utf-8")
    end = source.index("</script>", source.index('id="record"'))
    cut = tmp_path / "cut.html"
    cut.write_text(source[: end - 40] + source[end:], encoding="utf-8")
    page.uri = cut.as_uri()
    page.open()
    assert page.find("#failed").is_displayed()
    assert len(page.text("#failed")) > len(UNREAD)
    assert not page.find("#view").is_displayed()
    page.uri = file.as_uri()
    old = {"source": "delete window.DecompressionStream"}
    made = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", old)
    try:
        page.open()
        assert page.text("#failed") == f"{UNREAD}this browser is too old to decompress them."
        assert page.find("#failed").is_displayed()
    finally:
        page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)
    page.open()
    assert not page.find("#failed").is_displayed()
    requests(page.browser)  # of the file that was cut, too


# --- for everybody -------------------------------------------------------------------------------------


def emulate(page: Page, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature] if scheme else []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, scheme: str) -> None:
    emulate(page, scheme)
    try:
        for link in ("row=7&at=5", "tab=logits&show=after", "tab=attention", "tab=lens", "row=10&tab=cspa"):
            page.open(link)
            assert violations(page.browser) == []
    finally:
        emulate(page, "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tokens_can_be_read_on_every_colour(page: Page, scheme: str) -> None:
    emulate(page, scheme)
    try:
        page.open("row=10&range=own")
        found = page.run(
            "return [...document.querySelectorAll('#tokens > :is(.positive, .negative), #legend > *')].map("
            "(one) => { const style = getComputedStyle(one); return [style.color, style.backgroundColor]; })"
        )
        assert len(found) > 100
        for ink, ground in found:
            if ground != "rgba(0, 0, 0, 0)":
                assert contrast(ink, ground) >= 4.5
    finally:
        emulate(page, "")


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_the_page_fits_every_width(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for link in ("row=7", "row=7&tab=logits&show=after", "tab=attention", "tab=lens", "row=10&tab=cspa"):
            page.open(link)
            assert page.run("return document.documentElement.scrollWidth") <= width
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
