"""The page of a neuron in a real Chromium, for its tests: what a person does with it, and what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rwcore.pages.neuron_page import NeuronPage, neuron_page
from rwcore.pages.page_data import by_quantity
from rwcore.pages.page_examples import quadrant_name
from rwcore.tests import neuron_site as site
from rwcore.tests.explorer_page import Page

PAGES = {
    "usual": lambda: site.neuron_page_of(site.rows(30)),
    "odd": lambda: site.neuron_page_of(site.odd_rows()),
    "plain": lambda: site.neuron_page_of(site.plain_rows(), gated=False),
    "full": site.full_page,
}


class NeuronSite(Page):
    """The pages of a folder, and what a person does with them."""

    def __init__(self, browser: Any, folder: Path) -> None:
        super().__init__(browser, "")
        self.folder = folder
        self.made: dict[str, NeuronPage] = {}

    def visit(self, name: str, link: str = "") -> NeuronPage:
        """Open a page and wait until its script is done."""
        if name not in self.made:
            self.made[name] = PAGES[name]()
            (self.folder / f"{name}.html").write_text(neuron_page(self.made[name]), encoding="utf-8")
        self.uri = (self.folder / f"{name}.html").as_uri()
        self.open(link)
        self.wait()
        return self.made[name]

    def wait(self) -> None:
        """Until the script is done."""
        self.browser.execute_async_script(
            "const done = arguments[0]; (function look() {"
            "document.documentElement.dataset.ready ? done() : setTimeout(look, 5) })();"
        )

    def emulate(self, **features: str) -> None:
        """Media features, their names with underscores."""
        found = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": found})

    def texts(self, selector: str) -> list[str]:
        """Text of each element."""
        return list(
            self.run(f"return [...document.querySelectorAll({selector!r})].map((one) => one.textContent)")
        )


def written(value: float) -> str:
    """A number as the readout has it, five digits."""
    return f"{value:+#.5g}".replace("-", "−") if value else "0"


def said(made: NeuronPage, row: int, position: int) -> str:
    """What the readout says of the numbers at a place."""
    entry = next(one for one in made.examples.stretches if one.row == row and one.start <= position < one.end)
    place = position - entry.start
    values = {name: float(one[place]) for name, one in by_quantity(entry).items()}
    sign = {True: "+", False: "-"}
    quadrant = f"gate{sign[values['gate'] > 0]}_in{sign[values['in'] > 0]}"
    if made.examples.gated:
        numbers = [f"{name} {written(values[key])}" for key, name in
                   (("gate", "gate"), ("in", "in"), ("act", "act(gate)"), ("post", "post"))]  # fmt: skip
    else:
        numbers = [f"in {written(values['gate'])}", f"post {written(values['post'])}"]
    nowhere = not (values["gate"] and values["in"])
    name = "no quadrant" if nowhere else quadrant_name(quadrant, made.examples.gated)
    return " ".join([f"position {position}", *numbers, name])


def channels(colour: str) -> list[float]:
    """Red, green and blue from 0 to 1."""
    parts = [float(one) for one in re.findall(r"-?[\d.]+(?:e-?\d+)?", colour.replace("srgb", ""))]
    if colour.startswith("rgba") and parts[3] == 0:
        raise LookupError("transparent")
    return parts[:3] if colour.startswith("color") else [one / 255 for one in parts[:3]]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    """Contrast ratio, as WCAG defines it."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
