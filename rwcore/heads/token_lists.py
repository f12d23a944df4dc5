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
) -> pd.DataFrame:
    """The most suppressed and the most boosted tokens for each given one.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode.
        layer: Number of the layer.
        head: Number of the head.
        tables: What is read (an effective embedding) and W_U, one row per token.
        tokens: Ids of the sources or destinations.
        focus: Which of the two they are.
        count: Length of a list. Given tokens that are further down follow it, with their place.

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
    parts = []
    for token in tokens:
        if focus == "source":
            written = as_read(model, layer, source[[token]]) @ value @ output
            found = unembedding @ written[0]
        else:
            wanted = value @ (output @ unembedding[token])
            found = torch.cat([as_read(model, layer, rows) @ wanted for rows in torch.split(source, ROWS)])
        for name, values in ((SUPPRESSED, -found), (BOOSTED, found)):
            parts.append(_listed(name, values, found, token, tokens, count))
    return _together(parts, layer, head, "OV", focus)


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

    Returns:
        Columns `LISTS`; ``list`` is ``attended``.

    Raises:
        OptionError: There is no such focus or distance.
        ModelError: The model's positions are of an unknown kind.
    """
    require_choice("focus", focus, FOCUSES)
    options = options or QKOptions()
    asking, answering = tables
    group, some, parts = group_of(model, layer, head), [*tokens], []
    if focus == "source":
        every = queries(model, layer, head, as_read(model, layer, asking), options)
        chosen = answering[some]
        given = keys(
            model, layer, group, as_read(model, layer, chosen) if options.normalised else chosen, options
        )
    else:
        every = keys(
            model,
            layer,
            group,
            as_read(model, layer, answering) if options.normalised else answering,
            options,
        )
        given = queries(model, layer, head, as_read(model, layer, asking[some]), options)
    for token, one in zip(tokens, given, strict=True):
        found = every @ one
        parts.append(_listed(ATTENDED, found, found, token, tokens, count))
    return _together(parts, layer, head, "QK", focus)


def _listed(
    name: str, order: Tensor, values: Tensor, token: int, tokens: Sequence[int], count: int
) -> pd.DataFrame:
    """The first of a vocabulary in descending order, and where the given tokens stand in it."""
    places = order.argsort(descending=True, stable=True).cpu()
    head = places[:count].tolist()
    rows = [(place, other) for place, other in enumerate(head, start=1)]
    wanted = torch.tensor(
        [one for one in dict.fromkeys([token, *tokens]) if one not in head], dtype=torch.int64
    )
    rest = (places[None, :] == wanted[:, None]).nonzero()
    rows += sorted((place + 1, int(wanted[row])) for row, place in rest.tolist())
    return pd.DataFrame(
        {
            "token": token,
            "list": name,
            "place": [place for place, _ in rows],
            "other": [other for _, other in rows],
            "value": values[[other for _, other in rows]].cpu().numpy(),
        }
    )


def _together(parts: Sequence[pd.DataFrame], layer: int, head: int, circuit: str, focus: str) -> pd.DataFrame:
    found = pd.concat(parts, ignore_index=True)
    return found.assign(layer=layer, head=head, circuit=circuit, focus=focus)[[*LISTS]]
