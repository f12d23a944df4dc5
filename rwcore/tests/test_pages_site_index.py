"""The index of a site as text: complete, self-contained, escaped; and the files of its layers."""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch

from rwcore.pages.cards import swatch
from rwcore.pages.site_data import LARGEST, IndexLayer, columns, layer_file, layer_script
from rwcore.pages.site_index import SiteFacts, colour_of, site_index, tone_of
from rwcore.stats.classes import RW_CLASSES
from rwcore.tests.index_site import (
    NUMBERS,
    PAGES,
    TOKENS,
    WIDTH,
    facts_of,
    layers_of,
    plain_facts,
)
from rwcore.tests.test_pages_explorer import Page


@pytest.fixture(scope="module")
def layers() -> list[IndexLayer]:
    return layers_of()


@pytest.fixture(scope="module")
def text(layers: list[IndexLayer]) -> str:
    return site_index(facts_of(), layers)


def island(text: str) -> dict[str, Any]:
    """What the script of a page is given."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def unpacked(given: dict[str, str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and values as a page reads them."""
    codes = np.frombuffer(b64decode(given["codes"]), "int8").reshape(-1, width)
    return codes, np.frombuffer(b64decode(given["values"]), "<f4").reshape(-1, width)


# --- the files of the layers -------------------------------------------------------------------------------


def test_the_file_of_a_layer_holds_every_number(layers: list[IndexLayer]) -> None:
    for one in layers:
        script = layer_script(one)
        called = re.fullmatch(rf"rwLayer\({one.layer}, (\{{.*\}})\);\n", script)
        assert called
        given = json.loads(called[1])
        codes, values = unpacked(given, WIDTH)
        assert given["digest"] == one.digest
        assert one.roles is not None
        assert np.array_equal(codes, torch.stack([one.classes, one.roles]).numpy())
        expected = [*one.frequencies, *one.cosines.values(), one.norm_out, one.low, one.high]
        assert np.array_equal(values, torch.stack(expected).numpy(), equal_nan=True)
        assert script.isascii()
        assert "<" not in script


def test_columns_are_in_the_order_of_the_numbers(layers: list[IndexLayer]) -> None:
    found = columns(facts_of().quadrants, layers[0])
    assert tuple(one.key for one in found) == NUMBERS
    assert [one.kind for one in found] == ["share"] * 4 + ["cosine"] * 3 + ["number"] * 3
    assert layer_file(7) == "data/layer-007.js"


def test_another_layer_has_another_checksum(layers: list[IndexLayer]) -> None:
    one = layers[0]
    found = {layer.digest for layer in layers}
    assert len(found) == len(layers)
    low = one.low.clone()
    low[0] = torch.nextafter(low[0], torch.tensor(0.0))
    assert replace(one, low=low).digest != one.digest
    assert replace(one, classes=one.classes.roll(1)).digest != one.digest
    assert replace(one).digest == one.digest


def test_half_precision_and_double_become_float32(layers: list[IndexLayer]) -> None:
    one = replace(layers[0], norm_out=layers[0].norm_out.double(), low=layers[0].low.bfloat16())
    values = dict(zip(NUMBERS, one.values, strict=True))
    assert np.array_equal(values["norm_out"], layers[0].norm_out.numpy())
    assert np.array_equal(values["low"], layers[0].low.bfloat16().float().numpy())


def test_bounds_are_the_ends_of_what_is_known(layers: list[IndexLayer]) -> None:
    bounds = dict(zip(NUMBERS, layers[1].bounds(), strict=True))
    known = layers[1].high[8:]
    assert bounds["high"] == [known.min().item(), known.max().item(), 1.0]
    assert bounds["low"][0] == -LARGEST
    assert len(bounds["low"]) == 2
    assert bounds["norm_out"][1:] == [LARGEST, 1.0]
    assert dict(zip(NUMBERS, layers[-1].bounds(), strict=True))["low"] == []


def test_undefined_neurons_are_counted_last(layers: list[IndexLayer]) -> None:
    counts = layers[1].counts(len(RW_CLASSES))
    assert len(counts) == len(RW_CLASSES) + 1
    assert counts[-1] == 1
    assert counts.sum() == WIDTH
    assert counts[4] == (layers[1].classes == 4).sum()


# --- the page ----------------------------------------------------------------------------------------------


def test_the_page_knows_counts_bounds_and_checksums(text: str, layers: list[IndexLayer]) -> None:
    data = island(text)
    assert data["dMlp"] == WIDTH
    for one, given in zip(layers, data["layers"], strict=True):
        assert given["digest"] == one.digest
        assert given["counts"] == one.counts(len(RW_CLASSES)).tolist()
        assert given["bounds"] == one.bounds()
        assert given["file"] == layer_file(one.layer)


def test_the_page_holds_the_numbers_of_neurons_with_pages(text: str, layers: list[IndexLayer]) -> None:
    data = island(text)
    codes, values = unpacked(data["paged"], len(PAGES))
    assert [(one["layer"], one["neuron"]) for one in data["pages"]] == list(PAGES)
    for k, (layer, neuron) in enumerate(PAGES):
        assert np.array_equal(codes[:, k], layers[layer].codes[:, neuron])
        assert np.array_equal(values[:, k], layers[layer].values[:, neuron], equal_nan=True)
    assert data["pages"][0]["promoted"] == list(TOKENS[:2])


