"""What frequencies, mean norms of outputs and neuron sets are called in figures and tables."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rwcore.activations.quadrants import QUADRANTS, SUMMARY
from rwcore.plots.panels import Floats

NAMES = (SUMMARY, *QUADRANTS)
ATYPICAL = "atypical "
CLASS_LABEL, BASELINE_LABEL = "neurons of the class", "random neurons of the same layers"


def _condition(quadrant: str) -> str:
    """``gate > 0, in < 0`` for ``gate+_in-``."""
    signs = {"+": "> 0", "-": "< 0"}
    return ", ".join(f"{part[:-1]} {signs[part[-1]]}" for part in quadrant.split("_"))


CONDITIONS = {SUMMARY: "gate > 0"} | {name: _condition(name) for name in QUADRANTS}
FREQUENCY_LABELS = {name: f"frequency of {condition}" for name, condition in CONDITIONS.items()}
MEAN_NORM_LABELS = {SUMMARY: "mean ‖output‖"} | {
    name: f"mean ‖output‖ when {CONDITIONS[name]}" for name in QUADRANTS
}
"""Short: beside a single row of panels there is room for 35 characters."""


def to_array(values: Tensor | Floats) -> Floats:
    """The numbers of a tensor or array, without a copy if they are on the CPU."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
