r"""Queries and keys of a head for tables of tokens, as the model's own attention makes them.

    q_i = R_d norm_q(x̂_i W_Q + b_Q) ,    k_j = norm_k(ŷ_j W_K + b_K)

x̂ is the row of the query's table as the norm before the attention leaves it, ŷ the same of the key's
table, or the row as it is (`QKOptions.normalised`). Families that normalise queries and keys (Qwen3,
Gemma-3, OLMo-2) have norm_q and norm_k, in others they do nothing. Where positions rotate queries and keys,
the query stands d positions behind the key; R_d is read from the model's own tables. Rotation goes by the
difference of the two positions only, so the key is left as it is. Learned positions and ALiBi do not enter:
ALiBi adds the same number to all keys at a distance.

The query is always normalised: without b_Q and norm_q this does not change which key it likes best.
Clamping of queries and keys, which a few configs ask for, is left out.

Source: copy suppression specification, section 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.forward import Finished, run_hooks
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError
from rwcore.heads.run import decoder_blocks

ROWS = 4096
"""Rows that are normalised and projected together."""


@dataclass(frozen=True)
class QKOptions:
    """How queries and keys are made.

    Attributes:
        normalised: Keys are made of rows that the norm before the attention has scaled, as in a pass of the
            model; otherwise of the rows as they are, so that tokens with long rows count for more.
        biases: Add the biases of queries and keys.
        distance: Positions the query stands behind the key; 0 leaves rotation out. Without effect on models
            that do not rotate. The default is the nearest place a token can be attended from.
    """

    normalised: bool = True
    biases: bool = False
    distance: int = 1


@dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of a query by some positions.

    Attributes:
        cos: One for each rotated dimension.
        sin: Likewise.
        neighbours: Dimensions 0 and 1, 2 and 3 … turn together (GPT-J); otherwise those of the first and of
            the second half do.
    """

    cos: Float[Tensor, " rotated"]
    sin: Float[Tensor, " rotated"]
    neighbours: bool = False

    def __call__(self, values: Float[Tensor, "row d_head"]) -> Float[Tensor, "row d_head"]:
        """Rotated; dimensions beyond the rotated ones stay."""
        turning, staying = values[:, : len(self.cos)], values[:, len(self.cos) :]
        if self.neighbours:
            turned = torch.stack([-turning[:, 1::2], turning[:, ::2]], dim=2).flatten(1)
        else:
            half = len(self.cos) // 2
            turned = torch.cat([-turning[:, half:], turning[:, :half]], dim=1)
        return torch.cat([turning * self.cos + turned * self.sin, staying], dim=1)


@torch.no_grad()
def queries(
    model: Any, layer: int, head: int, read: Float[Tensor, "row d_model"], options: QKOptions
) -> Float[Tensor, "row d_head"]:
    """Queries of a head for rows of a table, rotated by ``options.distance``.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode.
        layer: Number of the layer.
        head: Number of the head.
        read: Rows of the table, from `as_read`.
        options: How they are made; ``normalised`` is about keys.

    Raises:
        OptionError: The model has no positions so far apart.
        ModelError: Its positions are of an unknown kind.
    """
    found = _projected(model, layer, head, read, "q", biases=options.biases)
    turn = rotation(model, layer, options.distance)
    return found if turn is None else turn(found)


@torch.no_grad()
def keys(
    model: Any, layer: int, group: int, read: Float[Tensor, "row d_model"], options: QKOptions
) -> Float[Tensor, "row d_head"]:
    """Keys for rows of a table, not rotated.

    Args:
        model: As for `queries`.
        layer: Number of the layer.
        group: Number of the key head, see `group_of`.
        read: Rows of the table: from `as_read` if ``options.normalised``, else as they are.
        options: How they are made.
    """
    return _projected(model, layer, group, read, "k", biases=options.biases)


