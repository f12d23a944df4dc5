"""Rankings, one-neuron probes and scores as section 5 and 6 of the specification say it: plain, never tuned.

One neuron at a time, loops over examples, a general minimiser. Tests and benchmarks compare with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize


def normalised(x: Sequence[float]) -> np.ndarray:
    """Section 5.1, step 2, for one neuron."""
    values = np.array(x, dtype=np.float64)
    return values / (10 * max(float(values.std()), 0.001))


def mean_dif(x: Sequence[float], label: Sequence[bool]) -> float:
    """Section 5.2: distance of the means of both classes."""
    positives = [value for value, is_positive in zip(x, label, strict=True) if is_positive]
    negatives = [value for value, is_positive in zip(x, label, strict=True) if not is_positive]
    return abs(sum(positives) / len(positives) - sum(negatives) / len(negatives))


def f_stat(x: Sequence[float], label: Sequence[bool]) -> float:
    """Section 5.2: mean square between the classes by mean square within."""
    whole = sum(x) / len(x)
    between = within = 0.0
    for wanted in (False, True):
        values = [value for value, is_positive in zip(x, label, strict=True) if is_positive is wanted]
        mean = sum(values) / len(values)
        between += len(values) * (mean - whole) ** 2
        within += sum((value - mean) ** 2 for value in values)
    return between / (within / (len(x) - 2))


def mutual_information(bins: Sequence[int], label: Sequence[bool]) -> float:
    """Nats, with the correction of Miller and Madow."""
    n = len(bins)
    total = 0.0
    for one in set(bins):
        for wanted in set(label):
            both = sum(a == one and b is wanted for a, b in zip(bins, label, strict=True))
            if both:
                first = sum(a == one for a in bins)
                second = sum(b is wanted for b in label)
                total += both / n * math.log(n * both / (first * second))
    return total - (len(set(bins)) - 1) * (len(set(label)) - 1) / (2 * n)


def logistic(x: Sequence[float], label: Sequence[bool], C: float = 1.0) -> tuple[float, float]:
    """Section 5.1, step 4, for one neuron: weight of the normalised activation, and intercept."""
    values = normalised(x)
    share = sum(label) / len(label)

    def objective(parameters: np.ndarray) -> float:
        weight, intercept = parameters
        total = weight**2 / (2 * C)
        for value, is_positive in zip(values, label, strict=True):
            sign, balance = (1, 1 / (2 * share)) if is_positive else (-1, 1 / (2 * (1 - share)))
            total += balance * np.logaddexp(0, -sign * (weight * value + intercept))
        return float(total)

    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 20_000, "maxfev": 20_000}
    found = minimize(objective, [0.0, 0.0], method="Nelder-Mead", options=options)
    again = minimize(objective, found.x, method="Nelder-Mead", options=options)
    return float(again.x[0]), float(again.x[1])


def scores(label: Sequence[bool], score: Sequence[float]) -> dict[str, float]:
    """Section 6, from the definitions; both classes occur and both are predicted."""
    chosen = [value > 0 for value in score]
    pairs = list(zip(label, chosen, strict=True))
    tp, fn = pairs.count((True, True)), pairs.count((True, False))
    fp, tn = pairs.count((False, True)), pairs.count((False, False))
    n, precision, recall = len(pairs), tp / (tp + fp), tp / (tp + fn)
    by_chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2

    def f(beta: float) -> float:
        if tp == 0:
            return 0.0
        return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)

    return {
        "mcc": float(np.corrcoef(np.array(label, float), np.array(chosen, float))[0, 1]),
        "kappa": ((tp + tn) / n - by_chance) / (1 - by_chance),
        "fowlkes_mallows": math.sqrt(precision * recall),
        "f1": f(1),
        "f05": f(0.5),
        "f2": f(2),
        "accuracy": (tp + tn) / n,
        "balanced_accuracy": (recall + tn / (tn + fp)) / 2,
        "precision": precision,
        "recall": recall,
        "average_precision": precision * recall + (1 - recall) * (tp + fn) / n,
        "pr_auc": pr_auc(label, score),
        "roc_auc": roc_auc(label, score),
    }


def roc_auc(label: Sequence[bool], score: Sequence[float]) -> float:
    """Share of pairs (positive, negative) in the right order; ties count half."""
    won = total = 0.0
    for a, is_positive in zip(score, label, strict=True):
        for b, other in zip(score, label, strict=True):
            if is_positive and not other:
                total += 1
                won += 1.0 if a > b else 0.5 if a == b else 0.0
    return won / total


def pr_auc(label: Sequence[bool], score: Sequence[float]) -> float:
    """Trapezoids between the points (recall, precision) of every threshold, and (0, 1)."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(score), reverse=True):
        called = [is_positive for value, is_positive in zip(score, label, strict=True) if value >= threshold]
        points.append((sum(called) / sum(label), sum(called) / len(called)))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
