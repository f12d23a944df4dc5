"""What probes of all neurons found, as tables: neurons in the published layout, features, layers.

Everything is chosen on validation: the test scores of the best neuron on validation are of a neuron that the
test examples had no say in. As published there is no validation and the best neuron on test is taken, which
makes its scores too good; the columns of validation are NaN there.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), section 5 and the lists of neurons in its code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.chance import false_discoveries
from rwcore.probing.datasets.features import NONE
from rwcore.probing.intervals import confusion_intervals
from rwcore.probing.sparsity import DIRECTIONS, SHUFFLED
from rwcore.probing.tasks import ProbeTask

TOP = 30
HOOK = "mlp.hook_post"
LIMITS = (0.95, 0.9, 0.8)
"""Of the test MCC: how many neurons a feature has above each."""
PUBLISHED_COLUMNS = (
    "model", "dataset", "feature", "layer", "neuron", "aggregation", "hook_loc", "k",
    "test_mcc", "test_f1_score", "test_precision", "test_recall", "coef",
)  # fmt: skip
NEURON_COLUMNS = (
    *PUBLISHED_COLUMNS, "family", "rank", "polarity", "test_pr_auc", "test_roc_auc", "validation_mcc",
    "validation_f1_score", "validation_pr_auc", "mean_dif", "f_stat", "mi", "p", "q",
)  # fmt: skip
CONTROL_NAMES = {DIRECTIONS: "direction", SHUFFLED: "shuffled"}
FEATURE_COLUMNS = (
    "model", "dataset", "family", "feature", "aggregation", "n", "positives", "documents", "test_n",
    "test_positives", "layer", "relative_depth", "neuron", "polarity", "validation_mcc",
    "validation_f1_score", "test_mcc", "test_mcc_low", "test_mcc_high", "test_f1_score", "q",
    *(f"neurons_{100 * limit:.0f}" for limit in LIMITS),
    *(f"{control}_{part}_mcc" for control in CONTROL_NAMES.values() for part in ("validation", "test")),
)  # fmt: skip
LAYER_COLUMNS = (
    "model", "dataset", "family", "feature", "layer", "relative_depth", "neuron", "validation_mcc",
    "test_mcc", "validation_f1_score", "test_f1_score",
)  # fmt: skip
# Names of the published columns that differ from those of the atlas.
_RENAMED = {
    "test_f1_score": "test_f1",
    "validation_f1_score": "validation_f1",
    "coef": "weight",
}


@dataclass(frozen=True, eq=False)
class Atlas:
    """Every neuron of some layers against every feature of a data set.

    Attributes:
        model: Its id.
        tasks: The features, in the order of the columns; all of one data set.
        layers: Numbers of the layers, in the order of the columns.
        n_layers: How many layers the model has.
        columns: For each of `rwcore.probing.atlas.COLUMNS`, a value per layer, feature and neuron.
        aggregation: Of the data set.
    """

    model: str
    tasks: Sequence[ProbeTask]
    layers: Sequence[int]
    n_layers: int
    columns: Mapping[str, Float32[Tensor, "layer feature neuron"]]
    aggregation: str = NONE

    @property
    def width(self) -> int:
        """Neurons of a layer."""
        return self.columns["test_mcc"].shape[2]

    @cached_property
    def chosen_by(self) -> str:
        """What neurons are chosen by: ``validation``, or ``test`` where there is no validation."""
        empty = {not len(task.split.validation) for task in self.tasks}
        if len(empty) > 1:
            raise OptionError(
                "some features have a validation part and others have none",
                where="tasks",
                remedy="give those of one convention at a time",
            )
        return "test" if empty == {True} else "validation"

    def quality(self, feature: int) -> Float64[Tensor, "layer neuron"]:
        """By what the best neuron is chosen: MCC, and the area under the curve between equal ones.

        Scores of many neurons are equal where a feature has few examples; without a second score the first
        layer would win. An MCC that is not known counts as the worst.
        """
        by = self.chosen_by
        mcc, area = (self.columns[f"{by}_{name}"][:, feature].double() for name in ("mcc", "pr_auc"))
        # No two different values of MCC are as near as this.
        return (mcc + 1e-9 * area.nan_to_num(0)).nan_to_num(-math.inf)

    def best(self, feature: int, count: int) -> tuple[list[int], list[int]]:
        """Places of the layers, and the neurons, of the best of a feature, the best one first."""
        order = torch.argsort(self.quality(feature).flatten(), descending=True, stable=True)[:count]
        return (order // self.width).tolist(), (order % self.width).tolist()

    def value(self, name: str, place: int, feature: int, neuron: int) -> float:
        """A column under its published name."""
        return float(self.columns[_RENAMED.get(name, name)][place, feature, neuron])

    def polarity(self, place: int, feature: int, neuron: int) -> str:
        """Whether the feature makes the neuron larger, ``+``, or smaller, ``-``."""
        return "+" if self.value("coef", place, feature, neuron) > 0 else "-"

    def depth(self, place: int) -> float:
        """Of a layer: 0 for the first of the model, 1 for the last."""
        return self.layers[place] / max(1, self.n_layers - 1)

    def adjusted(self, feature: int) -> Float64[Tensor, "layer neuron"]:
        """P values of Benjamini and Hochberg over all neurons of all layers."""
        p = self.columns["p"][:, feature].double()
        return false_discoveries(p.flatten()).reshape(p.shape)


def neuron_table(atlas: Atlas, *, top: int = TOP) -> pd.DataFrame:
    """The best neurons of each feature, columns `NEURON_COLUMNS`, the first of them as published.

    Args:
        atlas: What was found.
        top: Neurons of each feature, over all layers.

    Returns:
        Features in their order, neurons by rank; ``coef`` is the weight of the activation divided by ten
        standard deviations, ``polarity`` its sign, ``q`` the p value of the F test adjusted for all neurons.
    """
    rows = []
    for number, task in enumerate(atlas.tasks):
        adjusted = atlas.adjusted(number)
        for rank, (place, neuron) in enumerate(zip(*atlas.best(number, top), strict=True), start=1):
            known = {
                "model": atlas.model,
                "dataset": task.dataset,
                "feature": task.name,
                "layer": atlas.layers[place],
                "neuron": neuron,
                "aggregation": atlas.aggregation,
                "hook_loc": HOOK,
                "k": 1,
                "family": task.family,
                "rank": rank,
                "polarity": atlas.polarity(place, number, neuron),
                "q": float(adjusted[place, neuron]),
            }
            rows.append(
                [known[n] if n in known else atlas.value(n, place, number, neuron) for n in NEURON_COLUMNS]
            )
    return pd.DataFrame(rows, columns=[*NEURON_COLUMNS])


def feature_table(
    atlas: Atlas,
    *,
    activations: Mapping[str, Float[Tensor, " labelled"]] | None = None,
    controls: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per feature, columns `FEATURE_COLUMNS`.

    Args:
        atlas: What was found.
        activations: By feature, of its best neuron (see `best_neurons`) at all labelled examples: for the
            interval of the test MCC, which is over documents. Without, it is NaN, and so it is where the best
            layer is none of those whose activations were kept.
        controls: Rows of `rwcore.probing.controls.control_scores` of some layers, by feature. The best
            direction of each trial is chosen as neurons are, over all layers; its scores are averaged over
            trials. Without, they are NaN.

    Returns:
        The table. ``neurons_95`` and the like count neurons with at least such a test MCC.
    """
    rows = []
    for number, task in enumerate(atlas.tasks):
        (place,), (neuron,) = atlas.best(number, 1)
        test = task.label[task.split.test]
        low, high = math.nan, math.nan
        if activations is not None and task.name in activations:
            low, high = _interval(atlas, number, place, neuron, activations[task.name])
        mcc = atlas.columns["test_mcc"][:, number]
        row: dict[str, object] = {
            "model": atlas.model,
            "dataset": task.dataset,
            "family": task.family,
            "feature": task.name,
            "aggregation": atlas.aggregation,
            "n": len(task.label),
            "positives": int(task.label.sum()),
            "documents": len(torch.unique(task.group)),
            "test_n": len(test),
            "test_positives": int(test.sum()),
            "layer": atlas.layers[place],
            "relative_depth": atlas.depth(place),
            "neuron": neuron,
            "polarity": atlas.polarity(place, number, neuron),
            "test_mcc_low": low,
            "test_mcc_high": high,
            "q": float(atlas.adjusted(number)[place, neuron]),
        }
        row |= {f"neurons_{100 * limit:.0f}": int((mcc >= limit).sum()) for limit in LIMITS}
        row |= _control_scores(controls, task.name, atlas.chosen_by)
        rows.append([row[n] if n in row else atlas.value(n, place, number, neuron) for n in FEATURE_COLUMNS])
    return pd.DataFrame(rows, columns=[*FEATURE_COLUMNS])


