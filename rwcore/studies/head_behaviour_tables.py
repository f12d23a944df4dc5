"""Tables and summary of what heads do, from the arrays of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from rwcore.ablation.bootstrap import intervals
from rwcore.heads.lens_attention import ATTENDED, FIRST
from rwcore.heads.movers import repair_shares
from rwcore.stats.correlation import pearson

SCORE_COLUMNS = (
    "layer", "head", "depth", "copy_suppression", "copy_suppression_se", "anti_induction",
    "anti_induction_se",
)  # fmt: skip
IOI_COLUMNS = (
    "layer", "head", "contribution", "contribution_se", "mover", "attention_io", "attention_s1", "along_io",
    "score_clean", "score_swapped", "score_projected", "fixed_stream", "fixed_unembedding",
)  # fmt: skip
REPAIR_COLUMNS = (
    "component", "layer", "head", "before", "after", "increase", "share", "attention_before",
    "attention_after",
)  # fmt: skip
COMPOSITION_COLUMNS = ("mover", "layer", "head", "median_rank", "names")
LENS_COLUMNS = (
    "layer", "head", "queries", "awake_queries", "expected", "expected_attended", "awake_expected_attended",
    "expected_in_three", "awake_expected_in_three", "attended_chance", "in_five", "attention_expected",
    "attention_others",
)  # fmt: skip
RESTING_COLUMNS = (
    "layer", "head", "attention_first", "key_first", "key_first_least", "key_first_largest", "key_later",
    "key_later_largest",
)  # fmt: skip

BEST = 3
"""A negative head is among so many best ones by both scores."""
Arrays = Mapping[str, Tensor]


def head_frame(shape: Sequence[int]) -> pd.DataFrame:
    """A row for each head: ``layer`` and ``head``."""
    layers, heads = shape[:2]
    return pd.DataFrame(
        {"layer": np.repeat(np.arange(layers), heads), "head": np.tile(np.arange(heads), layers)}
    )


def score_table(rows: Arrays, prompts: Arrays) -> pd.DataFrame:
    """Both scores of every head; columns `SCORE_COLUMNS`."""
    copies, induction = prompts["copy_suppression"], rows["anti_induction"]
    frame = head_frame(copies.shape)
    frame["depth"] = frame["layer"] / max(copies.shape[0] - 1, 1)
    frame["copy_suppression"] = _flat(copies.mean(dim=2))
    frame["copy_suppression_se"] = _standard_error(_twins(copies))
    frame["anti_induction"] = _flat(induction.mean(dim=2))
    frame["anti_induction_se"] = _standard_error(induction)
    return frame[[*SCORE_COLUMNS]]


def ioi_table(prompts: Arrays) -> pd.DataFrame:
    """What every head does on prompts with two names; columns `IOI_COLUMNS`."""
    frame = head_frame(prompts["heads"].shape)
    movers = {tuple(pair) for pair in prompts["movers"].tolist()}
    frame["mover"] = [pair in movers for pair in zip(frame["layer"], frame["head"], strict=True)]
    frame["contribution_se"] = _standard_error(_twins(prompts["heads"]))
    named = {"contribution": "heads", "along_io": "along"}
    for column in IOI_COLUMNS:
        if column not in frame:
            frame[column] = _flat(prompts[named.get(column, column)].mean(dim=2))
    return frame[[*IOI_COLUMNS]]


def repair_table(prompts: Arrays) -> pd.DataFrame:
    """Heads and MLPs behind the ablated movers, before and after; columns `REPAIR_COLUMNS`.

    Without an ablation (no mover, none with a layer behind it, too few names) there are no rows.
    """
    if not len(prompts["ablated"]):
        return pd.DataFrame(columns=[*REPAIR_COLUMNS])
    first = int(prompts["ablated"][:, 0].max()) + 1
    frame = head_frame(prompts["heads"].shape)
    frame["component"] = [
        f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)
    ]
    mlps = pd.DataFrame({"layer": range(len(prompts["mlps"]))})
    mlps["component"] = [f"MLP {layer}" for layer in mlps["layer"]]
    for column, prefix in (("before", ""), ("after", "after_")):
        frame[column] = _flat(prompts[f"{prefix}heads"].mean(dim=2))
        frame[f"attention_{column}"] = _flat(
            (prompts[f"{prefix}attention_io"] - prompts[f"{prefix}attention_s1"]).mean(dim=2)
        )
        mlps[column] = _flat(prompts[f"{prefix}mlps"].mean(dim=1))
    every = pd.concat([frame, mlps], ignore_index=True).astype({"head": "Int64"})
    every = every[every["layer"] >= first].reset_index(drop=True)
    before, after = (torch_column(every, name) for name in ("before", "after"))
    every["increase"] = (after - before).numpy()
    every["share"] = repair_shares(before, after).numpy()
    return every[[*REPAIR_COLUMNS]]


def composition_table(prompts: Arrays, names: int) -> pd.DataFrame:
    """Ranks of the names that movers write, for the heads behind each; columns `COMPOSITION_COLUMNS`."""
    parts = []
    for mover, ranks in zip(prompts["movers"].tolist(), prompts["composition"], strict=True):
        frame = head_frame(ranks.shape).assign(
            mover=f"{mover[0]}.{mover[1]}", median_rank=_flat(ranks), names=names
        )
        parts.append(frame[frame["layer"] > mover[0]])
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COMPOSITION_COLUMNS])
    return whole[[*COMPOSITION_COLUMNS]]


def lens_table(lens: Arrays) -> pd.DataFrame:
    """Whether heads look at what the lens predicts; columns `LENS_COLUMNS`, no rows without a text."""
    if not lens:
        return pd.DataFrame(columns=[*LENS_COLUMNS])
    counts = {name: _flat(values).astype(float) for name, values in lens.items()}
    frame = head_frame(lens["queries"].shape)
    for name in ("queries", "awake_queries", "expected"):
        frame[name] = counts[name].astype(int)
    with np.errstate(invalid="ignore", divide="ignore"):
        for which, column in zip(ATTENDED, ("attended", "in_three"), strict=True):
            frame[f"expected_{column}"] = counts[f"{which}_both"] / counts["expected"]
            frame[f"awake_expected_{column}"] = counts[f"{which}_awake_both"] / counts["awake_expected"]
        frame["attended_chance"] = counts[f"{FIRST}_attended"] / counts["pairs"]
        frame["in_five"] = counts["in_five"] / counts["long_queries"]
        frame["attention_expected"] = counts["attention_expected"] / counts["expected"]
        frame["attention_others"] = counts["attention_others"] / (counts["pairs"] - counts["expected"])
    return frame[[*LENS_COLUMNS]]


def resting_table(rows: Arrays, lens: Arrays) -> pd.DataFrame:
    """Attention on position 0, and keys against the bias of queries; columns `RESTING_COLUMNS`."""
    mean, least, largest = (rows[f"key_{name}"] for name in ("mean", "least", "largest"))
    frame = head_frame(mean.shape)
    frame["attention_first"] = (
        _flat(lens["attention_first"] / lens["queries"]) if lens else np.full(len(frame), math.nan)
    )
    frame["key_first"] = _flat(mean[..., 0])
    frame["key_first_least"] = _flat(least[..., 0])
    frame["key_first_largest"] = _flat(largest[..., 0])
    frame["key_later"] = _flat(mean[..., 1:].mean(dim=2))
    frame["key_later_largest"] = _flat(largest[..., 1:].amax(dim=2))
    return frame[[*RESTING_COLUMNS]]


def negative_heads(scores: pd.DataFrame, best: int = BEST) -> list[str]:
    """Heads that are among the best by both scores, both positive; best copy-suppression score first."""
    both = scores[(scores["copy_suppression"] > 0) & (scores["anti_induction"] > 0)]
    top = [set(scores.nlargest(best, name).index) for name in ("copy_suppression", "anti_induction")]
    chosen = both[both.index.isin(top[0] & top[1])].sort_values(
        "copy_suppression", ascending=False, kind="stable"
    )
    return names_of(chosen)


def names_of(frame: pd.DataFrame) -> list[str]:
    """``layer.head`` of each row."""
    return [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)]


def score_summary(scores: pd.DataFrame) -> dict[str, Any]:
    """How the two scores go together over heads."""
    both = scores[(scores["copy_suppression"] > 0) & (scores["anti_induction"] > 0)]
    tops = {name: scores.iloc[int(scores[name].argmax())] for name in ("copy_suppression", "anti_induction")}
    layers = int(scores["layer"].max()) + 1
    return {
        "heads": len(scores),
        "heads_both_positive": len(both),
        "pearson_both_positive": _pearson(both),
        "spearman_both_positive": _spearman(both),
        "pearson_all": _pearson(scores),
        "top": {
            name: {
                "head": f"{int(row['layer'])}.{int(row['head'])}",
                "score": float(row[name]),
                "second_half": bool(2 * row["layer"] >= layers),
            }
            for name, row in tops.items()
        },
        "same_top_head": tops["copy_suppression"].name == tops["anti_induction"].name,
        "negative_heads": negative_heads(scores),
    }


def ioi_summary(prompts: Arrays) -> dict[str, Any]:
    """How well the model solves the prompts, with 95 % intervals over pairs of twins, and who does it."""
    difference = prompts["difference"]
    columns = {
        "accuracy": (difference > 0).double(),
        "top": prompts["top"].double(),
        "difference": difference,
    }
    pairs = np.stack(
        [_flat(values.double().reshape(-1, 2).sum(dim=1)) for values in columns.values()], axis=1
    )
    found = intervals(pairs, np.full(pairs.shape, 2))
    numbers = {
        name: {"mean": float(values.double().mean()), "low": one.low, "high": one.high}
        for (name, values), one in zip(columns.items(), found, strict=True)
    }
    movers = {
        name: [f"{layer}.{head}" for layer, head in prompts[name].tolist()] for name in ("movers", "ablated")
    }
    return {"prompts": len(difference), **numbers, **movers}


def repair_summary(repair: pd.DataFrame, negative: Sequence[str]) -> dict[str, Any]:
    """How much of the repair is that of negative heads; None where nothing was ablated.

    Their share says little where increases of both signs add up to almost nothing.
    """
    if repair.empty:
        return {"increase": None, "negative_increase": None, "negative_share": None}
    chosen = repair["component"].isin(negative)
    return {
        "increase": float(repair["increase"].sum()),
        "negative_increase": float(repair["increase"][chosen].sum()),
        "negative_share": float(repair["share"][chosen].sum()),
    }


def torch_column(frame: pd.DataFrame, name: str) -> Float[Tensor, " row"]:
    """A column as a tensor."""
    import torch

    return torch.tensor(frame[name].to_numpy(dtype=float))


def _pearson(frame: pd.DataFrame) -> float | None:
    r, _, _ = pearson(*(torch_column(frame, name) for name in ("copy_suppression", "anti_induction")))
    return None if math.isnan(r) else r


def _spearman(frame: pd.DataFrame) -> float | None:
    if len(frame) < 2:
        return None
    r = float(spearmanr(frame["copy_suppression"], frame["anti_induction"]).statistic)
    return None if math.isnan(r) else r


def _twins(values: Tensor) -> Tensor:
    """Means of prompts and their twins: those are not independent."""
    return values.reshape(*values.shape[:-1], -1, 2).mean(dim=-1)


def _standard_error(values: Tensor) -> np.ndarray:
    return _flat(values.double().std(dim=-1) / math.sqrt(values.shape[-1]))


def _flat(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.flatten().numpy()
    return found
