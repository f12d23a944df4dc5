"""Figures of self-repair show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rwcore.plots.head_repair import (
    neuron_scatter_figure,
    neuron_shares_figure,
    repair_depth_figure,
    repair_heads_figure,
)

HEADS = pd.DataFrame(
    {
        "layer": [0, 0, 4],
        "head": [0, 1, 2],
        "relative_depth": [0.0, 0.0, 1.0],
        "direct": [1.0, 3.0, -2.0],
        "logit_change": [-0.5, -3.5, 1.0],
        "repair": [0.5, -0.5, -1.0],
        "repair_norm": [0.25, 0.0, 0.0],
        "repair_mlp": [0.25, -0.5, 0.0],
        "repair_heads": [0.0, 0.0, -1.0],
        "repair_post_norm": [0.0, 0.0, 0.0],
    }
)


def drawn(figure: Figure, gid: str) -> list:  # type: ignore[type-arg]
    return [one for one in figure.findobj() if one.get_gid() == gid]


def test_heads() -> None:
    figure = repair_heads_figure(HEADS, title="tiny")
    (dots,) = drawn(figure, "heads")
    np.testing.assert_allclose(dots.get_offsets(), HEADS[["direct", "logit_change"]])
    (line,) = drawn(figure, "no repair")
    np.testing.assert_allclose(line.get_ydata(), -line.get_xdata())
    assert {text.get_text() for text in figure.axes[0].texts} == {"0.0", "0.1", "4.2"}


def test_depth() -> None:
    figure = repair_depth_figure(HEADS, palette_name="accessible")
    (line,) = drawn(figure, "repair_mlp")
    assert line.get_xydata().tolist() == [[0, -0.125], [1, 0]]
    assert not drawn(figure, "repair_post_norm")
    with_norm = repair_depth_figure(HEADS.assign(repair_post_norm=1.0))
    assert drawn(with_norm, "repair_post_norm")


def test_shares() -> None:
    figure = neuron_shares_figure(np.array([0.11, 0.12, 0.9, np.nan]), uniform=0.01)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == 1  # of the tokens that have a share
    assert heights[4] == 2 / 3
    assert drawn(figure, "uniform")[0].get_xdata() == [0.01, 0.01]


def test_scatter() -> None:
    figure = neuron_scatter_figure(np.array([-2.0, -1.0, 1.0]), np.array([-1.0, 0.0, 3.0]))
    assert drawn(figure, "anti-erasure")[0].get_xydata().tolist() == [[-2, -1], [-1, 0]]
    assert drawn(figure, "boost")[0].get_xydata().tolist() == [[1, 3]]
    assert "67%" in figure.axes[0].get_legend().get_texts()[0].get_text()
