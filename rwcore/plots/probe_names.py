"""What figures of probes share: names of scores and of data sets, colours of methods and families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rwcore.plots.counts import PaletteName
from rwcore.plots.style import CYCLE, INK, LINE_STYLES, MUTED, PAPER_CYCLE

SCORE_LABELS = {
    "mcc": "MCC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "accuracy": "accuracy",
}
METHOD_LABELS = {
    "mean_dif": "mean difference",
    "f_stat": "F statistic",
    "mi": "mutual information",
    "lr": "L1 logistic",
    "l2": "L2 logistic",
    "svm": "support vector machine",
    "random": "random neurons",
    "telescopic": "adaptive thresholding",
    "exact": "exact",
    "random directions": "random directions",
    "shuffled labels": "shuffled labels",
}
CONTROL_LINES: dict[str, dict[str, Any]] = {
    "random directions": {"color": INK, "linestyle": (0, (4.0, 1.6)), "linewidth": 1.0},
    "shuffled labels": {"color": MUTED, "linestyle": (0, (1.2, 1.2)), "linewidth": 1.1},
}
"""How controls are drawn; methods have full lines."""
_MARKERS = "osD^vP"


def score_label(score: str) -> str:
    """``test MCC`` for ``test_mcc``."""
    part, _, name = score.partition("_")
    return f"{part} {SCORE_LABELS.get(name, name)}"


def feature_label(name: str) -> str:
    """A feature as text: ``contains digit`` for ``contains_digit``."""
    return name.replace("_", " ")


def cycle(palette_name: PaletteName) -> tuple[str, ...]:
    """Colours of things that have no class: matplotlib's as in the papers, or Okabe and Ito's."""
    return PAPER_CYCLE if palette_name == "paper" else CYCLE


def method_lines(methods: Sequence[str], palette_name: PaletteName) -> dict[str, dict[str, Any]]:
    """Colour, line and marker of each method; the first method has the first colour."""
    colours = cycle(palette_name)
    chosen = [method for method in methods if method not in CONTROL_LINES]
    lines: dict[str, dict[str, Any]] = {}
    for place, method in enumerate(chosen):
        lines[method] = {
            "color": colours[place % len(colours)],
            "linestyle": LINE_STYLES[place // len(colours) % len(LINE_STYLES)],
            # Methods often choose the same neurons: a later line is thinner and has larger, hollow marks, so
            # that an earlier one is seen below it.
            "linewidth": max(0.8, 2.0 - 0.5 * place),
            "marker": _MARKERS[place % len(_MARKERS)],
            "markersize": min(2.4 + 1.1 * place, 5.0),
        }
        if place:
            lines[method] |= {"markerfacecolor": "none", "markeredgewidth": 0.8}
    return {method: lines.get(method) or CONTROL_LINES[method] for method in methods}


def family_colours(families: Sequence[str], palette_name: PaletteName) -> dict[str, str]:
    """A colour per family, in their order; colours come again where there are more families."""
    colours = cycle(palette_name)
    return {family: colours[place % len(colours)] for place, family in enumerate(dict.fromkeys(families))}
