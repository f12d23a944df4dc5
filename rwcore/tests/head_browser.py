"""Examples of heads in a real Chromium, for its tests: what it should show of the made-up record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rwcore.pages.head_examples import head_examples_page
from rwcore.tests.explorer_page import Page, requests
from rwcore.tests.head_records import HEADS, floats, make_record

RECORD = make_record()
LABELS = ("direct", "direct, norm rescaled", "indirect", "total")
COLOURS = (
    "return [...document.querySelectorAll('#tokens > *')].map((one) => [one.classList.contains('positive'), "
    "one.classList.contains('negative'), parseFloat(one.style.getPropertyValue('--share'))])"
)


def make_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file; made a fixture."""
    path = tmp_path_factory.mktemp("heads") / "heads.html"
    path.write_text(head_examples_page(RECORD, title="Examples of heads"), encoding="utf-8")
    return path


def open_page(browser: Any, file: Path) -> Iterator[Page]:
    """The page, freshly opened; made a fixture.

    Afterwards it must have asked for nothing and complained of nothing.
    """
    browser.get("about:blank")
    requests(browser), browser.get_log("browser")
    opened = Page(browser, file.as_uri())
    opened.open()
    yield opened
    assert {one for one in requests(browser) if not one.startswith("data:")} <= {file.as_uri()}
    assert browser.get_log("browser") == []


def reading(row: int, head: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = RECORD["readings"][row * len(HEADS) + head]
    assert (found["row"], found["head"]) == (row, head)
    return found


def changes(row: int, head: int = 0, effect: str = "direct") -> list[float]:
    return floats(reading(row, head)["effects"][effect]["loss"])


def shifted(values: list[float]) -> list[float]:
    return [math.nan, *values[:-1]]


def strongest(row: int, head: int = 0, effect: str = "direct") -> int:
    """The prediction that is chosen when nobody has chosen one; not that made at BOS."""
    found = np.array(changes(row, head, effect))
    if RECORD["rows"][row]["bos"]:
        found[0] = np.nan
    return int(np.nanargmax(np.abs(found)))


def word(number: int) -> str:
    return str(RECORD["words"][number])


def signed(value: float, digits: int = 3) -> str:
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("+" if value > 0 else "−") + text


def plain(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def percent(value: float) -> str:
    return "< 0.01 %" if 0 < value < 5e-5 else f"{plain(100 * value, 2)} %"


def cells(page: Page, selector: str = "#details table") -> list[list[str]]:
    found: list[list[str]] = page.run(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent.replace(' (comes next)', '')))",
        selector,
    )
    return found


def listed(page: Page, number: int = 0) -> list[list[str]]:
    """Word and number of each entry of a list of the panel."""
    found: list[list[str]] = page.run(
        "return [...document.querySelectorAll('#details .bars')[arguments[0]].children].map((one) => "
        "[one.querySelector('.token').firstChild.textContent, one.querySelector('b').textContent])",
        number,
    )
    return found


def painted(page: Page, values: list[float], scale: float) -> None:
    """Check the colours of a text in which every token is a unit."""
    for (above, below, share), value in zip(page.run(COLOURS), values, strict=True):
        part = 0.0 if math.isnan(value) else min(1, abs(value) / scale)
        assert (above, below) == (part > 0 and value > 0, part > 0 and value < 0)
        assert share == pytest.approx(100 * part, abs=0.06)


def pick(page: Page, name: str, value: str) -> None:
    page.run("arguments[0].click()", page.find(f"input[name={name}][value={value}]"))
    page.settle()
