"""A made-up index of neurons with ties, missing and infinite values, for its tests."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from rwcore.activations.quadrants import QUADRANTS
from rwcore.pages.site_data import IndexLayer, layer_file, layer_script
from rwcore.pages.site_index import PageLink, SiteFacts, site_index
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES
from rwcore.stats.roles.choose import ROLES

LAYERS, WIDTH = 5, 37
COSINES = ("gatelin", "gateout", "linout")
NUMBERS = (*QUADRANTS, *COSINES, "norm_out", "low", "high")
PAGES = ((0, 3), (0, 36), (2, 0), (2, 7), (3, 11), (4, 36))
TOKENS = ("<script>alert(1)</script>", "␣the", "⏎⏎", "⟨E2⟩⟨80⟩", "&amp;", "</table>", "␣Mic", "العربية")
COMMAND = "rwcore pages demo --activations pass --neurons {neuron} --out site"


def layer_of(number: int, width: int, generator: torch.Generator, *, plain: bool = False) -> IndexLayer:
    """A layer of random numbers. Cosines are of one digit, so that many are equal."""

    def uniform() -> torch.Tensor:
        return torch.rand(width, generator=generator)

    classes = torch.randint(0, 3 if plain else 11, (width,), generator=generator)
    gate, in_ = uniform() ** 2, uniform()
    frequencies = [gate * in_, gate * (1 - in_), (1 - gate) * in_, (1 - gate) * (1 - in_)]
    cosines = {name: (2 * uniform() - 1).mul(10).round() / 10 for name in COSINES}
    low, high = -uniform() * 10, uniform() * 10
    return IndexLayer(
        number,
        classes.to(torch.int8),
        torch.randint(0, 4, (width,), generator=generator).to(torch.int8),
        torch.stack([gate, 1 - gate] if plain else frequencies),
        {"linout": cosines["linout"]} if plain else cosines,
        uniform() * 3,
        low,
        high,
    )


def layers_of(
    n_layers: int = LAYERS, width: int = WIDTH, *, seed: int = 0, plain: bool = False
) -> list[IndexLayer]:
    """The layers of a model; some values are missing, zero or infinite, and some neurons undefined."""
    generator = torch.Generator().manual_seed(seed)
    found = [layer_of(number, width, generator, plain=plain) for number in range(n_layers)]
    odd = found[1]
    odd.classes[5] = -1
    odd.cosines["linout"][5] = math.nan
    odd.high[:8] = math.nan
    odd.low[2], odd.norm_out[4], odd.norm_out[3] = -math.inf, math.inf, math.nan
    found[-1].low[:] = math.nan
    found[2].classes[found[2].classes == 1] = 0  # a class that a layer lacks
    found[0].frequencies[:, 3] = torch.tensor([0.0, 4e-6, 0.25, 0.75])[: len(found[0].frequencies)]
    return found


def facts_of(pages: tuple[tuple[int, int], ...] = PAGES, **changes: Any) -> SiteFacts:
    """What the index says beside the numbers; the tokens of the pages are awkward ones."""
    links = tuple(
        PageLink(
            layer,
            neuron,
            f"neurons/{layer}.{neuron}.html",
            (TOKENS[k % 8], TOKENS[(k + 1) % 8]),
            (TOKENS[(k + 2) % 8],),
        )
        for k, (layer, neuron) in enumerate(pages)
    )
    facts = SiteFacts(
        "demo <&>",
        "some-texts",
        12_345,
        RW_CLASSES,
        ROLES,
        QUADRANTS,
        links,
        COMMAND,
        (("made from", "a test <b>"),),
    )
    return replace(facts, **changes)


def plain_facts() -> SiteFacts:
    """The same of a model without gates."""
    return facts_of(classes=VANILLA_CLASSES, quadrants=("in+", "in-"))


def write_site(folder: Path, facts: SiteFacts, layers: list[IndexLayer]) -> Path:
    """The site as files; the address of its index."""
    (folder / "data").mkdir(parents=True)
    for one in layers:
        (folder / layer_file(one.layer)).write_text(layer_script(one), encoding="utf-8")
    index = folder / "index.html"
    index.write_text(site_index(facts, layers), encoding="utf-8")
    return index


def table_of(layers: list[IndexLayer]) -> pd.DataFrame:
    """Every neuron as a row, in doubles; an undefined class is NaN."""
    parts = []
    for one in layers:
        names = [
            *(QUADRANTS if len(one.frequencies) == 4 else ("in+", "in-")),
            *one.cosines,
            "norm_out",
            "low",
            "high",
        ]
        part = pd.DataFrame(dict(zip(names, one.values.astype(np.float64), strict=True)))
        codes = one.codes.astype(np.float64)
        part["class"], part["role"] = np.where(codes[0] < 0, np.nan, codes[0]), codes[1]
        part["layer"], part["place"] = one.layer, range(len(one))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table["neuron"] = table.index
    table.index = table["layer"].astype(str) + "." + table["place"].astype(str)
    return table
