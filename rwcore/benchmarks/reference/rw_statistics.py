"""RW statistics as the specification says them: one plain function per section, never tuned.

These are what tests and benchmarks compare with. They hold the whole model and normalised copies of it,
loop where the text says "for each", and are slow on purpose.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from rwcore.weights.layer import MlpLayer

NAMES = {
    (1, 1, 1): "strengthening",
    (1, 1, 0): "atypical strengthening",
    (1, 0, 1): "conditional strengthening",
    (1, 0, 0): "atypical conditional strengthening",
    (0, 1, 1): "proportional change",
    (0, 1, 0): "atypical proportional change",
    (0, 0, 1): "orthogonal output",
    (-1, 1, 1): "weakening",
    (-1, 1, 0): "atypical weakening",
    (-1, 0, 1): "conditional weakening",
    (-1, 0, 0): "atypical conditional weakening",
}
VANILLA_NAMES = {1: "strengthening", 0: "orthogonal output", -1: "weakening"}


def refactor_glu(gate: Tensor, in_: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Section 1.4: turn the input and output vector round where gate·in is negative."""
    sign = torch.where((gate * in_).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return gate, in_ * sign, out * sign


def whole_llama(file: Path) -> list[MlpLayer]:
    """Sections 1.3, 1.4: load a whole Llama checkpoint, fold the norm gains, turn gate signs round."""
    tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
    layers = []
    for layer in range(sum(name.endswith(".mlp.gate_proj.weight") for name in tensors)):
        block = f"model.layers.{layer}."
        gain = tensors[block + "post_attention_layernorm.weight"]
        gate, in_, out = refactor_glu(
            tensors[block + "mlp.gate_proj.weight"] * gain,
            tensors[block + "mlp.up_proj.weight"] * gain,
            tensors[block + "mlp.down_proj.weight"].T,
        )
        layers.append(MlpLayer(layer, gate, in_, out))
    return layers


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Section 2.1: normalise each vector in float32, then the dot product; [layer neuron d_model] each."""
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    return (a * b).sum(-1)


def large(x: float) -> int:
    """Section 2.2: 1, 0 or -1; strict on both sides, NaN gives 0."""
    if np.float32(x) > np.float32(0.5):
        return 1
    if np.float32(x) < np.float32(-0.5):
        return -1
    return 0


def class_name(gatelin: float, gateout: float, linout: float) -> str:
    """Section 2.3: the class of a gated neuron, in the words of the text."""
    strong_linout, strong_gateout = large(linout) != 0, large(gateout) != 0
    if strong_linout and strong_gateout:
        typical = large(gatelin) == int(math.copysign(1, linout) * math.copysign(1, gateout))
    elif strong_linout or strong_gateout:
        typical = large(gatelin) == 0
    else:
        typical = True
    return NAMES[large(linout), abs(large(gateout)), int(typical)]


def class_name_2025_05(gatelin: float, gateout: float, linout: float) -> str:
    """Section 2.3, the first public rule: the sign of gateout is copied to gatelin."""
    signed = math.copysign(gatelin, gateout)
    strong_linout, strong_gateout = large(linout) != 0, large(gateout) != 0
    if strong_linout and strong_gateout:
        typical = large(signed) == large(linout)
    elif strong_linout or strong_gateout:
        typical = large(signed) == 0
    else:
        typical = True
    return NAMES[large(linout), abs(large(gateout)), int(typical)]


def class_counts(gatelin: Tensor, gateout: Tensor, linout: Tensor) -> dict[str, list[int]]:
    """Sections 2.3 and 11: key tensors [layer neuron 3] of int64, and eleven comparisons with them."""
    n_layers, n_neurons = linout.shape
    keys = torch.empty(n_layers, n_neurons, 3, dtype=torch.int64)
    for layer in range(n_layers):
        for neuron in range(n_neurons):
            triple = [float(x[layer, neuron]) for x in (gatelin, gateout, linout)]
            name = class_name(*triple)
            keys[layer, neuron] = torch.tensor(next(key for key, value in NAMES.items() if value == name))
    return {name: (keys == torch.tensor(key)).all(-1).sum(-1).tolist() for key, name in NAMES.items()}


def whole_model_statistics(layers: Iterable[MlpLayer]) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Sections 2.1, 2.3, 4.1 the way of section 11's first column: class counts and medians, gated model.

    Whole stacks [layer neuron d_model] in memory, normalised copies of them for each cosine, int64 keys
    [layer neuron 3] and one pass of comparisons for each of the eleven classes.
    """
    stack = list(layers)
    gate = torch.stack([layer.gate for layer in stack])
    in_ = torch.stack([layer.in_ for layer in stack])
    out = torch.stack([layer.out for layer in stack])
    cosines = {"gatelin": cosine(gate, in_), "gateout": cosine(gate, out), "linout": cosine(in_, out)}
    signs = {name: (x > 0.5).long() - (x < -0.5).long() for name, x in cosines.items()}
    typical = (signs["gatelin"] == signs["linout"] * signs["gateout"]).long()
    typical[(signs["linout"] == 0) & (signs["gateout"] == 0)] = 1
    keys = torch.stack([signs["linout"], signs["gateout"].abs(), typical], dim=-1)
    counts = {
        name: torch.isclose(keys, torch.tensor(key)).all(-1).sum(-1).tolist() for key, name in NAMES.items()
    }
    cosines["gatelin"] = cosines["gatelin"].abs()
    return counts, {name: np.median(x.numpy(), axis=1).tolist() for name, x in cosines.items()}


def half_coarse_bin(x: float) -> float:
    """Section 2.5: the left edge of the bin of width 0.2, in float32, the last bin closed at 1."""
    edge = np.floor(np.float32(x) * np.float32(10) / np.float32(2)) * np.float32(2) / np.float32(10)
    return round(min(max(float(edge), -1.0), 0.8), 1)


def beta_bound(d_model: int, p: float = 0.05) -> float:
    """Section 3.1: the upper bound, from the density (1 - x²)^((d-3)/2) summed on a fine grid."""
    x = np.linspace(0, 1, 4_000_001)
    with np.errstate(divide="ignore"):
        density = np.exp((d_model - 3) / 2 * np.log1p(-np.square(x)))
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.interp(1 - p, mass / mass[-1], x))


