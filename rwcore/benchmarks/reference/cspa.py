"""Copy-suppression-preserving ablation as section 8 of the specification says it: plain, never tuned.

One row and one head at a time; every vector that a head moves from a key to a query is made and projected.
Tests and benchmarks compare with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = -1e9
INDEPENDENT = 1e-4


def kept_of(
    stream: Tensor,
    scale: Tensor,
    rows: Tensor,
    tokens: Sequence[int],
    function: Sequence[bool],
    keep: float | int,
    *,
    self_attention: bool = True,
) -> list[list[tuple[int, int]]]:
    """Section 8.2: of each query the pairs of key and member of the key's set that are kept.

    Args:
        stream: What enters the layer, [pos d_model].
        scale: Final scale, [pos].
        rows: Columns of W_U of each key's set, [pos set d_model].
        tokens: The row.
        function: Whether each key is a function word.
        keep: Share of positions (float) or number (int).
        self_attention: Whether the query itself may be kept.
    """
    found = []
    for query in range(len(tokens)):
        scores, firsts = {}, []
        for key in range(len(tokens)):
            for member in range(rows.shape[1]):
                score = float((stream[query] / scale[query]) @ rows[key, member])
                behind = key > query or (key == query and not self_attention)
                nothing = not bool(rows[key, member].any())
                if behind or function[key] or nothing:
                    score = LEAST
                scores[key, member] = score
                firsts.append(LEAST if tokens[key] in tokens[:key] else score)
        wanted = keep if isinstance(keep, int) else math.ceil(round(keep * (query + 1), 9))
        ordered = sorted(firsts, reverse=True)
        threshold = ordered[wanted - 1] if wanted <= len(ordered) else LEAST
        found.append([p for p, score in scores.items() if score + 1e-6 >= threshold and p[0] <= query])
    return found


def basis_of(directions: Tensor) -> Tensor:
    """Gram-Schmidt: orthonormal vectors with the span of some directions, [n d_model]."""
    found: list[Tensor] = []
    for one in directions:
        length = one.norm()
        if length == 0:
            continue
        left = one / length
        for other in found:
            left = left - (left @ other) * other
        if left.norm() > INDEPENDENT:
            found.append(left / left.norm())
    return torch.stack(found) if found else directions[:0]


def replaced_by(
    pattern: Tensor,
    outputs: Tensor,
    mean: Tensor,
    rows: Tensor,
    kept: Sequence[Sequence[tuple[int, int]]],
    variant: str,
) -> Tensor:
    """Section 8.3, pair by pair: what the head adds instead, [pos d_model].

    Args:
        pattern: Attention of the head, [query key].
        outputs: What it would add at each query if it looked at one key alone, [query key d_model].
        mean: Its mean output at each query, [query d_model].
        rows: Columns of W_U of each key's set, [pos set d_model].
        kept: Pairs of key and member for each query.
        variant: ``both``, ``negative``, ``ov`` or ``qk``.
    """
    positions, size = pattern.shape[0], rows.shape[1]
    found = torch.zeros_like(mean)
    for query in range(positions):
        for key in range(query + 1):
            members = [member for k, member in kept[query] if k == key]
            members = list(range(size)) if variant == "ov" else members
            share, vector = pattern[query, key], outputs[query, key]
            if not members:
                found[query] += share * mean[query]
                continue
            if variant == "qk":
                found[query] += share * vector
                continue
            away = vector - mean[query]
            projected = torch.zeros_like(away)
            for direction in basis_of(rows[key, members]):
                length = away @ direction
                if variant == "negative" and length > 0:
                    continue
                projected += length * direction
            found[query] += share * (mean[query] + projected)
    return found


def materialised(
    pattern: Tensor, value: Tensor, output: Tensor, mean: Tensor, unit: Tensor, kept: Tensor
) -> Tensor:
    """The same as tensors of queries × keys × d_model for sets of one token, as the original makes them.

    Args:
        pattern: Attention of the head, [query key].
        value: Its values, [key d_head].
        output: W_O, [d_head d_model].
        mean: Its mean output, [query d_model] or [d_model].
        unit: Directions, [key d_model].
        kept: [query key].

    Returns:
        What the head adds instead (negative only), [query d_model].
    """
    moved = (value @ output)[None].expand(len(pattern), -1, -1)  # query key d_model
    average = mean.expand(len(pattern), -1)[:, None].expand_as(moved)
    away = moved - average
    lengths = (away * unit[None]).sum(dim=-1, keepdim=True)
    projected = average + lengths.clamp(max=0) * unit[None]
    vectors = torch.where(kept[..., None], projected, average)
    return (pattern[..., None] * vectors).sum(dim=1)
