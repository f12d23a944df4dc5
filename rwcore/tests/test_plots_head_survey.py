"""Figures of a survey of heads: each bar and curve where it belongs."""

import numpy as np
import pandas as pd
import pytest

from rwcore.plots.head_survey import BARS, calibration_figure, cumulative_figure, mlp_effects_figure


def lines(axes):
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def mlps(*, low=0.1, high=0.2):
    table = pd.DataFrame({"layer": [0, 3], "loss_increase": [0.5, -0.1], "dla_predicted": [2.0, 1.0]})
    for name in BARS:
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - low, table[name] + high
    return table


def test_a_bar_for_every_mlp_with_its_interval():
    figure = mlp_effects_figure(mlps(), title="a_model")
    for axes, (name, label) in zip(figure.axes, BARS.items(), strict=True):
        assert axes.get_ylabel() == label
        bars = {bar.get_gid(): bar.get_height() for bar in axes.patches}
        assert bars == {f"mlp:{layer}": value for layer, value in zip([0, 3], mlps()[name], strict=True)}
        (whiskers,) = axes.containers[1].lines[2]
        ends = [segment[:, 1].tolist() for segment in whiskers.get_segments()]
        assert ends == [pytest.approx([value - 0.1, value + 0.2]) for value in mlps()[name]]


def test_bars_without_intervals():
    figure = mlp_effects_figure(mlps(low=np.nan, high=np.nan))
    assert all(len(axes.containers) == 1 for axes in figure.axes)


def test_a_curve_for_every_head():
    rows = [(10, 7, 0.05, 0.5), (10, 7, 1.0, 1.0), (2, 0, 0.5, 0.6), (2, 0, 1.0, 1.0)]
    curves = pd.DataFrame(rows, columns=["layer", "head", "token_share", "effect_share"])
    drawn = lines(cumulative_figure(curves).axes[0])
    assert drawn.keys() == {"head:10.7", "head:2.0"}
    np.testing.assert_array_equal(drawn["head:10.7"].get_xydata(), [[0.05, 0.5], [1.0, 1.0]])
    assert drawn["head:10.7"].get_color() != drawn["head:2.0"].get_color()


def test_hundredths_are_put_together_by_tens():
    rows = [
        ("", 0.005, 30, 0),
        ("", 0.095, 10, 4),  # the same tenth: 40 predictions of .0275 on average, 4 of them right
        ("", 0.955, 20, 18),
        ("", 0.505, 0, 0),  # of no prediction there is no dot
        ("10.7", 0.955, 10, 5),
    ]
    table = pd.DataFrame(rows, columns=["without", "probability", "predictions", "correct"])
    drawn = lines(calibration_figure(table).axes[0])
    assert drawn.keys() == {"clean", "without:10.7"}
    np.testing.assert_allclose(drawn["clean"].get_xydata(), [[0.0275, 0.1], [0.955, 0.9]])
    np.testing.assert_allclose(drawn["without:10.7"].get_xydata(), [[0.955, 0.5]])
