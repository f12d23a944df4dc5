"""Frequencies of neurons against their cosines and norms, and mean norms of outputs against frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from rwcore.activations.quadrants import SUMMARY
from rwcore.plots.counts import PaletteName
from rwcore.plots.frequency_names import FREQUENCY_LABELS, MEAN_NORM_LABELS, to_array
from rwcore.plots.histograms import BINS, SMALLEST_NORM, Limits, norm_limits, panels_figure
from rwcore.plots.panels import COSINE_LABELS, NORM_LABELS, WIDTH, Floats, layer_titles
from rwcore.plots.style import Look

SHARES: Limits = (0.0, 1.0)


def selected_layers(n_layers: int) -> list[int]:
    """First, middle and last layer: 0, 15 and 31 of 32, as published for frequencies.

    The fine plots of the weights take the other one of two middle layers (`rwcore.studies.figure_kinds`).
    """
    return sorted({0, (n_layers - 1) // 2, n_layers - 1})


def cosine_limits(cosines: Floats) -> Limits:
    """Ends of the axis of a cosine: from 0 if none is negative, as gate signs are folded, else from −1.

    All layers are asked; the original asks the first one only, which can cut off neurons of the others.
    """
    return (-1.0 if bool((cosines < 0).any()) else 0.0, 1.0)


def clipped(values: Floats) -> Floats:
    """Values as a logarithmic axis shows them: what is smaller than 1e-6 lies at 1e-6; NaN stays NaN."""
    return np.maximum(values, SMALLEST_NORM)


def frequency_figure(
    values: Float[Tensor, "layer neuron"] | Floats,
    frequency: Float[Tensor, "layer neuron"] | Floats,
    *,
    quantity: str,
    name: str = SUMMARY,
    layers: Sequence[int] | None = None,
    pooled: bool = False,
    log_counts: bool = True,
    bins: int = BINS,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Neurons by cosine or norm (x) and frequency (y): a panel per layer, or one for all layers together.

    Cosines come with their least-squares line, Pearson's r and its p. Norms have a logarithmic axis, on which
    such a line is none; those below 1e-6 are drawn at 1e-6. Colours are the same in all panels, up to the
    largest number of neurons in a cell; axes do not depend on which layers are drawn.

    Args:
        values: The cosine or norm of each neuron.
        frequency: Share of the tokens, 0 … 1. Neurons with a NaN in either are left out, and a note says so.
        quantity: What the values are: a key of `COSINE_LABELS` or of `NORM_LABELS`.
        name: Which frequency it is, a key of `FREQUENCY_LABELS`.
        layers: Which layers are drawn, in this order (`selected_layers`, for instance); all if None.
        pooled: One panel with all layers; then ``layers`` must be None.
        log_counts: Whether colours go with the logarithm of the number of neurons.
        bins: Cells in each direction.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, as `rwcore.plots.histograms.panels_figure` describes it.

    Raises:
        ValueError: The arrays have different shapes, or layers are chosen for the pooled figure.

    Source: RW functionalities, cosines and frequencies; section 5.4 of the specification, whose published
    lines are those of other coefficients (section 9.2, no. 5). The least-squares line is
    `rwcore.plots.histograms.regression`.
    """
    x, y = to_array(values), to_array(frequency)
    norm = quantity in NORM_LABELS
    if norm:
        x = clipped(x)
    return _panels(
        x,
        y,
        layers,
        pooled,
        xlabel=(NORM_LABELS if norm else COSINE_LABELS)[quantity],
        ylabel=FREQUENCY_LABELS[name],
        limits=(norm_limits(x) if norm else cosine_limits(x), SHARES),
        log=(norm, False),
        correlation=not norm,
        log_counts=log_counts,
        bins=bins,
        title=title,
        palette_name=palette_name,
        look=look,
        width=width,
    )


def mean_norm_figure(
    frequency: Float[Tensor, "layer neuron"] | Floats,
    mean_norm: Float[Tensor, "layer neuron"] | Floats,
    *,
    name: str = SUMMARY,
    layers: Sequence[int] | None = None,
    pooled: bool = False,
    log_counts: bool = True,
    bins: int = BINS,
    title: str | None = None,
    palette_name: PaletteName = "paper",
    look: Look = "paper",
    width: float = WIDTH,
) -> Figure:
    """Neurons by frequency (x) and mean norm of their output (y, logarithmic).

    Mean norms below 1e-6, those of neurons that never fire among them, are drawn at 1e-6.

    Args:
        frequency: Share of the tokens, 0 … 1.
        mean_norm: |mean of post in the quadrant| · ‖w_out‖; for ``summary`` the sum of those of the
            quadrants, each times its frequency.
        name: Which quadrant it is, a key of `FREQUENCY_LABELS`.
        layers: Which layers are drawn, in this order; all if None.
        pooled: One panel with all layers; then ``layers`` must be None.
        log_counts: Whether colours go with the logarithm of the number of neurons.
        bins: Cells in each direction.
        title: Usually the model's name.
        palette_name: ``paper`` or ``accessible``.
        look: ``paper`` or ``screen``.
        width: In inches.

    Returns:
        The figure, as `rwcore.plots.histograms.panels_figure` describes it.

    Raises:
        ValueError: The arrays have different shapes, or layers are chosen for the pooled figure.

    Source: RW functionalities, frequency against mean activation; sections 5.2 and 5.4 of the specification.
    """
    x, y = to_array(frequency), clipped(to_array(mean_norm))
    return _panels(
        x,
        y,
        layers,
        pooled,
        xlabel=FREQUENCY_LABELS[name],
        ylabel=MEAN_NORM_LABELS[name],
        limits=(SHARES, norm_limits(y)),
        log=(False, True),
        correlation=False,
        log_counts=log_counts,
        bins=bins,
        title=title,
        palette_name=palette_name,
        look=look,
        width=width,
    )


def _panels(
    x: Floats,
    y: Floats,
    layers: Sequence[int] | None,
    pooled: bool,
    *,
    limits: tuple[Limits, Limits],
    **how: Any,
) -> Figure:
    """The panels of some layers, or one of all; axes as wide as all layers need in either case."""
    if pooled and layers is not None:
        raise ValueError("the pooled figure shows all layers")
    if x.shape != y.shape:
        raise ValueError(f"x {x.shape} and y {y.shape} do not fit")
    shown = list(range(len(x)) if layers is None else layers)
    (xlim, ylim), (log_x, log_y) = limits, how.pop("log")
    return panels_figure(
        x.reshape(1, -1) if pooled else x[shown],
        y.reshape(1, -1) if pooled else y[shown],
        titles=None if pooled else layer_titles(shown),
        xlim=xlim,
        ylim=ylim,
        log_x=log_x,
        log_y=log_y,
        **how,
    )
