"""Boxes of bias times norm show the quantiles of their table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.plots.products import products_figure
from rwcore.probing.weight_statistics import NeuronWeights

BIAS = torch.randn(4, 200, generator=torch.Generator().manual_seed(0)) - 1
ONE = torch.ones_like(BIAS)


def table() -> pd.DataFrame:
    return NeuronWeights((0, 1, 2, 3), 4, 2 * ONE, BIAS, ONE, ONE).by_layer()


def test_boxes_whiskers_and_medians_are_quantiles() -> None:
    figure = products_figure(table(), title="org/name")
    above, below = figure.axes
    assert above.get_title() == "org/name"
    for layer in range(4):
        low, q1, median, q3, high = np.quantile(2 * BIAS[layer].double(), [0.005, 0.25, 0.5, 0.75, 0.995])
        (box,) = [patch for patch in above.patches if patch.get_gid() == f"box:{layer}"]
        extents = box.get_path().get_extents()
        assert (extents.y0, extents.y1) == pytest.approx((q1, q3), rel=1e-6)
        assert (extents.x0 + extents.x1) / 2 == pytest.approx(layer)
        lines = [line for line in above.lines if line.get_gid() == f"whisker:{layer}"]
        ends = sorted(value for line in lines for value in line.get_ydata())
        assert (ends[0], ends[-1]) == pytest.approx((low, high), rel=1e-6)
        (line,) = [line for line in above.lines if line.get_gid() == f"median:{layer}"]
        assert line.get_ydata() == pytest.approx([median, median], rel=1e-6)
    (curve,) = [line for line in below.lines if line.get_gid() == "normalised"]
    assert curve.get_ydata().tolist() == table()["relative"].tolist()
    assert below.get_ylim()[0] < -1


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_products_without_a_direction_can_be_drawn(value: float) -> None:
    frame = NeuronWeights((0, 1), 2, ONE[:2], value * ONE[:2], ONE[:2], ONE[:2]).by_layer()
    assert len(products_figure(frame).axes) == 2
