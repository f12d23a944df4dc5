"""How far the vectors of every neuron moved between two checkpoints, and what that goes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import NotGatedError, OptionError, WeightsError
from rwcore.stats.correlation import pearson
from rwcore.stats.cosines import BLOCK_ELEMENTS, VECTORS, RWCosines, layer_vectors
from rwcore.weights.fold import gate_sign
from rwcore.weights.layer import MlpLayer

Flip = Literal["none", "own"]
FLIPS: tuple[Flip, ...] = ("none", "own")


def change_cosines(
    first: Iterable[MlpLayer], last: Iterable[MlpLayer], *, flip: Flip = "none"
) -> dict[str, Float[Tensor, "layer neuron"]]:
    """Cosine between each vector of a neuron in one checkpoint and the same vector in another.

    ``change = Σ_d a_d b_d / (‖a‖ ‖b‖)`` of the weights as they are given: give them as stored (``raw``), as
    norm gains that were folded in would be compared with the vectors. 1: the direction stayed; 0: nothing is
    left of it. Sums are float64, rounded to float32 once. One layer of each checkpoint is held at a time if
    the iterables make them one at a time.

    Args:
        first: Layers of the earlier checkpoint, in order.
        last: Layers of the later one.
        flip: ``none``, or ``own``: first fold the sign of the gate of each checkpoint by itself, which
            multiplies the changes of in and out by the product of the two signs. That is how the published
            figures came about: at initialisation the sign is random, so it hides every correlation of these
            two. A sign common to both checkpoints cancels, so there is no choice for it.

    Returns:
        ``gate`` (if there is one), ``in``, ``out``; NaN where one of the two vectors has no direction.

    Raises:
        WeightsError: No layers, or the checkpoints differ in their layers, shapes or gates.
        NotGatedError: ``flip`` is ``own`` and there is no gate.
        OptionError: There is no such ``flip``.

    Source: RW functionalities, figures of first-to-last change; section 6 of the specification.
    """
    if flip not in FLIPS:
        raise OptionError(f"unknown flip {flip!r}", remedy=f"use {' or '.join(FLIPS)}")
    rows: list[dict[str, Tensor]] = []
    earlier, later = iter(first), iter(last)
    # Not zip: it would hold the two old layers while the new ones are read.
    while True:
        one, other = next(earlier, None), next(later, None)
        if one is None or other is None:
            break
        rows.append(_layer_change(one, other, flip))
        del one, other
    if one is not None or other is not None or not rows:
        raise WeightsError(
            f"the checkpoints have no layers, or not equally many: {len(rows)} could be paired",
            remedy="compare checkpoints of one model",
        )
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _layer_change(one: MlpLayer, other: MlpLayer, flip: Flip) -> dict[str, Float[Tensor, " neuron"]]:
    earlier, later = layer_vectors(one), layer_vectors(other)
    shapes = [{name: list(matrix.shape) for name, matrix in each.items()} for each in (earlier, later)]
    if one.index != other.index or shapes[0] != shapes[1]:
        raise WeightsError(
            f"the layers of the two checkpoints differ: {shapes[0]} and {shapes[1]}",
            where=f"layer {one.index} of the first, {other.index} of the last",
            remedy="compare checkpoints of one model",
        )
    changes = {name: _row_cosines(matrix, later[name]) for name, matrix in earlier.items()}
    if flip == "own":
        sign = _sign(one) * _sign(other)
        changes |= {name: changes[name] * sign for name in ("in", "out")}
    return {name: values.to("cpu", torch.float32) for name, values in changes.items()}


def _sign(layer: MlpLayer) -> Float[Tensor, " neuron"]:
    if layer.gate is None:
        raise NotGatedError(
            "the sign of the gate is asked of an MLP without a gate",
            where=f"layer {layer.index}",
            remedy="leave flip at none for this model",
        )
    return gate_sign(layer.gate, layer.in_)


def _row_cosines(
    a: Float[Tensor, "neuron d_model"], b: Float[Tensor, "neuron d_model"]
) -> Float[Tensor, " neuron"]:
    n_neurons, d_model = a.shape
    cosines = torch.empty(n_neurons, dtype=torch.float64, device=a.device)
    step = max(1, BLOCK_ELEMENTS // d_model)
    for start in range(0, n_neurons, step):
        rows = slice(start, start + step)
        x, y = a[rows].double(), b[rows].double()
        lengths = (torch.linalg.vecdot(x, x) * torch.linalg.vecdot(y, y)).sqrt()
        torch.div(torch.linalg.vecdot(x, y), lengths, out=cosines[rows])
    return cosines


def change_correlations(
    changes: Mapping[str, Float[Tensor, "layer neuron"]], cosines: RWCosines
) -> pd.DataFrame:
    """Pearson correlation over the neurons of a layer between each change and each cosine.

    Args:
        changes: From `change_cosines`.
        cosines: Of the later checkpoint, processed as published and its gate signs folded.

    Returns:
        ``vector``, ``cosine``, ``layer``, ``r``, ``p`` (two-sided) and ``n``, the number of neurons that have
        both; ``r`` and ``p`` are NaN where fewer than two do or one of the two does not vary.

    Raises:
        WeightsError: Changes and cosines are of different shapes.

    Source: RW functionalities, figures of first-to-last change; sections 4.7 and 6 of the specification.
    """
    rows = []
    for vector in (name for name in VECTORS if name in changes):
        for cosine, values in cosines.present().items():
            if changes[vector].shape != values.shape:
                raise WeightsError(
                    f"changes of {list(changes[vector].shape)} and cosines of {list(values.shape)} neurons",
                    where=f"{vector} against {cosine}",
                    remedy="take the cosines of the later checkpoint",
                )
            for layer, (x, y) in enumerate(zip(changes[vector], values, strict=True)):
                rows.append((vector, cosine, layer, *pearson(x, y)))
    frame = pd.DataFrame(rows, columns=["vector", "cosine", "layer", "r", "p", "n"])
    return frame.astype({"vector": "str", "cosine": "str"})
