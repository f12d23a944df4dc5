"""Which tokens a head suppresses, boosts and attends to, for given tokens at one end of its circuits.

=============  ======================================  =================================
focus          OV                                      QK
=============  ======================================  =================================
`source`       logits that reading the token changes   tokens whose query attends to it
`destination`  tokens whose reading changes its logit  tokens that its query attends to
=============  ======================================  =================================

Values of OV are changes of logits by a head that attends to the source alone, before the scale of the final
norm: ``norm(EE_s) W_V W_O W_U``. Values of QK are products of query and key, before 1/√d_head and caps.

Source: copy suppression specification, section 15, page 1; 17, T22.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import require_choice
from rwcore.heads.query_key import ROWS, QKOptions, as_read, group_of, keys, queries
from rwcore.heads.run import decoder_blocks, output_matrices

FOCUSES = ("source", "destination")
SUPPRESSED, BOOSTED, ATTENDED = "suppressed", "boosted", "attended"
LISTS = ("layer", "head", "circuit", "focus", "token", "list", "place", "other", "value")


@torch.no_grad()
def ov_lists(
    model: Any,
    layer: int,
    head: int,
    tables: tuple[Float[Tensor, "vocab d_model"], Float[Tensor, "vocab d_model"]],
    tokens: Sequence[int],
    *,
    focus: str = "source",
    count: int = 15,
    beside: Sequence[int] | None = None,
) -> pd.DataFrame:
    """The most suppressed and the most boosted tokens for each given one.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode.
        layer: Number of the layer.
        head: Number of the head.
        tables: What is read (an effective embedding) and W_U, one row per token.
        tokens: Ids of the sources or destinations.
        focus: Which of the two they are.
        count: Length of a list. The token itself follows it with its place if it is further down, and so do
            those of ``beside``.
        beside: Ids; None for all given tokens.

    Returns:
        Columns `LISTS`: ``list`` is ``suppressed`` or ``boosted``, ``place`` counts from 1.

    Raises:
        OptionError: There is no such focus.
    """
    require_choice("focus", focus, FOCUSES)
    source, unembedding = tables
    W_V = decoder_blocks(model)[layer].attn.W_V.detach().float()
    W_O = output_matrices(model, layer).float()
    value, output = W_V[group_of(model, layer, head)], W_O[head]
    if focus == "source":
        found = as_read(model, layer, source[[*tokens]]) @ value @ output @ unembedding.T
    else:
        wanted = value @ (output @ unembedding[[*tokens]].T)
        parts = [as_read(model, layer, rows) @ wanted for rows in torch.split(source, ROWS)]
        found = torch.cat(parts).T.contiguous()
    given = tokens if beside is None else beside
    lists = [
        _listed(name, sign * row, row, token, given, count)
        for token, row in zip(tokens, found, strict=True)
        for name, sign in ((SUPPRESSED, -1), (BOOSTED, 1))
    ]
    return _together(lists, layer, head, "OV", focus)


@torch.no_grad()
def qk_lists(
    model: Any,
    layer: int,
    head: int,
    tables: tuple[Float[Tensor, "vocab d_model"], Float[Tensor, "vocab d_model"]],
    tokens: Sequence[int],
    options: QKOptions | None = None,
    *,
    focus: str = "source",
    count: int = 15,
    beside: Sequence[int] | None = None,
) -> pd.DataFrame:
    """The tokens that attend most to each given one, or that each given one attends to most.

    Args:
        model: As for `ov_lists`.
        layer: Number of the layer.
        head: Number of the head.
        tables: Those of queries and of keys, one row per token.
        tokens: Ids of the sources (keys) or destinations (queries).
        options: How queries and keys are made.
        focus: Which of the two the tokens are.
        count: As for `ov_lists`.
        beside: As for `ov_lists`.

    Returns:
        Columns `LISTS`; ``list`` is ``attended``.

    Raises:
        OptionError: There is no such focus or distance.
        ModelError: The model's positions are of an unknown kind.
    """
    require_choice("focus", focus, FOCUSES)
    options = options or QKOptions()
    group = group_of(model, layer, head)
    asking, answering = tables
    if focus == "source":
        answering = answering[[*tokens]]
    else:
        asking = asking[[*tokens]]
    asked = queries(model, layer, head, as_read(model, layer, asking), options)
    read = as_read(model, layer, answering) if options.normalised else answering
    found = asked @ keys(model, layer, group, read, options).T
    given = tokens if beside is None else beside
    lists = [
        _listed(ATTENDED, row, row, token, given, count)
        for token, row in zip(tokens, found.T if focus == "source" else found, strict=True)
    ]
    return _together(lists, layer, head, "QK", focus)


def _listed(
    name: str, order: Tensor, values: Tensor, token: int, beside: Sequence[int], count: int
) -> pd.DataFrame:
    """The first of a vocabulary in descending order, of equal ones the smaller id, and where others stand."""
    least = order.topk(min(count, len(order))).values[-1]
    ahead = (order >= least).nonzero()[:, 0]
    first = ahead[order[ahead].argsort(descending=True, stable=True)][:count].tolist()
    rows = [(place, other) for place, other in enumerate(first, start=1)]
    wanted = [one for one in dict.fromkeys([token, *beside]) if one not in first]
    rows += sorted((_place(order, one), one) for one in wanted)
    others = [other for _, other in rows]
    return pd.DataFrame(
        {
            "token": token,
            "list": name,
            "place": [place for place, _ in rows],
            "other": others,
            "value": values[others].cpu().numpy(),
        }
    )


def _place(order: Tensor, token: int) -> int:
    """Place from 1 in descending order; equal ones stand by their ids."""
    before = (order > order[token]).sum() + (order[:token] == order[token]).sum()
    return int(before) + 1


def _together(parts: Sequence[pd.DataFrame], layer: int, head: int, circuit: str, focus: str) -> pd.DataFrame:
    found = pd.concat(parts, ignore_index=True)
    return found.assign(layer=layer, head=head, circuit=circuit, focus=focus)[[*LISTS]]
