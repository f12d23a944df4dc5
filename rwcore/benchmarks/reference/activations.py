"""The activation pass as the specification says it: number by number, and the recipe of its section 3.

`statistics_of` is the slow obvious definition that tests compare with. `record` and `recipe` are a direct
implementation of section 3, document by document as the original has it (all layers kept and stacked, then
full tensors of each quadrant, top-k of each document, a running top-k), that benchmarks compare with.
Transfers between devices and its files on disk are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

GROUPS = 20
NAMES = ("gate+_in+", "gate+_in-", "gate-_in+", "gate-_in-")


def quadrant_of(gate: float, in_: float) -> str | None:
    """The quadrant of one token, None where gate or in is exactly zero."""
    if gate == 0 or in_ == 0 or math.isnan(gate) or math.isnan(in_):
        return None
    return f"gate{'+' if gate > 0 else '-'}_in{'+' if in_ > 0 else '-'}"


def statistics_of(
    gate: np.ndarray,
    in_: np.ndarray,
    act: np.ndarray,
    mask: np.ndarray,
    rows: Sequence[int],
    k: int,
    groups: Sequence[int],
) -> list[dict]:
    """For each neuron of float32 arrays [batch pos neuron]: counts, exact sums, extremes.

    Returns:
        Per neuron: ``count`` {quadrant: n}, ``group_count`` [group][quadrant], ``sum`` {(quadrant,
        quantity): exact Fraction}, ``gate_positive``, ``rest`` and ``square`` {quantity: Fraction}, ``top``
        {(quadrant, quantity): [(value, row, pos), …]}.
    """
    found = []
    for neuron in range(gate.shape[2]):
        one: dict = {"count": dict.fromkeys(NAMES, 0), "gate_positive": 0, "sum": {}, "top": {}}
        one["group_count"] = [[0] * 4 for _ in range(GROUPS)]
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
                    one["group_count"][groups[place]][NAMES.index(case)] += 1
        for (case, name, _), entry in peaks.items():
            one["top"].setdefault((case, name), []).append(entry)
        one["top"] = {
            which: [(value, row, position) for _, row, position, value in sorted(entries)[:k]]
            for which, entries in one["top"].items()
        }
        found.append(one)
    return found


SIGNS = {
    case: {
        "gate": 1 if case.startswith("gate+") else -1,
        "in": 1 if case.endswith("in+") else -1,
        "swish": -1,
        "post": 1 if case in ("gate+_in+", "gate-_in-") else -1,
    }
    for case in NAMES
}
"""Sign of the extremes, for activation functions with the sign of their argument, such as SiLU."""


def record(model: Any, tokens: Tensor, function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Sections 3.3 and 3.7: one document through the whole model, the activations of all layers kept.

    Args:
        model: A bridge.
        tokens: [pos].
        function: Between gate and product.

    Returns:
        gate, in, swish and post, [layer pos neuron], times the attention mask.
    """
    hooks = {"gate": "hook_pre", "in": "hook_pre_linear", "post": "hook_post"}
    points = {f"blocks.{layer}.mlp.{hook}" for layer in range(model.cfg.n_layers) for hook in hooks.values()}
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens[None], names_filter=lambda name: name in points)
    mask = torch.ones(len(tokens), device=tokens.device)[:, None]  # one document: no padding
    stacked = {
        name: torch.stack([cache[f"blocks.{layer}.mlp.{hook}"][0] for layer in range(model.cfg.n_layers)])
        for name, hook in hooks.items()
    }
    stacked["swish"] = function(stacked["gate"])
    return {name: values * mask for name, values in stacked.items()}


def recipe(recorded: dict[str, Tensor], document: int, running: dict, k: int) -> None:
    """Section 3.4: the statistics of one document, added to those of the documents before.

    Args:
        recorded: gate, in, swish, post, each [layer pos neuron].
        document: Its number.
        running: Empty at first. For each quadrant the count, ``(case, "freq")``; for each quantity in it the
            sum, ``(case, name, "sum")``, and values and documents of the extremes, ``(case, name, "max")``,
            each [rank layer neuron].
        k: Examples in a list.
    """
    gate, in_ = recorded["gate"], recorded["in"]
    sides = {"gate+": gate > 0, "gate-": gate < 0, "in+": in_ > 0, "in-": in_ < 0}
    for case in NAMES:
        gate_side, in_side = case.split("_")
        inside = (sides[gate_side] & sides[in_side]).float()
        running[case, "freq"] = running.get((case, "freq"), 0) + inside.sum(dim=1).long()
        for name, values in recorded.items():
            masked = values * inside
            running[case, name, "sum"] = running.get((case, name, "sum"), 0) + masked.sum(dim=1)
            if gate_side == "gate+" and name == "swish":
                continue
            peak = masked.abs().topk(1, dim=1).values.transpose(0, 1)
            where = torch.full_like(peak, document, dtype=torch.int64)
            old, old_where = running.get((case, name, "max"), (peak[:0], where[:0]))
            joined, joined_where = torch.cat([old, peak * SIGNS[case][name]]), torch.cat([old_where, where])
            kept = joined.abs().topk(min(k, len(joined)), dim=0).indices
            running[case, name, "max"] = (joined.gather(0, kept), joined_where.gather(0, kept))
