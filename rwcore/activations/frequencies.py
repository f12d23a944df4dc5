"""How often neurons fire: by read-write class against random neurons of the same layers, and by cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.neurons import SEED, NeuronSet, classes_with_baselines
from rwcore.stats.classes import RWClass
from rwcore.stats.correlation import pearson
from rwcore.stats.cosines import RWCosines

POOLED = "all"


def class_frequencies(
    frequency: Float[Tensor, "layer neuron"],
    codes: Int8[Tensor, "layer neuron"],
    classes: Sequence[RWClass],
    *,
    seed: int = SEED,
) -> pd.DataFrame:
    """The mean frequency of every class, and of a random baseline from the same layers.

    Means are over neurons, all layers together, each neuron counting once. The baseline has as many neurons
    per layer as the class, none of them of the class (`rwcore.neurons.choose_neurons`).

    Args:
        frequency: Share of the tokens, 0 … 1; NaN for a neuron that was not measured, which is left out.
        codes: Class of every neuron, from `rwcore.stats.classes.class_codes`.
        classes: What the codes stand for.
        seed: Seed of the baselines; the default is the published one.

    Returns:
        ``class`` (canonical order), ``n`` (neurons of the class), ``true`` and ``baseline`` (means; NaN for
        a class without neurons).

    Source: RW functionalities, activation frequencies by class; section 5.3 of the specification.
    """
    rows = [
        (one.name, len(members), _mean(frequency, members), _mean(frequency, baseline))
        for one, members, baseline in classes_with_baselines(codes, classes, seed=seed)
    ]
    frame = pd.DataFrame(rows, columns=["class", "n", "true", "baseline"])
    return frame.astype({"class": "str", "n": "int64"})


def _mean(frequency: Float[Tensor, "layer neuron"], neurons: NeuronSet) -> float:
    chosen = frequency[torch.from_numpy(neurons.layer), torch.from_numpy(neurons.neuron)].double()
    return float(chosen.nanmean()) if len(chosen) else float("nan")


def frequency_correlations(
    frequencies: Mapping[str, Float[Tensor, "layer neuron"]], cosines: RWCosines
) -> pd.DataFrame:
    """Pearson correlation over neurons between each frequency and each cosine, by layer and over all.

    Args:
        frequencies: By name: ``summary`` (gate > 0) and the sign quadrants.
        cosines: Of the same model, gate signs folded.

    Returns:
        ``quadrant`` (the name), ``cosine``, ``layer`` (as text; ``all`` for the whole model), ``r``, ``p``
        (two-sided), ``n``.

    Source: RW functionalities, scatter plots of cosines and frequencies; section 5.4 of the specification.
    """
    rows = []
    for name, frequency in frequencies.items():
        for cosine, values in cosines.present().items():
            rows.append((name, cosine, POOLED, *pearson(frequency.flatten(), values.flatten())))
            for layer, (x, y) in enumerate(zip(frequency, values, strict=True)):
                rows.append((name, cosine, str(layer), *pearson(x, y)))
    frame = pd.DataFrame(rows, columns=["quadrant", "cosine", "layer", "r", "p", "n"])
    return frame.astype({"quadrant": "str", "cosine": "str", "layer": "str"})
