"""Tables of counts, medians and regions → the single numbers that statements are about.

Every function takes tables in the form the statistics produce them (one row per layer and class,
one row per layer and cosine, ...) for *one* model and returns a number, a name or a small table. None
looks at weights, so they work on published tables as well as on fresh ones. `per_model` applies any of
them to a table with a ``model`` column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from rwcore.errors import RwcoreError

FAMILIES = ("strengthening", "weakening")
SMALL_MODEL_MARKS = ("1b", "0.5b")

Reduced = TypeVar("Reduced")


@dataclass(frozen=True)
class Peak:
    """Where a quantity that is defined per layer is largest.

    Attributes:
        layer: The layer; the first one if several are equally large.
        value: The quantity there.
        depth: Relative depth ``layer / (L - 1)``, 0 for the first layer and 1 for the last.
    """

    layer: int
    value: float
    depth: float


# -- classes


def class_total(counts: pd.DataFrame, name: str) -> int:
    """Number of neurons of one class over all rows of a count table; 0 if the table has no such class.

    Args:
        counts: Columns ``class`` and ``count``; further columns are ignored.
        name: Class name.
    """
    return int(counts.loc[counts["class"] == name, "count"].sum())


def class_share(counts: pd.DataFrame, name: str) -> float:
    """Share of one class among all neurons of a count table; NaN if it counts no neuron."""
    neurons = int(counts["count"].sum())
    return class_total(counts, name) / neurons if neurons else float("nan")


def classes_by_size(counts: pd.DataFrame) -> pd.Series[int]:
    """Total per class, largest first; equal totals in the order of the table.

    Returns:
        Totals with the class names as index.
    """
    totals = counts.groupby("class", sort=False, observed=True)["count"].sum()
    return totals.sort_values(ascending=False, kind="stable")


def largest_class(counts: pd.DataFrame, *, without: Iterable[str] = ()) -> tuple[str, int]:
    """Name and total of the largest class, among all or without some.

    Args:
        counts: Columns ``class`` and ``count``.
        without: Classes that are left out.
    """
    totals = classes_by_size(counts).drop([*without], errors="ignore")
    return str(totals.index[0]), int(totals.iloc[0])


def has_gate_classes(counts: pd.DataFrame) -> bool:
    """Whether a count table has the classes of gated neurons (11) and not only those by cos(in, out) (3)."""
    return bool((counts["class"] == "proportional change").any())


def family(counts: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of the four classes of a family: plain, atypical, conditional, atypical conditional.

    Args:
        counts: A count table with a column ``class``.
        name: ``strengthening`` or ``weakening``.
    """
    if name not in FAMILIES:
        raise RwcoreError(f"There is no class family {name!r}.", remedy=f"Use one of {', '.join(FAMILIES)}.")
    return counts[[str(c).split()[-1] == name for c in counts["class"]]]


def family_total(counts: pd.DataFrame, name: str, *, layers: range | None = None) -> int:
    """Number of neurons of a family, in all layers or in some."""
    members = family(counts, name)
    if layers is not None:
        members = members[members["layer"].isin(layers)]
    return int(members["count"].sum())


def atypical_share(counts: pd.DataFrame) -> float:
    """Share of the five atypical classes among all neurons."""
    atypical = [str(c).startswith("atypical") for c in counts["class"]]
    return float(counts.loc[atypical, "count"].sum() / counts["count"].sum())


def class_by_layer(counts: pd.DataFrame, name: str) -> pd.Series[int]:
    """Count of one class per layer, layers ascending, 0 where the table has no row."""
    layers = sorted(int(layer) for layer in counts["layer"].unique())
    rows = counts[counts["class"] == name].groupby("layer")["count"].sum()
    return rows.reindex(layers, fill_value=0)


def neurons_per_layer(counts: pd.DataFrame) -> pd.Series[int]:
    """Sum of all classes (or bins) per layer."""
    return counts.groupby("layer")["count"].sum().sort_index()


