"""A few figures as pictures, compared with accepted ones: what numbers behind a figure cannot show.

After a wanted change: ``pytest rwcore/tests/test_plots_pictures.py --regen-all``, then look at the pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from pytest_regressions.image_regression import ImageRegressionFixture

from rwcore.plots.boxes import boxes_figure
from rwcore.plots.counts import class_counts_figure
from rwcore.plots.fine import fine_figure, layer_histogram_figure
from rwcore.plots.histograms import panels_figure
from rwcore.plots.medians import selected_medians_figure
from rwcore.plots.style import style
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.cosines import RWCosines
from rwcore.stats.medians import letter_values, quartiles

DPI = 60
# Percent of black against white; another version of the font renderer moves text by less, see the last test.
THRESHOLD = 0.6


def cloud(layers: int = 5, neurons: int = 300) -> dict[str, np.ndarray]:
    """Cosines of made-up neurons: linear ramps and their products, the same with any version of anything."""
    ramp = np.linspace(-1, 1, neurons)[None]
    depth = np.linspace(0.2, 0.9, layers)[:, None]
    return {
        "linout": depth * ramp,
        "gateout": depth * np.sin(9 * ramp) * 0.7,
        "gatelin": np.abs(ramp) * depth,
    }


def regions(layers: int = 5) -> pd.DataFrame:
    rows = [
        (layer, name, -0.1 - 0.05 * layer, 0.15 + 0.05 * layer)
        for layer in range(layers)
        for name in ("gatelin", "gateout", "linout")
    ]
    return pd.DataFrame(rows, columns=["layer", "cosine", "low", "high"])


def counts(swap: bool = False) -> pd.DataFrame:
    rows = []
    for layer in range(4):
        numbers = [30, 5, 120 - 20 * layer, 5, 60, 10, 500, 20 + 30 * layer, 10, 80, 5]
        if swap:
            numbers[2], numbers[9] = numbers[9], numbers[2]
        rows += [(layer, one.name, n) for one, n in zip(RW_CLASSES, numbers, strict=True)]
    return pd.DataFrame(rows, columns=["layer", "class", "count"])


def fine() -> Figure:
    return fine_figure(**cloud(), beta=(-0.08, 0.08), regions=regions(), title="org/name")


def fine_accessible() -> Figure:
    return fine_figure(
        **cloud(), layers=[0, 4], beta=(-0.08, 0.08), regions=regions(), palette_name="accessible"
    )


def layer_histogram() -> Figure:
    return layer_histogram_figure(
        cloud()["linout"], bins=20, beta=(-0.08, 0.08), regions=regions(), title="org/name"
    )


def change() -> Figure:
    given = cloud()
    return panels_figure(
        0.4 - 0.3 * given["linout"] + 0.1 * given["gateout"],
        given["linout"],
        xlabel="change",
        ylabel="cosine",
        titles=[f"Layer {layer}" for layer in range(5)],
        xlim=(-1.0, 1.0),
        ylim=(-1.0, 1.0),
        correlation=True,
        bins=40,
    )


def norms() -> Figure:
    given = cloud()
    return panels_figure(
        np.exp(given["gateout"]).reshape(1, -1),
        np.exp(3 * given["linout"]).reshape(1, -1),
        xlabel="norm",
        ylabel="other norm",
        log_x=True,
        log_y=True,
        bins=40,
    )


def boxes() -> Figure:
    cosines = RWCosines(**{name: torch.from_numpy(values).float() for name, values in cloud().items()})
    return boxes_figure(letter_values(cosines), quartiles(cosines), title="org/name")


def class_counts() -> Figure:
    return class_counts_figure(counts(), palette_name="accessible", title="org/name")


def selected_medians() -> Figure:
    rows = [
        (f"org/model-{model}B", layer, 0.5 - 0.2 * model + 0.1 * np.sin(layer + model))
        for model in (2, 3, 5)
        for layer in range(8)
    ]
    return selected_medians_figure(pd.DataFrame(rows, columns=["model", "layer", "median"]))


def rendered(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Cut to the figure, not to what is drawn: otherwise a moved label changes the size of the picture.
    with style("paper"), mpl.rc_context({"savefig.bbox": None}):
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


PICTURES = (
    fine,
    fine_accessible,
    layer_histogram,
    change,
    norms,
    boxes,
    class_counts,
    selected_medians,
)


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_pictures_are_the_accepted_ones(
    draw: Callable[[], Figure], image_regression: ImageRegressionFixture
) -> None:
    image_regression.check(rendered(draw()), THRESHOLD, basename=draw.__name__)


def difference(one: Figure, other: Figure) -> float:
    """What `image_regression` compares with its threshold."""
    a, b = (imread(io.BytesIO(rendered(figure)))[..., :3] for figure in (one, other))
    return 100 * float(np.abs(a - b).mean())


def test_a_picture_of_other_numbers_is_another_picture() -> None:
    swapped = class_counts_figure(counts(swap=True), palette_name="accessible", title="org/name")
    assert difference(class_counts(), class_counts()) == 0
    assert difference(class_counts(), swapped) > THRESHOLD


def test_the_threshold_forgives_a_label_moved_by_a_pixel() -> None:
    moved = fine()
    for axes in moved.axes:
        axes.title.set_y(axes.title.get_position()[1] + 0.01)
    for text in moved.texts:
        text.set_x(text.get_position()[0] + 1 / DPI / 6.75)
    assert 0 < difference(fine(), moved) < THRESHOLD
