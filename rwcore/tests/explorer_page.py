"""The explorer in a real Chromium, for its tests: the browser, the page and what a person does with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rwcore.pages.explorer import explorer_page
from rwcore.stats.prototypes import class_of

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # no smooth scrolling, so that what is clicked stands still
    "--window-size=1440,1100",
)
READY = (
    "const done = arguments[0]; (function look() { "
    "const packed = document.querySelector('script[type=\"text/plain\"]'); "
    "const over = document.documentElement.dataset.ready || document.querySelector('#failed:not([hidden])'); "
    "!packed || over ? done() : setTimeout(look, 5) })();"
)
"""Done when the data of a page that holds them packed are shown, or cannot be; at once on another page."""
Script = Callable[..., Any]


def explorer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file; made a fixture."""
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(explorer_page(), encoding="utf-8")
    return path


def start_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a profile of its own; made a fixture, which skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(20)
    # A window that nobody looks at may not have the focus, and then its elements get no events of theirs.
    started.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    yield started
    started.quit()


def open_page(browser: Any, file: Path) -> Iterator[Page]:
    """The explorer, freshly opened; made a fixture.

    Afterwards the page must have asked for nothing and complained of nothing.
    """
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    opened = Page(browser, file.as_uri())
    opened.open()
    yield opened
    assert requests(browser) <= {file.as_uri(), "data:,"}
    assert browser.get_log("browser") == []


def name_of(vectors: Any) -> str:
    """The library's class of gate, in and out as JavaScript gives them, where 1.0 is 1."""
    gate, in_, out = (tuple(float(part) for part in vector) for vector in vectors)
    return class_of(gate, in_, out)


def requests(browser: Any) -> set[str]:
    """Addresses that were asked for since the last call, without what follows a #."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"].split("#")[0] for one in sent} - {"about:blank"}


class Page:
    """What a person sees and does."""

    def __init__(self, browser: Any, uri: str) -> None:
        self.browser = browser
        self.uri = uri
        self.run: Script = browser.execute_script

    def open(self, link: str = "") -> None:
        """Open the page with what follows the #."""
        self.browser.get("about:blank")  # a change of the # alone would not load the page again
        self.browser.get(f"{self.uri}#{link}" if link else self.uri)
        self.browser.execute_async_script(READY)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn, and the link is written."""
        self.browser.execute_async_script(
            "const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => done()), 320);"
        )

    def find(self, selector: str) -> Any:
        """An element."""
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """Its text as it is in the page, whatever its style."""
        return str(self.find(selector).get_property("textContent")).strip()

    def click(self, selector: str) -> None:
        """Click on an element."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.settle()

    def drag(self, selector: str, right: float, up: float) -> None:
        """Drag an element of the drawing, by lengths as in the drawing's plane."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.run("document.getElementById('scene').scrollIntoView({block: 'center'})")
        width = self.run("return document.getElementById('scene').getBoundingClientRect().width")
        spots = "const p = document.querySelector('#handle-out').getCTM(); return p.e"
        unit = self.run(f"{spots}") - self.run("return document.getElementById('scene').getCTM().e")
        length = self.run("return Math.hypot(...rwExplorer.state.out)")
        pixels = unit / length if self.state("dims") == 2 else width / 3
        chain = ActionChains(self.browser).click_and_hold(self.find(selector))
        for _ in range(4):
            chain.move_by_offset(round(right * pixels / 4), round(-up * pixels / 4))
        chain.release().perform()
        self.settle()

    def keys(self, *keys: str, at: str | None = None) -> None:
        """Press keys, at an element or where the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        if at:
            self.run("arguments[0].focus()", self.find(at))
        ActionChains(self.browser).send_keys(*keys).perform()
        self.settle()

    def state(self, name: str) -> Any:
        """A part of the state."""
        return self.run("return rwExplorer.state[arguments[0]]", name)

    @property
    def link(self) -> str:
        """What follows the # of the address."""
        return str(self.browser.current_url.partition("#")[2])

    @property
    def name(self) -> str:
        """The class that is shown."""
        return self.text("#now")

    def expected(self) -> str:
        """The class that the library gives to the vectors of the page."""
        n = self.state("dims")
        return name_of([self.state(one)[:n] for one in ("gate", "in", "out")])
