"""The prototypes are what they are called, and the published ones are as published."""

from __future__ import annotations

import math

import pytest

from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.prototypes import DEFINITION, PRESETS, PUBLISHED, class_of, prototype_classes

NAMES = [one.name for one in RW_CLASSES]
SIX = {
    "strengthening",
    "conditional strengthening",
    "weakening",
    "conditional weakening",
    "proportional change",
    "orthogonal output",
}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_class_has_a_prototype_of_that_class(dimensions: int) -> None:
    presets = PRESETS[dimensions]
    assert list(presets) == NAMES
    for name, one in presets.items():
        assert one.name == name
        assert {len(one.w_gate), len(one.w_in), len(one.w_out)} == {dimensions}
        assert class_of(one.w_gate, one.w_in, one.w_out) == name


def test_prototypes_in_space_are_not_in_a_plane() -> None:
    for one in PRESETS[3].values():
        (a, b, c), (d, e, f) = one.w_gate, one.w_in
        # out is the first axis, so the volume is the area of the other two in the plane across it
        assert one.w_out == (1, 0, 0)
        assert abs(b * f - c * e) > 0.2, one.name
        assert math.hypot(a, b, c) == pytest.approx(1, abs=0.02)
        assert math.hypot(d, e, f) == pytest.approx(1, abs=0.02)


def test_in_a_plane_vectors_orthogonal_to_out_are_parallel_and_in_space_they_are_not() -> None:
    classes = prototype_classes().set_index(["source", "prototype"])
    assert abs(classes.loc[("vectors", "orthogonal output"), "gatelin"]) > 0.99
    one = PRESETS[3]["orthogonal output"]
    gate = one.w_gate
    assert abs(sum(g * i for g, i in zip(gate, one.w_in, strict=True))) < 0.2


def test_published_vectors_are_as_published() -> None:
    assert {one.name for one in PUBLISHED} == SIX
    assert {one.w_out for one in PUBLISHED} == {(1.0, 0.0)}
    by_name = {one.name: (one.w_in, one.w_gate) for one in PUBLISHED}
    assert by_name["strengthening"] == ((0.98, 0.04), (0.98, -0.04))
    assert by_name["conditional strengthening"] == ((0.98, 0.04), (-0.02, 0.96))
    assert by_name["weakening"] == ((-0.98, 0.0), (-0.98, -0.04))
    assert by_name["conditional weakening"] == ((-0.98, 0.0), (-0.02, 0.96))
    assert by_name["proportional change"] == ((0.02, 1.04), (0.98, -0.04))
    assert by_name["orthogonal output"] == ((0.02, 1.04), (-0.02, 0.96))
    for one in PUBLISHED:
        assert PRESETS[2][one.name] == one


@pytest.mark.parametrize("fold_sign", [True, False])
def test_published_prototypes_fall_into_their_classes(fold_sign: bool) -> None:
    found = prototype_classes(fold_sign=fold_sign)
    assert (found["class"] == found["prototype"]).all()
    assert found["source"].value_counts().to_dict() == {"cosines": 9, "vectors": 6}
    for _, rows in found.groupby("source"):
        assert set(rows["prototype"]) == SIX
    if fold_sign:
        assert (found["gatelin"] >= 0).all()
    else:
        assert (found["gatelin"] < 0).any()


def test_definition_points_are_cosines_that_three_vectors_can_have() -> None:
    for one in DEFINITION:
        a, b, c = one.gatelin, one.gateout, one.linout
        assert 1 + 2 * a * b * c - a**2 - b**2 - c**2 >= -1e-12


def test_class_of_other_neurons() -> None:
    # A prototype with one vector turned is not in its class any more: the checks above can fail.
    assert class_of((0.98, -0.04), (0.98, 0.04), (-1.0, 0.0)) == "weakening"
    assert class_of((0.0, 1.0), (0.98, 0.04), (1.0, 0.0)) == "conditional strengthening"
    assert (
        class_of((0.5, math.sqrt(0.75)), (1.0, 0.0), (1.0, 0.0)) == "conditional strengthening"
    )  # 0.5: small
    assert class_of((0.0, 0.0), (1.0, 0.0), (1.0, 0.0)) == "undefined"
    assert class_of((1.0, 0.0), (math.nan, 0.0), (1.0, 0.0)) == "undefined"
