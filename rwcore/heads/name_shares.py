"""Names that heads lower, or raise, more than any other token, as the published table counts them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.heads.query_key import as_read, group_of
from rwcore.heads.readout import Readout
from rwcore.heads.run import decoder_blocks, output_matrices


@torch.no_grad()
def first_names(
    model: Any,
    readout: Readout,
    table: Float[Tensor, "name d_model"],
    names: Int64[Tensor, " name"],
) -> pd.DataFrame:
    r"""Share of names that are the first of all tokens, with the output of a head and with its negative.

    The logits are ± norm(EE W_V W_O) W_U + b_U: the head's output alone goes through the final norm, whose
    gain is in W_U.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode.
        readout: Its W_U and b_U.
        table: Effective embeddings of the names.
        names: Their ids.

    Returns:
        Columns layer, head, lowered, raised.
    """
    rows = []
    for layer, block in enumerate(decoder_blocks(model)):
        read, W_V = as_read(model, layer, table), block.attn.W_V.detach().float()
        for head, W_O in enumerate(output_matrices(model, layer).float()):
            written = read @ W_V[group_of(model, layer, head)] @ W_O
            normed = written / written.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
            logits = readout.rows @ normed.T
            bias = 0.0 if readout.bias is None else readout.bias[:, None]
            shares = {
                name: float(((bias + sign * logits).argmax(dim=0).cpu() == names).double().mean())
                for name, sign in (("lowered", -1), ("raised", 1))
            }
            rows.append({"layer": layer, "head": head, **shares})
    return pd.DataFrame(rows)
