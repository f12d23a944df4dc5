"""Class means with their intervals, and correlations by layer: what is drawn is what the tables hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.activations.frequencies import frequency_correlations
from rwcore.plots.frequency_correlations import correlations_figure
from rwcore.plots.frequency_means import class_means_figure
from rwcore.plots.frequency_names import NAMES
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.cosines import RWCosines

CLASSES = [one.name for one in RW_CLASSES]
NAN = float("nan")


def class_rows() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for place, one in enumerate(CLASSES):
        true, n = 0.05 * place + 0.05, 10**place % 7777
        rows.append((one, n, true, 0.3, true - 0.01, true + 0.02))
    rows[1] = (CLASSES[1], 0, NAN, NAN, NAN, NAN)
    rows[2] = (*rows[2][:4], NAN, NAN)  # an interval that cannot be had
    rows[3] = (*rows[3][:3], NAN, *rows[3][4:])  # a class that fills its layers has no baseline
    return pd.DataFrame(rows, columns=["class", "n", "true", "baseline", "low", "high"])


MEANS = class_rows()


def drawn(figure: Figure, kind: str) -> dict[str, Any]:
    found = {}
    for line in figure.axes[0].lines:
        gid = str(line.get_gid())
        if gid.startswith(f"{kind}:"):
            found[gid.removeprefix(f"{kind}:")] = line
    return found


def test_dots_and_rings_are_the_means_and_bars_the_intervals() -> None:
    figure = class_means_figure(MEANS, title="org/name")
    for kind, column in (("true", "true"), ("baseline", "baseline")):
        expected = MEANS[MEANS[column].notna() & MEANS["true"].notna()].set_index("class")[column]
        found = {name: float(line.get_xdata()[0]) for name, line in drawn(figure, kind).items()}
        assert found == pytest.approx(expected.to_dict())
    bars = {name: list(line.get_xdata()) for name, line in drawn(figure, "interval").items()}
    known = MEANS[MEANS["low"].notna()]
    assert set(bars) == set(known["class"])
    for name, low, high in zip(known["class"], known["low"], known["high"], strict=True):
        assert bars[name] == pytest.approx([low, high])
    for line in figure.axes[0].lines:
        name = str(line.get_gid()).partition(":")[2]
        assert set(line.get_ydata()) == {CLASSES.index(name)}  # type: ignore[arg-type]


def test_rows_are_the_classes_from_the_top_with_their_numbers() -> None:
    figure = class_means_figure(MEANS, name="gate-_in+", title="org/name")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES
    low, high = axes.get_ylim()
    assert low > high
    written = [text.get_text() for text in axes.texts]
    assert written.count("no neurons") == 1
    numbers = [text for text in axes.texts if text.get_text() not in ("no neurons", "neurons")]
    assert [text.get_text() for text in numbers] == [f"{n:,}" for n in MEANS["n"]]
    assert [text.xy[1] for text in numbers] == list(range(len(CLASSES)))  # type: ignore[attr-defined]
    figure.draw_without_rendering()
    right = axes.get_window_extent().x1
    assert all(text.get_window_extent().x0 > right for text in numbers)
    assert axes.get_xlabel() == "mean frequency of gate < 0, in > 0"
    assert axes.get_title() == "org/name"


@pytest.mark.parametrize(("highest", "end"), [(0.36, 0.4), (0.399, 0.5), (0.5, 0.6), (0.99, 1.0), (1.0, 1.0)])
def test_the_axis_begins_at_zero_and_ends_at_a_tenth_beyond_everything(highest: float, end: float) -> None:
    frame = MEANS.assign(true=0.1, low=0.05, high=0.12, baseline=highest)
    assert class_means_figure(frame).axes[0].get_xlim() == pytest.approx((0, end))


@pytest.mark.filterwarnings("error")
def test_no_numbers_at_all_make_a_figure_that_says_so() -> None:
    empty = MEANS.assign(n=0, true=NAN, baseline=NAN, low=NAN, high=NAN)
    figure = class_means_figure(empty)
    assert not figure.axes[0].lines[:]
    assert [text.get_text() for text in figure.axes[0].texts].count("no neurons") == len(CLASSES)
    figure.draw_without_rendering()


def test_the_legend_names_intervals_if_there_are_any() -> None:
    def labels(frame: pd.DataFrame) -> list[str]:
        return [text.get_text() for text in class_means_figure(frame).legends[0].get_texts()]

    plain = ["neurons of the class", "random neurons of the same layers"]
    assert labels(MEANS) == [*plain, "95 % interval over documents"]
    assert labels(MEANS.assign(low=NAN, high=NAN)) == plain


def test_dots_have_the_colours_of_the_classes_and_atypical_ones_another_shape() -> None:
    dots = drawn(class_means_figure(MEANS), "true")
    assert to_rgb(dots["weakening"].get_color()) == (0, 0, 1)
    # Half-transparent blue over white, so that nothing shines through.
    assert to_rgb(dots["atypical weakening"].get_color()) == (0.5, 0.5, 1)
    assert {name: dot.get_marker() for name, dot in dots.items()} == {
        name: "D" if name.startswith("atypical") else "o" for name in CLASSES if name != CLASSES[1]
    }


def test_nothing_overlaps_in_the_rows_of_classes() -> None:
    figure = class_means_figure(MEANS, title="org/name")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in [*axes.texts, *axes.get_yticklabels(), axes.title]]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1


# -- correlations


def correlations() -> pd.DataFrame:
    random = torch.Generator().manual_seed(0)

    def values() -> torch.Tensor:
        return torch.rand((12, 60), generator=random, dtype=torch.float64)

    cosines = RWCosines(values().float(), values().float() * 2 - 1, values().float() * 2 - 1)
    frequencies = {name: values() - 0.5 * cosines.linout.double() for name in NAMES}
    return frequency_correlations(frequencies, cosines)


CORRELATIONS = correlations()
TITLES = [
    "frequency of gate > 0",
    "frequency of gate > 0, in > 0",
    "frequency of gate > 0, in < 0",
    "frequency of gate < 0, in > 0",
    "frequency of gate < 0, in < 0",
]


def rows_of(name: str) -> pd.DataFrame:
    return CORRELATIONS[CORRELATIONS["quadrant"] == name]


def panels(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.axison]


def test_lines_are_the_correlations_of_the_layers_whatever_the_order_of_rows() -> None:
    figure = correlations_figure(CORRELATIONS.sample(frac=1, random_state=1), title="org/name")
    assert [axes.get_title() for axes in panels(figure)] == TITLES
    for axes, name in zip(panels(figure), NAMES, strict=True):
        for cosine in ("gatelin", "gateout", "linout"):
            rows = rows_of(name)
            rows = rows[(rows["cosine"] == cosine) & (rows["layer"] != "all")]
            (line,) = [one for one in axes.lines if one.get_gid() == f"r:{cosine}"]
            assert list(line.get_xdata()) == list(range(12))
            np.testing.assert_allclose(line.get_ydata(), rows["r"])
        assert axes.get_ylim() == (-1, 1)


def test_pooled_values_stand_in_the_legends() -> None:
    figure = correlations_figure(CORRELATIONS)
    for axes, name in zip(panels(figure), NAMES, strict=True):
        rows = rows_of(name)
        pooled = rows[rows["layer"] == "all"].set_index("cosine")["r"]
        expected = [f"{pooled[cosine]:.2f}".replace("-", "−") for cosine in ("linout", "gateout", "gatelin")]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == expected
        colours = {line.get_gid(): line.get_color() for line in axes.lines}
        assert [line.get_color() for line in axes.get_legend().get_lines()] == [
            colours[f"r:{cosine}"] for cosine in ("linout", "gateout", "gatelin")
        ]
    (key,) = [legend for axes in figure.axes if not axes.axison and (legend := axes.get_legend())]
    assert [text.get_text() for text in key.get_texts()] == [
        r"cos($w_\mathrm{in}$, $w_\mathrm{out}$)",
        r"cos($w_\mathrm{gate}$, $w_\mathrm{out}$)",
        r"cos($w_\mathrm{gate}$, $w_\mathrm{in}$)",
    ]


def test_quadrants_stand_as_a_square_and_the_lines_differ_without_colour() -> None:
    figure = correlations_figure(CORRELATIONS)
    figure.draw_without_rendering()
    _, *quadrants = [axes.get_position() for axes in panels(figure)]
    assert quadrants[0].y0 == pytest.approx(quadrants[1].y0)
    assert quadrants[0].x0 == pytest.approx(quadrants[2].x0)
    assert quadrants[3].x0 > quadrants[2].x1
    styles = {line.get_linestyle() for line in panels(figure)[0].lines if line.get_gid()}
    widths = {str(line._unscaled_dash_pattern) for line in panels(figure)[0].lines if line.get_gid()}
    assert len(styles) >= 2
    assert len(widths) == 3


def test_an_undefined_correlation_is_a_gap() -> None:
    frame = CORRELATIONS.copy()
    frame.loc[(frame["layer"] == "3") | (frame["layer"] == "all"), "r"] = NAN
    axes = panels(correlations_figure(frame))[0]
    for line in axes.lines:
        if line.get_gid():
            assert np.isnan(line.get_ydata()).tolist() == [layer == 3 for layer in range(12)]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"r undefined"}


def test_one_frequency_one_cosine_one_layer() -> None:
    frame = CORRELATIONS.query("quadrant == 'summary' and cosine == 'linout' and layer in ('0', 'all')")
    figure = correlations_figure(frame)
    (axes,) = panels(figure)
    (line,) = [one for one in axes.lines if one.get_gid()]
    assert line.get_marker() == "o"
    assert axes.get_xlim() == (-0.5, 0.5)
    figure.draw_without_rendering()


def test_nothing_overlaps_in_the_panels_of_correlations() -> None:
    figure = correlations_figure(CORRELATIONS, title="org/name")
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in panels(figure)]
    boxes += [axes.title.get_window_extent() for axes in panels(figure)]
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    assert len(legends) == 6
    boxes += [legend.get_window_extent().shrunk(1, 0.8) for legend in legends]
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            assert not (
                box.x0 < other.x1 - 1
                and other.x0 < box.x1 - 1
                and box.y0 < other.y1 - 1
                and other.y0 < box.y1 - 1
            )