def best_neurons(atlas: Atlas) -> dict[str, tuple[int, int]]:
    """Layer and number of the best neuron of each feature."""
    found = {}
    for number, task in enumerate(atlas.tasks):
        (place,), (neuron,) = atlas.best(number, 1)
        found[task.name] = atlas.layers[place], neuron
    return found


def layer_table(atlas: Atlas) -> pd.DataFrame:
    """The best neuron of each layer for each feature, columns `LAYER_COLUMNS`, for heat maps."""
    rows = []
    for number, task in enumerate(atlas.tasks):
        neurons: Int64[Tensor, " layer"] = atlas.quality(number).argmax(dim=1)
        for place, neuron in enumerate(neurons.tolist()):
            known = {
                "model": atlas.model,
                "dataset": task.dataset,
                "family": task.family,
                "feature": task.name,
                "layer": atlas.layers[place],
                "relative_depth": atlas.depth(place),
                "neuron": neuron,
            }
            rows.append(
                [known[n] if n in known else atlas.value(n, place, number, neuron) for n in LAYER_COLUMNS]
            )
    return pd.DataFrame(rows, columns=[*LAYER_COLUMNS])


def _interval(
    atlas: Atlas, feature: int, place: int, neuron: int, activation: Float[Tensor, " labelled"]
) -> tuple[float, float]:
    """Of the test MCC of a neuron's probe, from its activations rather than from their codes."""
    task = atlas.tasks[feature]
    weight, intercept, scale = (
        atlas.value(name, place, feature, neuron) for name in ("coef", "intercept", "scale")
    )
    test = task.split.test
    chosen = activation[test].double() * (weight / scale) + intercept > 0
    interval = confusion_intervals(task.label[test], chosen[:, None], task.group[test])["mcc"][0]
    return interval.low, interval.high


def _control_scores(controls: pd.DataFrame | None, feature: str, by: str) -> dict[str, float]:
    """Scores of the best direction of each control, mean over trials."""
    found: dict[str, float] = {}
    for control, name in CONTROL_NAMES.items():
        means = {"validation": math.nan, "test": math.nan}
        if controls is not None:
            rows = controls[(controls["feature"] == feature) & (controls["control"] == control)]
            best = [
                trial.sort_values(f"{by}_mcc", ascending=False, kind="stable").iloc[0]
                for _, trial in rows.groupby("trial")
            ]
            if best:
                means = {part: float(np.mean([row[f"{part}_mcc"] for row in best])) for part in means}
        found |= {f"{name}_{part}_mcc": value for part, value in means.items()}
    return found
