r"""How well k neurons tell a feature, as a function of k: one curve per way of choosing the neurons.

Neurons are chosen and probes are fitted on the training rows only, of activations divided by ten standard
deviations of these rows. Every probe is then judged on validation and on test; choosing a method or a k is
left to whoever reads the curves, by the columns of validation.

*   A ranking (``mean_dif``, ``f_stat``, ``lr``, …): the best k neurons of it.
*   ``telescopic``: neurons that keep weight under an L1 norm when k falls.
*   ``exact``: the best k neurons for the hinge loss, proven so or with the gap that was left.
*   ``random directions``: the k of the largest mean difference of a random orthonormal basis of the columns:
    what a basis does that means nothing to the model.
*   ``shuffled labels``: the best k by mean difference where labels have nothing to do with the text, for
    choosing, fitting and judging alike (`rwcore.probing.controls`): what chance gives.

Probes of all methods are the same balanced logistic regression on the neurons that were chosen, so that
curves differ by the choice alone. As published, telescopic probes are judged with the elastic-net weights
that chose, and solvers stop after as few passes as in the original.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), sections 3 and 4.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import softplus

from rwcore.errors import require_choice, require_least
from rwcore.probing.controls import shuffled_task
from rwcore.probing.exact import Convention
from rwcore.probing.exact_sweep import exact_sweep
from rwcore.probing.fits import Fit, Weights, logistic_fit
from rwcore.probing.grid import k_grid
from rwcore.probing.intervals import confusion_intervals
from rwcore.probing.logistic import fit_logistic
from rwcore.probing.normalise import refuse_non_finite, training_scale
from rwcore.probing.random_basis import random_frame, rotated_sweep
from rwcore.probing.rankings import RANKINGS, rank_rows
from rwcore.probing.scores import scores
from rwcore.probing.splits import refuse_one_class
from rwcore.probing.tasks import ProbeTask
from rwcore.probing.telescopic import SparseProbe, sparsity_sweep, telescopic_sweep

TELESCOPIC, EXACT = "telescopic", "exact"
DIRECTIONS, SHUFFLED = "random directions", "shuffled labels"
CONTROLS = (DIRECTIONS, SHUFFLED)
METHODS = (*RANKINGS, TELESCOPIC, EXACT, *CONTROLS)
JUDGED = ("mcc", "f1", "precision", "recall", "pr_auc", "roc_auc", "accuracy")
COLUMNS = (
    "method", "k", "neurons", *(f"{part}_{name}" for part in ("validation", "test") for name in JUDGED),
    "test_mcc_low", "test_mcc_high", "log_loss", "seconds", "gap", "status",
)  # fmt: skip


@dataclass(frozen=True)
class CurveOptions:
    """What curves are drawn over.

    Attributes:
        sizes: The k of all methods but the exact one.
        methods: Some of `METHODS`.
        exact_sizes: The k of the exact one.
        gamma: Of the exact one, see `rwcore.probing.exact`; None for 1/√n.
        seconds: Limit of each exact search.
        candidates: Neurons of the largest mean difference that an exact search is among; None for all.
        convention: ``fixed`` or ``as_published``.
        seed: Of random directions and shuffled labels, and of the random ranking.

    Raises:
        OptionError: There is no such method, no size, or a size below 1.
    """

    sizes: tuple[int, ...] = tuple(k_grid(256))
    methods: tuple[str, ...] = ("mean_dif", TELESCOPIC, EXACT)
    exact_sizes: tuple[int, ...] = (1, 2, 3, 4)
    gamma: float | None = None
    seconds: float = 60.0
    candidates: int | None = 50
    convention: Convention = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        for method in self.methods:
            require_choice("method", method, METHODS)
        for name, sizes in (("sizes", self.sizes), ("exact_sizes", self.exact_sizes)):
            require_least(name, min(sizes, default=0), 1)


@dataclass(frozen=True, eq=False)
class _Probe:
    """A probe of a curve.

    Attributes:
        k: How many neurons it reads.
        neurons: Their places; none for directions.
        score: Decision value of every labelled example.
        seconds: What it took.
        gap: Of its search; NaN if there was none.
        status: Of its search; empty if there was none.
    """

    k: int
    neurons: tuple[int, ...]
    score: Float64[np.ndarray, " labelled"]
    seconds: float
    gap: float = math.nan
    status: str = ""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Normalised activations and labels of all labelled examples, and which of them are for training."""

    x: Float64[np.ndarray, "labelled neuron"]
    label: Bool[np.ndarray, " labelled"]
    train: Int64[np.ndarray, " train"]

    @property
    def fitted(self) -> tuple[Float64[np.ndarray, "train neuron"], Bool[np.ndarray, " train"]]:
        """Rows and labels of the training examples."""
        return self.x[self.train], self.label[self.train]


