"""The activation pass as the specification says it: number by number, and the recipe of its section 3.

`statistics_of` is the slow obvious definition that tests compare with; `recipe` is a direct vectorised
implementation (per-quadrant full tensors, top-k of each document) that benchmarks compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

NAMES = ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-")


def quadrant_of(gate: float, in_: float) -> str | None:
    """The quadrant of one token, None where gate or in is exactly zero."""
    if gate == 0 or in_ == 0 or math.isnan(gate) or math.isnan(in_):
        return None
    return f"gate{'+' if gate > 0 else '-'}_in{'+' if in_ > 0 else '-'}"


def statistics_of(
    gate: np.ndarray, in_: np.ndarray, act: np.ndarray, mask: np.ndarray, rows: Sequence[int], k: int
) -> list[dict]:
    """For each neuron of float32 arrays [batch pos neuron]: counts, exact sums, extremes.

    Returns:
        Per neuron: ``count`` {quadrant: n}, ``sum`` {(quadrant, quantity): exact Fraction},
        ``gate_positive``, ``rest`` and ``square`` {quantity: Fraction}, ``top`` {(quadrant, quantity):
        [(value, row, pos), …]}.
    """
    found = []
    for neuron in range(gate.shape[2]):
        one: dict = {"count": dict.fromkeys(NAMES, 0), "gate_positive": 0, "sum": {}, "top": {}}
        quantities = ("gate", "in", "act", "post")
        one["rest"] = {name: Fraction(0) for name in quantities}
        one["square"] = {name: Fraction(0) for name in quantities}
        one["sum"] = {(case, name): Fraction(0) for case in NAMES for name in quantities}
        peaks: dict = {}
        for place, row in enumerate(rows):
            for position in range(gate.shape[1]):
                if not mask[place, position]:
                    continue
                here = (place, position, neuron)
                values = dict(
                    zip(quantities, (gate[here], in_[here], act[here], act[here] * in_[here]), strict=True)
                )
                case = quadrant_of(values["gate"], values["in"])
                one["gate_positive"] += int(values["gate"] > 0)
                for name, value in values.items():
                    exact = Fraction(float(value))
                    one["square"][name] += exact * exact
                    if case is None:
                        one["rest"][name] += exact
                        continue
                    one["sum"][case, name] += exact
                    if case.startswith("gate+") and name == "act":
                        continue
                    entry = (-abs(float(value)), row, position, float(value) + 0.0)
                    key = (case, name, row)
                    peaks[key] = min(peaks.get(key, entry), entry)
                if case is not None:
                    one["count"][case] += 1
        for (case, name, _), entry in peaks.items():
            one["top"].setdefault((case, name), []).append(entry)
        one["top"] = {
            which: [(value, row, position) for _, row, position, value in sorted(entries)[:k]]
            for which, entries in one["top"].items()
        }
        found.append(one)
    return found


def recipe(gate: Tensor, in_: Tensor, act: Tensor, mask: Tensor, running: dict, k: int) -> dict:
    """Section 3.4 document by document on whole tensors; ``running`` is what earlier batches left.

    Args:
        gate: [batch pos neuron], like the next two.
        in_: w_in · x.
        act: The activation function of gate.
        mask: [batch pos].
        running: Empty at first; changed and returned.
        k: Examples in a list.
    """
    real = mask[..., None].to(gate.dtype)
    quantities = {"gate": gate * real, "in": in_ * real, "act": act * real, "post": act * in_ * real}
    gate, in_ = quantities["gate"], quantities["in"]
    sides = {"gate+": gate > 0, "gate-": gate < 0, "in+": in_ > 0, "in-": in_ < 0}
    for document in range(len(gate)):
        number = running["documents"] = running.get("documents", -1) + 1
        for case in NAMES:
            gate_side, in_side = case.split("_")
            inside = (sides[gate_side] & sides[in_side])[document]
            running[case, "freq"] = running.get((case, "freq"), 0) + inside.sum(0)
            for name, values in quantities.items():
                masked = values[document] * inside
                running[case, name, "sum"] = running.get((case, name, "sum"), 0) + masked.sum(0)
                if gate_side == "gate+" and name == "act":
                    continue
                peak = masked.abs().topk(1, dim=0)
                signed = masked.gather(0, peak.indices)
                where = torch.full_like(peak.indices, number)
                old, old_where = running.get((case, name, "max"), (signed[:0], where[:0]))
                joined, joined_where = torch.cat([old, signed]), torch.cat([old_where, where])
                kept = joined.abs().topk(min(k, len(joined)), dim=0).indices
                running[case, name, "max"] = (joined.gather(0, kept), joined_where.gather(0, kept))
    return running
