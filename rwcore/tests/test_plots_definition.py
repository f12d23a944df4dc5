"""The pictures of the definition are the rule, and their empty parts are empty for a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Polygon, Rectangle
from matplotlib.path import Path as Outline

from rwcore.plots.counts import palette
from rwcore.plots.definition import (
    MARKERS,
    Slice,
    class_map_figure,
    definition_figure,
    ink_on,
    possible,
    slices,
)
from rwcore.stats.classes import RW_CLASSES, class_codes
from rwcore.stats.cosines import RWCosines
from rwcore.stats.prototypes import DEFINITION

NAMES = {one.name for one in RW_CLASSES}


def triples(seed: int, dimensions: int, count: int = 4000) -> np.ndarray:
    """[triple, 3] of cosines (gatelin, gateout, linout) of random vectors, many of them near each other."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(3, count, dimensions)) + 1.5 * random.normal(size=(1, count, dimensions))
    vectors *= random.choice([-1, 1], size=(3, count, 1))
    gate, in_, out = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.stack([(a * b).sum(axis=1) for a, b in ((gate, in_), (gate, out), (in_, out))], axis=1)


def within(part: Slice, gatelin: np.ndarray) -> np.ndarray:
    """Which cosines belong to a slice; the borders count as small."""
    return {"below": gatelin < -0.5, "small": abs(gatelin) <= 0.5, "above": gatelin > 0.5}[part.name]


@pytest.mark.parametrize("dimensions", [2, 3, 6])
def test_cells_have_the_class_of_every_neuron_in_them(dimensions: int) -> None:
    cosines = triples(dimensions, dimensions)
    codes = class_codes(RWCosines(*(torch.tensor(cosines[None, :, k]).float() for k in range(3))))[0].numpy()
    checked = 0
    for part in slices():
        here = within(part, cosines[:, 0])
        for cell in part.cells:
            inside = here & (cell.left < cosines[:, 1]) & (cosines[:, 1] < cell.right)
            inside &= (cell.bottom < cosines[:, 2]) & (cosines[:, 2] < cell.top)
            assert {RW_CLASSES[code].name for code in codes[inside]} <= {cell.name}
            if cell.middle is None:
                assert not inside.any()
            checked += int(inside.sum())
    assert checked == len(cosines)


@pytest.mark.parametrize("dimensions", [2, 3, 6])
def test_no_vectors_lie_in_the_empty_parts(dimensions: int) -> None:
    cosines = triples(10 + dimensions, dimensions)
    for part in slices():
        points = cosines[within(part, cosines[:, 0]), 1:]
        assert len(points) > 100
        for polygon in part.impossible:
            corner = polygon[-1]
            inner = corner + 0.995 * (polygon - corner)  # the curve is made of straight pieces
            assert not Outline(inner).contains_points(points).any()


def test_empty_parts_and_what_is_possible_make_up_the_plane() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, size=(4000, 2))
    for part in slices():
        reachable = possible(part.low, part.high, points[:, 0], points[:, 1])
        empty = np.zeros(len(points), dtype=bool)
        for polygon in part.impossible:
            empty |= Outline(polygon).contains_points(points)
        assert (empty != reachable).mean() > 0.998


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_possible_means_a_gram_matrix_without_negative_eigenvalues(a: float, b: float, c: float) -> None:
    smallest = np.linalg.eigvalsh(np.array([[1, a, b], [a, 1, c], [b, c, 1]]))[0]
    if abs(smallest) < 1e-6:
        return
    assert bool(possible(a, a, np.array(b), np.array(c))) == (smallest > 0)


def test_all_eleven_classes_are_on_the_map_and_wrong_signs_are_not() -> None:
    parts = {part.name: part for part in slices()}
    shown = {cell.name for part in parts.values() for cell in part.cells if cell.middle}
    assert shown == NAMES
    # Three large cosines with a negative product: no such vectors.
    empty = {
        (name, cell.left, cell.bottom) for name, p in parts.items() for cell in p.cells if not cell.middle
    }
    assert empty == {("below", 0.5, 0.5), ("below", -1, -1), ("above", -1, 0.5), ("above", 0.5, -1)}
    for part in parts.values():
        assert sum((c.right - c.left) * (c.top - c.bottom) for c in part.cells) == pytest.approx(4)
        for cell in part.cells:
            if cell.middle:
                assert cell.left < cell.middle[0] < cell.right
                assert cell.bottom < cell.middle[1] < cell.top


def test_definition_figure_shows_the_published_points() -> None:
    figure = definition_figure()
    axes = figure.axes[0]
    drawn = [one for one in axes.collections if isinstance(one, PathCollection)]
    found = [
        (*map(float, np.asarray(one.get_offsets())[0]), float(np.asarray(one.get_array())[0]))
        for one in drawn
    ]
    assert found == [(one.gateout, one.linout, one.gatelin) for one in DEFINITION]
    assert {one.get_cmap().name for one in drawn} == {"viridis"}
    assert {one.get_clim() for one in drawn} == {(-1, 1)}
    assert axes.get_xlim() == axes.get_ylim() == (-1, 1)
    texts: list[Any] = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts] == list(MARKERS)
    borders = {round(float(np.asarray(line.get_xdata())[0]), 3) for line in axes.lines}
    assert {-0.5, 0.5} <= borders


@pytest.mark.parametrize("name", ["paper", "accessible"])
def test_class_map_figure_has_the_colours_of_the_classes(name: Any) -> None:
    figure = class_map_figure(palette_name=name)
    colours = palette(name).colours
    assert len(figure.axes) == 3
    for axes, part in zip(figure.axes, slices(), strict=True):
        boxes = [one for one in axes.patches if isinstance(one, Rectangle)]
        assert [one.get_label() for one in boxes] == [cell.name for cell in part.cells]
        for box, cell in zip(boxes, part.cells, strict=True):
            assert box.get_facecolor() == to_rgba(colours[cell.name])
            assert (box.get_x(), box.get_y()) == (cell.left, cell.bottom)
        assert sum(isinstance(one, Polygon) for one in axes.patches) == len(part.impossible)
        written = [text.get_text().replace("\n", " ") for text in axes.texts]
        assert written == [cell.name for cell in part.cells if cell.middle]


def test_ink_is_read_on_its_colour() -> None:
    assert ink_on((1, 1, 0, 1)) == ink_on((0, 0, 0, 0.2)) == "#111114"
    assert ink_on((0, 0, 0, 1)) == ink_on((0, 0, 1, 1)) == "#ffffff"
