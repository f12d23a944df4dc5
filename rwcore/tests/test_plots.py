"""Figures show the numbers they are given, in the papers' order and colours, and leave no state behind."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.models.registry import group
from rwcore.plots.counts import (
    bar_widths,
    class_counts_figure,
    half_coarse_colours,
    half_coarse_figure,
    palette,
)
from rwcore.plots.medians import (
    medians_figure,
    relative_depth,
    selected_medians_figure,
    selected_models,
    spread,
)
from rwcore.plots.style import CYCLE, FAINT, style
from rwcore.report.figures import inline_svg
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES

NAMES = [one.name for one in RW_CLASSES]


def counts_frame(table: np.ndarray, names: list[str] = NAMES) -> pd.DataFrame:
    """Long frame of a [layer, class] table."""
    return pd.DataFrame(
        [
            {"layer": layer, "class": name, "count": int(table[layer, column])}
            for layer in range(len(table))
            for column, name in enumerate(names)
        ]
    )


def drawn(figure: Figure) -> pd.DataFrame:
    """Bar widths as [layer, class], read back from the picture."""
    axes = figure.axes[0]
    return pd.DataFrame({bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers})


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    n_layers = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 500), min_size=11, max_size=11).filter(any)
    return np.array(draw(st.lists(row, min_size=n_layers, max_size=n_layers)))


@settings(max_examples=15)
@given(tables(), st.randoms(use_true_random=False))
def test_bar_widths_are_the_counts_in_canonical_order(table: np.ndarray, random: Any) -> None:
    frame = counts_frame(table)
    order = list(range(len(frame)))
    random.shuffle(order)
    figure = class_counts_figure(frame.iloc[order])
    widths = drawn(figure)
    assert list(widths.columns) == NAMES
    np.testing.assert_array_equal(widths.to_numpy(), table)
    assert widths.to_numpy().sum(axis=1).tolist() == table.sum(axis=1).tolist()


@settings(max_examples=10)
@given(tables())
def test_widths_read_back_from_the_drawing_are_the_counts(table: np.ndarray) -> None:
    frame = counts_frame(table).assign(layer=lambda rows: 3 * rows["layer"] + 2)  # any layer numbers
    widths = bar_widths(class_counts_figure(frame)).rename(columns={"width": "count"})
    pd.testing.assert_frame_equal(widths, frame, check_dtype=False)


def test_widths_read_back_show_what_the_drawing_lost() -> None:
    # Trap X1: the originals' last version draws bars of no width. What is read back must say so.
    figure = class_counts_figure(counts_frame(np.full((2, 11), 5)))
    figure.axes[0].containers[6][1].set_width(0)
    assert bar_widths(figure).groupby("layer")["width"].sum().tolist() == [55, 50]


def test_bars_are_stacked_without_gaps_and_layer_0_is_on_top() -> None:
    table = np.arange(1, 23).reshape(2, 11)
    axes = class_counts_figure(counts_frame(table)).axes[0]
    for layer in range(2):
        edges = [
            (bars[layer].get_x(), bars[layer].get_x() + bars[layer].get_width()) for bars in axes.containers
        ]
        assert edges[0][0] == 0
        assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
    low, high = axes.get_ylim()
    assert low > high
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]


def test_the_papers_colours_are_used_by_default() -> None:
    axes = class_counts_figure(counts_frame(np.full((1, 11), 5))).axes[0]
    assert [bars[0].get_facecolor() for bars in axes.containers] == [one.rgba for one in RW_CLASSES]


def test_models_without_a_gate_have_three_classes_and_the_undefined_show_up() -> None:
    names = [one.name for one in VANILLA_CLASSES]
    frame = counts_frame(np.array([[1, 2, 3, 4]]), [*names, "undefined"])
    assert list(drawn(class_counts_figure(frame)).columns) == [*names, "undefined"]


def test_counts_are_written_where_they_fit_and_totals_in_the_legend() -> None:
    table = np.zeros((2, 11), dtype=int)
    table[:, 6], table[:, 7], table[0, 2] = 900, 3, 100
    figure = class_counts_figure(counts_frame(table), title="org/name")
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["100", "900", "900"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[6:8] == ["orthogonal output: 1,800", "weakening: 6"]
    assert figure.axes[0].get_title() == "org/name"


def test_numbers_can_be_read_on_their_segments() -> None:
    axes = class_counts_figure(counts_frame(np.full((1, 11), 500))).axes[0]
    for text, one in zip(axes.texts, RW_CLASSES, strict=True):
        behind = np.array(one.rgba[:3]) * one.rgba[3] + 1 - one.rgba[3]
        assert contrast(to_rgb(text.get_color()), behind) > 3.5, one.name


def contrast(a: Any, b: Any) -> float:
    """Contrast ratio of WCAG 2."""
    light, dark = sorted((luminance(np.asarray(a)), luminance(np.asarray(b))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(rgb: np.ndarray) -> float:
    return float(linear(rgb) @ [0.2126, 0.7152, 0.0722])


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
BLINDNESS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(rgb: Any, seen_by: str | None) -> np.ndarray:
    """CIE Lab of a colour as somebody sees it."""
    light = linear(np.asarray(rgb, float))
    if seen_by is not None:
        light = np.clip(np.array(BLINDNESS[seen_by]) @ light, 0, 1)
    x = XYZ @ light / (XYZ @ np.ones(3))
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: list[Any]) -> float:
    """Smallest distance of two colours to anybody."""
    return min(
        float(np.linalg.norm(lab(a, eye) - lab(b, eye)))
        for eye in (None, *BLINDNESS)
        for a, b in itertools.combinations(colours, 2)
    )


def test_the_accessible_palette_can_be_told_apart_by_anybody() -> None:
    accessible = palette("accessible")
    looks = {(accessible.colours[name], accessible.hatches.get(name)) for name in NAMES}
    assert len(looks) == 11
    assert closest(list({accessible.colours[name][:3] for name in NAMES})) > 20
    assert closest([to_rgb("#cc0000"), to_rgb("#557700"), to_rgb("#0000cc")]) < 20  # the test can fail
    assert closest([to_rgb(colour) for colour in CYCLE]) > 8


def test_colours_of_the_cosine_bins() -> None:
    colours = half_coarse_colours()
    assert colours[0] == (0.0, 0.0, 1.0, 1.0)
    assert colours[9] == (1.0, 1.0, 0.0, 1.0)
    assert colours[4] == pytest.approx((8 / 9, 8 / 9, 1.0, 1 / 3))
    assert colours[5] == pytest.approx((1.0, 1.0, 8 / 9, 1.0))


def test_cosine_bins_are_stacked_from_minus_one_to_one() -> None:
    lows = [round(-1 + 0.2 * number, 1) for number in range(10)]
    frame = pd.DataFrame(
        [
            {"layer": layer, "bin_low": low, "bin_high": low + 0.2, "count": 10 * layer + n}
            for layer in (1, 0)
            for n, low in enumerate(lows)
        ]
    )
    widths = drawn(half_coarse_figure(frame))
    assert widths.columns[0] == "−1.0 ≤ cos < −0.8"
    assert list(widths.columns[4:6]) == ["−0.2 ≤ cos < 0.0", "0.0 ≤ cos < 0.2"]
    assert widths.columns[9] == "0.8 ≤ cos ≤ 1.0"
    assert widths.iloc[1].tolist() == [10 + n for n in range(10)]


def curves(*models: str, n_layers: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": model, "layer": layer, "median": 0.1 * number - 0.05 * layer}
            for number, model in enumerate(models)
            for layer in range(n_layers)
        ]
    )


def lines(figure: Figure) -> dict[str, Any]:
    found = {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid()}
    return {gid.removeprefix("curve:"): line for gid, line in found.items()}


def test_medians_are_drawn_against_relative_depth() -> None:
    frame = curves("org/a", "b").sample(frac=1, random_state=0)  # any order of rows
    figure = medians_figure(frame.sort_values("model", kind="stable"))
    axes = figure.axes[0]
    assert lines(figure)["org/a"].get_xdata().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert lines(figure)["org/a"].get_ydata().tolist() == pytest.approx([0, -0.05, -0.1, -0.15])
    assert axes.get_xlim() == (0, 1)
    assert axes.get_ylim() == (-1, 1)
    assert any(list(line.get_ydata()) == [0, 0] for line in axes.lines)  # the zero line


def test_published_curves_are_thin_grey_and_behind() -> None:
    figure = medians_figure(
        curves("mine"), curves("x", "y"), background_label="published models", look="screen"
    )
    found = lines(figure)
    for name in ("x", "y"):
        assert found[name].get_color() == FAINT
        assert found[name].get_zorder() < found["mine"].get_zorder()
        assert found[name].get_linewidth() < found["mine"].get_linewidth()
    assert "grey: 2 published models" in [text.get_text() for text in figure.axes[0].texts]


def test_few_models_are_labelled_at_their_lines_many_get_a_legend() -> None:
    few = medians_figure(curves("org/a", "b"))
    assert {"a", "b"} <= {text.get_text() for text in few.axes[0].texts}
    assert few.axes[0].get_legend() is None
    many = [f"m{number}" for number in range(7)]
    legend = medians_figure(curves(*many)).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == many


def test_many_models_differ_in_colour_or_line_style() -> None:
    for look in ("paper", "screen"):
        found = lines(medians_figure(curves(*(f"m{number}" for number in range(24))), look=look))
        assert len({(line.get_color(), line.get_linestyle()) for line in found.values()}) == 24


def test_missing_medians_are_gaps_and_one_layer_is_a_point() -> None:
    frame = curves("a", n_layers=3)
    frame.loc[1, "median"] = np.nan
    assert np.isnan(lines(medians_figure(frame))["a"].get_ydata()[1])
    point = lines(medians_figure(curves("a", n_layers=1)))["a"]
    assert (point.get_xdata().tolist(), point.get_marker()) == ([0.0], "o")
    assert relative_depth(0).tolist() == []


def test_a_model_without_any_median_leaves_the_others_labelled() -> None:
    frame = curves("a", "b")
    frame.loc[frame["model"] == "a", "median"] = np.nan
    texts = [text.get_text() for text in medians_figure(frame).axes[0].texts]
    assert texts == ["b"]


def test_the_selected_figure_has_nine_models() -> None:
    # Claim C48: small models are left out by their names.
    models = [spec.id for spec in group("gated")]
    left_out = [model for model in models if model not in selected_models(models)]
    assert len(models) - len(left_out) == 9
    assert left_out == ["allenai/OLMo-1B-hf", "meta-llama/Llama-3.2-1B", "Qwen/Qwen2.5-0.5B"]


def test_the_selected_figure_leaves_small_models_out_and_has_its_legend_inside() -> None:
    frame = curves("org/model-7B", "org/model-1B", "org/model-0.5B", "other/big")
    axes = selected_medians_figure(frame).axes[0]
    assert [*lines(axes.figure)] == ["org/model-7B", "other/big"]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["model-7B", "big"]
    assert legend.get_window_extent().x1 < axes.get_window_extent().x1  # trap X10: it can be placed at all


def test_medians_have_an_accessible_palette() -> None:
    figure = medians_figure(curves("a", "b"), palette_name="accessible")
    assert [line.get_color() for line in lines(figure).values()] == [*CYCLE[:2]]
    paper = medians_figure(curves("a", "b"))
    assert [line.get_color() for line in lines(paper).values()] == ["C0", "C1"]


@given(st.lists(st.floats(-1, 1), max_size=8), st.floats(0.01, 0.6))
def test_spreading_labels_keeps_order_gap_and_bounds(heights: list[float], gap: float) -> None:
    placed = spread(heights, gap=gap, low=-1, high=1)
    n = len(heights)
    room = min(gap, 2 / (n - 1)) if n > 1 else gap
    order = sorted(range(n), key=lambda i: heights[i])
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in placed)
    assert all(placed[b] - placed[a] >= room - 1e-9 for a, b in itertools.pairwise(order))
    fine = all(heights[b] - heights[a] >= gap for a, b in itertools.pairwise(order))
    if fine:
        assert placed == pytest.approx(heights)


def test_two_labels_at_one_height_move_apart_evenly() -> None:
    assert spread([0.5, 0.5], gap=0.2, low=-1, high=1) == pytest.approx([0.4, 0.6])
    assert spread([1.0, 1.0], gap=0.2, low=-1, high=1) == pytest.approx([0.8, 1.0])


def test_a_style_leaves_no_trace_and_ignores_the_users_settings() -> None:
    with mpl.rc_context({"font.size": 30, "axes.grid": True}):
        before = dict(mpl.rcParams)
        with style("paper"):
            assert mpl.rcParams["font.family"] == ["serif"]
            assert mpl.rcParams["font.size"] == 10
            assert mpl.rcParams["axes.grid"] is False
            assert mpl.rcParams["backend"] == before["backend"]
        assert dict(mpl.rcParams) == before


def test_no_figure_touches_pyplot() -> None:
    code = (
        "import sys, pandas as pd\n"
        "from rwcore.plots.medians import medians_figure\n"
        "medians_figure(pd.DataFrame({'model': ['a'], 'layer': [0], 'median': [0.1]}), look='screen')\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("look", ["paper", "screen"])
def test_figures_can_be_drawn_as_pixels_and_as_pages(look: Any) -> None:
    for figure in (
        medians_figure(curves("a"), curves("b"), look=look),
        class_counts_figure(counts_frame(np.full((3, 11), 40)), look=look, palette_name="accessible"),
    ):
        for kind in ("png", "pdf"):
            buffer = io.BytesIO()
            with style(look):
                figure.savefig(buffer, format=kind)
            assert len(buffer.getvalue()) > 2000


def test_inline_figures_name_nothing_outside_and_take_the_pages_colours() -> None:
    figure = medians_figure(curves("a<b"), curves("org/x"), look="screen")
    svg = inline_svg(figure, ident="one", title='medians of "a<b"')
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "xmlns" not in svg
    assert {name.split("-")[0] for name in re.findall(r'\bid="([^"]*)"', svg)} == {"one"}
    references = set(re.findall(r'(?:url\(|href=")#([^")]*)', svg))
    assert references
    assert references <= set(re.findall(r'\bid="([^"]*)"', svg))
    assert "currentColor" in svg
    assert "<title>org/x</title>" in svg
    assert "medians of &quot;a&lt;b&quot;" in svg
    assert "a&lt;b" in svg
    again = inline_svg(
        medians_figure(curves("a<b"), curves("org/x"), look="screen"), ident="one", title='medians of "a<b"'
    )
    assert again == svg
