r"""Is a neuron better than any direction? Probes on random directions of the same activations.

A frame is a [neuron, direction] matrix with orthonormal columns: Q in G = QR, R with a positive diagonal,
of a matrix G of normal numbers, which is uniform over all frames. Rotated activations are xQ; a probe on them
is a probe in neurons with weights Qw.

As published, one baseline draws square matrices of normal numbers that are not orthogonal, either rotates raw
activations (of which those of large variance decide) and normalises after, or rotates normalised ones and
leaves the directions √neurons times as wide.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), appendix (rotation baselines); Mezzadri, "How
to generate random matrices from the classical compact groups", Notices of the AMS 54 (2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from rwcore.probing.fits import Fit, logistic_fit
from rwcore.probing.normalise import FACTOR, FLOOR

_TRIALS_OF_ONE = 16


@dataclass(frozen=True, eq=False)
class RotatedProbe:
    """A probe on random directions, in neurons.

    Attributes:
        trial: Which draw it belongs to.
        directions: How many directions it uses.
        weights: One for each neuron.
        intercept: b.
    """

    trial: int
    directions: int
    weights: Float64[np.ndarray, " neuron"]
    intercept: float

    def score(self, x: Float64[np.ndarray, "n neuron"]) -> Float64[np.ndarray, " n"]:
        """Decision values of rows in neurons."""
        found: Float64[np.ndarray, " n"] = x @ self.weights + self.intercept
        return found


def random_frame(neurons: int, directions: int, seed: int | Sequence[int]) -> Float64[np.ndarray, "neuron k"]:
    """Orthonormal directions, uniform over all frames."""
    normal = np.random.default_rng(seed).standard_normal((neurons, directions))
    q, r = np.linalg.qr(normal)
    frame: Float64[np.ndarray, "neuron k"] = q * np.sign(np.diag(r))
    return frame


def gaussian_matrix(neurons: int, seed: int | Sequence[int]) -> Float64[np.ndarray, "neuron neuron"]:
    """The published square matrix: normal numbers, neither orthogonal nor of unit length."""
    return np.random.default_rng(seed).standard_normal((neurons, neurons))


def frame_probes(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    sizes: Sequence[int],
    *,
    fit: Fit = logistic_fit,
    seed: int = 0,
) -> Iterator[RotatedProbe]:
    """Probes on k random directions that nobody chose: round(16/√k) draws for each k, at least one.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        sizes: The k.
        fit: How weights are found.
        seed: Of the draws; each k and draw has a frame of its own.
    """
    for k in sizes:
        for trial in range(max(1, round(_TRIALS_OF_ONE / k**0.5))):
            frame = random_frame(x.shape[1], k, (seed, k, trial))
            weights, intercept = fit(x @ frame, label)
            yield RotatedProbe(trial, k, frame @ weights, intercept)


def chosen_directions(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    basis: Float64[np.ndarray, "neuron direction"],
    count: int,
    *,
    normalise: bool = True,
) -> Float64[np.ndarray, "neuron chosen"]:
    """The directions of a basis with the largest mean difference, so scaled that x times them is normalised.

    The mean difference of rotated activations is that of the activations, rotated: only the variances need
    the rotated rows.

    Args:
        x: Activations of the training rows.
        label: The class of each row.
        basis: Directions in columns.
        count: How many are kept, the best one first.
        normalise: To a standard deviation of 0.1 each; published for one of two baselines only.
    """
    delta = (x[label].mean(0) - x[~label].mean(0)) @ basis
    scale = np.ones(basis.shape[1])
    if normalise:
        scale = 1 / (FACTOR * np.maximum((x @ basis).std(0), FLOOR))
    order = np.argsort(-np.abs(delta * scale), kind="stable")[:count]
    return basis[:, order] * scale[order]


def single_direction_probes(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    bases: Sequence[Float64[np.ndarray, "neuron direction"]],
    *,
    top: int = 100,
    normalise: bool = True,
    fit: Fit = logistic_fit,
) -> Iterator[RotatedProbe]:
    """Probes on one direction each, the best ones of each basis by mean difference.

    Args:
        x: Normalised activations of the training rows.
        label: The class of each row.
        bases: One for each trial; the identity gives the neurons themselves.
        top: Directions of each basis.
        normalise: Whether directions are normalised again; published: not.
        fit: How weights are found.
    """
    for trial, basis in enumerate(bases):
        for direction in chosen_directions(x, label, basis, top, normalise=normalise).T:
            weights, intercept = fit((x @ direction)[:, None], label)
            yield RotatedProbe(trial, 1, direction * weights[0], intercept)


def rotated_sweep(
    x: Float64[np.ndarray, "n neuron"],
    label: Bool[np.ndarray, " n"],
    bases: Sequence[Float64[np.ndarray, "neuron direction"]],
    sizes: Sequence[int],
    *,
    fit: Fit = logistic_fit,
) -> Iterator[RotatedProbe]:
    """Probes on the best k directions of each basis by mean difference, normalised after the rotation.

    Args:
        x: Activations of the training rows; published: raw ones.
        label: The class of each row.
        bases: One for each trial.
        sizes: The k.
        fit: How weights are found.
    """
    for trial, basis in enumerate(bases):
        directions = chosen_directions(x, label, basis, max(sizes))
        rotated = x @ directions
        for k in sizes:
            weights, intercept = fit(rotated[:, :k], label)
            yield RotatedProbe(trial, k, directions[:, :k] @ weights, intercept)
