"""The dot plot of mean differences: dots, intervals, lines, shapes, what is missing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rwcore.ablation.compare import RunLabel
from rwcore.plots.ablation_means import ablation_means_figure, mean_rows, threshold_of
from rwcore.plots.ablation_names import run_text
from rwcore.tests.ablation_differences import DOMINANT, MEAN, OWN, STRENGTHENING, WEAKENING, table


def drawn_means(axes: Any) -> dict[str, Any]:
    return {str(line.get_gid()): line for line in axes.lines if ":" in str(line.get_gid())}


def test_lines_are_sets_and_conditions_with_modes_below_each_other() -> None:
    rows = mean_rows(table())
    assert [row.label for row in rows] == [WEAKENING, MEAN, DOMINANT, STRENGTHENING, OWN]
    assert [row.group for row in rows] == [0, 0, 1, 2, 3]
    places = [row.place for row in rows]
    assert places[1] - places[0] == 1
    assert all(later - row > 1 for row, later in itertools.pairwise(places[1:]))
    assert mean_rows(table().iloc[:0]) == []


def test_dots_are_the_means_and_bars_the_intervals() -> None:
    frame = table()
    figure = ablation_means_figure(frame)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "entropy", "rank", "log scale"]
    for axes, metric in zip(figure.axes, ("loss", "entropy", "rank", "log_scale"), strict=True):
        found = drawn_means(axes)
        rows: list[Any] = list(frame[frame["metric"] == metric].itertuples())
        for row in rows:
            label = RunLabel(row.set, row.mode, False, row.gate, row.post)
            name = f"{'baseline' if row.baseline else 'true'}:{run_text(label)}, {row.mode}"
            dot, bar = found[name], found[f"interval:{name}"]
            assert dot.get_xdata()[0] == pytest.approx(row.mean)
            assert list(bar.get_xdata()) == pytest.approx([row.low, row.high])
            (place,) = [one.place for one in mean_rows(frame) if one.label == label]
            assert set(dot.get_ydata()) == set(bar.get_ydata()) == {place}
            assert (to_rgb(dot.get_markerfacecolor()) == (1, 1, 1)) == row.baseline
            low, high = axes.get_xlim()
            assert low < row.low <= row.high < high
        gaps = [name for name in found if name.startswith("gap:")]
        assert gaps == ["gap:weakening, zero"]
        ends = frame[(frame["metric"] == metric) & (frame["set"] == "weakening") & (frame["mode"] == "zero")]
        expected = ends[ends["gate"] == ""]["mean"].tolist()
        assert list(found[gaps[0]].get_xdata()) == pytest.approx(expected)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["weakening", "weakening gate− post+", "strengthening", "my neurons"]


def test_modes_have_shapes_and_the_legend_names_them() -> None:
    figure = ablation_means_figure(table())
    found = drawn_means(figure.axes[0])
    shapes = [found[f"true:weakening, {mode}"].get_marker() for mode in ("zero", "mean")]
    assert shapes == ["o", "s"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "set to zero",
        "set to mean",
        "fixed",
        "random neurons of the same layers (hollow)",
        "95 % interval over documents",
    ]
    bare = table().assign(low=math.nan, high=math.nan)
    bare = bare[~bare["baseline"]]
    texts = [text.get_text() for text in ablation_means_figure(bare).legends[0].get_texts()]
    assert texts == ["set to zero", "set to mean", "fixed"]


def test_conditions_that_a_file_has_as_nan_are_none() -> None:
    frame = table()
    read = frame.assign(gate=frame["gate"].replace("", math.nan), post=frame["post"].replace("", math.nan))
    one, other = (
        {
            name: list(line.get_xdata())
            for name, line in drawn_means(ablation_means_figure(given).axes[0]).items()
        }
        for given in (frame, read)
    )
    assert one == other


@pytest.mark.filterwarnings("error")
def test_runs_without_predictions_have_no_dots() -> None:
    frame = table()
    frame.loc[frame["set"] == "strengthening", ["mean", "low", "high"]] = math.nan
    frame.loc[frame["set"] == "my neurons", ["low", "high"]] = math.nan
    figure = ablation_means_figure(frame, metrics=["loss"])
    found = drawn_means(figure.axes[0])
    assert "true:strengthening, zero" not in found
    assert "true:my neurons, fixed" in found
    assert "interval:true:my neurons, fixed" not in found
    assert "strengthening" in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    figure.draw_without_rendering()
    nothing = frame.assign(mean=math.nan, low=math.nan, high=math.nan)
    ablation_means_figure(nothing).draw_without_rendering()
    ablation_means_figure(frame.iloc[:0]).draw_without_rendering()


def test_the_linear_middle_is_three_powers_below_the_largest_mean() -> None:
    assert threshold_of(np.array([[-5.2, math.nan], [0.001, 0.02]])) == pytest.approx(1e-3)
    assert threshold_of(np.array([[-9100.0]])) == pytest.approx(1.0)
    assert threshold_of(np.array([[0.0]])) == 1e-3
