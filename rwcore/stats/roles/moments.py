"""Moments of the cosines between a neuron's output vector and all tokens, streamed in cache-sized tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.layer import MlpLayer

MOMENTS = ("mean", "variance", "skew", "kurtosis")

# A tile of cosines and its squares (1 MiB each) stay in the cache; whole rows of cosines would be written
# to memory and read back four times.
TILE_NEURONS = 512
TILE_TOKENS = 512

_BLOCK = 2048


@dataclass(frozen=True)
class TokenDirections:
    """The directions of all tokens in the unembedding, with their mean taken out.

    Attributes:
        centred: ``u_v/‖u_v‖`` minus the mean of these over all tokens; float32.
        mean: That mean, float64.
        left_out: Number of columns of the unembedding that are zero, and are no tokens here.
    """

    centred: Float[Tensor, "token d_model"]
    mean: Float[Tensor, " d_model"]
    left_out: int

    def __len__(self) -> int:
        return len(self.centred)


@dataclass(frozen=True)
class TokenMoments:
    """Moments of cos(out, token) over all tokens, of every neuron; float32, on the CPU.

    They are NaN where the output vector has no direction; skew and kurtosis also where all cosines are
    equal.

    Attributes:
        mean: Mean.
        variance: Variance, with the number of tokens minus one as denominator.
        skew: Mean of z³, z being (cosine - mean) / √variance.
        kurtosis: Mean of z⁴, minus 3.
    """

    mean: Float[Tensor, "layer neuron"]
    variance: Float[Tensor, "layer neuron"]
    skew: Float[Tensor, "layer neuron"]
    kurtosis: Float[Tensor, "layer neuron"]

    def to_arrays(self) -> dict[str, Tensor]:
        """The tensors by name, as `from_arrays` takes them."""
        return {name: getattr(self, name) for name in MOMENTS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> TokenMoments:
        """The inverse of `to_arrays`; other arrays are ignored."""
        return cls(*(arrays[name] for name in MOMENTS))

    @classmethod
    def stack(cls, rows: Iterable[Mapping[str, Float[Tensor, " neuron"]]]) -> TokenMoments:
        """The moments of a model from those of its layers, in order (see `layer_moments`)."""
        kept = list(rows)
        return cls(*(torch.stack([row[name] for row in kept]) for name in MOMENTS))


def token_directions(W_U: Float[Tensor, "d_model vocab"]) -> TokenDirections:
    """Unit vectors towards all tokens, minus their mean.

    With the mean taken out, cosines with these vectors add up to zero for every neuron, so that central
    moments need one pass only, and none of them suffers from a direction that all tokens share.

    A column of the unembedding that is zero has no direction. Such columns (padding tokens of some
    checkpoints, in models whose unembedding is not centred) are left out and counted; padding tokens with
    a direction are tokens like all others, as in the paper.

    Args:
        W_U: The processed unembedding; it is not changed. One float32 copy is made.

    Raises:
        WeightsError: A column holds a NaN or an infinity, or fewer than two columns are not zero.
    """
    rows = W_U.detach().T
    norms = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].to(torch.float64)
        norm = block.norm(dim=1)
        norms[start : start + _BLOCK] = norm
        total += (block / norm[:, None].where(norm[:, None] > 0, 1)).sum(0)
    if not norms.isfinite().all():
        first = int((~norms.isfinite()).nonzero()[0])
        raise WeightsError(
            "the unembedding holds a NaN or an infinity, so no cosine with its tokens has a distribution",
            where=f"unembedding, token {first} (and {int((~norms.isfinite()).sum()) - 1} more)",
            remedy="the checkpoint is damaged: fetch it again",
        )
    kept = norms > 0
    count = int(kept.sum())
    if count < 2:
        raise WeightsError(
            f"{count} tokens of the unembedding have a direction, at least 2 are needed",
            where="unembedding",
            remedy="the checkpoint is damaged: fetch it again",
        )
    mean = total / count
    centred = torch.empty(count, rows.shape[1], device=rows.device)
    filled = 0
    for start in range(0, len(rows), _BLOCK):
        here = slice(start, start + _BLOCK)
        # Again from the stored columns: what is left after the mean is rounded once.
        block = rows[here].to(torch.float64)[kept[here]] / norms[here][kept[here], None] - mean
        centred[filled : filled + len(block)] = block
        filled += len(block)
    return TokenDirections(centred, mean, len(rows) - count)


def token_moments(layers: Iterable[MlpLayer], tokens: TokenDirections) -> TokenMoments:
    """Mean, variance, skew and kurtosis of every neuron's cosines with all tokens.

    With ``c_v = cos(out, u_v)`` over the V tokens: ``mean = Σ c/V``, ``variance = Σ (c - mean)²/(V - 1)``,
    ``z = (c - mean)/√variance``, ``skew = Σ z³/V``, ``kurtosis = Σ z⁴/V - 3``.

    Cosines are float32 and never kept: a tile of them is made, its power sums are added up in float64, and
    the results are rounded to float32. One layer is held at a time if the iterable makes them one at a
    time. If gate signs are folded, mean and skew have the sign that goes with it.

    Args:
        layers: The layers of a model in order; row k of the results is the k-th layer.
        tokens: What `token_directions` makes of the unembedding.

    Raises:
        WeightsError: The layers have another d_model than the unembedding, or there are none.

    Source: RW functionalities, appendix on functional roles; section 7.1 of the specification.
    """
    rows = []
    for layer in layers:
        rows.append(layer_moments(layer, tokens))
        # Otherwise this layer would stay in memory while the next one is read.
        del layer
    if not rows:
        raise WeightsError("there are no layers to take moments of")
    return TokenMoments.stack(rows)


def layer_moments(layer: MlpLayer, tokens: TokenDirections) -> dict[str, Float[Tensor, " neuron"]]:
    """The moments of one layer, by name; see `token_moments`."""
    out = layer.out.detach()
    if out.shape[1] != tokens.centred.shape[1]:
        raise WeightsError(
            f"the output vectors have {out.shape[1]} numbers, the unembedding's columns "
            f"{tokens.centred.shape[1]}",
            where=f"layer {layer.index}",
            remedy="weights and unembedding must be of one model",
        )
    unit, mean = _unit_rows(out, tokens.mean)
    second, third, fourth = _power_sums(unit, tokens.centred).unbind(dim=1)
    count = len(tokens)
    variance = second / (count - 1)
    found = {
        "mean": mean,
        "variance": variance,
        "skew": third / count / variance**1.5,
        "kurtosis": fourth / count / variance**2 - 3,
    }
    return {name: values.to("cpu", torch.float32) for name, values in found.items()}


def _unit_rows(
    out: Float[Tensor, "neuron d_model"], mean: Float[Tensor, " d_model"]
) -> tuple[Float[Tensor, "neuron d_model"], Float[Tensor, " neuron"]]:
    """Output vectors of length one in float32 (NaN without a direction), and their products with ``mean``."""
    unit = torch.empty_like(out, dtype=torch.float32)
    product = torch.empty(len(out), dtype=torch.float64, device=out.device)
    for start in range(0, len(out), _BLOCK):
        here = slice(start, start + _BLOCK)
        block = out[here].to(torch.float64)
        norm = block.norm(dim=1, keepdim=True)
        block /= norm.where((norm > 0) & norm.isfinite(), torch.nan)
        unit[here] = block
        product[here] = block @ mean
    return unit, product


def _power_sums(
    unit: Float[Tensor, "neuron d_model"], centred: Float[Tensor, "token d_model"]
) -> Float[Tensor, "neuron power"]:
    """Σ c², Σ c³ and Σ c⁴ over the tokens, float64."""
    sums = torch.zeros(len(unit), 3, dtype=torch.float64, device=unit.device)
    for cosines, rows in _tiles(unit, centred):
        squares = cosines * cosines
        sums[rows, 0] += squares.sum(dim=1)
        sums[rows, 1] += torch.linalg.vecdot(squares, cosines)
        sums[rows, 2] += torch.linalg.vecdot(squares, squares)
    return sums


def _tiles(
    unit: Float[Tensor, "neuron d_model"], centred: Float[Tensor, "token d_model"]
) -> Iterator[tuple[Float[Tensor, "tile_neuron tile_token"], slice]]:
    """Tiles of all products, with the neurons they belong to; a tile is overwritten by the next one."""
    for first in range(0, len(centred), TILE_TOKENS):
        columns = centred[first : first + TILE_TOKENS].T
        for start in range(0, len(unit), TILE_NEURONS):
            rows = slice(start, start + TILE_NEURONS)
            yield unit[rows] @ columns, rows
