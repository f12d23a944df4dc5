"""Ranges of the norms of a model's neurons."""

from __future__ import annotations

import pandas as pd

from rwcore.stats.cosines import WeightStatistics


def norm_ranges(statistics: WeightStatistics) -> pd.DataFrame:
    """Smallest and largest L2 norm over all layers, of the processed vectors.

    Norms that are not finite are left out; zero vectors are not.

    Returns:
        ``vector`` (``gate`` if there is one, ``in``, ``out``, and ``in_out`` for the product ‖in‖·‖out‖ of
        each neuron), ``min``, ``max``.

    Source: RW functionalities, norm plots; section 3.3 of the specification.
    """
    norms = {name: values.double() for name, values in statistics.norms().items()}
    norms["in_out"] = norms["in"] * norms["out"]
    finite = {name: values[values.isfinite()] for name, values in norms.items()}
    rows = [
        (name, *((values.min().item(), values.max().item()) if len(values) else (float("nan"),) * 2))
        for name, values in finite.items()
    ]
    return pd.DataFrame(rows, columns=["vector", "min", "max"]).astype({"vector": "str"})
