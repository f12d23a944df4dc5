"""Letter-value plots: every box is the pair of quantiles it stands for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import Collection
from matplotlib.figure import Figure

from rwcore.plots.boxes import boxes_figure
from rwcore.stats.cosines import RWCosines
from rwcore.stats.medians import letter_values, quartiles

VALUES = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (3, 3, 64)).astype(np.float32))
COSINES = RWCosines(VALUES[0], VALUES[1], VALUES[2])  # gatelin not folded: its panel shows absolute values


def figure_of(cosines: RWCosines) -> Figure:
    return boxes_figure(letter_values(cosines), quartiles(cosines), title="org/name")


def collection(figure: Figure, panel: int, gid: str) -> Collection:
    (found,) = [one for one in figure.axes[panel].collections if one.get_gid() == gid]
    return found


@pytest.mark.parametrize(("panel", "name"), [*enumerate(["gatelin", "gateout", "linout"])])
def test_boxes_are_quantiles(panel: int, name: str) -> None:
    figure = figure_of(COSINES)
    values = COSINES.present()[name].double().numpy()
    values = np.abs(values) if name == "gatelin" else values
    widths = []
    for level in (2, 3, 4):  # 64 neurons: letter values down to sixteenths
        boxes = collection(figure, panel, f"level:{level}").get_paths()
        assert len(boxes) == 3
        for layer, box in enumerate(boxes):
            low, high = np.quantile(values[layer], [2.0**-level, 1 - 2.0**-level])
            extents = box.get_extents()
            assert (extents.y0, extents.y1) == pytest.approx((low, high))
            assert (extents.x0 + extents.x1) / 2 == pytest.approx(layer)
        widths.append(extents.width)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0
    assert widths[0] < 1  # neighbours do not touch
    levels = [one.get_gid() for one in figure.axes[panel].collections]
    assert "level:5" not in levels


def test_medians_and_ranges_are_lines() -> None:
    figure = figure_of(COSINES)
    linout = COSINES.linout.double().numpy()
    for layer in range(3):
        median = collection(figure, 2, "median").get_paths()[layer].vertices
        assert median[:, 1] == pytest.approx(np.median(linout[layer]))
        span = collection(figure, 2, "range").get_paths()[layer].vertices
        assert sorted(span[:, 1]) == pytest.approx([linout[layer].min(), linout[layer].max()])


def test_outer_boxes_are_paler() -> None:
    figure = figure_of(COSINES)
    colours = [collection(figure, 0, f"level:{level}").get_facecolor()[0, :3] for level in (2, 3, 4)]
    assert [float(np.sum(colour)) for colour in colours] == sorted(float(np.sum(c)) for c in colours)


def test_panels_and_their_axes() -> None:
    figure = figure_of(COSINES)
    assert [axes.get_ylim() for axes in figure.axes] == [(0, 1), (-1, 1), (-1, 1)]
    assert figure.axes[0].get_ylabel().startswith("|cos(")
    assert figure.axes[0].get_title() == "org/name"
    assert len(figure_of(RWCosines(None, None, VALUES[2])).axes) == 1


def test_a_layer_without_a_defined_neuron_is_a_gap() -> None:
    linout = VALUES[2].clone()
    linout[1] = torch.nan
    figure = figure_of(RWCosines(None, None, linout))
    boxes = collection(figure, 0, "level:2").get_paths()
    assert [round(box.get_extents().x0) for box in boxes] == [0, 2]
    assert figure.axes[0].get_xlim()[1] > 2


def test_the_order_of_rows_does_not_matter() -> None:
    frames = [frame.sample(frac=1, random_state=3) for frame in (letter_values(COSINES), quartiles(COSINES))]
    shuffled = boxes_figure(*frames)
    first = collection(figure_of(COSINES), 1, "level:2").get_paths()
    second = collection(shuffled, 1, "level:2").get_paths()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.vertices, b.vertices)
    assert isinstance(frames[0], pd.DataFrame)
