"""Weight processing of one neuron at a time, straight from section 1.3 and 1.4 of the specification."""

from __future__ import annotations

import numpy as np


def reading_vector(
    stored: np.ndarray,
    bias: float,
    gain: np.ndarray | None,
    shift: np.ndarray | None,
    *,
    centre: bool,
) -> tuple[np.ndarray, float]:
    """A reading vector and its bias behind a norm with gain and shift.

    Args:
        stored: The vector as the checkpoint holds it, [d_model].
        bias: Its bias, 0 if there is none.
        gain: Gain of the norm as applied, [d_model], or None.
        shift: Bias of the norm, [d_model], or None.
        centre: Whether the norm is a LayerNorm (and the vector is not an uncentred gate).
    """
    vector = np.array(stored, dtype=np.float64)
    if shift is not None:
        bias = bias + sum(float(w) * float(b) for w, b in zip(vector, shift, strict=True))
    if gain is not None:
        vector = np.array([w * g for w, g in zip(vector, gain, strict=True)])
    return (vector - sum(vector) / len(vector) if centre else vector), bias


def writing_vector(stored: np.ndarray, *, centre: bool) -> np.ndarray:
    """A writing vector, centred where the model has LayerNorms."""
    vector = np.array(stored, dtype=np.float64)
    return vector - sum(vector) / len(vector) if centre else vector


def refactor_glu(
    gate: np.ndarray, in_: np.ndarray, out: np.ndarray, b_in: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """``in_``, ``out`` and ``b_in`` of a gated neuron after the sign of gate·in_ is folded; sign(0) = +1."""
    sign = -1.0 if float(np.dot(gate, in_)) < 0 else 1.0
    return sign * in_, sign * out, sign * b_in
