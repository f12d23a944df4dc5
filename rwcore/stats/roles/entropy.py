"""Entropy neurons: those of the last layer that write where the unembedding hardly reads."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import OptionError, WeightsError
from rwcore.weights.layer import MlpLayer

N_NULL = 40
N_ENTROPY = 2

_BLOCK = 2048


def null_directions(
    W_U: Float[Tensor, "d_model vocab"], n_null: int = N_NULL
) -> Float[Tensor, "d_model direction"]:
    """The directions of the residual stream in which the unembedding is weakest.

    These are its left singular vectors with the smallest singular values, found as eigenvectors of the
    d_model × d_model matrix ``W_U W_Uᵀ``, in float64.

    Args:
        W_U: The processed unembedding.
        n_null: How many directions.

    Raises:
        OptionError: ``n_null`` is less than 1 or not less than d_model.
        WeightsError: The unembedding holds a NaN or an infinity.
    """
    d_model = len(W_U)
    check_null_directions(n_null, d_model)
    gram = torch.zeros(d_model, d_model, dtype=torch.float64, device=W_U.device)
    rows = W_U.detach().T
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].to(torch.float64)
        gram.addmm_(block.T, block)
    if not gram.isfinite().all():
        raise WeightsError(
            "the unembedding holds a NaN or an infinity, so it has no singular vectors",
            where="unembedding",
            remedy="the checkpoint is damaged: fetch it again",
        )
    directions: Tensor = torch.linalg.eigh(gram).eigenvectors[:, :n_null]
    return directions


def check_null_directions(n_null: int, d_model: int) -> None:
    """Refuse an impossible number of null directions.

    Raises:
        OptionError: It is less than 1 or not less than d_model.
    """
    if not 1 <= n_null < d_model:
        raise OptionError(
            f"{n_null} null directions cannot be taken from a residual stream of width {d_model}",
            where=f"--null-directions {n_null}",
            remedy=f"give a number from 1 to {d_model - 1}",
        )


def entropy_ratio(
    layer: MlpLayer, W_U: Float[Tensor, "d_model vocab"], n_null: int = N_NULL
) -> Float[Tensor, " neuron"]:
    """The share of each output vector that the unembedding hardly reads.

    ``ratio = ‖Uᵀ out‖ / ‖out‖``, U holding the `null_directions`. A neuron with a ratio near 1 changes the
    norm of the residual stream, and so the entropy of the prediction, without naming tokens. The square
    of the ratio of a random vector is ``n_null / d_model`` on average.

    Args:
        layer: The *last* layer of the model.
        W_U: The processed unembedding.
        n_null: Number of null directions.

    Returns:
        Ratios in 0 … 1, float32, on the CPU; NaN where the output vector has no direction.

    Raises:
        OptionError: ``n_null`` is less than 1 or not less than d_model.
        WeightsError: The unembedding holds a NaN or an infinity.

    Source: RW functionalities, appendix on functional roles; section 7.1 of the specification.
    """
    return null_share(layer, null_directions(W_U, n_null))


def null_share(layer: MlpLayer, directions: Float[Tensor, "d_model direction"]) -> Float[Tensor, " neuron"]:
    """`entropy_ratio` with directions that are there already, so that the unembedding need not be.

    Args:
        layer: The last layer of the model.
        directions: From `null_directions`.
    """
    out = layer.out.detach()
    ratios = torch.empty(len(out), dtype=torch.float32)
    for start in range(0, len(out), _BLOCK):
        block = out[start : start + _BLOCK].to(torch.float64)
        # The norms of this very layer: those of all layers once stood below ratios of the last.
        norm = block.norm(dim=1)
        norm = norm.where((norm > 0) & norm.isfinite(), torch.nan)
        ratios[start : start + _BLOCK] = (block @ directions).norm(dim=1) / norm
    return ratios


def entropy_neurons(ratio: Float[Tensor, " neuron"], count: int = N_ENTROPY) -> list[int]:
    """The neurons with the largest ratios, largest first; of equal ones the first.

    In the paper two neurons stand out in a box plot; ``count`` is that choice by eye.

    Raises:
        OptionError: ``count`` is negative or more than the neurons whose ratio is defined.
    """
    defined = int((~ratio.isnan()).sum())
    if not 0 <= count <= defined:
        raise OptionError(
            f"{count} entropy neurons cannot be taken from {defined} neurons",
            where=f"--entropy-neurons {count}",
            remedy=f"give a number from 0 to {defined}",
        )
    order = ratio.nan_to_num(nan=-1.0).sort(descending=True, stable=True).indices
    found: list[int] = order[:count].tolist()
    return found
