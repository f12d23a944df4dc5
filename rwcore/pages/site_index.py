"""The index of a site: the neurons that have a page, and every other one of the model."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
from markupsafe import Markup

from rwcore.models.vocabulary import SIGNS
from rwcore.pages.cards import class_rule, colour_of, token_markup
from rwcore.pages.render import render, static
from rwcore.pages.site_data import COSINE, NUMBER, SHARE, Column, IndexLayer, columns, layer_file, packed
from rwcore.stats.classes import UNDEFINED, UNDEFINED_CODE, RWClass
from rwcore.stats.cosines import COSINES

SCRIPTS = ("store", "query", "state", "table", "map", "index")
PLACE = "{neuron}"
"""Stands for the neuron in the command that makes a page."""
LABELS = {"norm_out": "‖out‖", "low": "lowest", "high": "highest"}
WHOLE = {"low": "lowest post", "high": "highest post"}
"""Names of columns outside their group, where they differ."""


@dataclass(frozen=True)
class PageLink:
    """The page of a neuron.

    Attributes:
        layer: Layer, from 0.
        neuron: Place in the layer, from 0.
        href: Where the page is, seen from the index.
        promoted: First tokens of the output vector, as `rwcore.models.vocabulary.shown` makes them.
        suppressed: Those of its negative.
    """

    layer: int
    neuron: int
    href: str
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]

    @property
    def name(self) -> str:
        """``layer.neuron``."""
        return f"{self.layer}.{self.neuron}"


@dataclass(frozen=True)
class SiteFacts:
    """What the index says beside the numbers of the neurons.

    Attributes:
        model: Id of the model.
        corpus: Id of the texts.
        tokens: How many tokens the frequencies are shares of.
        classes: The classes in canonical order.
        roles: Names of the roles by code; None if roles were not asked for.
        quadrants: Names of the quadrants as people read them, in the order of the frequencies.
        pages: The pages there are, in the order of their links.
        command: The command that makes the page of a neuron, with ``{neuron}`` for ``layer.neuron``.
        provenance: Names and texts: what the site was made from.
    """

    model: str
    corpus: str
    tokens: int
    classes: tuple[RWClass, ...]
    roles: tuple[str, ...] | None
    quadrants: tuple[str, ...]
    pages: tuple[PageLink, ...]
    command: str
    provenance: tuple[tuple[str, str], ...]


def site_index(facts: SiteFacts, layers: Sequence[IndexLayer]) -> str:
    """The index as a page; beside it the files of `rwcore.pages.site_data.layer_script` are expected.

    The page holds the numbers of the neurons that have pages, and the counts and bounds of every layer. The
    other neurons are read from the files of the layers, and only from those that a question is about.

    Args:
        facts: What is said beside the numbers.
        layers: All layers of the model, in order.

    Raises:
        ValueError: The layers are not those of one model, from 0 on, or do not fit the facts.
    """
    _check(facts, layers)
    script, policy = _script()
    names = [*(one.name for one in facts.classes), UNDEFINED]
    counts = np.stack([one.counts(len(facts.classes)) for one in layers])
    shown = [place for place, number in enumerate(counts.sum(axis=0)) if number or place < len(facts.classes)]
    found = [{**asdict(one), **_words(one)} for one in columns(facts.quadrants, layers[0])]
    return render(
        "site_index.html",
        facts=facts,
        n_layers=len(layers),
        d_mlp=len(layers[0]),
        n_neurons=sum(map(len, layers)),
        columns=found,
        shares_title="share of tokens",
        shares=[one for one in found if one["kind"] == SHARE],
        cosines=[one for one in found if one["kind"] == COSINE],
        sizes=[one for one in found if one["kind"] == NUMBER],
        role_rows=[{"code": code, "name": name} for code, name in enumerate(facts.roles or ())],
        map=[_map_row(facts, layers, counts, place, names[place]) for place in shown],
        class_of_page=[names[layers[one.layer].codes[0, one.neuron]] for one in facts.pages],
        token_markup=token_markup,
        policy=policy,
        script=script,
        data=_data(facts, layers, names, counts, found),
    )


def slug_of(name: str) -> str:
    """A name as it stands in links: ``orthogonal-output``."""
    return name.replace(" ", "-")


def tone_of(quadrant: str) -> str:
    """How the share of a quadrant is painted: by the sign of post there, and paler where the gate is closed.

    Args:
        quadrant: ``gate+_in-``, …; or ``in+`` or ``in-`` for a neuron without a gate, whose one input does
            the work of the gate.
    """
    signs = [sign for sign in quadrant if sign in "+-"]
    positive = signs.count("-") % 2 == 0
    return f"{'positive' if positive else 'negative'}{' closed' if signs[0] == '-' else ''}"


def _words(column: Column) -> dict[str, str]:
    """How a column is called: under the heading of its group, and outside it."""
    if column.kind == COSINE:
        a, b = COSINES[column.key]
        return {"label": f"{a}, {b}", "name": f"cos({a}, {b})", "tone": ""}
    if column.kind == SHARE:
        label = column.key.replace("_", " ").replace("-", "−")
        return {"label": label, "name": label, "tone": tone_of(column.key)}
    return {"label": LABELS[column.key], "name": WHOLE.get(column.key, LABELS[column.key]), "tone": ""}


def _map_row(
    facts: SiteFacts, layers: Sequence[IndexLayer], counts: np.ndarray, place: int, name: str
) -> dict[str, Any]:
    """A class in the map: its neurons in each layer, and how many of them have pages."""
    rw_class = facts.classes[place] if place < len(facts.classes) else None
    code = place if rw_class else UNDEFINED_CODE
    pages = Counter(one.layer for one in facts.pages if layers[one.layer].codes[0, one.neuron] == code)
    return {
        "code": code,
        "name": name,
        "rule": class_rule(rw_class) if rw_class else "a vector of the neuron is zero or not finite",
        "colour": colour_of(rw_class),
        "atypical": name.startswith("atypical"),
        "total": int(counts[:, place].sum()),
        "cells": [
            {
                "count": int(count),
                "short": _short(int(count)),
                "percent": f"{100 * count / len(layer):.3g}",
                # Areas are seen better than lengths: a class of 1 % must not look like one that is missing.
                "shade": round(100 * float(np.sqrt(count / len(layer)))),
                "pages": pages[layer.layer],
            }
            for layer, count in zip(layers, counts[:, place], strict=True)
        ],
    }


def _short(count: int) -> str:
    """A count in at most four characters, below a million."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 9950 else f"{round(count / 1000)}k"