def first_half(n_layers: int) -> range:
    """Layers 0 … ⌊L/2⌋−1."""
    return range(n_layers // 2)


def last_quarter(n_layers: int) -> range:
    """Layers L−⌊L/4⌋ … L−1."""
    return range(n_layers - n_layers // 4, n_layers)


def share_in_first_half(by_layer: pd.Series[int]) -> float:
    """Share of a class's neurons that lie in layers below L/2; NaN if there are none.

    Args:
        by_layer: Count per layer, layers ascending.
    """
    total = int(by_layer.sum())
    return float(by_layer.iloc[: (len(by_layer) + 1) // 2].sum()) / total if total else float("nan")


def total_variation(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """Total variation distance ½ Σ_c abs(p_c − q_c) between the class shares of two count tables.

    Returns:
        0 (same shares) to 1 (no class in common).
    """
    shares = [classes_by_size(frame) / frame["count"].sum() for frame in (a, b)]
    return float(shares[0].sub(shares[1], fill_value=0.0).abs().sum() / 2)


def layer_total_variations(a: pd.DataFrame, b: pd.DataFrame) -> pd.Series[float]:
    """`total_variation` layer by layer, for two count tables with the same layers.

    Raises:
        RwcoreError: The tables have different layers.
    """
    if set(a["layer"]) != set(b["layer"]):
        raise RwcoreError("The two count tables have different layers.", remedy="Compare models of one size.")
    layers = sorted(int(layer) for layer in a["layer"].unique())
    distances = [total_variation(a[a["layer"] == layer], b[b["layer"] == layer]) for layer in layers]
    return pd.Series(distances, index=pd.Index(layers, name="layer"), name="total_variation")


def pair_variations(pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """How far the models of each pair are apart.

    Args:
        pairs: Count tables with a column ``model``, of one model each.

    Returns:
        Columns ``pair`` (name of the first model without its organisation), ``model`` (`total_variation`
        of the whole models) and ``largest_layer`` (largest of `layer_total_variations`).
    """
    rows = [
        (
            str(a["model"].iloc[0]).rpartition("/")[2],
            total_variation(a, b),
            float(layer_total_variations(a, b).max()),
        )
        for a, b in pairs
    ]
    return pd.DataFrame(rows, columns=["pair", "model", "largest_layer"])


def bins_bound_classes(counts: pd.DataFrame, bins: pd.DataFrame) -> bool:
    """Whether class counts lie between the bin counts that enclose the threshold ±0.5.

    The bins [−1, −0.6) hold only cosines below −0.5 and [−1, −0.4) hold all of them; above 0.5 the
    same with [0.6, 1] and [0.4, 1]. So ``bins < −0.6 ≤ weakening family ≤ bins < −0.4`` must hold.

    Args:
        counts: Class counts of one model.
        bins: Columns ``bin_low`` and ``count`` of the same model.
    """
    edge = bins["bin_low"].round(1)
    held = {low: int(bins.loc[edge == low, "count"].sum()) for low in (-1.0, -0.8, -0.6, 0.4, 0.6, 0.8)}
    weakening, strengthening = family_total(counts, "weakening"), family_total(counts, "strengthening")
    below, above = held[-1.0] + held[-0.8], held[0.6] + held[0.8]
    return below <= weakening <= below + held[-0.6] and above <= strengthening <= above + held[0.4]


# -- medians


def median_by_layer(medians: pd.DataFrame, cosine: str = "linout") -> pd.Series[float]:
    """Median of one cosine per layer, layers ascending.

    Args:
        medians: Columns ``layer``, ``cosine``, ``median``.
        cosine: ``linout``, ``gateout`` or ``gatelin`` (of which the absolute value is meant).
    """
    rows = medians[medians["cosine"] == cosine]
    return rows.set_index("layer")["median"].astype(float).sort_index()


def peak(by_layer: pd.Series[float] | pd.Series[int]) -> Peak:
    """The layer where a quantity is largest."""
    layer = int(by_layer.to_numpy().argmax())
    return Peak(layer, float(by_layer.iloc[layer]), relative_depth(layer, len(by_layer)))


def relative_depth(layer: int, n_layers: int) -> float:
    """``layer / (L - 1)``; 0 in a model with one layer."""
    return layer / (n_layers - 1) if n_layers > 1 else 0.0


def first_negative_layer(by_layer: pd.Series[float]) -> int | None:
    """First layer with a negative value, None if there is none."""
    negative = np.flatnonzero(by_layer.to_numpy() < 0)
    return int(negative[0]) if negative.size else None


def first_negative_depth(by_layer: pd.Series[float]) -> float:
    """Relative depth of the first layer with a negative value; infinite if no layer is negative."""
    layer = first_negative_layer(by_layer)
    return float("inf") if layer is None else relative_depth(layer, len(by_layer))


# -- regions


def region_ratios(regions: pd.DataFrame, beta_high: float) -> pd.DataFrame:
    """Bounds of mismatched-pair regions as multiples of the analytic bound.

    Args:
        regions: Columns ``layer``, ``cosine``, ``low``, ``high``; ``gatelin`` (absolute) has no low bound.
        beta_high: Upper bound of `rwcore.stats.null.beta_region` for the model's width.

    Returns:
        Columns ``layer``, ``cosine``, ``side`` (low, high), ``ratio`` (positive, 1 = the analytic bound).
    """
    long = regions.melt(["layer", "cosine"], ["low", "high"], var_name="side", value_name="bound")
    long = long[(long["side"] == "high") | (long["cosine"] != "gatelin")]
    long = long.assign(ratio=long["bound"].abs() / beta_high).drop(columns="bound")
    return long.sort_values(["cosine", "layer", "side"], ignore_index=True)


# -- several models


def per_model(frame: pd.DataFrame, reduce: Callable[[pd.DataFrame], Reduced]) -> dict[str, Reduced]:
    """Applies a reduction to each model of a table.

    Args:
        frame: A table with a column ``model``.
        reduce: Applied to the rows of one model.

    Returns:
        Model id → result, in the order of the table.
    """
    return {str(model): reduce(rows) for model, rows in frame.groupby("model", sort=False, observed=True)}


def without_small_models(models: Iterable[str]) -> list[str]:
    """Models left by the name filter of the published "selected" median plot.

    A model is dropped if its lower-cased name contains ``1b`` or ``0.5b``.
    """
    return [model for model in models if not any(mark in model.lower() for mark in SMALL_MODEL_MARKS)]