def group_of(model: Any, layer: int, head: int) -> int:
    """The key and value head that a head reads, where several share one; otherwise its own number."""
    attn = decoder_blocks(model)[layer].attn
    return int(head // (len(attn.W_Q) // len(attn.W_K)))


@torch.no_grad()
def as_read(model: Any, layer: int, table: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
    """Rows as the norm before a layer's attention leaves them; families without one (OLMo-2): as they are."""
    norm = getattr(decoder_blocks(model)[layer], "ln1", None)
    if norm is None:
        return table
    kind = next(norm.parameters(), table).dtype
    read = torch.empty_like(table)
    for start in range(0, len(table), ROWS):
        rows = slice(start, start + ROWS)
        read[rows] = norm(table[rows][None].to(kind))[0]
    return read


def rotation(model: Any, layer: int, distance: int) -> Rotation | None:
    """The rotation of a layer's queries by some positions; None where nothing rotates.

    Raises:
        OptionError: The model has no positions so far apart.
        ModelError: It rotates in a way that cannot be read.
    """
    context = int(getattr(model.cfg, "n_ctx", 0) or 0)
    if distance < 0 or (context and distance >= context):
        raise OptionError(
            f"a query {distance} positions behind its key",
            where="--distance",
            remedy=f"give 0 to {context - 1}" if context else "give 0 or more",
        )
    places = [f"blocks.{layer}.attn.hook_{name}" for name in ("cos", "sin")]
    if distance == 0:
        return None
    if all(place in model.hook_dict for place in places):
        cos, sin = _rotary_rows(model, places, distance)
        return Rotation(cos, sin)
    attn = decoder_blocks(model)[layer].attn
    table = getattr(getattr(attn, "original_component", None), "embed_positions", None)
    if isinstance(table, Tensor):  # GPT-J: sines, then cosines, one for each pair
        sin, cos = table[distance].float().chunk(2)
        device = attn.W_Q.device
        cos, sin = (one.repeat_interleave(2).to(device) for one in (cos, sin))
        return Rotation(cos, sin, neighbours=True)
    if str(getattr(model.cfg, "positional_embedding_type", "")) == "rotary":
        raise ModelError(
            "the rotation of queries and keys cannot be read from this model",
            where=f"layer {layer} of {model.cfg.model_name}",
            remedy="leave it out: --distance 0",
        )
    return None


def _rotary_rows(model: Any, places: list[str], distance: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines at a position, from a pass that ends as soon as they are seen."""
    seen: dict[str, Tensor] = {}

    def keep(place: str) -> Any:
        def hook(values: Tensor, hook: Any) -> None:
            seen[place] = values.reshape(-1, values.shape[-1])[distance].float()
            if len(seen) == len(places):
                raise Finished

        return hook

    tokens = torch.zeros(1, distance + 1, dtype=torch.int64)
    batch = Batch(0, torch.arange(1), tokens, torch.ones_like(tokens, dtype=torch.bool))
    run_hooks(model, batch, [(place, keep(place)) for place in places])
    cos, sin = (seen[place] for place in places)
    return cos, sin


def _projected(
    model: Any, layer: int, head: int, read: Tensor, which: str, *, biases: bool
) -> Float[Tensor, "row d_head"]:
    """Queries (``q``) or keys (``k``) of one head or group, through the model's norm of them."""
    attn = decoder_blocks(model)[layer].attn
    weight = getattr(attn, f"W_{which.upper()}").detach().float()
    bias = getattr(attn, f"b_{which.upper()}", None) if biases else None
    norm = getattr(attn, f"{which}_norm", None)
    # A norm over all heads together (OLMo-2) needs them all.
    joint = norm is not None and _width(norm) != weight.shape[2]
    wanted = slice(None) if joint else slice(head, head + 1)
    parts = []
    for rows in torch.split(read, ROWS):
        heads = torch.einsum("rd,hde->rhe", rows, weight[wanted])
        if bias is not None:
            heads = heads + bias.detach().float()[wanted]
        if norm is not None:
            given = heads.flatten(1)[None] if joint else heads[None]
            heads = norm(given)[0].reshape(heads.shape).float()
        parts.append(heads[:, head if joint else 0])
    return torch.cat(parts)


def _width(norm: Any) -> int:
    """Over how many dimensions a norm of queries or keys goes."""
    return int(next(norm.parameters()).shape[-1])