def sparsity_curve(
    x: Float[Tensor, "labelled neuron"], task: ProbeTask, options: CurveOptions | None = None
) -> pd.DataFrame:
    """The curves of one feature.

    Args:
        x: Activations of the labelled examples, not normalised; columns are the neurons to choose from.
        task: Labels, documents and split.
        options: Sizes and methods; sizes above the number of columns are left out.

    Returns:
        One row per method and k, columns `COLUMNS`: ``neurons`` are places of columns of x, ascending, with
        spaces between them, empty for directions; scores of validation are NaN where there is none; the
        interval of the test MCC is over documents (`rwcore.probing.intervals`); ``log_loss`` is the mean of
        −log p(label) over the test examples in nats, not balanced; ``seconds`` of a method add up to its
        time, what it does once being counted to the size that it makes first; ``gap`` and ``status`` are of
        exact searches.

    Raises:
        OptionError: No size is left.
        ProbeError: A part has one class only, or an activation is not finite.
    """
    options = options or CurveOptions()
    split, label = task.split, task.label
    for part in ("train", "test"):
        refuse_one_class(label[getattr(split, part)], where=f"{task.name}, {part}")
    refuse_non_finite(x, where=task.name)
    x = x.to(torch.float64)
    # Scales are of the training rows: the others must not have a say in what is fitted.
    normalised = (x / training_scale(x[split.train])).numpy()
    parts = []
    for method in options.methods:
        # Labels of the control that nothing may be learnt from are shuffled on all sides of the split.
        judged = shuffled_task(task, options.seed).label if method == SHUFFLED else label
        rows = _Rows(normalised, judged.numpy(), split.train.numpy())
        wanted = options.exact_sizes if method == EXACT else options.sizes
        most = min(rows.x.shape[1], options.candidates or math.inf) if method == EXACT else rows.x.shape[1]
        sizes = sorted({k for k in wanted if k <= most})
        require_least("sizes that the neurons suffice for", len(sizes), 1)
        probes = sorted(_probes(method, rows, sizes, options), key=lambda probe: probe.k)
        parts.append(_judged(method, probes, judged, task))
    return pd.concat(parts, ignore_index=True)


def _probes(method: str, rows: _Rows, sizes: Sequence[int], options: CurveOptions) -> Iterator[_Probe]:
    if method == EXACT:
        yield from _exact(rows, sizes, options)
        return
    x, label = rows.fitted
    clock = _Clock()
    fit: Fit = _published_fit if options.convention == "as_published" else logistic_fit
    if method == DIRECTIONS:
        basis = random_frame(x.shape[1], x.shape[1], options.seed)
        for rotated in rotated_sweep(x, label, [basis], sizes, fit=fit):
            yield _Probe(rotated.directions, (), rotated.score(rows.x), clock.lap())
        return
    by_mean = method in (TELESCOPIC, SHUFFLED)
    ranking = rank_rows(
        "mean_dif" if by_mean else method,
        torch.from_numpy(x),
        torch.from_numpy(label),
        as_published=options.convention == "as_published",
        normalised=False,
        seed=options.seed,
    ).numpy()
    if method == TELESCOPIC:
        yield from _telescopic(rows, ranking, sizes, options, clock)
        return
    for k in sizes:
        probe = sparsity_sweep(x, label, ranking, [k], fit=fit)[k]
        yield _Probe(k, probe.support, probe.score(rows.x), clock.lap())


def _telescopic(
    rows: _Rows,
    ranking: Float64[np.ndarray, " neuron"],
    sizes: Sequence[int],
    options: CurveOptions,
    clock: _Clock,
) -> Iterator[_Probe]:
    x, label = rows.fitted
    chosen = telescopic_sweep(x, label, ranking, sizes, convention=options.convention)
    for k, probe in chosen.items():
        if options.convention == "fixed":
            probe = SparseProbe(probe.support, *logistic_fit(x[:, list(probe.support)], label))
        yield _Probe(k, probe.support, probe.score(rows.x), clock.lap())


def _exact(rows: _Rows, sizes: Sequence[int], options: CurveOptions) -> Iterator[_Probe]:
    x, label = rows.fitted
    found = exact_sweep(
        torch.from_numpy(x),
        torch.from_numpy(label),
        sizes,
        gamma=options.gamma,
        candidates=options.candidates,
        seconds=options.seconds,
        convention=options.convention,
    )
    for k, one in found.items():
        search = one.search
        score = one.refit.score(rows.x)
        yield _Probe(k, search.support, score, search.seconds, search.gap, search.status)


def _published_fit(x: Float64[np.ndarray, "n k"], label: Bool[np.ndarray, " n"]) -> tuple[Weights, float]:
    """The published 200 passes of SAGA."""
    rows, labels = torch.from_numpy(x), torch.from_numpy(label)
    probe = fit_logistic(rows, labels, as_published=True, normalised=False)
    return probe.weight.numpy(), probe.intercept


class _Clock:
    """Time since the last look at it."""

    def __init__(self) -> None:
        self._seen = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._seen = self._seen, time.perf_counter()
        return self._seen - before


def _judged(
    method: str, probes: Sequence[_Probe], label: Bool[Tensor, " labelled"], task: ProbeTask
) -> pd.DataFrame:
    """The rows of the table of one method."""
    decided = torch.from_numpy(np.stack([probe.score for probe in probes], axis=1))
    of_test = task.split.test
    intervals = confusion_intervals(label[of_test], decided[of_test] > 0, task.group[of_test])["mcc"]
    rows: list[dict[str, object]] = []
    for probe, score, interval in zip(probes, decided.unbind(1), intervals, strict=True):
        row: dict[str, object] = {
            "method": method,
            "k": probe.k,
            "neurons": " ".join(map(str, probe.neurons)),
        }
        for part in ("validation", "test"):
            places = getattr(task.split, part)
            found = scores(label[places], score[places]) if len(places) else dict.fromkeys(JUDGED, math.nan)
            row |= {f"{part}_{name}": found[name] for name in JUDGED}
        sign = torch.where(label[of_test], 1.0, -1.0)
        row |= {
            "test_mcc_low": interval.low,
            "test_mcc_high": interval.high,
            "log_loss": float(softplus(-sign * score[of_test]).mean()),
            "seconds": probe.seconds,
            "gap": probe.gap,
            "status": probe.status,
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS])