def test_markup_nests_ids_are_unique_and_references_lead_somewhere(text: str) -> None:
    page = Page(text)
    assert max(page.ids.values()) == 1
    assert set(page.references) <= set(page.ids)
    assert page.loads == ["data:,"]
    assert {one for one in page.links if one != "#main"} == {f"neurons/{a}.{b}.html" for a, b in PAGES}


def test_what_is_said_is_text_and_not_markup(text: str) -> None:
    assert "demo &lt;&amp;&gt;" in text
    assert "a test &lt;b&gt;" in text
    assert "<script>alert" not in text
    assert text.count("<script") == 2
    assert "&lt;/table&gt;" in text


def test_the_policy_allows_this_script_and_files_beside_the_page(text: str) -> None:
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = b64encode(sha256(script[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert f"script-src &#39;self&#39; &#39;sha256-{digest}&#39;" in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy[1].replace("style-src &#39;unsafe-inline&#39;", "")
    assert not re.search(r"\bfetch\(|XMLHttpRequest|\beval\(|innerHTML", text)


def test_the_map_has_a_cell_for_every_count(text: str, layers: list[IndexLayer]) -> None:
    for one in layers:
        counts = one.counts(len(RW_CLASSES))
        for code, rw_class in enumerate(RW_CLASSES):
            words = f'aria-label="layer {one.layer}, {rw_class.name}: {counts[code]} neuron'
            assert (words in text) == (counts[code] > 0)
    assert 'aria-label="layer 1, undefined: 1 neuron, 2.7 % of the layer"' in text
    in_cell = [
        k
        for k, (layer, neuron) in enumerate(PAGES)
        if layer == 2 and layers[2].classes[neuron] == layers[2].classes[0]
    ]
    name = RW_CLASSES[int(layers[2].classes[0])].name
    assert re.search(rf'layer 2, {name}: [^"]*, {len(in_cell)} with a page"', text)
    assert text.count('class="paged"') == len({(a, int(layers[a].classes[b])) for a, b in PAGES})


def test_without_script_there_is_a_list_of_the_pages(text: str) -> None:
    found = re.search(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
    assert found
    for layer, neuron in PAGES:
        assert f'<a href="neurons/{layer}.{neuron}.html">{layer}.{neuron}</a>' in found[1]
    assert found[1].count("<li>") == len(PAGES)
    assert "<i>␣</i>the" in found[1]


def test_undefined_is_shown_only_where_there_are_such_neurons(layers: list[IndexLayer]) -> None:
    defined = [replace(one, classes=one.classes.clamp(min=0)) for one in layers]
    assert 'data-name="undefined"' not in site_index(facts_of(), defined)
    assert 'data-name="undefined"' in site_index(facts_of(), layers)


def test_colours_are_those_of_the_cards() -> None:
    class Card:
        def __init__(self, rw_class: Any) -> None:
            self.rw_class = rw_class

    for rw_class in (*RW_CLASSES, None):
        card: Any = Card(rw_class)
        assert colour_of(rw_class) == swatch(card)


def test_a_quadrant_is_painted_by_the_sign_of_post_there() -> None:
    found = {
        name: tone_of(name) for name in ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-", "in+", "in-")
    }
    assert found == {
        "gate+_in+": "positive",
        "gate+_in-": "negative",
        "gate-_in+": "negative closed",
        "gate-_in-": "positive closed",
        "in+": "positive",
        "in-": "negative closed",
    }


def test_a_model_without_gates_or_roles_or_pages() -> None:
    plain = layers_of(plain=True)
    text = site_index(plain_facts(), plain)
    data = island(text)
    assert [one["key"] for one in data["columns"]] == ["in+", "in-", "linout", "norm_out", "low", "high"]
    assert [one["label"] for one in data["columns"]][:3] == ["in+", "in−", "in, out"]
    assert "gate" not in re.sub(r"<(style|script).*?</\1>|--gate", "", text, flags=re.DOTALL).replace(
        "navigate", ""
    )
    bare = [replace(one, roles=None) for one in layers_of()]
    text = site_index(facts_of((), roles=None), bare)
    assert island(text)["roles"] is None
    assert island(text)["paged"] is None
    assert 'name="role"' not in text
    Page(text)


def test_the_index_is_small_however_many_neurons_there_are() -> None:
    wide = layers_of(3, 4000)
    narrow = layers_of(3, 100)
    assert abs(len(site_index(facts_of(()), wide)) - len(site_index(facts_of(()), narrow))) < 2000


@pytest.mark.parametrize(
    ("facts", "change", "message"),
    [
        (facts_of(), lambda layers: layers[1:], "in order"),
        (facts_of(()), lambda layers: [], "in order"),
        (facts_of(), lambda layers: [*layers[:-1], replace(layers[-1], roles=None)], "differ"),
        (facts_of(roles=None), lambda layers: layers, "roles and quadrants"),
        (facts_of(quadrants=("in+", "in-")), lambda layers: layers, "roles and quadrants"),
        (facts_of(command="rwcore pages"), lambda layers: layers, "no {neuron}"),
        (facts_of(((0, 3), (0, 3))), lambda layers: layers, "two pages of 0.3"),
    ],
)
def test_facts_and_layers_must_fit(
    facts: SiteFacts, change: Any, message: str, layers: list[IndexLayer]
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        site_index(facts, change(layers))


def test_infinite_numbers_leave_valid_json(text: str) -> None:
    assert "Infinity" not in json.dumps(island(text))
    assert "NaN" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert math.isfinite(min(end for one in island(text)["layers"] for two in one["bounds"] for end in two))
