"""What the explorer computes in Chromium is what the library computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rwcore.pages.explorer import slug_of
from rwcore.stats.classes import RW_CLASSES, UNDEFINED, class_codes
from rwcore.stats.cosines import RWCosines, weight_statistics
from rwcore.stats.prototypes import PRESETS, class_of
from rwcore.tests.explorer_page import Page, explorer_file, name_of, open_page, start_chromium
from rwcore.weights.layer import MlpLayer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

file = pytest.fixture(scope="module")(explorer_file)
browser = pytest.fixture(scope="module")(start_chromium)
page = pytest.fixture(open_page)

MAKE_NEURON = "const neuron = {gate: n[0], in: n[1], out: n[2]};"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_preset_shows_its_class(page: Page, dimensions: int) -> None:
    page.open(f"gate=1,1{',1' * (dimensions - 2)}&d={dimensions}")
    assert page.run("return document.querySelector('input[name=preset]:checked')") is None
    for name in PRESETS[dimensions]:
        slug = slug_of(name)
        page.run("document.querySelector(`input[value='${arguments[0]}']`).click()", slug)
        page.settle()
        assert page.name == name == page.expected()
        assert page.find(f"#class-{slug}").get_attribute("aria-current") == "true"
        assert page.run("return document.querySelectorAll('[aria-current]').length") == 1
        assert page.link == (f"class={slug}" if dimensions == 2 else f"class={slug}&d=3")
        active = page.run("return [...document.querySelectorAll('.map.active')].map((one) => one.id)")
        assert len(active) == 1
        assert page.run("return document.querySelectorAll('.spot').length") == 1


def test_a_preset_by_mouse(page: Page) -> None:
    page.click("input[value='conditional-weakening']")
    assert page.name == "conditional weakening"
    assert page.text("#meter-linout .value") == "−1.000"
    assert page.text("#meter-linout .words").startswith("large, negative")
    assert "conditional" in page.text("#steps")


def test_the_rule_is_the_librarys_rule_also_on_the_borders(page: Page) -> None:
    random = np.random.default_rng(3)
    half = np.float32(0.5)
    edges = [
        0.5,
        -0.5,
        float(np.nextafter(half, np.float32(1))),
        float(np.nextafter(half, np.float32(0))),
        0.0,
    ]
    edges += [-edges[2], -edges[3], 1.0, -1.0, 0.50000001, math.nan]
    grid = [(a, b, c) for a in edges for b in edges for c in edges]
    triples = [*grid, *random.uniform(-1, 1, size=(4000, 3)).tolist()]
    cosines = RWCosines(*(torch.tensor([[one[k] for one in triples]], dtype=torch.float32) for k in range(3)))
    codes = class_codes(cosines)[0].tolist()
    asked = [[None if math.isnan(value) else value for value in one] for one in triples]
    found = page.run(
        "return arguments[0].map((one) => one.map((v) => v === null ? NaN : v))"
        ".map(([gatelin, gateout, linout]) => rwExplorer.model.codeOf({gatelin, gateout, linout}))",
        asked,
    )
    assert found == codes
    assert set(codes) == set(range(-1, 11))  # every class and none


@pytest.mark.parametrize("dimensions", [2, 3])
def test_cosines_and_classes_of_vectors_are_the_librarys(page: Page, dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    vectors = random.normal(size=(600, 3, dimensions)).round(3)
    vectors[0, 1] = 0
    gate, in_, out = (torch.tensor(vectors[:, k], dtype=torch.float32) for k in range(3))
    statistics = weight_statistics([MlpLayer(0, gate, in_, out)])
    found = page.run(
        f"return arguments[0].map((n) => {{ {MAKE_NEURON} const c = rwExplorer.model.cosinesOf(neuron);"
        " return [c.gatelin, c.gateout, c.linout, rwExplorer.model.classOf(c)]; })",
        vectors.tolist(),
    )
    ours = statistics.cosines
    assert ours.gatelin is not None
    assert ours.gateout is not None
    expected = torch.stack([ours.gatelin[0], ours.gateout[0], ours.linout[0]], dim=1).numpy()
    shown = np.array([[math.nan if v is None else v for v in one[:3]] for one in found])
    np.testing.assert_allclose(shown, expected, atol=3e-7)
    names = [UNDEFINED if code < 0 else RW_CLASSES[code].name for code in class_codes(ours)[0].tolist()]
    assert names[0] == UNDEFINED
    near = (np.abs(np.abs(expected) - 0.5) < 1e-6).any(axis=1)
    assert [one[3] for one, skip in zip(found, near, strict=True) if not skip] == [
        name for name, skip in zip(names, near, strict=True) if not skip
    ]


def test_the_neuron_computes_what_torch_computes(page: Page) -> None:
    random = np.random.default_rng(0)
    acts = {"swish": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu, "relu": torch.relu}
    vectors = random.normal(size=(200, 4, 3)) * random.choice([0.3, 1, 4], size=(200, 1, 1))
    vectors[0, 3] = 0
    for name, act in acts.items():
        for normalise in (True, False):
            found = page.run(
                f"return arguments[0].map((n) => {{ {MAKE_NEURON} const run = rwExplorer.model.forward("
                "{...neuron, x: n[3], act: arguments[1], normalise: arguments[2]});"
                " return [run.gatePre, run.open, run.inPre, run.post, ...run.after]; })",
                vectors.tolist(),
                name,
                normalise,
            )
            gate, in_, out, x = (torch.tensor(vectors[:, k]) for k in range(4))
            length = x.norm(dim=1, keepdim=True)
            read = torch.where(length > 0, x / length, x) if normalise else x
            pre, lin = (gate * read).sum(dim=1), (in_ * read).sum(dim=1)
            post = act(pre) * lin
            expected = torch.cat(
                [torch.stack([pre, act(pre), lin, post], dim=1), x + post[:, None] * out], dim=1
            )
            np.testing.assert_allclose(np.array(found), expected.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_turning_to_the_nearest_border_changes_the_class(page: Page, dimensions: int) -> None:
    random = np.random.default_rng(7 + dimensions)
    vectors = random.normal(size=(150, 3, dimensions)).tolist()
    vectors += [[one.w_gate, one.w_in, one.w_out] for one in PRESETS[dimensions].values()]
    found = page.run(
        f"const m = rwExplorer.model; return arguments[0].map((n) => {{ {MAKE_NEURON}"
        "const near = m.nearestBorder(neuron);"
        "const moved = (share) => {"
        " const v = m.turned(neuron[near.vector], neuron[near.other], share * near.turn);"
        " return ['gate', 'in', 'out'].map((one) => one === near.vector ? v : neuron[one]); };"
        "return [near.turn, near.code, moved(1), moved(0.99)]; })",
        vectors,
    )
    for (turn, code, after, before), one in zip(found, vectors, strict=True):
        now = name_of(one)
        assert 0 < abs(turn) < math.pi
        assert name_of(after) == RW_CLASSES[code].name != now
        # Just before it is the old class, but for turns that are so small that this is beyond the border.
        if abs(turn) > 0.05:
            assert name_of(before) == now


def test_the_ring_has_the_classes_that_turning_a_vector_gives(page: Page) -> None:
    page.open("class=conditional-strengthening&ring=gate")
    one = PRESETS[2]["conditional strengthening"]
    angles = np.linspace(0, 2 * math.pi, 400)
    names = {class_of((math.cos(a), math.sin(a)), one.w_in, one.w_out) for a in angles}
    slugs = set(page.run("return [...document.querySelectorAll('.arc title')].map((t) => t.textContent)"))
    assert slugs == names
    keys = page.run("return [...document.querySelectorAll('#ring-text .key')].map((t) => t.textContent)")
    assert set(keys) == names
    page.click("input[name=chosen][value=x]")
    assert page.run("return document.querySelectorAll('.arc').length") == 0
    assert page.run("return document.querySelectorAll('.shaft.field').length") > 20
