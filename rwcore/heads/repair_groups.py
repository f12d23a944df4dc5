r"""Self-repair of heads and of groups of heads: means over selected tokens, shares, and ratios of sums.

Of a group of heads R = ΣSR / ΣD, a ratio of sums, with D what should be lost: a head whose ablation changes
nothing has no loss to repair, and heads with D < 0.1 DE are left out and counted. Per token SR / DE explodes
where DE is small; clipped to [0, 1] and averaged it is biased upwards, the more so the noisier the part.

Source: self-repair specification, sections 2, 5, 6 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.heads.repair import Head, Repairs
from rwcore.heads.repair_neurons import NeuronSums, few_shares

SHARE = 0.02
LEAST_DUE = 0.1
"""D / DE below which a head or a token has lost too little to speak of repair."""
LARGE = 5.0
"""Times the median scale of the final stream that makes a token an outlier."""
PARTS = ("heads", "mlp", "norm", "post_norm")
HEAD_COLUMNS = (
    "layer", "head", "relative_depth", "tokens", "direct", "ablated_direct", "due", "logit_change", "repair",
    *(f"repair_{part}" for part in PARTS), "ratio", "kept", "share_repaired", "share_partly", "share_over",
    "ratio_tokens", "ratio_sd", "clip_repair", "clip_heads", "clip_mlp", "clip_norm", "share_norm_grows",
    "anti_erasure", "best_erases", "few_share", "largest_remainder",
)  # fmt: skip
GROUP_COLUMNS = (
    "group", "first_layer", "last_layer", "heads", "dropped", "due", "ratio",
    *(f"ratio_{part}" for part in PARTS), "share_repaired", "share_norm", "share_partly", "share_over",
    "correlation", "norm_over_direct",
)  # fmt: skip


def top_tokens(direct: Float[Tensor, "head token"], share: float = SHARE) -> Int64[Tensor, "head selected"]:
    """The tokens with the largest signed direct effect of each head, ascending.

    Args:
        direct: DE.
        share: Of the tokens; ``int(share · tokens)`` are taken.

    Raises:
        OptionError: That is none.
    """
    count = int(share * direct.shape[1])
    if not 0 < count <= direct.shape[1]:
        raise OptionError(
            f"a share of {share:g} of {direct.shape[1]} tokens is {count}",
            where="--share",
            remedy="give a number above 0, at most 1, or more tokens",
        )
    return direct.topk(count, dim=1).indices.sort(dim=1).values


def ordinary_tokens(
    scale: Float[Tensor, " token"], position: Int64[Tensor, " token"]
) -> Bool[Tensor, " token"]:
    """Tokens that neither begin a row nor have a final stream more than `LARGE` times the median's length."""
    return (position > 0) & (scale <= LARGE * scale.median())


