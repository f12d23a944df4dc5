"""How figures look: one set of matplotlib settings for papers, one for the report's pages."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

Look = Literal["paper", "screen"]

# Colours of the screen look that a page may replace by its own, so that figures follow a dark theme.
INK = "#1b1b1f"
MUTED = "#8b8d98"
FAINT = "#c9cbd4"

CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, told apart with any colour vision; after these the line style changes."""
PAPER_CYCLE = tuple(f"C{number}" for number in range(10))
"""matplotlib's ten colours, as in the papers."""
LINE_STYLES = ("solid", "dashed", "dotted", "dashdot")

PAPER: dict[str, Any] = {
    "font.family": "serif",
    "font.size": 10,
    "savefig.bbox": "tight",
}
SCREEN: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be searched and takes the page's font
}
LOOKS: dict[Look, dict[str, Any]] = {"paper": PAPER, "screen": SCREEN}


@contextlib.contextmanager
def style(look: Look) -> Iterator[None]:
    """Settings for everything drawn in the block; matplotlib's own are back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's settings must not change what is published; the backend is left alone
        for name, value in LOOKS[look].items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure without pyplot, so that no state is left behind; size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def over_white(colour: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """A half-transparent colour as it looks on paper: what lies below must not shine through."""
    red, green, blue, alpha = colour
    red, green, blue = (part * alpha + 1 - alpha for part in (red, green, blue))
    return red, green, blue


def power_of_ten(number: float) -> str:
    """``10⁻⁵`` for 1e-5; not by mathematics mode, whose digits are others than those of the texts."""
    return "10" + str(round(math.log10(number))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