def _data(
    facts: SiteFacts,
    layers: Sequence[IndexLayer],
    names: Sequence[str],
    counts: np.ndarray,
    found: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the script knows."""
    picked = [(layers[one.layer], one.neuron) for one in facts.pages]
    codes = [layer.codes[:, neuron] for layer, neuron in picked]
    values = [layer.values[:, neuron] for layer, neuron in picked]
    return {
        "dMlp": len(layers[0]),
        "columns": found,
        "classes": [
            {
                "name": name,
                "slug": slug_of(name),
                "colour": colour_of(one),
                "atypical": name.startswith("atypical"),
            }
            for name, one in zip(names, [*facts.classes, None], strict=True)
        ],
        "roles": None
        if facts.roles is None
        else [{"name": one, "slug": slug_of(one)} for one in facts.roles],
        "layers": [
            {
                "file": layer_file(layer.layer),
                "digest": layer.digest,
                "counts": row.tolist(),
                "bounds": layer.bounds(),
            }
            for layer, row in zip(layers, counts, strict=True)
        ],
        "pages": [
            {"layer": one.layer, "neuron": one.neuron, "href": one.href}
            | {"promoted": one.promoted, "suppressed": one.suppressed}
            for one in facts.pages
        ],
        "paged": packed(np.stack(codes, axis=1), np.stack(values, axis=1)) if picked else None,
        "command": facts.command,
        "place": PLACE,
        "signs": "".join(SIGNS.values()) + "◌",
    }


@cache
def _script() -> tuple[Markup, str]:
    """The script of the page, and the policy under which it runs: nothing but files beside the page."""
    script = Markup("\n".join(static(f"site_{name}.js") for name in SCRIPTS))
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    return script, (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _check(facts: SiteFacts, layers: Sequence[IndexLayer]) -> None:
    if [one.layer for one in layers] != list(range(len(layers))) or not layers:
        raise ValueError("the layers of a site are all of a model, in order")
    forms = {(one.codes.shape, one.values.shape, tuple(one.cosines)) for one in layers}
    if len(forms) > 1:
        raise ValueError(f"the layers of a site differ: {sorted(forms)}")
    kinds = 1 if facts.roles is None else 2
    if len(layers[0].codes) != kinds or len(layers[0].frequencies) != len(facts.quadrants):
        raise ValueError("roles and quadrants of the layers are not those of the site")
    twice = [name for name, times in Counter(one.name for one in facts.pages).items() if times > 1]
    if twice:
        raise ValueError(f"there are two pages of {twice[0]}")
    if PLACE not in facts.command:
        raise ValueError(f"the command has no {PLACE}: {facts.command}")
