"""Differences as the paper computed them, from runs without padding.

What can be had from the numbers of a run, and is done here:

* loss, entropy and scale are rounded to float16 before anything else, and subtracted in float16;
  the logarithms of the scales are float16 too;
* the first position of every row (the prediction from BOS alone, the same in all rows) counts;
* differences that are 0 or NaN are dropped, though most of those 0 are predictions that did not change;
* means of float16 numbers are rounded to float16 (relative step 2⁻¹¹).

What cannot be had, because it is not in the numbers of a run without padding:

* scales at padding positions, which were 16.7 of the 36.7 million published values;
* ranks of the padding token, one for each row that was not the longest of its batch;
* the 1e-8 inside the logarithm of the entropy: it belongs to the pass over the logits, which has an option
  for it. It lowers an entropy by at most vocabulary · 1e-8 nats and mostly cancels in a difference.

Source: RW functionalities; sections 3.2 to 3.4 and 9.1 of the specification.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from rwcore.ablation.run_metrics import RunMetrics


def stored_differences(clean: RunMetrics, ablated: RunMetrics, metric: str) -> Float64[np.ndarray, " token"]:
    """Clean minus ablated for every token, rounded as the published ones were; nothing is dropped.

    Args:
        clean: The run without ablation.
        ablated: The run with it.
        metric: One of `rwcore.ablation.run_metrics.METRICS`; of ``scale``, logarithms are subtracted.

    Returns:
        One number per token, exact multiples of float16 steps (of ``rank``, whole numbers); NaN where the
        loss is NaN.
    """
    one, other = (getattr(run, metric).numpy() for run in (clean, ablated))
    if metric == "rank":
        difference: np.ndarray = one.astype(np.float64) - other.astype(np.float64)
        return difference
    # NaN and infinities arise where the last token of a row predicts nothing, and from scales beyond float16.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        one, other = (values.astype(np.float16) for values in (one, other))
        if metric == "scale":
            one, other = np.log(one), np.log(other)
        rounded: np.ndarray = (one - other).astype(np.float64)
        return rounded


def stored_mean(values: Float64[np.ndarray, " n"], metric: str) -> float:
    """The mean as published: rounded to float16, but of ranks; NaN of none.

    Args:
        values: Some of the `stored_differences`.
        metric: As there, or ``log_scale``.
    """
    if not len(values):
        return math.nan
    return float(values.mean() if metric == "rank" else values.astype(np.float16).mean())
