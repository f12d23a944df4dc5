"""The explorer: one page on which a person moves the vectors of a neuron and sees its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rwcore import __version__
from rwcore.pages.render import render
from rwcore.plots.counts import PaletteName, palette
from rwcore.plots.definition import Slice, ink_on, slices
from rwcore.stats.classes import RW_CLASSES, THRESHOLD, UNDEFINED, RWClass
from rwcore.stats.null import beta_region
from rwcore.stats.prototypes import PRESETS

START = {2: (0.5, 1.0), 3: (0.5, 1.0, 0.4)}
"""Residual stream at the start, by number of dimensions."""
WIDTHS = (576, 4096)
"""Of the residual streams for which the page says how far 0.5 is from chance."""
PALETTES: tuple[PaletteName, ...] = ("accessible", "paper")
PANEL = 240
"""Side of one plane of the class map, in units of its drawing."""

MEANINGS = {
    "strengthening": "Gate, in and out share one direction: what the neuron detects there, it adds more of.",
    "conditional strengthening": "Strengthens the direction that in reads, on the condition that the gate "
    "finds another direction in the stream.",
    "proportional change": "Moves the stream along the direction its gate detects, either way, by as much as "
    "in finds of another direction.",
    "orthogonal output": "Writes a direction that neither gate nor in reads.",
    "weakening": "Gate, in and out share one direction, and the neuron writes its opposite: what it detects "
    "there, it takes away.",
    "conditional weakening": "Weakens the direction that in reads, on the condition that the gate finds "
    "another direction in the stream.",
    "atypical strengthening": "Writes between two directions: along what in reads and along what the gate "
    "reads, though these two do not go together.",
    "atypical conditional strengthening": "Strengthens the direction that in reads; the gate reads close to "
    "in, and yet not what is written.",
    "atypical proportional change": "Moves the stream along the direction its gate detects; in reads close "
    "to the gate, and yet not what is written.",
    "atypical weakening": "Writes against what in reads, and along or against what the gate reads, though "
    "these two do not go together.",
    "atypical conditional weakening": "Weakens the direction that in reads; the gate reads close to in, and "
    "yet not what is written.",
}


@dataclass(frozen=True)
class Rule:
    """What the three cosines of a class are, in words for a table.

    Attributes:
        linout: Of cos(in, out).
        gateout: Of cos(gate, out).
        gatelin: Of cos(gate, in).
    """

    linout: str
    gateout: str
    gatelin: str


def rule_of(rw_class: RWClass) -> Rule:
    """The key of a class in words, with |cos| for a cosine whose sign does not matter."""
    linout, gateout, typical = rw_class.key
    border = f"{THRESHOLD:g}"
    if linout and gateout:
        same = "the sign of cos(gate, out)" if linout > 0 else "the other sign than cos(gate, out)"
        gatelin = f"|cos| > {border}, with {same}" if typical else f"|cos| ≤ {border}"
    elif linout or gateout:
        gatelin = f"|cos| ≤ {border}" if typical else f"|cos| > {border}"
    else:
        gatelin = "anything"
    return Rule(
        {1: f"> {border}", 0: f"|cos| ≤ {border}", -1: f"< −{border}"}[linout],
        f"|cos| > {border}" if gateout else f"|cos| ≤ {border}",
        gatelin,
    )


def explorer_page(palette_name: PaletteName = "accessible") -> str:
    """The explorer as one HTML file that needs nothing else, from any server or none.

    Args:
        palette_name: Colours of the classes at the start; the page can change them.
    """
    return render(
        "explorer.html",
        version=__version__,
        classes=[_class(rw_class) for rw_class in RW_CLASSES],
        data=_data(palette_name),
        slices=[_panel(part) for part in slices()],
        panel=PANEL,
        palette_name=palette_name,
        palette_css=Markup(palette_css()),
        chance={width: beta_region(width)[1] for width in WIDTHS},
        threshold=THRESHOLD,
    )


def slug_of(name: str) -> str:
    """A class name as it stands in links and ids."""
    return name.replace(" ", "-")


def palette_css() -> str:
    """Custom properties with the fill and the ink of every class, for each palette."""
    blocks = []
    for name in PALETTES:
        colours = palette(name).colours
        lines = []
        for rw_class in RW_CLASSES:
            red, green, blue, alpha = colours[rw_class.name]
            over_white = tuple(round(255 * (part * alpha + 1 - alpha)) for part in (red, green, blue))
            fill = "#{:02x}{:02x}{:02x}".format(*over_white)
            slug = slug_of(rw_class.name)
            lines.append(f"--c-{slug}: {fill}; --i-{slug}: {ink_on((red, green, blue, alpha))};")
        blocks.append(f':root[data-palette="{name}"] {{ {" ".join(lines)} }}')
    return "\n".join(blocks)


def _class(rw_class: RWClass) -> dict[str, Any]:
    return {
        "name": rw_class.name,
        "slug": slug_of(rw_class.name),
        "key": rw_class.key,
        "rule": rule_of(rw_class),
        "meaning": MEANINGS[rw_class.name],
        "atypical": rw_class.name.startswith("atypical "),
    }


def _data(palette_name: PaletteName) -> dict[str, Any]:
    """What the script knows: the classes by key, the presets, and where everything starts."""
    return {
        "threshold": THRESHOLD,
        "undefined": UNDEFINED,
        "palette": palette_name,
        "classes": [
            {
                "name": rw_class.name,
                "slug": slug_of(rw_class.name),
                "key": rw_class.key,
                "meaning": MEANINGS[rw_class.name],
            }
            for rw_class in RW_CLASSES
        ],
        "presets": {
            str(dimensions): {
                slug_of(name): {"gate": one.w_gate, "in": one.w_in, "out": one.w_out}
                for name, one in presets.items()
            }
            for dimensions, presets in PRESETS.items()
        },
        "start": {str(dimensions): x for dimensions, x in START.items()},
    }


def _panel(part: Slice) -> dict[str, Any]:
    """A slice of the class map in the units of its drawing, where y points down."""

    def across(value: float) -> float:
        return round((value + 1) / 2 * PANEL, 1)

    cells = []
    for cell in part.cells:
        middle = None if cell.middle is None else (across(cell.middle[0]), across(-cell.middle[1]))
        cells.append(
            {
                "slug": slug_of(cell.name),
                "words": cell.name.split(),
                "atypical": cell.name.startswith("atypical "),
                "x": across(cell.left),
                "y": across(-cell.top),
                "width": across(cell.right) - across(cell.left),
                "height": across(-cell.bottom) - across(-cell.top),
                "middle": middle,
            }
        )
    impossible = [
        " ".join(f"{across(a)},{across(-b)}" for a, b in polygon.tolist()) for polygon in part.impossible
    ]
    return {
        "name": part.name,
        "cells": cells,
        "impossible": impossible,
        "classes": list(dict.fromkeys(cell.name for cell in part.cells if cell.middle is not None)),
    }
