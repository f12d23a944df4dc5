"""The index of a site in a real Chromium, for its tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rwcore.tests.explorer_page import Page, requests
from rwcore.tests.index_site import facts_of, layers_of, table_of, write_site

NAMES = "[...document.querySelectorAll('#neurons tbody th')].map((one) => one.textContent)"
IDLE = "document.getElementById('list').getAttribute('aria-busy') === 'false'"
# Goes to a link and waits for its answer; the page's own listener has begun before this one is called.
GO = f"""
const [link, done] = arguments;
const wait = () => ({IDLE} ? done({NAMES}) : setTimeout(wait, 2));
if (location.hash === link) return done({NAMES});
addEventListener("hashchange", wait, {{ once: true }});
location.hash = link;
"""
PRESS = f"""
const [id, done] = arguments;
const wait = () => ({IDLE} ? done({NAMES}) : setTimeout(wait, 2));
document.getElementById(id).click();
wait();
"""
LISTED = f"""
const done = arguments[0];
const wait = () => ({IDLE} ? done(performance.getEntriesByName("listed")[0].startTime) : setTimeout(wait, 2));
wait();
"""


class Index(Page):
    """The index as a person uses it."""

    def go(self, link: str) -> list[str]:
        """Change what follows the #, and list the neurons that are shown then."""
        return list(self.browser.execute_async_script(GO, f"#{link}"))

    def press(self, name: str) -> list[str]:
        """Press a button by its id, and list the neurons that are shown then."""
        return list(self.browser.execute_async_script(PRESS, name))

    @property
    def names(self) -> list[str]:
        """The neurons that are listed."""
        return list(self.run(f"return {NAMES}"))

    def wait(self) -> float:
        """Wait for the list; milliseconds from the begin of loading to the first one."""
        return float(self.browser.execute_async_script(LISTED))


def opened(browser: Any, file: Path) -> Iterator[Index]:
    """The index, freshly opened; afterwards it asked for nothing but its files, and complained of nothing."""
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    found = Index(browser, file.as_uri())
    found.open()
    yield found
    asked = {one.partition("?")[0] for one in requests(browser) if not one.startswith("data:")}
    assert asked <= {file.as_uri(), *(one.as_uri() for one in (file.parent / "data").iterdir())}
    assert browser.get_log("browser") == []


def open_index(browser: Any, index_file: Path) -> Iterator[Index]:
    """The made-up index, freshly opened; made a fixture."""
    yield from opened(browser, index_file)


def index_table() -> pd.DataFrame:
    """The neurons of the made-up index; made a fixture."""
    return table_of(layers_of())


def make_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up index as files; made a fixture."""
    return write_site(tmp_path_factory.mktemp("index") / "site", facts_of(), layers_of())
