"""The page of heads of `rwcore serve` in a real Chromium: a text, a head, and the record that is measured."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fixtures.letters import LETTERS
from rwcore.serve.head_question import MEAN, ZERO, HeadQuestion
from rwcore.serve.heads import HeadReader
from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import Page, requests, start_chromium
from rwcore.tests.local_server import running, tiny_heads

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)

TEXT = "so it is,\n\tand <script>alert(1)</script> &amp; é😀"


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> HeadReader:
    return tiny_heads("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def server(heads: HeadReader) -> Iterator[str]:
    with running(heads.reader, heads=heads) as url:
        yield url


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Page]:
    """The page; afterwards it must have asked for nothing but answers, and complained of nothing."""
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    opened = Page(browser, f"{server}/heads")
    opened.open()
    yield opened
    asked = {one for one in requests(browser) if not one.startswith("data:")}
    assert asked <= {f"{server}/", f"{server}/heads", f"{server}/heads/ask"}
    # What Chromium says of an answer that explains a mistake.
    said = [one for one in browser.get_log("browser") if "with a status of 4" not in one["message"]]
    assert said == []


def wait(page: Page) -> None:
    """Until the answer is there."""
    for _ in range(60):
        if not page.run("return document.body.classList.contains('waiting')"):
            return
        page.settle()
    raise AssertionError("no answer")


def ask(page: Page, text: str, head: str) -> None:
    page.run("document.getElementById('text').value = arguments[0]", text)
    page.run("document.getElementById('asked').value = arguments[0]", head)
    page.click("button[type=submit]")
    wait(page)


def losses(heads: HeadReader, text: str, head: str, mode: str, effect: str = "direct") -> np.ndarray:
    (reading,) = heads.answer(HeadQuestion(text, head, mode))["readings"]
    packed = reading["effects"][effect]["loss"]
    return np.frombuffer(base64.b64decode(packed), "<f4")


def shown_changes(page: Page) -> list[str]:
    """Of every token of the text, the change that the panel names when it is pointed at."""
    found: list[str] = page.run(
        "return [...document.querySelectorAll('#tokens > *')].slice(1).map((one) => { "
        "one.dispatchEvent(new PointerEvent('pointerover', {bubbles: true})); "
        "return document.querySelector('#details [aria-current]').cells[1].textContent; })"
    )
    return found


def signed(value: float) -> str:
    text = f"{abs(value):.3f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


@pytest.mark.parametrize("mode", [MEAN, ZERO])
def test_a_text_that_is_typed(page: Page, heads: HeadReader, mode: str) -> None:
    page.run("document.getElementById('mode').value = arguments[0]", mode)
    ask(page, "so it is", "2.1")
    assert shown_changes(page) == [signed(one) for one in losses(heads, "so it is", "2.1", mode)[:-1]]
    assert page.link == ("head=2.1" if mode == MEAN else "head=2.1&mode=zero")
    words = "puts zero" if mode == ZERO else "tokens of our own texts (handmade)"
    assert page.text("#facts").startswith("Head 2.1: 9 tokens, with the one that begins every text.")
    assert words in page.text("#facts")
    assert not page.find("#row-field").is_displayed()
    page.run("arguments[0].click()", page.find("input[value=total]"))
    page.settle()
    assert page.link == f"head=2.1&effect=total{'' if mode == MEAN else '&mode=zero'}"
    assert shown_changes(page) == [
        signed(one) for one in losses(heads, "so it is", "2.1", mode, "total")[:-1]
    ]


def test_a_link_names_the_head_and_what_is_shown(page: Page, heads: HeadReader) -> None:
    page.open("head=1.0&mode=zero&effect=indirect&tab=attention&at=3")
    wait(page)
    assert page.find("#tab-attention").get_attribute("aria-selected") == "true"
    assert page.find("#mode").get_property("value") == "zero"
    assert "position 3" in page.text("#details").lower()
    page.run("location.hash = 'head=1.0&mode=zero&tab=loss&at=3'")  # of the same head: nothing is asked
    page.settle()
    assert page.text("#details").count("predicted at") == 1
    page.run("location.hash = 'head=2.0'")
    page.settle()
    wait(page)
    assert page.text("#facts").startswith("Head 2.0:")
    assert "puts the mean" in page.text("#facts")
    text = page.find("#text").get_property("value")
    assert shown_changes(page) == [signed(one) for one in losses(heads, text, "2.0", MEAN)[:-1]]


def test_links_and_choices_keep_what_was_put_in(page: Page) -> None:
    page.run("document.getElementById('mode').value = 'zero'")
    ask(page, "so it is", "2.1")
    page.click("#strongest a")
    wait(page)
    assert "puts zero" in page.text("#facts")
    assert page.find("#mode").get_property("value") == "zero"
    assert page.link.startswith("head=2.1&at=")
    assert page.link.endswith("&mode=zero")
    page.run("document.getElementById('mode').value = 'mean'")  # for the next question; none is asked
    page.click("#tokens > :nth-child(4)")
    assert "puts zero" in page.text("#facts")
    assert page.link == "head=2.1&at=2&mode=zero"


def test_suggested_texts(page: Page) -> None:
    page.run("document.getElementById('asked').value = '1.1'")
    page.click("button.prompt")
    wait(page)
    assert page.find("#text").get_property("value").startswith("All’s fair in love and war")
    assert page.find("#view").is_displayed()


def test_mistakes_are_explained_in_the_page(page: Page) -> None:
    for text, head, part in (
        ("so", "9.9", "the model has no 9.9"),
        ("so", "one", "is no head"),
        ("x" * 300, "1.1", "the text has 301 tokens, and 256 are the most"),
    ):
        ask(page, text, head)
        assert part in page.text("#problem")
        assert "To do: " in page.text("#problem")
        assert not page.find("#view").is_displayed()
    ask(page, "so", "1.1")
    assert not page.find("#problem").is_displayed()
    assert page.find("#view").is_displayed()
    ask(page, "s", "1.1")
    ask(page, "", "1.1")  # the browser itself says that a text is missing
    assert page.run("return document.querySelector(':invalid:not(form)').id") == "text"


def test_a_text_is_text(page: Page) -> None:
    ask(page, TEXT, "1.1")
    assert page.run("return document.scripts.length") == 1
    read = "".join(one if one in LETTERS else "<unk>" for one in TEXT)  # all that the tiny model knows
    assert page.run("return document.querySelector('#tokens').textContent") == f"<bos>{read}"


def test_the_pages_link_to_each_other(page: Page) -> None:
    page.click("a[href='./']")
    assert page.text("h1").startswith("Test your own text")
    page.click("a[href='heads']")
    assert page.text("h1").startswith("Test a head on your own text")


@pytest.mark.parametrize("width", [360, 1360])
def test_axe_finds_nothing_and_the_page_fits(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for head in ("9.9", "1.1"):
            ask(page, TEXT, head)
            assert page.run("return document.documentElement.scrollWidth") <= width
            assert violations(page.browser) == []
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
