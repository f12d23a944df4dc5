"""What tables of frequencies say in one number: gaps, leads, changes over depth; and chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.frequencies import POOLED
from rwcore.activations.quadrants import SUMMARY
from rwcore.stats.cosines import RWCosines, layer_vectors
from rwcore.weights.fold import gate_sign
from rwcore.weights.layer import MlpLayer

_ROWS = 1024  # neurons whose cosines with all outputs are in memory at once

LINOUT, OTHER_COSINES = "linout", ("gateout", "gatelin")

# Where the gate is positive, neurons that write against their input are in a quadrant more often; where it is
# negative, less often.
DIRECTIONS = {"gate+_in+": -1.0, "gate+_in-": -1.0, "gate-_in+": 1.0, "gate-_in-": 1.0}


def gaps(frame: pd.DataFrame) -> dict[str, float]:
    """How much more often each class fires than random neurons of its layers, by class.

    Args:
        frame: ``class``, ``true``, ``baseline``; classes without neurons (NaN) are left out.
    """
    rows = frame.dropna(subset=["true", "baseline"])
    return dict(zip(rows["class"], rows["true"] - rows["baseline"], strict=True))


def pooled_r(frame: pd.DataFrame, quadrant: str = SUMMARY, cosine: str = LINOUT) -> float:
    """One correlation over all neurons.

    Args:
        frame: ``quadrant``, ``cosine``, ``layer``, ``r``, as `frequency_correlations` returns them.
        quadrant: ``summary`` (gate > 0) or a quadrant.
        cosine: Name of the cosine.
    """
    rows = frame[(frame["layer"] == POOLED) & (frame["quadrant"] == quadrant)]
    return float(rows.set_index("cosine")["r"][cosine])


def lead_of_linout(frame: pd.DataFrame) -> float:
    """By how much |r| of cos(in, out) exceeds the larger |r| of the other two cosines.

    Correlations with P(gate > 0), all layers pooled.

    Args:
        frame: ``quadrant``, ``cosine``, ``layer``, ``r``, as `frequency_correlations` returns them.
    """
    pooled = frame[(frame["quadrant"] == SUMMARY) & (frame["layer"] == POOLED)]
    strength = pooled.set_index("cosine")["r"].abs()
    return float(strength[LINOUT] - strength[list(OTHER_COSINES)].max())


def in_expected_direction(frame: pd.DataFrame) -> dict[str, float]:
    """Pooled correlations with cos(in, out) by quadrant, positive where the sign is the paper's (-, -, +, +).

    Args:
        frame: As for `lead_of_linout`.
    """
    pooled = frame[(frame["cosine"] == LINOUT) & (frame["layer"] == POOLED)]
    r = pooled.set_index("quadrant")["r"]
    return {quadrant: direction * float(r[quadrant]) for quadrant, direction in DIRECTIONS.items()}


def over_depth(frame: pd.DataFrame) -> pd.Series:
    """Correlation of cos(in, out) with P(gate > 0), by layer.

    Args:
        frame: As for `lead_of_linout`.

    Returns:
        r, the index being the number of the layer, ascending.
    """
    chosen = (frame["quadrant"] == SUMMARY) & (frame["cosine"] == LINOUT) & (frame["layer"] != POOLED)
    rows = frame[chosen]
    return pd.Series(rows["r"].to_numpy(), index=rows["layer"].astype("int64")).sort_index()


def rise_in_last_layer(series: pd.Series) -> float:
    """How far the last layer's correlation is above the lowest of all layers.

    Args:
        series: From `over_depth`.
    """
    return float(series.iloc[-1] - series.min(skipna=False))


def shuffled_cosines(layers: Iterable[MlpLayer], times: int, seed: int = 0) -> list[RWCosines]:
    """Cosines of neurons whose output vectors were dealt out anew among the neurons of their layer.

    A null model for everything that is said about cos(in, out): layers, vectors, cos(gate, in) and how often
    a neuron fires are those of the model; only which neuron writes what is random.

    Args:
        layers: The processed weights with a gate, signs **not** folded.
        times: Number of shuffles, each a uniformly random permutation per layer.
        seed: Seed of the permutations.

    Returns:
        One entry per shuffle; signs folded, float32.

    Source: ablations and frequencies specification, section 8.2; null of F06, F10, F14.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [_shuffled_layer(layer, times, generator) for layer in layers]
    gatelin = torch.stack([row[0] for row in rows])
    gateout, linout = (torch.stack([row[place] for row in rows], dim=1) for place in (1, 2))
    return [RWCosines(gatelin, *both) for both in zip(gateout, linout, strict=True)]


