"""Tables of suppression: of groups of heads and neurons, with intervals and chance, of heads, and of neurons.

Intervals are over documents (`rwcore.ablation.bootstrap`). Those named ``over_random`` are over documents and
over random groups at once: each draw of documents is divided by another random group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int8
from torch import Tensor

from rwcore.ablation.bootstrap import LEVEL, bootstrap_means
from rwcore.heads.suppression_scores import Sums, SuppressionScores, against

HEADS, NEURONS = "heads", "neurons"
ALL, NEGATIVE, OTHER = "all", "negative", "other"

GROUP_COLUMNS = (
    "tokens", "cells", "writers", "group", "members", "suppression", "suppression_low", "suppression_high",
    "share", "share_low", "share_high", "expected", "ratio", "ratio_low", "ratio_high", "random_low",
    "random_high", "p", "over_random_low", "over_random_high", "against", "against_low", "against_high",
    "against_expected", "against_ratio", "against_ratio_low", "against_ratio_high", "net", "net_low",
    "net_high", "net_expected", "together", "together_low", "together_high",
)  # fmt: skip
HEAD_COLUMNS = (
    "layer", "head", "suppression", "share", "ratio", "against", "net", "net_first_half", "net_second_half",
    "negative_for_first_half", "negative_for_second_half",
)  # fmt: skip
NEURON_COLUMNS = ("layer", "neuron", "class", "suppression", "share", "ratio", "against", "net")
LAYER_COLUMNS = ("layer", "writers", "group", "members", "suppression", "net", "together", "cells")


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups that are compared.

    Attributes:
        negative: Negative heads by half; see `SuppressionScores.negative`.
        neurons: Codes of the classes of each group of neurons.
    """

    negative: Bool[Tensor, "half layer head"]
    neurons: Mapping[str, Collection[int]]

    @property
    def heads(self) -> dict[str, Bool[Tensor, "half layer head"]]:
        """Groups of heads."""
        return {ALL: torch.ones_like(self.negative), NEGATIVE: self.negative, OTHER: ~self.negative}


def group_table(scores: SuppressionScores, groups: Groups, tokens: str) -> pd.DataFrame:
    """Suppression by groups of heads and neurons; columns `GROUP_COLUMNS`.

    Args:
        scores: Of one choice of kinds.
        groups: The groups; negative heads may have been chosen by another choice of kinds.
        tokens: Name of the choice.
    """
    chosen, codes = [*groups.heads.values()], [*groups.neurons.values()]
    heads, neurons = scores.of_heads(chosen), scores.of_neurons(codes)
    # All heads are the first group of heads, and neurons of all classes are all neurons.
    total = heads.own[:, 0, 0] + scores.of_neurons([range(scores.width.shape[1])]).own[:, 0, 0]
    members = [float(group.sum()) / 2 for group in chosen]
    rows = [_rows(heads, scores.random_heads(chosen), total, scores.draws)]
    rows.append(_rows(neurons, scores.random_neurons(codes), total, scores.draws))
    names = [(HEADS, name) for name in groups.heads] + [(NEURONS, name) for name in groups.neurons]
    table = pd.concat(rows, ignore_index=True)
    table["writers"] = [writers for writers, _ in names]
    table["group"] = [name for _, name in names]
    table["members"] = members + [float(scores.group_size(group).sum()) for group in codes]
    return table.assign(tokens=tokens, cells=float(scores.chosen.double().mean()))[[*GROUP_COLUMNS]]


def _rows(
    sums: Sums,
    random: Float64[np.ndarray, "draw group 2"],
    total: Float64[np.ndarray, " document"],
    draws: int,
) -> pd.DataFrame:
    """One row per group: `GROUP_COLUMNS` without names."""
    groups = sums.own.shape[1]
    flat = np.concatenate(
        [sums.own.reshape(len(total), -1), sums.expected.reshape(len(total), -1), total[:, None]], axis=1
    )
    counts = np.repeat(sums.counts[:, None], flat.shape[1], axis=1)
    mean = (flat.sum(axis=0) / counts.sum(axis=0))[None]
    drawn = bootstrap_means(flat, counts, draws=draws)
    if len(total) < 2:
        drawn = np.full_like(drawn, np.nan)

    def parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own, expected, whole = np.split(values, [3 * groups, 5 * groups], axis=1)
        return own.reshape(-1, groups, 3), expected.reshape(-1, groups, 2), whole

    with np.errstate(invalid="ignore", divide="ignore"):
        (own, expected, whole), (own_draws, expected_draws, whole_draws) = parts(mean), parts(drawn)
        chance = expected.sum(axis=0) * sums.counts.sum()  # as random groups are summed
        found = {
            "suppression": (own[..., 0], own_draws[..., 0]),
            "share": (own[..., 0] / whole, own_draws[..., 0] / whole_draws),
            "ratio": (own[..., 0] / expected[..., 0], own_draws[..., 0] / expected_draws[..., 0]),
            "against": (against(own), against(own_draws)),
            "net": (own[..., 1], own_draws[..., 1]),
            "together": (own[..., 2], own_draws[..., 2]),
        }
        ratios = random[..., 0] / chance[:, 0]
        own_against, expected_against = against(own), against(expected)
        against_draws = against(own_draws) / against(expected_draws)
        over = {
            "over_random": found["ratio"][1] / ratios,
            "against_ratio": against_draws / (against(random) / expected_against),
        }
        against_ratio = (own_against / expected_against)[0]
    columns: dict[str, np.ndarray] = {}
    for name, (estimate, values) in found.items():
        columns[name] = estimate[0]
        columns[f"{name}_low"], columns[f"{name}_high"] = ends(values)
    for name, values in over.items():
        columns[f"{name}_low"], columns[f"{name}_high"] = ends(values)
    columns["expected"], columns["net_expected"] = expected[0].T
    columns["random_low"], columns["random_high"] = ends(ratios)
    columns["against_expected"] = expected_against[0]
    columns["against_ratio"] = against_ratio
    far = np.abs(ratios - 1) >= np.abs(columns["ratio"] - 1) - 1e-9
    columns["p"] = np.where(np.isfinite(columns["ratio"]), (1 + far.sum(axis=0)) / (1 + len(ratios)), np.nan)
    return pd.DataFrame(columns)


