"""Functional roles as section 7.1 of the specification says them: dense, plain, never tuned.

The matrix of all cosines is held whole, with the differences from the mean and their powers beside it, each
as large (9 GB for SmolLM2, 71 GB for OLMo-7B, float32); layers can be given in slices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rwcore.weights.attention import AttentionLayer


def token_cosines(out: Tensor, W_U: Tensor) -> Tensor:
    """``c[n, v] = cos(out[n], column v of W_U)``, in the dtype of what is given; [neuron vocab]."""
    return (out / out.norm(dim=1, keepdim=True)) @ (W_U / W_U.norm(dim=0, keepdim=True))


def moments(cosines: Tensor) -> dict[str, Tensor]:
    """Mean, variance (V - 1), skew = mean(z³), kurtosis = mean(z⁴) - 3 of every row."""
    mean = cosines.mean(dim=1, keepdim=True)
    difference = cosines - mean
    variance = (difference**2).sum(dim=1, keepdim=True) / (cosines.shape[1] - 1)
    z = difference / variance.sqrt()
    return {
        "mean": mean[:, 0],
        "variance": variance[:, 0],
        "skew": (z**3).mean(dim=1),
        "kurtosis": (z**4).mean(dim=1) - 3,
    }


def dense_moments(outs: Sequence[Tensor], W_U: Tensor) -> dict[str, Tensor]:
    """The moments of several layers from one matrix of all their cosines; [layer neuron] each."""
    n_layers, n_neurons = len(outs), len(outs[0])
    found = moments(token_cosines(torch.cat(list(outs)), W_U))
    return {name: values.reshape(n_layers, n_neurons) for name, values in found.items()}


def role_of_each(
    variance: np.ndarray, skew: np.ndarray, kurtosis: np.ndarray, gatelin: np.ndarray | None, partition: int
) -> list[list[str]]:
    """Partition, prediction and suppression, neuron by neuron; ``gatelin`` only for unrefactored weights."""
    n_layers, n_neurons = variance.shape
    pairs = [(layer, neuron) for layer in range(n_layers) for neuron in range(n_neurons)]
    by_variance = sorted(pairs, key=lambda pair: (-variance[pair], pair))
    members = set(by_variance[:partition])
    largest = 0.0
    for pair in members:
        largest = max(largest, float(kurtosis[pair]))
    names = [["none"] * n_neurons for _ in range(n_layers)]
    for pair in pairs:
        layer, neuron = pair
        sign = -1.0 if gatelin is not None and gatelin[pair] < 0 else 1.0
        if pair in members:
            names[layer][neuron] = "partition"
        elif kurtosis[pair] > largest and sign * skew[pair] > 0:
            names[layer][neuron] = "prediction"
        elif kurtosis[pair] > largest and sign * skew[pair] < 0:
            names[layer][neuron] = "suppression"
    return names


def entropy_ratio(out: Tensor, W_U: Tensor, n_null: int) -> Tensor:
    """``‖Uᵀ out‖ / ‖out‖``, U from a full singular value decomposition."""
    left = torch.linalg.svd(W_U.double(), full_matrices=False).U
    return torch.stack([(left[:, -n_null:].T @ row).norm() / row.norm() for row in out.double()])


def bos_query(attention: AttentionLayer, head: int, entering: Tensor, *, norm: str, eps: float) -> np.ndarray:
    """``W_Q[head] · k[head]`` from the residual stream at BOS, number by number."""
    x = [float(value) for value in entering]
    if norm == "layer":
        average = sum(x) / len(x)
        x = [value - average for value in x]
    if norm != "none":
        scale = math.sqrt(sum(value * value for value in x) / len(x) + eps)
        x = [value / scale for value in x]
    shared = head // (attention.n_heads // attention.n_kv_heads)
    d_head = attention.W_K.shape[2]
    key = np.zeros(d_head)
    for column in range(d_head):
        key[column] = sum(float(w) * v for w, v in zip(attention.W_K[shared, :, column], x, strict=True))
        if attention.b_K is not None:
            key[column] += float(attention.b_K[shared, column])
    return np.array([sum(float(w) * k for w, k in zip(row, key, strict=True)) for row in attention.W_Q[head]])


def attention_score(out: np.ndarray, queries: Sequence[np.ndarray]) -> tuple[int, float]:
    """The head with the largest ``|cos(out, q)|``, the first of equal ones, and that cosine."""
    best, value = 0, 0.0
    for head, query in enumerate(queries):
        cosine = float(out @ query / (np.linalg.norm(out) * np.linalg.norm(query)))
        if abs(cosine) > abs(value):
            best, value = head, cosine
    return best, value


def contingency(roles: Sequence[str], classes: Sequence[str]) -> dict[tuple[str, str], int]:
    """How often each pair of role and class occurs."""
    counts: dict[tuple[str, str], int] = {}
    for pair in zip(roles, classes, strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def chi_square(table: np.ndarray) -> float:
    """``Σ (count - expected)²/expected``, cell by cell."""
    total = float(table.sum())
    found = 0.0
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            expected = float(table[row].sum()) * float(table[:, column].sum()) / total
            if expected > 0:
                found += (float(table[row, column]) - expected) ** 2 / expected
    return found
