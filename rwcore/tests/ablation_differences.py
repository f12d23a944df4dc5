"""Made-up differences with heavy tails, and helpers for the tests of the figures of ablations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.signed_log import SCALES, signed_log_counts
from rwcore.plots.ablation_names import RunCounts

RNG = np.random.default_rng(8)
WEAKENING = RunLabel("weakening", "zero")
BASELINE = RunLabel("weakening", "zero", baseline=True)
DOMINANT = RunLabel("weakening", "zero", gate="-", post="+")
MEAN = RunLabel("weakening", "mean")
STRENGTHENING = RunLabel("strengthening", "zero")
OWN = RunLabel("my neurons", "fixed")


def values(n: int, shift: float, scale: float) -> np.ndarray:
    drawn = scale * RNG.standard_t(2.5, n) + shift
    drawn[: n // 10] = 0
    return np.clip(drawn, -50, 50)


VALUES = {
    WEAKENING: values(4000, -0.16, 0.2),
    BASELINE: values(4000, -0.001, 0.01),
    DOMINANT: values(3000, -1.1, 0.8),
    MEAN: values(4000, -0.09, 0.1),
    STRENGTHENING: values(2000, -0.002, 0.002),
    OWN: values(500, 0.5, 0.2),
}
RUNS = [RunCounts(label, signed_log_counts(drawn)) for label, drawn in VALUES.items()]
EMPTY = RunCounts(WEAKENING, signed_log_counts(np.zeros(0)))
RANK_RUNS = [
    RunCounts(label, signed_log_counts(np.trunc(20 * drawn), SCALES["rank"]))
    for label, drawn in VALUES.items()
]


def named(items: Sequence[Any], gid: str) -> list[Any]:
    return [item for item in items if item.get_gid() == gid]


def overlaps(boxes: Sequence[Any]) -> list[tuple[int, int]]:
    """Which boxes lie over each other by more than a pixel."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(enumerate(boxes), 2)
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]


def tick_boxes(figure: Figure) -> list[Any]:
    return [
        label.get_window_extent()
        for axes in figure.axes
        for axis, shown in ((axes.xaxis, "labelbottom"), (axes.yaxis, "labelleft"))
        if axis.get_tick_params()[shown]
        for label in axis.get_ticklabels()
        if label.get_text() and label.get_visible()
    ]


def table() -> pd.DataFrame:
    rows = []
    for metric, factor in (("loss", 1.0), ("entropy", -2.0), ("rank", 300.0), ("log_scale", 0.1)):
        for label, drawn in VALUES.items():
            mean = factor * float(drawn.mean())
            half = abs(mean) * 0.3
            names = (label.set, label.baseline, label.mode, label.gate, label.post, metric)
            rows.append((*names, mean, mean - half, mean + half))
    columns = ["set", "baseline", "mode", "gate", "post", "metric", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