def groups(layers: int) -> Mapping[str, range]:
    """Layers of each group of heads.

    Args:
        layers: Layers of the model.
    """
    return {
        "all": range(layers),
        "first_half": range(layers // 2),
        "second_half": range(layers // 2, layers),
        "late": late_layers(layers),
        "L-2": range(max(layers - 2, 0), layers - 1),
        "L-1": range(layers - 1, layers),
    }


def late_layers(layers: int) -> range:
    """From two thirds of the model to the last layer but one; of models too small for it, one layer."""
    first = 2 * layers // 3
    return range(first, max(layers - 1, first + 1))


def head_table(
    heads: Sequence[Head],
    layers: int,
    repairs: Repairs,
    neurons: NeuronSums,
    selected: Sequence[Int64[Tensor, " _"]] | None = None,
) -> pd.DataFrame:
    """Means of each head over selected tokens; logits.

    Args:
        heads: Layer and number of each.
        layers: Layers of the model.
        repairs: Of the heads, in this order.
        neurons: Likewise.
        selected: Tokens of each head; all if None.

    Returns:
        Columns `HEAD_COLUMNS`.
    """
    rows = []
    for place, (layer, head) in enumerate(heads):
        tokens = slice(None) if selected is None else selected[place]
        rows.append(
            {
                "layer": layer,
                "head": head,
                "relative_depth": layer / max(layers - 1, 1),
                **_of_repairs({name: of[place][tokens] for name, of in vars(repairs).items()}),
                **_of_neurons({name: of[place][tokens] for name, of in vars(neurons).items()}),
            }
        )
    return pd.DataFrame(rows, columns=[*HEAD_COLUMNS])


def group_table(heads: pd.DataFrame, layers: int, *, least: float = LEAST_DUE) -> pd.DataFrame:
    """Self-repair of groups of heads.

    Args:
        heads: From `head_table`.
        layers: Layers of the model.
        least: Heads with a smaller D / DE are dropped, and counted. Published numbers have them all
            (``-inf``).

    Returns:
        Columns `GROUP_COLUMNS`; groups that no head is left of are not there.
    """
    rows = []
    for name, numbers in groups(layers).items():
        inside = heads[heads["layer"].isin(numbers)]
        kept = inside[_lost(inside["due"].to_numpy(float), inside["direct"].to_numpy(float)) >= least]
        if kept.empty:
            continue
        due, repair = kept["due"], kept["repair"]
        rows.append(
            {
                "group": name,
                "first_layer": int(inside["layer"].min()),
                "last_layer": int(inside["layer"].max()),
                "heads": len(kept),
                "dropped": len(inside) - len(kept),
                "due": due.sum(),
                "ratio": repair.sum() / due.sum(),
                **{f"ratio_{part}": kept[f"repair_{part}"].sum() / due.sum() for part in PARTS},
                "share_repaired": (repair > 0).mean(),
                "share_norm": (kept["repair_norm"] > 0).mean(),
                "share_partly": ((repair > 0) & (repair < due)).mean(),
                "share_over": (repair > due).mean(),
                "correlation": kept["direct"].corr(repair) if len(kept) > 2 else np.nan,
                "norm_over_direct": (kept["repair_norm"] / kept["direct"]).mean(),
            }
        )
    return pd.DataFrame(rows, columns=[*GROUP_COLUMNS])


def clipped_mean(part: Float[Tensor, " token"], direct: Float[Tensor, " token"]) -> float:
    """Mean of a part over DE, each token's cut off at 0 and 1; NaN tokens are left out.

    Means of parts add up to more than that of their sum: noise below 0 is cut off, noise above it stays.
    """
    return float((part.double() / direct.double()).clamp(0, 1).nanmean())


def _of_repairs(of: Mapping[str, Float[Tensor, " token"]]) -> dict[str, float | int | bool]:
    one = Repairs(**{name: values[None].double() for name, values in of.items()})
    direct, due, repair = (values[0] for values in (one.direct, one.due, one.repair))
    parts = {part: getattr(one, part)[0] for part in PARTS}
    means = {
        "direct": float(direct.mean()),
        "ablated_direct": float(one.ablated_direct.mean()),
        "due": float(due.mean()),
        "logit_change": float(one.logit_change.mean()),
        "repair": float(repair.mean()),
        **{f"repair_{part}": float(values.mean()) for part, values in parts.items()},
    }
    # A single token is over-repaired or not only where something was lost.
    lost = torch.from_numpy(_lost(due.numpy(), direct.numpy())) >= LEAST_DUE
    per_token = repair[lost] / due[lost]
    return {
        "tokens": len(direct),
        **means,
        "ratio": means["repair"] / means["due"] if means["due"] else np.nan,
        "kept": bool(_lost(np.array(means["due"]), np.array(means["direct"])) >= LEAST_DUE),
        "share_repaired": float((repair > 0).double().mean()),
        "share_partly": float(((repair > 0) & (repair < due)).double().mean()),
        "share_over": float((per_token > 1).double().mean()),
        "ratio_tokens": int(lost.sum()),
        "ratio_sd": float(per_token.std()) if len(per_token) > 1 else np.nan,
        "clip_repair": clipped_mean(repair, direct),
        **{f"clip_{part}": clipped_mean(parts[part], direct) for part in ("heads", "mlp", "norm")},
        "share_norm_grows": float((one.scale_ratio > 1).double().mean()),
        "largest_remainder": float(one.remainder.abs().max()),
    }


def _of_neurons(of: Mapping[str, Tensor]) -> dict[str, float]:
    gain = of["gain"].double().sum()
    return {
        "anti_erasure": float(of["anti_erasure"].double().sum() / gain),
        "best_erases": float((of["best_clean"] < 0).double().mean()),
        "few_share": float(few_shares(of["few"], of["change"]).nanmedian()),
    }


def _lost(
    due: Float[np.ndarray, "*group"], direct: Float[np.ndarray, "*group"]
) -> Float[np.ndarray, "*group"]:
    """D / DE, of any sign; minus infinity where there is no effect to lose."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(direct == 0, -np.inf, due / direct)
