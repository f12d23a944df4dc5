"""Pictures of a neuron's cosines: everything where it belongs, and described for who cannot see it."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.pages.card_pictures import APART, Cosine, _spread, cosine_strips, planar, planar_picture
from rwcore.stats.cosines import COSINES

NAN = float("nan")
BINS = tuple(range(50))
GATED = (
    Cosine("gatelin", 0.61, (0.0, 0.08), (0.0, 0.1), 0.99, BINS),
    Cosine("gateout", -0.62, (-0.08, 0.08), (-0.09, 0.07), 0.01, BINS),
    Cosine("linout", -0.63, (-0.08, 0.08), (-0.07, 0.06), 0.02, BINS),
)
UNDEFINED = tuple(dataclasses.replace(one, value=NAN, below=NAN) for one in GATED)
VANILLA = (Cosine("linout", 0.8, (-0.1, 0.1), None, 0.9, (1, 0, 3)),)


def test_verdicts_compare_with_the_wider_region() -> None:
    def verdict(value: float, mismatched: tuple[float, float] | None) -> str:
        return Cosine("linout", value, (-0.08, 0.08), mismatched, 0.5, ()).verdict

    assert verdict(0.05, None) == "within chance"
    assert verdict(0.1, None) == "beyond chance"
    assert verdict(0.1, (-0.02, 0.2)) == "within chance"
    assert verdict(-0.1, (-0.02, 0.2)) == "beyond chance"
    assert verdict(0.6, (-0.02, 0.2)) == "large"
    assert verdict(0.6, (-0.02, 0.7)) == "within chance"
    assert verdict(0.5, None) == "beyond chance"  # the threshold itself is not large
    assert verdict(NAN, None) == "undefined"


def test_strips_put_needles_and_regions_where_they_belong() -> None:
    text = str(cosine_strips(GATED))
    needles = [float(x) for x in re.findall(r'class="head" cx="([\d.]+)"', text)]
    middle, unit = 104 + 200, 200
    assert needles == pytest.approx([middle + unit * value for value in (0.61, -0.62, -0.63)], abs=0.06)
    bounds = [float(x) for x in re.findall(r'class="bound" d="M([\d.]+) ', text)]
    assert bounds == [middle - 100, middle + 100] * 3
    regions = re.findall(r'class="chance (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', text)
    assert [name for name, _, _ in regions] == ["mismatched", "beta"] * 3
    _, x, width = regions[2]
    assert (float(x), float(width)) == pytest.approx((middle - 0.09 * unit, 0.16 * unit), abs=0.06)
    assert text.count('class="bar"') == 3 * 49  # 50 bins, the first one empty


def test_heights_of_bars_are_square_roots() -> None:
    one = dataclasses.replace(GATED[0], layer=(0, 4, 0, 16))
    heights = re.findall(r'class="bar"[^>]* height="([\d.]+)"', str(cosine_strips([one])))
    assert [float(height) for height in heights] == [16.0, 32.0]


def triple(gatelin: float, gateout: float, linout: float) -> tuple[Cosine, ...]:
    values = {"gatelin": gatelin, "gateout": gateout, "linout": linout}
    return tuple(Cosine(name, value, (-0.1, 0.1), None, 0.5, ()) for name, value in values.items())


@given(st.lists(st.floats(0, 2 * math.pi), min_size=3, max_size=3))
def test_vectors_of_a_plane_are_drawn_as_they_are(angles: list[float]) -> None:
    cosines = {
        "gatelin": math.cos(angles[0] - angles[1]),
        "gateout": math.cos(angles[0] - angles[2]),
        "linout": math.cos(angles[1] - angles[2]),
    }
    found = planar(triple(**cosines))
    arrows = {name: np.array(point) for name, point in found.items()}
    for name, (a, b) in COSINES.items():
        assert arrows[a] @ arrows[b] == pytest.approx(cosines[name], abs=1e-6)
    assert np.linalg.norm(list(arrows.values()), axis=1) == pytest.approx(1, abs=1e-6)
    assert arrows["in"] == pytest.approx((1, 0), abs=1e-6)
    assert arrows["gate"][1] >= -1e-9


def test_vectors_in_space_are_shortened_and_never_too_long() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        vectors = rng.standard_normal((3, 5))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        gram = vectors @ vectors.T
        found = planar(triple(gram[0, 1], gram[0, 2], gram[1, 2]))
        points = np.array([found[name] for name in ("gate", "in", "out")])
        assert (np.linalg.norm(points, axis=1) <= 1 + 1e-6).all()
        # What the plane leaves out is the smallest eigenvalue, and nothing more.
        assert (points**2).sum() == pytest.approx(3 - np.linalg.eigvalsh(gram)[0], abs=1e-6)


def test_two_vectors_and_no_vectors() -> None:
    found = planar(VANILLA)
    assert found["in"] == pytest.approx((1, 0))
    assert found["out"] == pytest.approx((0.8, 0.6))
    assert planar(UNDEFINED) == {}
    assert "undefined" in planar_picture(UNDEFINED)


@given(st.lists(st.floats(-math.pi, math.pi), min_size=2, max_size=3))
def test_labels_do_not_overlap(angles: list[float]) -> None:
    moved = list(_spread(dict(zip(("gate", "in", "out"), angles, strict=False))).values())
    for number, a in enumerate(moved):
        for b in moved[:number]:
            assert abs((a - b + math.pi) % (2 * math.pi) - math.pi) > APART * 0.9


def test_pictures_are_described_for_who_cannot_see_them() -> None:
    assert 'role="img" aria-label="Cosines: cos(gate, in) +0.6100; cos(gate, out) −0.6200' in cosine_strips(
        GATED
    )
    assert 'aria-label="Directions in a plane: gate at ' in planar_picture(GATED)
