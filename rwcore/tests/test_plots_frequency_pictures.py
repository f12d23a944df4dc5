"""The figures of frequencies as pictures, compared with accepted ones.

After a wanted change: ``pytest rwcore/tests/test_plots_frequency_pictures.py --regen-all``, then look.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pytest_regressions.image_regression import ImageRegressionFixture

from rwcore.plots.frequency_classes import ClassHistograms, class_histograms_figure
from rwcore.plots.frequency_correlations import correlations_figure
from rwcore.plots.frequency_histograms import histogram, layer_histograms_figure
from rwcore.plots.frequency_means import class_means_figure
from rwcore.plots.frequency_names import NAMES
from rwcore.plots.frequency_scatter import frequency_figure, mean_norm_figure
from rwcore.stats.classes import RW_CLASSES
from rwcore.tests.test_plots_pictures import THRESHOLD, cloud, difference, rendered

RAMP = np.linspace(0, 1, 300)


def frequencies(layers: int = 5) -> np.ndarray:
    """Made-up frequencies that fall with cos(in, out), the same with any version of anything."""
    given = cloud(layers)
    return 0.35 - 0.3 * given["linout"] + 0.15 * given["gateout"]


def classes(palette_name: str = "paper", swap: bool = False) -> Figure:
    histograms = []
    for place, one in enumerate(RW_CLASSES):
        true, baseline = histogram(RAMP ** (3 - 0.25 * place)), histogram(RAMP**1.8)
        if place == 1:
            true = baseline = histogram(np.zeros(0))
        histograms.append(ClassHistograms(one.name, *((baseline, true) if swap else (true, baseline))))
    return class_histograms_figure(histograms, palette_name=palette_name, title="org/name")  # type: ignore[arg-type]


def classes_accessible() -> Figure:
    return classes("accessible")


def layers() -> Figure:
    return layer_histograms_figure(frequencies(), title="org/name", log_y=True)


def selected() -> Figure:
    return frequency_figure(
        cloud()["linout"],
        frequencies(),
        quantity="linout",
        name="gate-_in+",
        layers=[0, 2, 4],
        log_counts=False,
        bins=50,
        palette_name="accessible",
    )


def mean_norms() -> Figure:
    norms = np.exp(3 * cloud()["gateout"])
    norms[:, ::50] = 0
    return mean_norm_figure(frequencies(), norms, pooled=True, bins=50, title="org/name")


def means() -> Figure:
    true = np.linspace(0.1, 0.7, len(RW_CLASSES))
    frame = pd.DataFrame(
        {
            "class": [one.name for one in RW_CLASSES],
            "n": [3**place for place in range(len(RW_CLASSES))],
            "true": true,
            "baseline": 0.35,
            "low": true - np.linspace(0.06, 0.01, len(RW_CLASSES)),
            "high": true + np.linspace(0.06, 0.01, len(RW_CLASSES)),
        }
    )
    frame.loc[3, ["true", "baseline", "low", "high"]] = np.nan
    frame.loc[3, "n"] = 0
    return class_means_figure(frame, title="org/name")


def correlations() -> Figure:
    rows = [
        (name, cosine, layer if layer < 12 else "all", np.sin(place + number + layer / 3))
        for place, name in enumerate(NAMES)
        for number, cosine in enumerate(("gatelin", "gateout", "linout"))
        for layer in range(13)
    ]
    frame = pd.DataFrame(rows, columns=["quadrant", "cosine", "layer", "r"]).astype({"layer": str})
    return correlations_figure(frame, title="org/name")


PICTURES = (classes, classes_accessible, layers, selected, mean_norms, means, correlations)


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_pictures_are_the_accepted_ones(
    draw: Callable[[], Figure], image_regression: ImageRegressionFixture
) -> None:
    image_regression.check(rendered(draw()), THRESHOLD, basename=draw.__name__)


def test_a_picture_of_other_numbers_is_another_picture() -> None:
    assert difference(classes(), classes(swap=True)) > THRESHOLD
