"""Checkpoints made from a model: some of its neurons replaced, the others left as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from fixtures.planted import Planted

MLP = "model.layers.{layer}.mlp.{name}.weight"


def earlier(model: Planted, folder: Path, moves: dict[tuple[int, int], tuple[int, int]]) -> Path:
    """A checkpoint of a planted Llama in which some neurons are copies of others.

    Args:
        model: The model.
        folder: Where to; created.
        moves: (layer, neuron) → the (layer, neuron) it is a copy of; gains included, so it has its class.
    """
    shutil.copytree(model.folder, folder)
    stored = load_file(folder / "model.safetensors")
    copy = {name: tensor.clone() for name, tensor in stored.items()}
    gain = {
        layer: stored[f"model.layers.{layer}.post_attention_layernorm.weight"]
        for layer in range(len(model.classes))
    }
    for (layer, neuron), (a, b) in moves.items():
        for name in ("gate_proj", "up_proj"):
            row = stored[MLP.format(layer=a, name=name)][b] * gain[a] / gain[layer]
            copy[MLP.format(layer=layer, name=name)][neuron] = row
        down = MLP.format(layer=layer, name="down_proj")
        copy[down][:, neuron] = stored[MLP.format(layer=a, name="down_proj")][:, b]
    save_file(copy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def at_random(model: Path, folder: Path, *, seed: int = 0, keep: float = 0.3) -> Path:
    """A checkpoint at the start of training: every MLP vector is ``keep`` of the model's plus noise as long.

    The cosine of each with the model's own is ``keep`` exactly.
    """
    generator = torch.Generator().manual_seed(seed)
    shutil.copytree(model, folder)
    stored = load_file(folder / "model.safetensors")
    for name, tensor in stored.items():
        if ".mlp." in name:
            rows = tensor.T if "down_proj" in name else tensor
            unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
            noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
            noise -= (noise * unit).sum(1, keepdim=True) * unit
            moved = keep * unit + (1 - keep**2) ** 0.5 * noise / noise.norm(dim=1, keepdim=True)
            stored[name] = (moved.T if "down_proj" in name else moved).float().contiguous()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def narrower(model: Path, folder: Path) -> Path:
    """A planted Llama without its last layer."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] -= 1
    (folder / "config.json").write_text(json.dumps(config))
    return folder
