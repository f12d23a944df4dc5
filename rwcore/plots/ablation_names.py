"""What the figures of ablations have in common: names, colours, the signed-log axis and its directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.signed_log import SignedLogCounts
from rwcore.plots.counts import Colour, PaletteName, palette
from rwcore.plots.style import CYCLE, FAINT, PAPER_CYCLE, over_white, power_of_ten

METRIC_LABELS: Mapping[str, str] = {
    "loss": "loss",
    "entropy": "entropy",
    "rank": "rank of the next token",
    "log_scale": "log scale of the final norm",
}
SHORT_LABELS: Mapping[str, str] = {
    "loss": "loss",
    "entropy": "entropy",
    "rank": "rank",
    "log_scale": "log scale",
}
UNITS: Mapping[str, str] = {"loss": "nats", "entropy": "nats", "rank": "places", "log_scale": ""}
MIDDLE: Mapping[str, int] = {"loss": -40, "entropy": -40, "log_scale": -40, "rank": 0}
"""Number of the first edge that is drawn; what is nearer to zero is drawn as no change."""
BASELINE_NAME = "random neurons of the same layers"
LOWERED_SIDE = "#eef0f7"
"""Behind everything left of 0, where the intact neurons lower the metric."""
OUTLINE = "#3d3d42"
UNCHANGED = "#b9bbc6"


@dataclass(frozen=True, eq=False)
class RunCounts:
    """How the differences of one metric are distributed in one run.

    Attributes:
        label: What was ablated.
        counts: Counts of clean - ablated.
    """

    label: RunLabel
    counts: SignedLogCounts


@dataclass(frozen=True, eq=False)
class PairedCounts:
    """A run with its baseline.

    Attributes:
        label: What was ablated.
        true: Counts of the run.
        baseline: Counts of the baseline of the same set, mode and condition; None if there is no such run.
    """

    label: RunLabel
    true: SignedLogCounts
    baseline: SignedLogCounts | None


def pair_runs(runs: Sequence[RunCounts], metric: str) -> list[PairedCounts]:
    """Each run together with its baseline, in the order of the runs, with the middle that figures draw.

    A baseline without its run is left out.

    Args:
        runs: Runs and baselines, in any order.
        metric: Which metric they are of, a key of `METRIC_LABELS`.
    """
    drawn = {run.label: run.counts.coarser(MIDDLE[metric]) for run in runs}
    return [
        PairedCounts(label, counts, drawn.get(_baseline_of(label)))
        for label, counts in drawn.items()
        if not label.baseline
    ]


def _baseline_of(label: RunLabel) -> RunLabel:
    return RunLabel(label.set, label.mode, True, label.gate, label.post)


def condition_text(label: RunLabel) -> str:
    """``gate− post+``; empty without a condition."""
    parts = [f"{name}{sign}" for name, sign in (("gate", label.gate), ("post", label.post)) if sign]
    return " ".join(parts).replace("-", "−")


def run_text(label: RunLabel) -> str:
    """The set and its condition."""
    return f"{label.set} {condition_text(label)}".strip()


def mode_text(mode: str) -> str:
    """What happens to the activations, for a title or a legend."""
    return f"set to {mode}" if mode in ("zero", "mean") else mode


def class_colour(label: RunLabel, palette_name: PaletteName) -> tuple[Colour, str | None]:
    """Colour and hatch of the class that a set is named after, whole or in part; dark grey for other sets."""
    colours = palette(palette_name)
    grey = (0.35, 0.35, 0.4, 1.0)
    name, _, _ = label.set.partition("@")
    return colours.colours.get(name, grey), colours.hatches.get(name)


def curve_colour(label: RunLabel, palette_name: PaletteName) -> tuple[float, float, float] | str:
    """Colour of a line: that of the class, or with a condition one for each pair of signs."""
    if not (label.gate or label.post):
        return over_white(class_colour(label, palette_name)[0])
    place = ("+", "-", "").index(label.gate) * 3 + ("+", "-", "").index(label.post)
    cycle = PAPER_CYCLE if palette_name == "paper" else CYCLE
    return cycle[(0, 1, 4, 2, 3, 5, 4, 5)[place] % len(cycle)]


def difference_label(metric: str) -> str:
    """Name of an axis of differences."""
    unit = f" ({UNITS[metric]})" if UNITS[metric] else ""
    return f"{METRIC_LABELS[metric]}: clean − ablated{unit}"


def directions(metric: str) -> tuple[str, str]:
    """What it means to be left and right of 0."""
    name = SHORT_LABELS[metric]
    return f"← intact neurons lower the {name}", "raise it →"


def signed_log_axis(
    axes: Axes, threshold: float, low: float, high: float, *, first: float | None = None, most: int = 9
) -> None:
    """A horizontal axis that is logarithmic on both sides of a narrow linear middle.

    The half where the intact neurons lower the metric is tinted.

    Args:
        axes: The axes.
        threshold: Where the middle ends.
        low: Left end, below 0.
        high: Right end, above 0.
        first: The smallest magnitude of a tick beside 0; where the middle ends if None.
        most: Most labelled ticks.
    """
    axes.set_xscale("symlog", linthresh=threshold, linscale=0.45)
    axes.set_xlim(low, high)
    ticks = signed_log_ticks(first or threshold, low, high, most)
    axes.set_xticks(ticks, [tick_text(tick) for tick in ticks])
    axes.minorticks_off()
    axes.axvspan(low, 0, color=LOWERED_SIDE, linewidth=0, zorder=0, gid="lowered")
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0.6, gid="zero")


def signed_log_ticks(smallest: float, low: float, high: float, most: int = 9) -> list[float]:
    """Powers of ten on both sides, the same on both, and 0.

    Args:
        smallest: No power is below it.
        low: Left end.
        high: Right end.
        most: Most ticks; then only every second power, or every third, …
    """
    first = math.ceil(math.log10(smallest) - 1e-9)
    last = math.floor(math.log10(max(-low, high)) + 1e-9)
    for step in range(1, 20):
        powers = [10.0**power for power in range(last, first - 1, -step)]
        ticks = [-power for power in powers if -power >= low] + [0.0]
        ticks += [power for power in reversed(powers) if power <= high]
        if len(ticks) <= most:
            break
    return ticks


def tick_text(tick: float) -> str:
    """``−0.01``, ``100``, ``10⁻⁴``."""
    if tick == 0 or 1e-3 < abs(tick) < 2e3:
        return f"{tick:g}".replace("-", "−")
    return ("−" if tick < 0 else "") + power_of_ten(abs(tick))


def percent(share: float) -> str:
    """A share in whole percent, without calling a few none or most all."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"
