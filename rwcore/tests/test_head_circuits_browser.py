"""The page of circuits in a real Chromium: by mouse, keys, typing and link, light and dark, no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rwcore.pages.head_circuits import circuits_page
from rwcore.tests import circuits_report as made
from rwcore.tests.axe import violations
from rwcore.tests.explorer_page import Page, requests, start_chromium

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

browser = pytest.fixture(scope="module")(start_chromium)

LOVE, LOVE_BARE, PIER, SCRIPT, ITS = 5, 6, 7, 8, 9


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("circuits") / "circuits.html"
    path.write_text(circuits_page(made.report()), encoding="utf-8")
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
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def bars(page: Page, circuit: str) -> list[tuple[str, str, str]]:
    """Place, name and number of each bar."""
    found = page.run(
        "return [...document.querySelectorAll(`#${arguments[0]} li`)].map((one) => "
        "['.place', '.name', 'b'].map((part) => one.querySelector(part).textContent))",
        circuit,
    )
    return [(place, name, value) for place, name, value in found]


def expected(
    name: str, focus: str, head: tuple[int, int], token: int, count: int
) -> list[tuple[str, str, str]]:
    """The same, from the lists; numbers as they are with two or three digits."""

    def number(value: float) -> str:
        text = f"{value:+.{3 if abs(value) < 1 else 2}f}" if value else "0.00"
        return text.replace("-", "−")

    ordered = made.ordered(name, focus, head, token)
    rows = [
        (str(place), made.VOCABULARY[other], number(value))
        for place, (other, value) in enumerate(ordered[:count], start=1)
    ]
    at = [other for other, _ in ordered].index(token)
    if at >= count:
        rows.append(("…", f"{made.VOCABULARY[token]} (#{at + 1})", number(ordered[at][1])))
    return rows


def check(
    page: Page,
    head: tuple[int, int],
    token: int,
    focus: str = "source",
    show: str = "suppressed",
    count: int = 10,
) -> None:
    """Both charts."""
    assert bars(page, "QK") == expected("attended", focus, head, token, count)
    assert bars(page, "OV") == expected(show, focus, head, token, count)
    own = page.run("return [...document.querySelectorAll('.own .name .token')].map((one) => one.textContent)")
    assert own == [made.VOCABULARY[token]] * 2
    layer, number = head
    assert page.text("#title") == f"Head {layer}.{number}, token {made.VOCABULARY[token]}"


def typed(page: Page, text: str) -> None:
    page.run("document.getElementById('find').value = ''")
    page.keys(text, "\ue007", at="#find")


def test_it_opens_with_the_first_head_and_token(page: Page) -> None:
    check(page, made.CHARTED[0], LOVE)
    assert bars(page, "OV")[0] == ("1", "␣love", "−9.00")
    assert "#1 among the predictions that attend to it" in page.text("#verdict")
    assert "(own logit −9.00), of 120 tokens" in page.text("#verdict")
    assert page.link == ""


def test_focus_and_direction(page: Page) -> None:
    page.click("input[name=focus][value=destination]")
    check(page, made.CHARTED[0], LOVE, "destination")
    page.click("input[name=show][value=boosted]")
    check(page, made.CHARTED[0], LOVE, "destination", "boosted")
    assert bars(page, "OV")[-1] == ("…", "␣love (#120)", "−9.00")
    assert page.text("#OV h3").startswith("OV: What raises the prediction of")
    assert page.link == "focus=destination&show=boosted"
    page.click("input[name=focus][value=source]")
    check(page, made.CHARTED[0], LOVE, "source", "boosted")


def test_the_number_of_bars(page: Page) -> None:
    page.keys("\ue010", at="#bars")  # End
    check(page, made.CHARTED[0], LOVE, count=20)
    page.keys("\ue011", at="#bars")  # Home
    check(page, made.CHARTED[0], LOVE, count=5)
    assert page.text("#count") == "5"
    assert page.link == "bars=5"


def test_a_head_by_choice_and_by_map(page: Page) -> None:
    page.click("#heads label:nth-child(2)")
    check(page, made.CHARTED[1], LOVE)
    assert page.link == "head=0.3"
    page.click("[data-head='2.1']")
    check(page, made.CHARTED[0], LOVE)
    assert (
        page.run("return document.querySelector('[data-head=\"2.1\"]').getAttribute('aria-pressed')")
        == "true"
    )
    assert page.run("return document.querySelectorAll('[aria-pressed=true]').length") == 1


def test_a_head_without_charts_says_so_and_how_to_make_them(page: Page) -> None:
    page.click("[data-head='2.3']")
    check(page, made.CHARTED[0], LOVE)
    assert "Head 2.3: 5.0 % of tokens" in page.text("#says")
    assert "It has no charts on this page" in page.text("#says")
    command = (
        "rwcore heads circuits 'org/<model>' --rows=50 --seed=0 --heads 2.3 --tokens '\" love\"' --out DIR"
    )
    assert page.text("#says code") == command
    for head, says in (("1.0", "was not looked at"), ("1.1", "makes no difference between tokens")):
        page.click(f"[data-head='{head}']")
        assert says in page.text("#says")


def test_the_map_by_keys_and_of_the_other_circuit(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    assert page.run("return document.querySelectorAll('#map [tabindex=\"0\"]').length") == 1
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_LEFT, at="#map [tabindex='0']")
    assert page.run("return document.activeElement.dataset.head") == "1.2"
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ENTER)
    assert page.run("return document.activeElement.dataset.head") == "0.3"
    check(page, made.CHARTED[1], LOVE)
    before = page.run("return document.querySelector('[data-head=\"2.0\"]').style.getPropertyValue('--s')")
    page.click("input[name=map][value=QK]")
    after = page.run("return document.querySelector('[data-head=\"2.0\"]').style.getPropertyValue('--s')")
    assert float(before) != float(after)
    assert "their own prediction attends to" in page.text("#says")
    assert page.link == "head=0.3&map=QK"


@pytest.mark.parametrize(
    ("text", "token"),
    [("␣pier", PIER), (" pier", PIER), ("pier", PIER), ('" pier"', PIER), ("PIER", PIER), ("love", LOVE_BARE),
     (" love", LOVE), ("it's", ITS), ("</script><script>alert(1)</script>", SCRIPT)],
)  # fmt: skip
def test_a_token_however_it_is_typed(page: Page, text: str, token: int) -> None:
    typed(page, text)
    check(page, made.CHARTED[0], token)
    assert page.text("#unknown") == ""
    assert page.run("return document.scripts.length") == 2


def test_an_unknown_token_is_answered_with_what_can_be_asked(page: Page) -> None:
    """Trap T30."""
    typed(page, "zebra's")
    said = page.text("#unknown")
    assert said.startswith("zebra's is not among the 9 tokens of this page, such as ␣love ␣pier")
    quoted = "--heads 2.1,0.3 --tokens '\" zebra'\\''s\"' --out DIR"
    assert page.text("#unknown code").endswith(quoted)
    check(page, made.CHARTED[0], LOVE)
    typed(page, '"<b>')
    assert page.text("#unknown b") == '"<b>'
    assert page.text("#unknown code").endswith("--tokens ''\\'' \"<b>'\\''' --out DIR")
    for text in ('" zebra"', "' zebra'", "zebra", " zebra"):
        typed(page, text)
        assert page.text("#unknown code").endswith("--tokens '\" zebra\"' --out DIR")
    typed(page, '"zebra"')
    assert page.text("#unknown code").endswith("--tokens '\"zebra\"' --out DIR")
    typed(page, "it's \"so")  # no list of quoted tokens can hold it
    assert page.text("#unknown").endswith("all are listed below.")
    assert page.run("return document.querySelectorAll('#unknown code').length") == 0
    typed(page, "   ")
    assert page.text("#unknown").startswith("Type a token: there are 9")
    typed(page, "pier")
    assert page.text("#unknown") == ""


def test_suggestions_and_tokens_in_charts_lead_on(page: Page) -> None:
    options = page.run("return [...document.querySelectorAll('#known option')].map((one) => one.value)")
    assert options == [made.VOCABULARY[token] for token in (*made.ASKED, *made.WORDS)]
    page.run("document.querySelector('details').open = true")
    page.click("#all li:nth-child(2) button")
    check(page, made.CHARTED[0], PIER)
    assert page.run("return document.activeElement.id") == "title"
    assert page.run("return document.querySelector('#all [aria-current=true]').textContent") == "␣pier"
    page.open("bars=20&head=0.3")
    link = page.run("return document.querySelector('.bars button.token')")
    name = link.text
    page.run("arguments[0].click()", link)
    check(page, made.CHARTED[1], made.VOCABULARY.tokens.index(name), count=20)


def test_a_link_keeps_what_is_chosen_and_a_wrong_one_is_answered(page: Page) -> None:
    page.open("head=0.3&token=%20pier&focus=destination&show=boosted&bars=7&map=QK")
    check(page, made.CHARTED[1], PIER, "destination", "boosted", 7)
    assert page.run("return document.getElementById('find').value") == "␣pier"
    page.open("head=9.9&bars=400&focus=sideways")
    check(page, made.CHARTED[0], LOVE)
    assert page.text("#unknown") == "Head 9.9 has no charts on this page; those of 2.1, 0.3 are here."
    page.open("token=quux%")
    assert page.text("#unknown").startswith("quux% is not among")
    page.run("location.hash = 'token=%20pier'")
    page.settle()
    check(page, made.CHARTED[0], PIER)


def test_bars_are_as_long_as_their_values(page: Page) -> None:
    page.open("head=0.3&show=boosted")
    found = page.run(
        "return [...document.querySelectorAll('#OV li')].map((one) => { const [bar, track] = "
        "[one.querySelector('i'), one.querySelector('.track')].map((part) => part.getBoundingClientRect());"
        "return [bar.left - track.left, bar.width, track.width] })"
    )
    values = [float(value.replace("−", "-")) for _, _, value in bars(page, "OV")]
    low, high = min(0, *values), max(0, *values)
    for value, (left, width, whole) in zip(values, found, strict=True):
        assert width == pytest.approx(max(1.5, abs(value) / (high - low) * whole), abs=1)
        assert left == pytest.approx((min(value, 0) - low) / (high - low) * whole, abs=1)


def test_data_that_are_cut_are_a_problem_that_is_said(page: Page, file: Path, tmp_path: Path) -> None:
    source = file.read_text(encoding="utf-8")
    end = source.index("</script>", source.index('<script id="data"'))
    cut = tmp_path / "cut.html"
    cut.write_text(source[: end - 40] + source[end:], encoding="utf-8")
    whole, page.uri = page.uri, cut.as_uri()
    page.open()
    assert page.find("#failed").is_displayed()
    assert len(page.text("#failed")) > len("The data of this page cannot be read: ")
    assert not page.find(".scripted").is_displayed()
    page.uri = whole
    page.open()
    assert not page.find("#failed").is_displayed()
    requests(page.browser)


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_the_page_fits_every_width(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.open("bars=20")
    assert page.run("return document.documentElement.scrollWidth") <= width
    side = page.run(
        "return ['QK', 'OV'].map((id) => document.getElementById(id).getBoundingClientRect().left)"
    )
    assert (side[0] < side[1]) == (width > 860)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(page: Page, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.open("token=%20pier")
    page.run("document.querySelector('details').open = true")
    typed(page, "zebra")
    assert violations(page.browser) == []
