"""A Llama checkpoint with neurons of every functional role, known by construction.

3 layers of 30 neurons, width 24, 600 tokens. The unembedding spreads most along axis 0, names one rare token
each along axes 1 to 5, and hardly reads axes 20 to 23. Half of the planted neurons are stored turned round
(gate against input), so that whoever does not fold gate signs finds the opposite role.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fixtures.tiny import BOS, build, local_model
from rwcore.benchmarks.reference.roles import bos_query
from rwcore.models.residual import residual_stream
from rwcore.weights.attention import attention_weights

LAYERS, NEURONS, D_MODEL, VOCAB = 3, 30, 24, 600
N_NULL, N_PARTITION = 4, 4
PARTITION = {(0, 3), (1, 29), (2, 0), (2, 7)}
PREDICTION = {(0, 5), (1, 2), (2, 29)}
SUPPRESSION = {(0, 0), (2, 11)}
CLEAREST = {"prediction": (1, 2), "suppression": (0, 0)}
ENTROPY = {(2, 13), (2, 21)}
# (layer, neuron): (head of the next layer, sign of the score)
ATTENTION = {(0, 9): (2, 1), (0, 28): (0, -1), (1, 17): (3, -1)}


@dataclass(frozen=True)
class PlantedRoles:
    """The checkpoint, and the output vectors as stored, [layer neuron d_model]."""

    folder: Path
    outs: np.ndarray


def plant_roles(folder: Path, *, seed: int = 0) -> PlantedRoles:
    """Make the checkpoint."""
    sizes = {"layers": LAYERS, "d_model": D_MODEL, "d_mlp": NEURONS, "vocab": VOCAB}
    file = build("llama", folder, seed=seed, tie_word_embeddings=False, **sizes) / "model.safetensors"
    generator = torch.Generator().manual_seed(seed + 1)
    tensors = load_file(file)
    tensors["lm_head.weight"] = (_unembedding(generator) / tensors["model.norm.weight"][:, None]).T
    outs = _background(generator)
    for count, pair in enumerate(sorted(PARTITION)):
        outs[pair] = 0.2 * outs[pair] + 5 * (-1) ** count * _axis(0)
    # The purer the direction, the larger the kurtosis.
    for role, pairs, sign in (("prediction", PREDICTION, 1), ("suppression", SUPPRESSION, -1)):
        for count, pair in enumerate(sorted(pairs)):
            blur = 0.001 if CLEAREST[role] == pair else 0.02
            outs[pair] = blur * outs[pair] + sign * (1 + count) * _axis(1 + count)
    for pair in ENTROPY:
        outs[pair] = 0.02 * outs[pair] + 3 * _axis(pair[1])
    _store(tensors, outs, file)
    for layer in range(LAYERS - 1):
        # Attention neurons of this layer write nothing at BOS, so that the keys do not move with them.
        for (at, neuron), (head, sign) in ATTENTION.items():
            if at == layer:
                query = _query(folder, layer + 1, head)
                outs[at, neuron] = sign * query / query.norm() + 0.02 * outs[at, neuron]
        _store(tensors, outs, file)
    return PlantedRoles(folder, outs.numpy())


def _unembedding(generator: torch.Generator) -> Tensor:
    W_U = torch.randn(D_MODEL, VOCAB, generator=generator)
    W_U[1:6] = 0
    W_U[20:] *= 1e-3
    place = torch.arange(VOCAB)
    W_U[0] = torch.where(place % 2 == 0, 1.0, -1.0) * torch.where(place % 20 < 2, 12.0, 0.3)
    W_U[:, 100:105] = 0
    W_U[1:6, 100:105] = 10 * torch.eye(5)
    return W_U


def _background(generator: torch.Generator) -> Tensor:
    """Vectors that spread over axes 6 to 19."""
    outs = torch.randn(LAYERS, NEURONS, D_MODEL, generator=generator)
    outs[:, :, :6] = 0
    outs[:, :, 20:] = 0
    return outs


def _axis(place: int) -> Tensor:
    return torch.eye(D_MODEL)[20 + place % 2 if place > 5 else place]


def _query(folder: Path, layer: int, head: int) -> Tensor:
    local = local_model(folder)
    entering = residual_stream(local, torch.tensor([BOS]))[layer, 0]
    heads = attention_weights(local, layer)
    return torch.from_numpy(bos_query(heads, head, entering, norm="rms", eps=1e-6)).float()


def _store(tensors: dict[str, Tensor], outs: Tensor, file: Path) -> None:
    planted = PARTITION | PREDICTION | SUPPRESSION | ENTROPY | {*ATTENTION}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}.mlp."
        gate, in_ = tensors[prefix + "gate_proj.weight"], tensors[prefix + "up_proj.weight"].clone()
        out = outs[layer].clone()
        for at, neuron in sorted(planted):
            if at == layer:
                turned = -1 if neuron % 2 else 1
                in_[neuron] = turned * 1e-6 * gate[neuron]
                out[neuron] *= turned
        tensors[prefix + "up_proj.weight"] = in_
        tensors[prefix + "down_proj.weight"] = out.T.contiguous()
    save_file(
        {name: values.contiguous() for name, values in tensors.items()}, file, metadata={"format": "pt"}
    )
