"""The figures of ablations as pictures, compared with accepted ones.

After a wanted change: ``pytest rwcore/tests/test_plots_ablation_pictures.py --regen-all``, then look.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pytest_regressions.image_regression import ImageRegressionFixture

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.signed_log import SCALES, signed_log_counts
from rwcore.plots.ablation_ecdf import ablation_ecdf_figure
from rwcore.plots.ablation_histograms import ablation_histograms_figure
from rwcore.plots.ablation_means import ablation_means_figure
from rwcore.plots.ablation_names import RunCounts
from rwcore.tests.test_plots_pictures import THRESHOLD, difference, rendered

# Heavy tails on both sides, the same with any version of anything.
RAMP = np.linspace(-0.998, 0.998, 4001)
TAILS = np.sign(RAMP) * (RAMP**2 / (1 - RAMP**2)) ** 1.1
SETS = {
    "strengthening": (-0.002, 0.002),
    "conditional strengthening": (-1.8, 1.2),
    "atypical weakening": (-0.03, 0.1),
    "weakening": (-0.16, 0.1),
    "orthogonal output": (-5.2, 2.0),
}


def drawn(shift: float, scale: float) -> np.ndarray:
    values = (TAILS * scale + shift).clip(-40, 30)
    values[::20] = 0
    return values


def runs(
    metric: str = "loss", *, modes: tuple[str, ...] = ("zero", "mean"), sign: int = 1
) -> list[RunCounts]:
    found = []
    for name, (shift, scale) in SETS.items():
        for number, mode in enumerate(modes):
            for baseline, factor in ((False, 1.0), (True, 0.2)):
                values = sign * drawn(shift, scale) * factor / (1 + number)
                values = np.trunc(30 * values) if metric == "rank" else values
                label = RunLabel(name, mode, baseline)
                found.append(RunCounts(label, signed_log_counts(values, SCALES[metric])))
    return found


def conditional() -> list[RunCounts]:
    found = runs(modes=("zero",))[6:8]
    for number, (gate, post) in enumerate(itertools.product("+-", repeat=2)):
        label = RunLabel("weakening", "zero", gate=gate, post=post)
        found.append(RunCounts(label, signed_log_counts(drawn((-0.1) ** (4 - number), 0.05 * 4**number))))
    return found


def histograms() -> Figure:
    return ablation_histograms_figure(runs(), "loss", title="org/name", palette_name="accessible")


def histograms_log() -> Figure:
    return ablation_histograms_figure(conditional(), "loss", log_y=True)


def histograms_rank() -> Figure:
    return ablation_histograms_figure(runs("rank", modes=("zero",)), "rank")


def ecdf() -> Figure:
    return ablation_ecdf_figure(runs(), "entropy", title="org/name")


def ecdf_conditional() -> Figure:
    return ablation_ecdf_figure(conditional(), "loss", palette_name="accessible")


def means(sign: int = 1) -> Figure:
    rows = []
    for metric, factor in (("loss", 1.0), ("entropy", 1.7), ("rank", 300.0), ("log_scale", -0.2)):
        for run in [*runs(sign=sign), *conditional()[2:]]:
            mean, one = factor * run.counts.mean, run.label
            half = 0.4 * abs(mean)
            rows.append(
                (one.set, one.baseline, one.mode, one.gate, one.post, metric, mean, mean - half, mean + half)
            )
    columns = ["set", "baseline", "mode", "gate", "post", "metric", "mean", "low", "high"]
    return ablation_means_figure(pd.DataFrame(rows, columns=columns), title="org/name")


PICTURES = (histograms, histograms_log, histograms_rank, ecdf, ecdf_conditional, means)


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_pictures_are_the_accepted_ones(
    draw: Callable[[], Figure], image_regression: ImageRegressionFixture
) -> None:
    image_regression.check(rendered(draw()), THRESHOLD, basename=draw.__name__)


def test_a_picture_of_the_other_sign_is_another_picture() -> None:
    assert difference(means(), means(sign=-1)) > THRESHOLD
    swapped = ablation_histograms_figure(runs(sign=-1), "loss", title="org/name", palette_name="accessible")
    assert difference(histograms(), swapped) > THRESHOLD
    negated = ablation_ecdf_figure(runs(sign=-1), "entropy", title="org/name")
    assert difference(ecdf(), negated) > THRESHOLD