def _shuffled_layer(layer: MlpLayer, times: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """cos(gate, in), and the other two for each shuffle."""
    assert layer.gate is not None
    sign = gate_sign(layer.gate, layer.in_)
    unit = {
        name: vectors / vectors.norm(dim=1, keepdim=True) for name, vectors in layer_vectors(layer).items()
    }
    n_neurons = len(sign)
    gatelin = sign * (unit["gate"] * unit["in"]).sum(dim=1)
    order = torch.stack([torch.randperm(n_neurons, generator=generator) for _ in range(times)], dim=1)
    gateout, linout = torch.empty(n_neurons, times), torch.empty(n_neurons, times)
    # All cosines of some neurons with all outputs, of which each shuffle takes one: a matrix product is
    # faster than picking vectors anew for every shuffle.
    for start in range(0, n_neurons, _ROWS):
        rows = slice(start, start + _ROWS)
        linout[rows] = (unit["in"][rows] @ unit["out"].T).gather(1, order[rows])
        gateout[rows] = sign[rows, None] * (unit["gate"][rows] @ unit["out"].T).gather(1, order[rows])
    return gatelin, gateout.T, linout.T


def correlations_of(
    frequencies: Mapping[str, Float[Tensor, "layer neuron"]], cosines: RWCosines, *, pooled: bool
) -> pd.DataFrame:
    """The table of `frequency_correlations` without p, many times as fast: for replicates and shuffles.

    Args:
        frequencies: By name; no NaN.
        cosines: Of the same neurons.
        pooled: Only the rows of the whole model.

    Returns:
        ``quadrant``, ``cosine``, ``layer`` (``all`` first, then numbers as text), ``r``.
    """
    stacked = torch.stack(list(frequencies.values())).double()
    columns = {}
    for cosine, values in cosines.present().items():
        whole = [_pearson(stacked.flatten(1), values.flatten().double())]
        layers = [] if pooled else [_pearson(stacked[:, n], values[n].double()) for n in range(len(values))]
        columns[cosine] = torch.stack([*whole, *layers], dim=1)
    rows = [
        (name, cosine, POOLED if number == 0 else str(number - 1), r)
        for place, name in enumerate(frequencies)
        for cosine, found in columns.items()
        for number, r in enumerate(found[place].tolist())
    ]
    return pd.DataFrame(rows, columns=["quadrant", "cosine", "layer", "r"])


def _pearson(x: Float[Tensor, "name neuron"], y: Float[Tensor, " neuron"]) -> Float[Tensor, " name"]:
    """Pearson's r of each row with y, over the neurons where y is finite; NaN where one does not vary."""
    x, y = x[:, y.isfinite()], y[y.isfinite()]
    if len(y) < 2:
        return torch.full((len(x),), torch.nan, dtype=torch.float64)
    varies = (x.amax(dim=1) > x.amin(dim=1)) & (y.max() > y.min())
    a, b = x - x.mean(dim=1, keepdim=True), y - y.mean()
    r = (a @ b) / (a.norm(dim=1) * b.norm())
    return torch.where(varies, r.clamp(-1, 1), torch.nan)


def as_strong(observed: float, shuffled: Sequence[float]) -> int:
    """How many shuffles reach what was observed; 0 of 99 is a permutation test at 1 %."""
    return sum(not value < observed for value in shuffled)
