"""What a survey of heads says about each of them: means, spread, and on how few tokens they rest.

Source: copy suppression specification, sections 4.2 and 10.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.ablation.bootstrap import intervals
from rwcore.heads.effects import WriterEffects
from rwcore.heads.writers import Writer

LARGEST = 0.05
"""Share of the tokens with the largest effects, wherever some are looked at alone."""
WITH_INTERVAL = ("loss_increase", "entropy_change_with_head", "dla_next", "dla_predicted")
"""Quantities whose means have intervals over documents."""
WHICH = ("layer", "kind", "head")
COLUMNS = (
    *WHICH,
    "tokens",
    "documents",
    *(f"{name}{end}" for name in WITH_INTERVAL for end in ("", "_low", "_high")),
    "loss_increase_std",
    "loss_increase_abs",
    "helped_by_ablation",
    "helped_by_ablation_largest",
    "largest_share",
    "kl",
    "against_prediction",
    "negative_rank",
)
"""Columns of ``heads.csv``."""


def kind_of(writer: Writer) -> dict[str, object]:
    """`WHICH` writer it is."""
    head = pd.NA if writer.head is None else writer.head
    return {"layer": writer.layer, "kind": "mlp" if writer.head is None else "head", "head": head}


def writer_rows(
    writers: list[Writer], effects: WriterEffects, document: Int64[Tensor, " token"]
) -> list[dict[str, object]]:
    """One row for each writer, `COLUMNS` but for the rank.

    Tokens without a next one count for KL, entropy and the predicted token only.

    Args:
        writers: Which.
        effects: Of them, at every token of a corpus.
        document: That each token belongs to.
    """
    followed = effects.loss_increase[0].isfinite()
    numbers, place = np.unique(document.numpy(), return_inverse=True)
    columns: dict[str, object] = {}
    for name in WITH_INTERVAL:
        values = getattr(effects, name).double()
        there = values[0].isfinite()
        sums = torch.zeros(len(numbers), len(values), dtype=torch.float64)
        where = torch.from_numpy(place)[there]
        sums.index_add_(0, where, values[:, there].T)
        counts = torch.bincount(where, minlength=len(numbers))[:, None].expand(sums.shape)
        found = intervals(sums.numpy(), counts.numpy())
        columns[name] = (sums.sum(dim=0) / max(int(counts[:, 0].sum()), 1)).tolist()
        columns[f"{name}_low"] = [one.low for one in found]
        columns[f"{name}_high"] = [one.high for one in found]
    delta = effects.loss_increase[:, followed].double()
    columns |= {
        "loss_increase_std": delta.std(dim=1, correction=0).tolist(),
        "loss_increase_abs": delta.abs().mean(dim=1).tolist(),
        "helped_by_ablation": (delta < 0).double().mean(dim=1).tolist(),
        "helped_by_ablation_largest": largest_helped(delta).tolist(),
        "largest_share": largest_share(delta).tolist(),
        "kl": effects.kl.double().mean(dim=1).tolist(),
        "against_prediction": (effects.dla_predicted < 0).double().mean(dim=1).tolist(),
    }
    names = list(columns)
    lists: list[list[object]] = list(columns.values())  # type: ignore[arg-type]
    common = {"tokens": int(followed.sum()), "documents": len(numbers)}
    return [
        {**kind_of(writer), **common, **dict(zip(names, row, strict=True))}
        for writer, row in zip(writers, zip(*lists, strict=True), strict=True)
    ]


def writer_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of `writer_rows` together, with the rank of each head among negative ones.

    ``negative_rank`` is 1 for the head that writes most against what is predicted, on average.
    """
    table = pd.DataFrame(rows)
    heads = table["kind"] == "head"
    table["negative_rank"] = table["dla_predicted"][heads].rank(method="first")
    return table.astype({"head": "Int64", "negative_rank": "Int64"})[[*COLUMNS]]


def largest_helped(delta: Float[Tensor, "writer token"]) -> Float[Tensor, " writer"]:
    """Of the 5 % of tokens with the largest effect of either sign, the share that ablation helps.

    Args:
        delta: Loss increases; NaN if there are none.
    """
    count = math.ceil(LARGEST * delta.shape[1])
    places = delta.abs().topk(count, dim=1).indices
    return (delta.gather(1, places) < 0).double().mean(dim=1)


def largest_share(delta: Float[Tensor, "writer token"]) -> Float[Tensor, " writer"]:
    """What share of all positive parts is on the N // 20 tokens with the largest loss increase.

    Args:
        delta: Loss increases; NaN where none is positive.
    """
    positive = delta.clamp(min=0)
    return positive.topk(delta.shape[1] // 20, dim=1).values.sum(dim=1) / positive.sum(dim=1)


def cumulative_shares(delta: Float[Tensor, " token"], points: int = 200) -> Float[Tensor, "point 2"]:
    """Share of the positive parts on the tokens that a writer helps most, over the share of these tokens.

    Args:
        delta: Loss increases of a writer.
        points: Of the curve, beside the origin.

    Returns:
        Shares of tokens and of positive parts, from (0, 0) to (1, 1); NaN where nothing is positive.
    """
    positive = delta.double().clamp(min=0).sort(descending=True).values
    whole = torch.cat([torch.zeros(1, dtype=torch.float64), positive.cumsum(0)])
    share = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    places = (share * len(positive)).round().long()
    return torch.stack([places.double() / max(len(positive), 1), whole[places] / whole[-1]], dim=1)
