"""Figures of ablations: what is drawn is what was counted, and which side is which can be read."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.signed_log import signed_log_counts
from rwcore.plots.ablation_ecdf import ablation_ecdf_figure, ecdf_points
from rwcore.plots.ablation_histograms import ablation_histograms_figure, bin_shares, part_shares
from rwcore.plots.ablation_means import ablation_means_figure
from rwcore.plots.ablation_names import (
    LOWERED_SIDE,
    RunCounts,
    condition_text,
    curve_colour,
    difference_label,
    pair_runs,
    percent,
    run_text,
    signed_log_ticks,
    tick_text,
)
from rwcore.tests.ablation_differences import (
    BASELINE,
    DOMINANT,
    EMPTY,
    MEAN,
    OWN,
    RANK_RUNS,
    RUNS,
    STRENGTHENING,
    VALUES,
    WEAKENING,
    named,
    overlaps,
    table,
    tick_boxes,
)

# -- what the figures share


def test_runs_are_paired_with_their_own_baselines() -> None:
    panels = pair_runs([RUNS[1], *RUNS[2:], RUNS[0]], "loss")
    assert [panel.label for panel in panels] == [DOMINANT, MEAN, STRENGTHENING, OWN, WEAKENING]
    assert [panel.baseline is not None for panel in panels] == [False, False, False, False, True]
    assert panels[-1].baseline is not None
    assert panels[-1].baseline.mean == pytest.approx(VALUES[BASELINE].mean())
    assert pair_runs([RUNS[1]], "loss") == []
    assert panels[0].true.scale.edges()[0] == pytest.approx(1e-4, rel=0.05)
    assert pair_runs(RANK_RUNS, "rank")[0].true.scale.edges()[0] == 1


def test_names() -> None:
    assert condition_text(DOMINANT) == "gate− post+"
    assert condition_text(RunLabel("x", "zero", post="-")) == "post−"
    assert [run_text(label) for label in (WEAKENING, DOMINANT)] == ["weakening", "weakening gate− post+"]
    assert difference_label("loss") == "loss: clean − ablated (nats)"
    assert difference_label("log_scale") == "log scale of the final norm: clean − ablated"
    assert [percent(share) for share in (0, 0.001, 0.5, 0.999, 1, math.nan)] == [
        "0 %",
        "<1 %",
        "50 %",
        ">99 %",
        "100 %",
        "–",
    ]
    assert [tick_text(tick) for tick in (-1e-4, 0, 0.01, 1000, -1e5)] == [
        "−10⁻⁴",
        "0",
        "0.01",
        "1000",
        "−10⁵",
    ]


def test_every_condition_has_a_colour_of_its_own_and_classes_have_theirs() -> None:
    for palette_name in ("paper", "accessible"):
        labels = [RunLabel("weakening", "zero", gate=g, post=p) for g in "+-" for p in "+-"]
        assert len({to_rgb(curve_colour(label, palette_name)) for label in labels}) == 4
        both = [curve_colour(label, palette_name) for label in (WEAKENING, STRENGTHENING)]
        assert both[0] != both[1]
    assert to_rgb(curve_colour(WEAKENING, "paper")) == (0, 0, 1)
    assert to_rgb(curve_colour(BASELINE, "paper")) == (0, 0, 1)


def test_ticks_are_the_same_powers_on_both_sides_inside_the_axis() -> None:
    assert signed_log_ticks(0.01, -20, 20, 9) == pytest.approx([-10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10])
    assert signed_log_ticks(0.01, -20, 20, 5) == pytest.approx([-10, -0.1, 0, 0.1, 10])
    assert signed_log_ticks(0.01, -20, 0.5, 20) == pytest.approx([-10, -1, -0.1, -0.01, 0, 0.01, 0.1])
    assert signed_log_ticks(1, -0.5, 0.5, 9) == [0.0]


FIGURES: list[Callable[[str], Figure]] = [
    lambda palette: ablation_histograms_figure(RUNS, "loss", title="org/name", palette_name=palette),  # type: ignore[arg-type]
    lambda palette: ablation_ecdf_figure(RUNS, "loss", title="org/name", palette_name=palette),  # type: ignore[arg-type]
    lambda palette: ablation_means_figure(table(), title="org/name", palette_name=palette),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("draw", FIGURES, ids=["histograms", "ecdf", "means"])
@pytest.mark.parametrize("palette_name", ["paper", "accessible"])
def test_the_side_where_the_intact_neurons_lower_the_metric_is_tinted_and_named(
    draw: Callable[[str], Figure], palette_name: str
) -> None:
    """Clean - ablated < 0: a sign error would put the words on the wrong side."""
    figure = draw(palette_name)
    figure.draw_without_rendering()
    for axes in figure.axes:
        (tint,) = named(axes.patches, "lowered")
        low, high = axes.get_xlim()
        assert low < 0 < high
        xs = tint.get_extents().transformed(axes.transData.inverted())
        assert (xs.x0, xs.x1) == pytest.approx((low, 0), abs=1e-9)
        assert to_rgb(tint.get_facecolor()) == to_rgb(LOWERED_SIDE)
    words = [text for axes in figure.axes for text in axes.texts] + figure.texts
    lower = [text for text in words if "intact neurons lower" in text.get_text()]
    titles = [legend.get_title().get_text() for legend in figure.legends]
    if lower:
        raised = [text for text in words if text.get_text() == "raise it →"]
        assert len(lower) == len(raised)
        for one, other in zip(lower, raised, strict=True):
            assert one.get_text().startswith("←")
            assert one.get_window_extent().x1 < other.get_window_extent().x0
    else:
        assert "left of 0 (tinted): the intact neurons lower the metric" in titles[0]


@pytest.mark.parametrize("draw", FIGURES, ids=["histograms", "ecdf", "means"])
def test_no_texts_overlap_and_all_are_on_the_page(draw: Callable[[str], Figure]) -> None:
    figure = draw("paper")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    boxes += [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    boxes += [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
    for axes in figure.axes:
        titles = (axes.title, axes._left_title, axes._right_title)  # type: ignore[attr-defined]
        boxes += [title.get_window_extent() for title in titles if title.get_text()]
    boxes += [legend.get_window_extent() for legend in figure.legends] + tick_boxes(figure)
    assert overlaps(boxes) == []
    for box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1


# -- histograms


def heights(figure: Figure, panel: int, gid: str) -> np.ndarray:
    (patch,) = named(figure.axes[panel].patches, gid)
    return np.nan_to_num(patch.get_data().values)  # type: ignore[no-any-return]


def test_bins_add_up_to_all_predictions() -> None:
    for run in RUNS:
        edges, shares = bin_shares(run.counts)
        assert len(edges) == len(shares) + 1
        assert shares.sum() == pytest.approx(1)
        drawn = VALUES[run.label]
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            inside = (drawn > low) & (drawn <= high) if high < 0 else (drawn >= low) & (drawn < high)
            if low < 0 < high:
                inside = (drawn > low) & (drawn < high)
            assert share == pytest.approx(inside.mean(), abs=1e-12)
    assert not bin_shares(EMPTY.counts)[1].any()


@pytest.mark.parametrize("log_y", [False, True])
def test_bars_outlines_and_lines_are_those_of_the_runs(log_y: bool) -> None:
    figure = ablation_histograms_figure(RUNS, "loss", log_y=log_y)
    panels = pair_runs(RUNS, "loss")
    assert len(figure.axes) == len(panels) == 5
    for number, panel in enumerate(panels):
        axes = figure.axes[number]
        middle = panel.true.scale.bins
        for gid, counts in (("true", panel.true), ("baseline", panel.baseline)):
            if counts is None:
                assert not named(axes.patches, gid)
                assert not named(axes.lines, f"mean:{gid}")
                continue
            expected = bin_shares(counts)[1]
            expected[middle] = 0  # drawn in grey
            np.testing.assert_allclose(heights(figure, number, gid), expected)
            (line,) = named(axes.lines, f"mean:{gid}")
            assert line.get_xdata()[0] == pytest.approx(counts.mean)
        grey = heights(figure, number, "middle")
        top = 1.0 if log_y else 0.8 * axes.get_ylim()[1]
        assert grey[0] == pytest.approx(min(bin_shares(panel.true)[1][middle], top))
        assert axes.get_title("left") == run_text(panel.label)
        assert axes.get_title("right") == f"{panel.label.mode}, n = {panel.true.n:,}"


def test_shares_of_both_sides_stand_over_them() -> None:
    figure = ablation_histograms_figure(RUNS, "loss")
    for axes, panel in zip(figure.axes, pair_runs(RUNS, "loss"), strict=True):
        drawn, edge = VALUES[panel.label], panel.true.scale.edges()[0]
        expected = [np.mean(drawn <= -edge), np.mean(np.abs(drawn) < edge), np.mean(drawn >= edge)]
        assert part_shares(panel.true) == pytest.approx(expected)
        written = [named(axes.texts, f"share:{part}")[0] for part in ("below", "middle", "above")]
        assert [text.get_text() for text in written] == [percent(share) for share in expected]
        places = [text.get_position()[0] for text in written]
        assert places == sorted(places)
        assert [text.get_fontweight() == "bold" for text in written] == [share >= 0.5 for share in expected]


def test_all_panels_have_zero_in_the_middle_and_the_same_axis() -> None:
    figure = ablation_histograms_figure(RUNS, "loss")
    limits = {axes.get_xlim() for axes in figure.axes}
    assert len(limits) == 1
    ((low, high),) = limits
    assert low == -high
    assert high >= max(np.abs(drawn).max() for drawn in VALUES.values())
    logs = ablation_histograms_figure(RUNS, "loss", log_y=True)
    assert len({axes.get_ylim() for axes in logs.axes}) == 1
    for axes, panel in zip(figure.axes, pair_runs(RUNS, "loss"), strict=True):
        highest = np.delete(bin_shares(panel.true)[1], panel.true.scale.bins).max()
        assert highest <= 0.8 * axes.get_ylim()[1] + 1e-12


def test_ranks_say_no_change_and_nats_say_how_little() -> None:
    def legend(runs: list[RunCounts], metric: str) -> list[str]:
        (found,) = ablation_histograms_figure(runs, metric).legends
        return [text.get_text() for text in found.get_texts()]

    assert legend(RANK_RUNS, "rank")[2] == "no change"
    assert legend(RUNS, "loss") == [
        "ablated neurons",
        "their mean",
        "|Δ| < 10⁻⁴",
        "random neurons of the same layers",
        "their mean",
    ]
    assert len(legend([RUNS[0]], "loss")) == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("log_y", [False, True])
def test_no_predictions_and_no_changes_make_figures(log_y: bool) -> None:
    """I10: ablating nothing changes nothing."""
    figure = ablation_histograms_figure([EMPTY], "loss", log_y=log_y)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no predictions"]
    figure.draw_without_rendering()
    same = RunCounts(WEAKENING, signed_log_counts(np.zeros(50)))
    figure = ablation_histograms_figure([same], "loss", log_y=log_y)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0 %", "100 %", "0 %"]
    figure.draw_without_rendering()
    ablation_histograms_figure([], "loss", log_y=log_y).draw_without_rendering()


# -- distribution functions


def test_curves_are_the_distribution_functions() -> None:
    figure = ablation_ecdf_figure(RUNS, "loss", title="org/name")
    assert [axes.get_title() for axes in figure.axes] == ["set to zero", "set to mean", "fixed"]
    found = {
        (number, str(line.get_gid())): line
        for number, axes in enumerate(figure.axes)
        for line in axes.lines
        if "zero" not in str(line.get_gid())
    }
    assert set(found) == {
        (0, "ecdf:weakening"),
        (0, "baseline:weakening"),
        (0, "ecdf:weakening gate− post+"),
        (0, "ecdf:strengthening"),
        (1, "ecdf:weakening"),
        (2, "ecdf:my neurons"),
    }
    for (number, gid), line in found.items():
        mode = ("zero", "mean", "fixed")[number]
        (run,) = [
            run
            for run in RUNS
            if run.label.mode == mode
            and gid == f"{'baseline' if run.label.baseline else 'ecdf'}:{run_text(run.label)}"
        ]
        places, shares = ecdf_points(run, "loss")
        np.testing.assert_array_equal(line.get_xdata(), places)
        np.testing.assert_array_equal(line.get_ydata(), shares)
        drawn = VALUES[run.label]
        for place, share in zip(places, shares, strict=True):
            if place < 0:
                assert share == pytest.approx(np.mean(drawn <= place))


def test_dots_at_zero_are_the_shares_whose_metric_the_neurons_lower() -> None:
    axes = ablation_ecdf_figure(RUNS, "loss").axes[0]
    for label, gid in ((WEAKENING, "zero:weakening"), (BASELINE, "zero-baseline:weakening")):
        (dot,) = named(axes.lines, gid)
        assert dot.get_xdata()[0] == 0
        assert dot.get_ydata()[0] == pytest.approx(np.mean(VALUES[label] < 0))


def test_baselines_are_dashed_in_the_colour_of_their_set() -> None:
    axes = ablation_ecdf_figure(RUNS, "loss").axes[0]
    (curve,), (baseline,) = (named(axes.lines, f"{kind}:weakening") for kind in ("ecdf", "baseline"))
    assert curve.get_color() == baseline.get_color()
    assert curve.get_linestyle() == "-"
    assert baseline.get_linestyle() == "--"
    assert baseline.get_zorder() < curve.get_zorder()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("runs", "drawn"),
    [
        ([], []),
        ([EMPTY], []),
        ([RunCounts(WEAKENING, signed_log_counts(np.zeros(9)))], ["ecdf:weakening", "zero:weakening"]),
    ],
)
def test_nothing_to_draw_makes_an_empty_figure(runs: list[RunCounts], drawn: list[str]) -> None:
    figure = ablation_ecdf_figure(runs, "loss")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    curves = {str(line.get_gid()): line for line in axes.lines if line.get_gid() != "zero"}
    assert list(curves) == drawn
    if drawn:  # nine predictions that did not change: one step at 0
        places, shares = (np.asarray(part) for part in curves["ecdf:weakening"].get_data())
        assert places[np.flatnonzero(np.diff(shares))].tolist() == [0.0]
        assert (shares[0], shares[-1]) == (0.0, 1.0)
