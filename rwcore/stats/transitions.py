"""Which class each neuron went to between two checkpoints of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int8
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.stats.classes import RW_CLASSES, UNDEFINED, RWClass


def class_transitions(
    first: Int8[Tensor, "layer neuron"], last: Int8[Tensor, ...], classes: Sequence[RWClass] = RW_CLASSES
) -> pd.DataFrame:
    """How many neurons of each class are in which class of another checkpoint, layers taken together.

    Args:
        first: Class of every neuron in the earlier checkpoint, from `rwcore.stats.classes.class_codes`.
        last: In the later one; of the same shape.
        classes: What the codes stand for; `VANILLA_CLASSES` for neurons without a gate.

    Returns:
        ``from``, ``to`` (every pair of classes, in canonical order; ``undefined`` comes last, and only if
        there are such neurons), ``count`` (adds up to the number of neurons) and ``share``: of the neurons of
        the class ``from``; NaN if it has none.

    Raises:
        WeightsError: The shapes differ.

    Source: RW functionalities, helpers for checkpoints; section 6 of the specification.
    """
    _check_shapes(first, last)
    names = [*(one.name for one in classes), UNDEFINED]
    n_codes = len(names)
    # The code -1 of undefined neurons becomes the last one.
    pairs = first.long().remainder(n_codes) * n_codes + last.long().remainder(n_codes)
    table = pairs.flatten().bincount(minlength=n_codes**2).reshape(n_codes, n_codes).numpy()
    if not table[-1].any() and not table[:, -1].any():
        names, table = names[:-1], table[:-1, :-1]
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.full(table.shape, np.nan), where=totals > 0)
    labels = np.array(names, dtype=object)
    frame = pd.DataFrame(
        {
            "from": np.repeat(labels, len(names)),
            "to": np.tile(labels, len(names)),
            "count": table.reshape(-1),
            "share": shares.reshape(-1),
        }
    )
    return frame.astype({"from": "str", "to": "str"})


def changed_neurons(
    first: Int8[Tensor, "layer neuron"], last: Int8[Tensor, ...], classes: Sequence[RWClass] = RW_CLASSES
) -> pd.DataFrame:
    """The neurons whose class changed.

    Args:
        first: See `class_transitions`.
        last: See `class_transitions`.
        classes: See `class_transitions`.

    Returns:
        ``layer``, ``neuron``, ``from``, ``to``; by layer, then by neuron.

    Raises:
        WeightsError: The shapes differ.
    """
    _check_shapes(first, last)
    labels = np.array([*(one.name for one in classes), UNDEFINED], dtype=object)
    before, after = first.numpy(), last.numpy()
    layer, neuron = np.nonzero(before != after)
    frame = pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "from": labels[before[layer, neuron]],
            "to": labels[after[layer, neuron]],
        }
    )
    return frame.astype({"layer": "int64", "neuron": "int64", "from": "str", "to": "str"})


def _check_shapes(first: Tensor, last: Tensor) -> None:
    if first.shape != last.shape:
        raise WeightsError(
            f"class codes of {list(first.shape)} and {list(last.shape)} neurons",
            remedy="compare checkpoints of one model",
        )