def ends(values: Float64[np.ndarray, "draw column"]) -> Float64[np.ndarray, "2 column"]:
    """Ends of the 95 % interval of each column; draws that met no document with values do not count."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    known = [column[~np.isnan(column)] for column in values.T]
    # Not interpolated: a draw may be infinite.
    found = [np.quantile(one, tails, method="nearest") if len(one) else [np.nan] * 2 for one in known]
    return np.array(found).reshape(-1, 2).T


def head_table(scores: SuppressionScores) -> pd.DataFrame:
    """Every head alone; columns `HEAD_COLUMNS`."""
    by_half, negative = scores.head_sums.numpy(), scores.negative.numpy()
    count = scores.counts.sum()
    sums = by_half.sum(axis=1)
    layer, head = np.indices(sums.shape[1:])
    halves = [scores.counts[half::2].sum() for half in range(2)]
    total = sums[0].sum() + scores.neuron_sums[0].sum().item()
    with np.errstate(invalid="ignore", divide="ignore"):
        table = {
            "layer": layer,
            "head": head,
            "suppression": sums[0] / count,
            "share": sums[0] / total,
            "ratio": sums[0] / sums[0].mean(axis=1, keepdims=True),
            "against": against(np.moveaxis(sums, 0, -1)),
            "net": sums[1] / count,
            "net_first_half": by_half[1, 0] / halves[0],
            "net_second_half": by_half[1, 1] / halves[1],
            "negative_for_first_half": negative[0],
            "negative_for_second_half": negative[1],
        }
    return pd.DataFrame({name: values.ravel() for name, values in table.items()})[[*HEAD_COLUMNS]]


def neuron_table(
    scores: SuppressionScores,
    names: Sequence[str],
    codes: Int8[np.ndarray, "layer neuron"],
    top: int,
) -> pd.DataFrame:
    """The neurons that suppress most; columns `NEURON_COLUMNS`.

    Args:
        scores: Of one choice of kinds.
        names: Names of the classes, the undefined ones last.
        codes: Class of every neuron.
        top: How many.
    """
    sums, count = scores.neuron_sums.numpy(), scores.counts.sum()
    total = sums[0].sum() + scores.head_sums[0].sum().item()
    order = np.argsort(-sums[0], axis=None, kind="stable")[:top]
    layer, neuron = np.unravel_index(order, sums[0].shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = sums[0] / sums[0].mean(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "class": [names[code] for code in codes[layer, neuron]],
            "suppression": sums[0, layer, neuron] / count,
            "share": sums[0, layer, neuron] / total,
            "ratio": ratio[layer, neuron],
            "against": against(np.moveaxis(sums, 0, -1))[layer, neuron],
            "net": sums[1, layer, neuron] / count,
        },
        columns=[*NEURON_COLUMNS],
    )


def layer_table(scores: SuppressionScores, groups: Groups) -> pd.DataFrame:
    """Suppression in each layer by groups; columns `LAYER_COLUMNS`."""
    found, chosen = scores.found, scores.chosen
    cells = chosen.double().mean(dim=0).tolist()
    parts = []
    written = found.heads * chosen[..., None]
    for name, group in groups.heads.items():
        mine = written * group[scores.half]
        members = group.double().mean(dim=0).sum(dim=1)
        parts.append((HEADS, name, members, -mine.clamp(max=0).sum(dim=2), mine.sum(dim=2)))
    for name, codes in groups.neurons.items():
        sums = (
            (values * chosen[..., None])[..., [*codes]].sum(dim=2) for values in (found.against, found.net)
        )
        suppressed, net = sums
        parts.append((NEURONS, name, scores.group_size(codes), -suppressed, net))
    frames = [
        pd.DataFrame(
            {
                "layer": range(len(cells)),
                "writers": writers,
                "group": name,
                "members": members.numpy(),
                "suppression": suppressed.double().mean(dim=0).numpy(),
                "net": net.double().mean(dim=0).numpy(),
                "together": net.double().clamp(max=0).abs().mean(dim=0).numpy(),
                "cells": cells,
            }
        )
        for writers, name, members, suppressed, net in parts
    ]
    return pd.concat(frames, ignore_index=True).sort_values("layer", kind="stable", ignore_index=True)