def mismatched_values(a: Tensor, b: Tensor) -> np.ndarray:
    """Section 3.2: all cosines of one layer's vectors [neuron d_model] without the matched pairs, sorted."""
    a = a / a.norm(dim=-1, keepdim=True)
    b = b / b.norm(dim=-1, keepdim=True)
    return np.sort((a @ b.T)[~torch.eye(len(a), dtype=torch.bool)].numpy())


def mismatched_region(gate: Tensor, in_: Tensor, out: Tensor, p: float = 0.05) -> dict[str, list[float]]:
    """Section 3.2: quantiles of the sorted N x N values of one layer, [neuron d_model] each."""
    return {
        "gatelin": [linear_quantile(np.sort(np.abs(mismatched_values(gate, in_))), 1 - p)],
        "gateout": [linear_quantile(mismatched_values(gate, out), q) for q in (p / 2, 1 - p / 2)],
        "linout": [linear_quantile(mismatched_values(in_, out), q) for q in (p / 2, 1 - p / 2)],
    }


def linear_quantile(values: np.ndarray, q: float) -> float:
    """Linear interpolation at q(M-1) in sorted values."""
    position = q * (len(values) - 1)
    below = math.floor(position)
    above = min(below + 1, len(values) - 1)
    return float(values[below]) + (position - below) * (float(values[above]) - float(values[below]))


def norms(vectors: Tensor) -> Tensor:
    """Section 3.3: L2 norms, [layer neuron d_model] to [layer neuron]."""
    return vectors.norm(dim=-1)


def median(values: list[float]) -> float:
    """Section 4.1: the middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def letter_values(values: list[float]) -> dict[str, float]:
    """Section 4.5: quantiles at 2^-e and 1 - 2^-e for e = 2 .. floor(log2 N) - 2."""
    ordered = np.sort(np.array(values, dtype=np.float64))
    depth = max(2, math.floor(math.log2(len(values))) - 2)
    low = {f"lo{e}": linear_quantile(ordered, 2.0**-e) for e in range(2, depth + 1)}
    return low | {f"hi{e}": linear_quantile(ordered, 1 - 2.0**-e) for e in range(2, depth + 1)}


def choose_neurons(
    names: list[list[str]], name: str, subset: float | str | None = None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]] | tuple[None, None]:
    """Section 5: members of a class or a subset, and their baseline, by the global generator."""
    state = random.getstate()
    random.seed(2512800)
    try:
        members = [(la, ne) for la, row in enumerate(names) for ne, value in enumerate(row) if value == name]
        size = len(members)
        if isinstance(subset, float):
            size = int(subset * len(members))
        elif isinstance(subset, int):
            size = subset
        elif isinstance(subset, str):
            size = sum(row.count(subset) for row in names)
        if size > len(members):
            return None, None
        chosen = random.sample(members, size) if size < len(members) else members
        baseline = []
        for layer, row in enumerate(names):
            count = sum(1 for la, _ in chosen if la == layer)
            if count == 0:
                continue
            candidates = [ne for ne, value in enumerate(row) if value != name]
            # The original fails where there are fewer candidates than asked for; the text says to clamp.
            if count < len(row) / 2 and count <= len(candidates):
                candidates = random.sample(candidates, count)
            baseline += [(layer, neuron) for neuron in candidates]
        return chosen, baseline
    finally:
        random.setstate(state)
