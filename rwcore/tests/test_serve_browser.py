"""The page of `rwcore serve` in a real Chromium: a text, a neuron, and the right numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rwcore.ablation.interventions import Intervention
from rwcore.serve.measure import Measurement
from rwcore.serve.question import Question
from rwcore.serve.reader import Reader
from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import Page, requests, start_chromium
from rwcore.tests.local_server import running, tiny_reader

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)

TEXT = "so it is,\n\tand <script>alert(1)</script> &amp; é😀"
FOCUSED = "return document.activeElement.textContent"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return tiny_reader("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def server(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = tmp_path_factory.mktemp("site")
    (site / "neurons").mkdir()
    (site / "neurons" / "1.5.html").write_text("")
    with running(reader, site) as url:
        yield url


def opened(browser: Any, server: str) -> Iterator[Page]:
    """The page; afterwards it must have asked for nothing but answers, and complained of nothing."""
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    page = Page(browser, f"{server}/")
    page.open()
    yield page
    asked = {one for one in requests(browser) if not one.startswith("data:")}
    assert asked <= {f"{server}/", f"{server}/ask"}
    # What Chromium says of an answer that explains a mistake.
    said = [
        one
        for one in browser.get_log("browser")
        if "the server responded with a status of 4" not in one["message"]
    ]
    assert said == []


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Page]:
    yield from opened(browser, server)


def fill(page: Page, text: str, neuron: str = "") -> None:
    """Put a text, which keys could not all type, and perhaps a neuron."""
    page.run("document.getElementById('text').value = arguments[0]", text)
    if neuron:
        page.run("document.getElementById('neuron').value = arguments[0]", neuron)


def ask(page: Page, text: str, neuron: str) -> None:
    fill(page, text, neuron)
    page.click("button[type=submit]")
    wait(page)


def wait(page: Page) -> None:
    """Until the answer is there."""
    for _ in range(40):
        if not page.run("return document.body.classList.contains('waiting')"):
            return
        page.settle()
    raise AssertionError("no answer")


def expected(reader: Reader, text: str, neuron: str, mode: Intervention | None = None) -> Measurement:
    return reader.answer(Question(text, neuron, mode or Intervention("zero")))


def signed(value: float) -> str:
    """As `rwTokens.number` writes it."""
    return f"{value:+#.5g}".replace("-", "−") if value else "0"


def rows(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.run(
        "return [...document.querySelectorAll('#numbers tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return found


def colours(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.run(
        "return [...document.querySelectorAll('#tokens > *')]"
        ".map((one) => [one.className, one.style.getPropertyValue('--share')])"
    )
    return found


def emulate(page: Page, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature] if scheme else []})


def test_the_numbers_of_a_text_that_is_typed(page: Page, reader: Reader) -> None:
    from selenium.webdriver.common.keys import Keys

    page.find("#text").clear()
    page.find("#text").send_keys("so it is")
    page.find("#neuron").send_keys("1.5")
    page.keys(Keys.ENTER, at="#neuron")
    wait(page)
    found = expected(reader, "so it is", "1.5")
    assert page.text("#name") == "Neuron 1.5 its page"
    assert page.find("#name a").get_property("href").endswith("/site/neurons/1.5.html")
    assert "9 tokens" in page.text("#facts")
    losses = [None, *zip(found.clean.loss.tolist(), found.ablated.loss.tolist(), strict=True)]
    for place, cells in enumerate(rows(page)):
        values = (found.post, found.in_, found.gate, found.act)
        assert cells[0] == str(place)
        assert cells[2:6] == [signed(float(array[place])) for array in values]
        if place == 0:
            assert cells[6:] == ["–"] * 6
        else:
            clean, ablated = losses[place]  # type: ignore[misc]
            assert cells[6:9] == [f"{clean:.3f}", f"{ablated:.3f}", signed(clean - ablated)]
    assert found.mean is not None
    assert page.text(
        "#mean tbody"
    ) == "over 7 predictions, without that of the first token of the text" + "".join(
        [f"{found.mean.clean:.4f}", f"{found.mean.ablated:.4f}", signed(found.mean.difference)]
    )


def test_focus_and_pointer_show_the_numbers_of_a_token(page: Page, reader: Reader) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ask(page, "so it is", "1.5")
    found = expected(reader, "so it is", "1.5")

    def line(place: int) -> str:
        clean, ablated = (float(one.loss[place - 1]) for one in (found.clean, found.ablated))
        return f"loss {clean:.3f} → {ablated:.3f}, Δ {signed(clean - ablated)}"

    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, at="#tokens [tabindex]")
    assert page.run(FOCUSED) == "o"
    assert page.text("#losses") == line(2)
    for value in (found.gate[2], found.in_[2], found.act[2], found.post[2]):
        assert signed(float(value)) in page.text("#readout")
    page.keys(Keys.HOME)
    assert page.text("#losses") == "no prediction of this token"
    token = page.find("#tokens > :nth-child(6)")
    ActionChains(page.browser).move_to_element(token).perform()
    assert page.text("#losses") == line(5)
    ActionChains(page.browser).move_to_element(page.find("h1")).perform()
    assert page.text("#losses") == "no prediction of this token"  # of the one that has the focus
    page.keys(Keys.TAB)
    assert page.text("#losses") == ""


def test_colours_follow_the_choice(page: Page, reader: Reader) -> None:
    ask(page, "so it is", "1.5")
    found = expected(reader, "so it is", "1.5")
    difference = [0.0, *found.differences("loss").tolist()[:-1]]
    for name, values in (
        ("post", found.post.tolist()),
        ("in", found.in_.tolist()),
        ("gate", found.gate.tolist()),
        ("act", found.act.tolist()),
        ("loss", difference),
    ):
        page.run("arguments[0].click()", page.find(f"input[value={name}]"))
        page.settle()
        largest = max(map(abs, values))
        for value, (sign, share) in zip(values, colours(page), strict=True):
            assert ("positive" in sign, "negative" in sign) == (value > 0, value < 0)
            assert float(share.rstrip("%")) == pytest.approx(100 * abs(value) / largest, abs=0.06)
        assert page.link.endswith("" if name == "post" else f"show={name}")


def test_a_text_is_text(page: Page) -> None:
    ask(page, TEXT, "1.5")
    assert page.run("return document.scripts.length") == 1
    shown = page.run(
        "return [...document.querySelectorAll('#tokens > *')].slice(1).map((one) => one.textContent)"
    )
    # The tokenizer knows few letters; the others are all the same token to it.
    assert len(shown) == len(TEXT)
    assert {one for one, letter in zip(shown, TEXT, strict=True) if one != letter} == {"<unk>"}
    assert page.find("#text").get_property("value") == TEXT


def test_a_link_names_the_neuron_and_the_ablation(page: Page, reader: Reader) -> None:
    page.open("neuron=2.9&mode=multiply&number=-2&show=gate")
    wait(page)
    assert page.text("#name") == "Neuron 2.9"
    assert "multiply -2" in page.text("#facts")
    assert page.run("return document.querySelector('input[name=shown]:checked').value") == "gate"
    text = page.find("#text").get_property("value")
    found = expected(reader, text, "2.9", Intervention("multiply", parameter=-2.0))
    assert found.mean is not None
    assert signed(found.mean.difference) in page.text("#mean tbody")
    page.run("location.hash = 'neuron=0.3'")
    page.settle()
    wait(page)
    assert page.text("#name") == "Neuron 0.3"
    assert "ablated: zero" in page.text("#facts")


def test_mistakes_are_explained_in_the_page(page: Page) -> None:
    for text, neuron, part in (
        ("so", "9.9", "there is no neuron 9.9"),
        ("so", "one", "is no neuron"),
        ("x" * 300, "1.5", "the text has 301 tokens, and 256 are the most"),
    ):
        ask(page, text, neuron)
        assert part in page.text("#problem")
        assert page.find("#problem").is_displayed()
        assert not page.find("#result").is_displayed()
    ask(page, "so", "1.5")
    assert not page.find("#problem").is_displayed()
    assert page.find("#result").is_displayed()
    fill(page, "")
    page.click("button[type=submit]")  # the browser itself says that a text is missing
    assert page.run("return document.querySelector(':invalid:not(form)').id") == "text"


def test_a_server_that_is_gone_is_a_message(browser: Any, reader: Reader) -> None:
    with running(reader) as url:
        page = Page(browser, f"{url}/")
        page.open()
    ask(page, "so", "1.5")
    assert "The server does not answer" in page.text("#problem")
    browser.get_log("browser")


def test_a_model_without_gates(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = tiny_reader("gpt2", tmp_path_factory.mktemp("gpt2"))
    with running(plain) as url:
        for page in opened(browser, url):
            page.open("neuron=1.5&show=act")
            wait(page)
            found = expected(plain, page.find("#text").get_property("value"), "1.5")
            choices = page.run(
                "return [...document.querySelectorAll('input[name=shown]')].map((one) => one.value)"
            )
            assert choices == ["post", "gate", "loss"]
            assert rows(page)[4][2:4] == [signed(float(found.post[4])), signed(float(found.gate[4]))]
            assert "no gate" in page.text("#facts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, scheme: str) -> None:
    emulate(page, scheme)
    try:
        for neuron in ("9.9", "1.5"):
            ask(page, TEXT, neuron)
            page.run("document.getElementById('all').open = true")
            assert violations(page.browser) == []
    finally:
        emulate(page, "")


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_the_page_fits_every_width(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        ask(page, TEXT, "1.5")
        page.run("document.getElementById('all').open = true")
        assert page.run("return document.documentElement.scrollWidth") <= width
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_of_another_origin_cannot_ask(browser: Any, server: str) -> None:
    """`localhost` is one; all that such a page could send without being asked first is refused as well."""
    browser.get(server.replace("127.0.0.1", "localhost"))
    status = browser.execute_async_script(
        "const [url, done] = arguments;"
        "fetch(url, {method: 'POST', mode: 'no-cors', body: '{}'})"
        ".then((one) => done(one.type), () => done('no'))",
        f"{server}/ask",
    )
    assert status == "no"
    assert any("Content Security Policy" in one["message"] for one in browser.get_log("browser"))
