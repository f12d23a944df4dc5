r"""Whether a head writes against, and attends to, the token it reads: ranks of the diagonal of OV and QK.

    OV:  M = EE W_V W_O W_U ,           M_ij: what reading token i does to the logit of token j
    QK:  N = (Q W_Q)(K W_K)^T ,         N_ij: how strongly a position that holds i attends to token j

Both are products of a matrix with d_head columns and one with d_head rows. The rank of an own entry is
counted from the bottom in M, ``#{j : M_ij < M_ii}`` (0: of all tokens the own one is suppressed most), and
from the top in N, ``#{j : N_ij > N_ii}`` (0: the own token attracts most attention). The own entry is never
counted, nor are entries equal to it.

Rows may be scaled by anything positive, and a number added to a row, without a change of its ranks: so the
scales of norms on the reading side of OV and on the query side of QK do not matter, nor do 1/√d_head, soft
caps, ALiBi, the bias of keys (without a norm of keys) or centring of W_U for OV. The scale of keys, the
bias of queries and, for QK, centring of W_U do.

No vocabulary × vocabulary matrix is ever held: tiles of it that stay in cache are made, compared in place and
summed. A float32 counts exactly to 2^24, which is more than any vocabulary.

Source: copy suppression specification, sections 6.1, 7.1 and 18.4.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from rwcore.errors import ModelError, OptionError
from rwcore.heads.query_key import QKOptions, as_read, group_of, keys, queries
from rwcore.heads.run import decoder_blocks, output_matrices, require_layers

CPU_TILE, GPU_TILE = (512, 512), (4096, 8192)
"""Rows and columns of a tile: a megabyte stays in the cache of one core."""
CHECKED = 64
"""Rows of each head in which entries within rounding of the own one are counted."""


@dataclass(frozen=True, eq=False)
class CircuitRanks:
    """The diagonal of one circuit of several heads of a layer.

    Attributes:
        heads: Their numbers.
        tokens: The rows: ids of tokens, ascending.
        ranks: Rank of the own entry, from the bottom (OV) or the top (QK).
        diagonal: The own entry.
        mean: Mean of its row, the own entry included.
        near: How many other entries lie within rounding of the own one: by so much the rank may be off. NaN
            in rows that were not looked at (see `CHECKED`).
    """

    heads: tuple[int, ...]
    tokens: Int64[Tensor, " row"]
    ranks: Int32[Tensor, "head row"]
    diagonal: Float[Tensor, "head row"]
    mean: Float[Tensor, "head row"]
    near: Float[Tensor, "head row"]

    def to_arrays(self) -> dict[str, Tensor]:
        """For a safetensors file."""
        arrays = {name: getattr(self, name) for name in ("tokens", "ranks", "diagonal", "mean", "near")}
        return {"heads": torch.tensor(self.heads), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> CircuitRanks:
        """From what `to_arrays` gave."""
        return cls(**{**arrays, "heads": tuple(arrays["heads"].tolist())})  # type: ignore[arg-type]


def ov_ranks(
    model: object,
    layer: int,
    source: Float[Tensor, "vocab d_model"],
    unembedding: Float[Tensor, "vocab d_model"],
    tokens: Int64[Tensor, " row"],
    *,
    heads: Collection[int] | None = None,
    tile: tuple[int, int] | None = None,
) -> CircuitRanks:
    """Ranks from the bottom of the diagonal of OV, for heads of a layer.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed), in compatibility mode.
        layer: Number of the layer.
        source: What is read: an effective embedding of all tokens, on the model's device.
        unembedding: W_U, one row per token (`rwcore.heads.readout.Readout.rows`).
        tokens: The rows wanted, ascending.
        heads: Which; all if None.
        tile: Rows and columns of a tile; None for what suits the device.

    Raises:
        OptionError: There is no such layer or head.
        ModelError: The model is no decoder, or an entry is not finite.
    """
    require_layers(model, [layer])
    W_V = decoder_blocks(model)[layer].attn.W_V.detach().float()
    W_O = output_matrices(model, layer).float()
    chosen = chosen_heads(heads, len(W_O))
    read = source[tokens]
    found = []
    for head in chosen:
        values = read @ W_V[group_of(model, layer, head)]
        found.append(diagonal_ranks(values, unembedding @ W_O[head].T, tokens, tile=tile))
    return _stacked(chosen, tokens, found)


def qk_ranks(
    model: object,
    layer: int,
    query: Float[Tensor, "vocab d_model"],
    key: Float[Tensor, "vocab d_model"],
    tokens: Int64[Tensor, " row"],
    options: QKOptions | None = None,
    *,
    heads: Collection[int] | None = None,
    tile: tuple[int, int] | None = None,
) -> CircuitRanks:
    """Ranks from the top of the diagonal of QK, for heads of a layer; ``near`` and ``mean`` likewise.

    Args:
        model: As for `ov_ranks`.
        layer: Number of the layer.
        query: What stands where attention comes from: usually W_U, one row per token.
        key: What stands where it goes: usually an effective embedding.
        tokens: The rows wanted: tokens at the query, ascending.
        options: How queries and keys are made.
        heads: Which; all if None.
        tile: As for `ov_ranks`.

    Raises:
        OptionError: There is no such layer, head or distance.
        ModelError: The model is no decoder, its positions are of an unknown kind, or an entry is not finite.
    """
    options = options or QKOptions()
    require_layers(model, [layer])
    chosen = chosen_heads(heads, len(decoder_blocks(model)[layer].attn.W_Q))
    asking = as_read(model, layer, query[tokens])
    read = as_read(model, layer, key) if options.normalised else key
    shared: dict[int, Tensor] = {}
    found = []
    for head in chosen:
        group = group_of(model, layer, head)
        if group not in shared:
            shared = {group: keys(model, layer, group, read, options)}
        # From the top of N is from the bottom of -N.
        asked = queries(model, layer, head, asking, options).neg_()
        ranks = diagonal_ranks(asked, shared[group], tokens, tile=tile)
        found.append(_Ranks(ranks.rank, -ranks.diagonal, -ranks.mean, ranks.near))
    return _stacked(chosen, tokens, found)


@dataclass(frozen=True, eq=False)
class _Ranks:
    """What `diagonal_ranks` finds, by row; as in `CircuitRanks`."""

    rank: Int32[Tensor, " row"]
    diagonal: Float[Tensor, " row"]
    mean: Float[Tensor, " row"]
    near: Float[Tensor, " row"]


@torch.no_grad()
def diagonal_ranks(
    left: Float[Tensor, "row d_head"],
    right: Float[Tensor, "vocab d_head"],
    own: Int64[Tensor, " row"],
    *,
    tile: tuple[int, int] | None = None,
    checked: int = CHECKED,
) -> _Ranks:
    """How many entries of each row of ``left @ right.T`` are smaller than its own one.

    Args:
        left: Float32.
        right: Float32.
        own: Column of the own entry of each row.
        tile: Rows and columns of a tile; None for what suits the device.
        checked: In how many rows, evenly spaced, entries within rounding are counted.

    Raises:
        ModelError: An own entry is not finite.
    """
    height, width = tile or (CPU_TILE if left.device.type == "cpu" else GPU_TILE)
    columns = right.T.contiguous()
    rank = torch.zeros(len(left), device=left.device)
    diagonal = torch.empty(len(left), device=left.device)
    scratch = torch.empty(height * width, device=left.device)
    for start in range(0, len(left), height):
        rows = slice(start, min(start + height, len(left)))
        # By a product of the same kind as the tiles, so that equal columns give equal entries.
        entry = (left[rows] @ columns[:, own[rows]]).diagonal().contiguous()
        if not bool(entry.isfinite().all()):
            raise ModelError(
                "an entry of a head's circuit is not finite",
                where=f"rows {rows.start} to {rows.stop - 1}",
                remedy="check the weights: rwcore doctor MODEL",
            )
        diagonal[rows] = entry
        home = own[rows] // width
        homes = {place: (home == place).nonzero()[:, 0] for place in sorted({*home.tolist()})}
        for place, first in enumerate(range(0, columns.shape[1], width)):
            part = columns[:, first : first + width]
            cells = scratch[: len(entry) * part.shape[1]].view(len(entry), part.shape[1])
            torch.mm(left[rows], part, out=cells)
            if place in homes:
                at = homes[place]
                cells[at, own[rows][at] - first] = torch.inf
            rank[rows] += cells.lt_(entry[:, None]).sum(dim=1)
    mean = (left.double() @ right.double().mean(dim=0)).float()
    near = torch.full_like(diagonal, torch.nan)
    some = torch.arange(0, len(left), max(1, math.ceil(len(left) / max(checked, 1))))[:checked]
    near[some] = _near(left[some], columns, diagonal[some], width)
    return _Ranks(rank.to(torch.int32), diagonal, mean, near)


def _near(left: Tensor, columns: Tensor, diagonal: Tensor, width: int) -> Float[Tensor, " row"]:
    """Entries that cannot be told from the diagonal, the own one left out.

    The error of a sum of n products in float32 grows like √n · ε · |a| |b|; both factors are such sums
    themselves.
    """
    room = 4 * torch.finfo(torch.float32).eps * math.sqrt(left.shape[1])
    room = room * left.norm(dim=1) * columns.norm(dim=0).max()
    found = torch.full_like(diagonal, -1.0)
    for first in range(0, columns.shape[1], width):
        apart = (left @ columns[:, first : first + width] - diagonal[:, None]).abs_()
        found += apart.le_(room[:, None]).sum(dim=1)
    return found.clamp(min=0)


def chosen_heads(heads: Collection[int] | None, count: int) -> tuple[int, ...]:
    """Some heads of a layer, ascending; all if None.

    Raises:
        OptionError: There is no such head, or none is given.
    """
    chosen = tuple(range(count)) if heads is None else tuple(sorted({*heads}))
    wrong = [head for head in chosen if not 0 <= head < count]
    if wrong or not chosen:
        raise OptionError(
            f"heads {', '.join(map(str, wrong)) or 'none'} of a layer that has {count}",
            where="heads",
            remedy=f"give heads from 0 to {count - 1}",
        )
    return chosen


def sampled_tokens(vocab: int, rows: int | None, seed: int) -> Int64[Tensor, " row"]:
    """Ids of tokens that are looked at, ascending: all, or some drawn by a seed without repetition.

    Raises:
        OptionError: There are not so many, or none is wanted.
    """
    if rows is None:
        return torch.arange(vocab)
    if not 1 <= rows <= vocab:
        raise OptionError(
            f"{rows} rows of a vocabulary of {vocab}", where="--rows", remedy=f"give 1 to {vocab}, or all"
        )
    return torch.randperm(vocab, generator=torch.Generator().manual_seed(seed))[:rows].sort().values


def _stacked(heads: tuple[int, ...], tokens: Tensor, found: Sequence[_Ranks]) -> CircuitRanks:
    return CircuitRanks(
        heads,
        tokens,
        ranks=torch.stack([one.rank for one in found]).cpu(),
        diagonal=torch.stack([one.diagonal for one in found]).cpu(),
        mean=torch.stack([one.mean for one in found]).cpu(),
        near=torch.stack([one.near for one in found]).cpu(),
    )
