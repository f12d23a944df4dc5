"""Figures of probes show the numbers of their tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle, StepPatch

from rwcore.plots.context_neuron import context_neuron_figure
from rwcore.plots.counts import PaletteName
from rwcore.plots.joint_activations import joint_activations_figure
from rwcore.plots.probe_depth import probe_depth_figure
from rwcore.plots.probe_layers import probe_layers_figure
from rwcore.plots.probe_names import feature_label, method_lines, score_label
from rwcore.plots.probe_ranks import probe_ranks_figure
from rwcore.plots.sparsity_curves import sparsity_curves_figure
from rwcore.plots.sparsity_layers import sparsity_layers_figure
from rwcore.plots.style import CYCLE, PAPER_CYCLE, Look
from rwcore.plots.superposition_loss import superposition_loss_figure
from rwcore.probing.sparsity import METHODS

SIZES = (1, 2, 4, 16, 256)


def curves(features: tuple[str, ...] = ("a_b", "c"), *, status: str = "optimal") -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for feature in features:
        for method in ("mean_dif", "exact", "random directions", "shuffled labels"):
            for k in reversed(SIZES[: 2 if method == "exact" else None]):
                value = generator.random()
                said = status if method == "exact" else ""
                rows.append((feature, method, k, value, value - 0.1, value + 0.05, value / 2, said))
    names = ["feature", "method", "k", "test_mcc", "test_mcc_low", "test_mcc_high", "test_f1", "status"]
    return pd.DataFrame(rows, columns=names)


def by_layer(n: int) -> pd.DataFrame:
    return pd.concat([curves().assign(layer=layer, test_f1=layer / n) for layer in range(n)])


def test_layers_have_a_line_each_from_red_to_blue() -> None:
    table = by_layer(4)
    figure = sparsity_layers_figure(table, score="test_f1")
    drawn = named(figure.axes[1])
    assert [*drawn] == [f"layer:{layer}" for layer in range(4)]
    for layer in range(4):
        assert drawn[f"layer:{layer}"].get_xdata().tolist() == [*SIZES]
        assert drawn[f"layer:{layer}"].get_ydata().tolist() == [layer / 4] * len(SIZES)
    first, last = (to_rgb(drawn[f"layer:{layer}"].get_color()) for layer in (0, 3))
    assert first[0] > 2 * first[2]
    assert last[2] > 2 * last[0]


def test_of_many_layers_some_are_in_the_legend() -> None:
    shown = texts(sparsity_layers_figure(by_layer(30), method="random directions"))
    assert shown == [f"layer {layer}" for layer in range(0, 30, 4)]


def layers(n: int = 5) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    rows = [
        (family, feature, layer, layer / (n - 1), *generator.random(2))
        for family, feature in (("text", "x_y"), ("text", "z"), ("code", "w"))
        for layer in range(n)
    ]
    names = ["family", "feature", "layer", "relative_depth", "validation_mcc", "test_mcc"]
    return pd.DataFrame(rows, columns=names)


def named(axes: Axes) -> dict[str, Any]:
    drawn = (*axes.lines, *axes.collections, *axes.patches)
    return {str(one.get_gid()): one for one in drawn if one.get_gid()}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize("method", ["mean_dif", "exact", "random directions", "shuffled labels"])
def test_curves_and_bands_are_the_numbers(method: str) -> None:
    table = curves()
    figure = sparsity_curves_figure(table)
    assert [axes.get_title() for axes in figure.axes] == ["a b", "c"]
    for axes, feature in zip(figure.axes, ("a_b", "c"), strict=True):
        wanted = table[(table["feature"] == feature) & (table["method"] == method)].sort_values("k")
        line = named(axes)[method]
        assert line.get_xdata().tolist() == wanted["k"].tolist()
        assert line.get_ydata().tolist() == wanted["test_mcc"].tolist()
        corners = named(axes)[f"band:{method}"].get_paths()[0].vertices
        for k, low, high in wanted[["k", "test_mcc_low", "test_mcc_high"]].itertuples(index=False):
            at = corners[corners[:, 0] == k][:, 1]
            np.testing.assert_allclose([at.min(), at.max()], [low, high])


def test_other_scores_have_no_bands() -> None:
    figure = sparsity_curves_figure(curves(), score="test_f1")
    assert not [gid for gid in named(figure.axes[0]) if gid.startswith("band:")]
    assert figure.legends[0].get_title().get_text() == ""
    assert "test F1" in [text.get_text() for text in figure.texts]
    wanted = curves().query("feature == 'c' and method == 'mean_dif'").sort_values("k")["test_f1"]
    assert named(figure.axes[1])["mean_dif"].get_ydata().tolist() == wanted.tolist()


def test_a_search_without_proof_has_a_cross() -> None:
    assert "not proven" not in texts(sparsity_curves_figure(curves()))
    table = curves(status="time limit")
    table.loc[table["k"] == 2, "status"] = "optimal"
    figure = sparsity_curves_figure(table)
    assert "not proven" in texts(figure)
    cross = named(figure.axes[0])["gap:exact"]
    assert cross.get_xdata().tolist() == [1]
    line = named(figure.axes[0])["exact"]
    assert cross.get_ydata().tolist() == [line.get_ydata()[0]]


@pytest.mark.parametrize(
    ("features", "title"),
    [(1, None), (2, "A model"), (4, None), (9, "A model"), pytest.param(30, None, marks=pytest.mark.slow)],
)
def test_nothing_leaves_the_figure_or_covers_anything(features: int, title: str | None) -> None:
    table = curves(tuple(f"feature_{number}" for number in range(features)), status="time limit")
    figure = sparsity_curves_figure(table, title=title)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    legend = figure.legends[0].get_window_extent()
    outer = [text.get_window_extent() for text in figure.texts if text.get_text()]
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    for box in (legend, *outer, *titles):
        assert box.x0 >= -0.02 * width
        assert box.x1 <= 1.02 * width
        assert box.y0 >= -1
        assert box.y1 <= height + 1
    for box in (*outer, *(axes.get_window_extent() for axes in figure.axes)):
        assert not box.overlaps(legend)


@pytest.mark.parametrize(("palette", "cycle"), [("paper", PAPER_CYCLE), ("accessible", CYCLE)])
def test_methods_have_the_colours_of_the_palette(palette: PaletteName, cycle: tuple[str, ...]) -> None:
    lines = method_lines(METHODS, palette)
    chosen = [method for method in METHODS if method not in ("random directions", "shuffled labels")]
    assert to_rgb(lines[chosen[1]]["color"]) == to_rgb(cycle[1])
    looks = {(to_rgb(one["color"]), str(one["linestyle"])) for one in lines.values()}
    assert len(looks) == len(METHODS)


def cells(figure: Figure) -> list[np.ndarray]:
    """Of each family, rows from the top."""
    pictures = [axes.images[0] for axes in figure.axes if axes.get_gid() != "scale"]
    assert all(isinstance(picture, AxesImage) for picture in pictures)
    return [np.ma.filled(picture.get_array(), np.nan)[::-1] for picture in pictures]  # type: ignore[arg-type]


def test_heat_map_is_the_table() -> None:
    table = layers()
    figure = probe_layers_figure(table)
    text, code = cells(figure)
    np.testing.assert_allclose(text[0], table.query("feature == 'x_y'")["validation_mcc"])
    np.testing.assert_allclose(text[1], table.query("feature == 'z'")["validation_mcc"])
    np.testing.assert_allclose(code[0], table.query("feature == 'w'")["validation_mcc"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["x y", "z"]
    assert {"family:text", "family:code"} <= {str(one.get_gid()) for one in figure.texts}


def test_frames_are_around_the_best_layers_and_numbers_are_the_scores() -> None:
    table = layers()
    figure = probe_layers_figure(table, score="test_mcc")
    for place, feature in ((0, "x_y"), (0, "z"), (1, "w")):
        axes = figure.axes[place]
        frame = named(axes)[f"best:{feature}"]
        assert isinstance(frame, Rectangle)
        values = table[table["feature"] == feature]["test_mcc"].to_numpy()
        assert frame.get_x() == values.argmax() - 0.5
        row = frame.get_y() + 0.5
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert [written[layer, row] for layer in range(5)] == [f"{100 * value:.0f}" for value in values]


def test_layers_that_were_not_probed_are_empty_and_unknown_ones_have_no_frame() -> None:
    table = layers().query("layer != 2")
    table.loc[table["feature"] == "w", "validation_mcc"] = math.nan
    figure = probe_layers_figure(table)
    text, code = cells(figure)
    assert np.isnan(text).tolist() == [[False, False, True, False, False]] * 2
    assert np.isnan(code).all()
    assert "best:w" not in named(figure.axes[1])


def test_many_layers_have_no_numbers_and_fewer_ticks() -> None:
    figure = probe_layers_figure(layers(48))
    assert not figure.axes[0].texts
    shown = [int(label.get_text()) for label in figure.axes[1].get_xticklabels()]
    assert shown == list(range(0, 48, 2))
    assert figure.get_size_inches()[0] == pytest.approx(6.75)


def test_depth_lines_means_and_dots() -> None:
    table = layers()
    figure = probe_depth_figure(table)
    assert [axes.get_title() for axes in figure.axes] == ["text", "code"]
    drawn = named(figure.axes[0])
    for feature in ("x_y", "z"):
        rows = table[table["feature"] == feature]
        assert drawn[f"feature:{feature}"].get_ydata().tolist() == rows["test_mcc"].tolist()
        # The layer is chosen on validation; what is shown of it is its test score.
        best = rows.sort_values("validation_mcc")[["relative_depth", "test_mcc"]].to_numpy()[-1]
        dot = drawn[f"best:{feature}"]
        assert [dot.get_xdata()[0], dot.get_ydata()[0]] == best.tolist()
    mean = table[table["family"] == "text"].groupby("layer")["test_mcc"].mean()
    np.testing.assert_allclose(drawn["mean:text"].get_ydata(), mean)
    assert drawn["mean:text"].get_xdata().tolist() == [0, 0.25, 0.5, 0.75, 1]


def ranks() -> pd.DataFrame:
    generator = np.random.default_rng(2)
    rows = []
    for feature in ("a", "b"):
        for control, trials in (("neurons", 1), ("random directions", 3), ("shuffled labels", 2)):
            for rank in range(6, 0, -1):
                low, mean, high = np.sort(generator.random(3))
                rows.append((feature, control, rank, mean, low, high, trials))
    return pd.DataFrame(rows, columns=["feature", "control", "rank", "mean", "low", "high", "trials"])


def test_ranks_show_the_mean_and_the_range_of_the_trials() -> None:
    table = ranks()
    figure = probe_ranks_figure(table)
    assert texts(figure) == ["neurons", "random directions", "shuffled labels"]
    drawn = named(figure.axes[1])
    chosen = table.query("feature == 'b' and control == 'random directions'").sort_values("rank")
    assert drawn["random directions"].get_ydata().tolist() == chosen["mean"].tolist()
    assert drawn["random directions"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    corners = drawn["band:random directions"].get_paths()[0].vertices
    third = corners[corners[:, 0] == 3][:, 1]
    np.testing.assert_allclose([third.min(), third.max()], chosen[["low", "high"]].to_numpy()[2])
    assert "band:neurons" not in drawn


def increases() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    rows = []
    for feature in ("a_b", "c"):
        for method in ("mean_dif", "telescopic"):
            for k in reversed(SIZES):
                low, percent, high = np.sort(generator.normal(20, 40, 3))
                rows.append((feature, method, k, percent, low, high))
    return pd.DataFrame(rows, columns=["feature", "method", "k", "percent", "low", "high"])


def test_losses_of_bases_are_percents_about_zero() -> None:
    table = increases()
    figure = superposition_loss_figure(table)
    assert [axes.get_title() for axes in figure.axes] == ["a b", "c"]
    assert texts(figure) == ["mean difference", "adaptive thresholding"]
    wanted = table.query("feature == 'c' and method == 'telescopic'").sort_values("k")
    axes = figure.axes[1]
    drawn = named(axes)
    assert drawn["telescopic"].get_xdata().tolist() == [*SIZES]
    assert drawn["telescopic"].get_ydata().tolist() == wanted["percent"].tolist()
    corners = drawn["range:telescopic"].get_paths()[0].vertices
    at = corners[corners[:, 0] == 16][:, 1]
    np.testing.assert_allclose([at.min(), at.max()], wanted[["low", "high"]].to_numpy()[3])
    assert list(drawn["zero"].get_ydata()) == [0, 0]
    low, high = axes.get_ylim()
    assert low < min(0, table["low"].min())
    assert high > table["high"].max()


def joint(neurons: int = 5) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    kinds = ["positive", "missing_first", "missing_second", "positive"]
    rows = [
        (example, kind, place, 3, str(100 + place), generator.normal())
        for place in range(1, neurons + 1)
        for example, kind in enumerate(kinds)
    ]
    return pd.DataFrame(rows, columns=["example", "kind", "place", "layer", "neuron", "activation"])


def test_joint_activations_have_a_panel_for_each_two_neurons() -> None:
    table = joint()
    figure = joint_activations_figure(table)
    assert len(figure.axes) == 10
    values = table.pivot_table("activation", "example", "place")
    pairs = [(1, place) for place in range(2, 6)] + [(2, place) for place in range(3, 6)]
    for axes, (x, y) in zip(figure.axes, pairs, strict=False):
        drawn = named(axes)
        for kind, examples in (("positive", [0, 3]), ("missing_first", [1]), ("missing_second", [2])):
            assert drawn[kind].get_xdata().tolist() == values.loc[examples, x].tolist()
            assert drawn[kind].get_ydata().tolist() == values.loc[examples, y].tolist()
    assert [axes.get_ylabel() for axes in figure.axes[:4]] == [f"3.{place}" for place in range(102, 106)]
    assert figure.axes[-1].get_xlabel() == "3.104"
    assert texts(figure)[0] == "both words (2)"
    assert len(joint_activations_figure(joint(2)).axes) == 1
    assert len(joint_activations_figure(joint(1)).axes) == 1


@pytest.mark.parametrize("palette", ["paper", "accessible"])
def test_kinds_of_occurrences_differ_in_colour_and_mark(palette: PaletteName) -> None:
    drawn = named(joint_activations_figure(joint(), palette_name=palette).axes[0])
    assert len({to_rgb(line.get_color()) for line in drawn.values()}) == 3
    assert len({line.get_marker() for line in drawn.values()}) == 3


@pytest.mark.parametrize("neurons", [2, 5])
def test_the_legend_of_joint_activations_covers_no_panel(neurons: int) -> None:
    figure = joint_activations_figure(joint(neurons), title="A model, a pair")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:
        assert not axes.get_window_extent().overlaps(legend)


def histogram() -> pd.DataFrame:
    edges = np.linspace(-2.0, 3.0, 6)
    inside, outside = [0, 1, 4, 10, 5], [500, 300, 150, 50, 0]
    one = pd.DataFrame(
        {"quantity": "pre", "low": edges[:-1], "high": edges[1:], "inside": inside, "outside": outside}
    )
    return pd.concat([one.assign(quantity="post", inside=7), one])


def losses() -> pd.DataFrame:
    increase = np.array([0.01, 0.3, -0.02])
    return pd.DataFrame(
        {
            "class": ["English", "French", "Dutch"],
            "own": [False, True, False],
            "loss_increase": increase,
            "loss_increase_low": increase - 0.03,
            "loss_increase_high": increase + 0.05,
        }
    )


def test_context_histograms_are_shares_of_the_quantity_asked_for() -> None:
    figure = context_neuron_figure(histogram(), losses(), own="French", threshold=0.5)
    drawn = named(figure.axes[0])
    for side, counts in (("inside", [0, 1, 4, 10, 5]), ("outside", [500, 300, 150, 50, 0])):
        patch = drawn[side]
        assert isinstance(patch, StepPatch)
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, [count / sum(counts) for count in counts])
        np.testing.assert_allclose(edges, [-2, -1, 0, 1, 2, 3])
    assert drawn["threshold"].get_xdata() == [0.5, 0.5]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == ["other text (1,000 tokens)", "French (20 tokens)"]
    low, high = figure.axes[0].get_ylim()
    assert low <= 0.05 < 1 < high


def test_a_threshold_beyond_the_values_is_seen() -> None:
    for threshold in (-5.0, 9.0):
        axes = context_neuron_figure(histogram(), own="French", threshold=threshold).axes[0]
        low, high = axes.get_xlim()
        assert low < threshold < high
    assert "threshold" not in named(context_neuron_figure(histogram(), own="French").axes[0])


@pytest.mark.parametrize(("palette", "cycle"), [("paper", PAPER_CYCLE), ("accessible", CYCLE)])
def test_context_losses_by_class(palette: PaletteName, cycle: tuple[str, ...]) -> None:
    figure = context_neuron_figure(histogram(), losses(), own="French", palette_name=palette)
    axes = figure.axes[1]
    drawn = named(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Dutch", "English", "French"]
    for row, (name, value) in enumerate((("Dutch", -0.02), ("English", 0.01), ("French", 0.3))):
        dot, bar = drawn[f"loss:{name}"], drawn[f"interval:{name}"]
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (value, row)
        np.testing.assert_allclose(bar.get_xdata(), [value - 0.03, value + 0.05])
        assert (to_rgb(dot.get_color()) == to_rgb(cycle[0])) == (name == "French")


@pytest.mark.parametrize("look", ["paper", "screen"])
def test_every_figure_draws_in_both_looks(look: Look) -> None:
    for figure in (
        sparsity_curves_figure(curves(), look=look),
        probe_layers_figure(layers(), look=look, title="m"),
        probe_depth_figure(layers(), look=look, title="m"),
        probe_ranks_figure(ranks(), look=look, title="m"),
        superposition_loss_figure(increases(), look=look, title="m"),
        joint_activations_figure(joint(), look=look, title="m"),
        context_neuron_figure(histogram(), losses(), own="French", look=look, title="m"),
    ):
        figure.draw_without_rendering()
        assert (to_rgba(figure.get_facecolor())[3] == 0) == (look == "screen")


def test_names() -> None:
    assert score_label("validation_pr_auc") == "validation PR-AUC"
    assert feature_label("contains_digit") == "contains digit"
