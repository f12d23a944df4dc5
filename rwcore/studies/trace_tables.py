"""A trace as a table in long form: one row for each part of an ablation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from rwcore.ablation.interventions import Ablation
from rwcore.ablation.last import Prediction
from rwcore.ablation.trace import Trace

PARTS = (
    "clean",
    "ablated",
    "direct_frozen",
    "direct_recomputed",
    "layer",
    "up_to",
    "since",
    "group",
    "position",
    "neuron",
    "strongest",
    "all_but",
)
"""Values of the column ``part``, in the order of the rows."""

NUMBERS = (
    "entropy",
    "delta_entropy",
    "argmax",
    "target_logit",
    "delta_target_logit",
    "target_probability",
    "target_rank",
    "loss",
    "delta_loss",
)
WHICH = ("part", "layer", "layers", "position", "neuron", "n")
COLUMNS = (*WHICH, "class", "token", *NUMBERS, "argmax_token")
"""Columns of ``trace.csv``: which part it is, what it is called, and its prediction. Δ is clean − ablated."""

_WHOLE = ("layer", "position", "neuron", "n", "argmax", "target_rank")

_Row = dict[str, object]


def trace_table(trace: Trace, ablation: Ablation) -> pd.DataFrame:
    """One row for each part: `WHICH` it is, then `NUMBERS`.

    ``layer``, ``position``, ``neuron`` and ``n`` are missing where they mean nothing. ``n`` is the number of
    neurons that are ablated, ``layers`` a group (``10,29``). Of ``all_but``, layer and neuron are of the one
    that is left out. Rows of ``neuron`` and ``all_but`` are in the order of strength.

    Args:
        trace: Of `rwcore.ablation.trace.trace`.
        ablation: What was traced.
    """
    rows = [
        {**dict.fromkeys(WHICH), "layers": "", **which, **_numbers(found, trace.clean)}
        for which, found in _parts(trace, ablation)
    ]
    frame = pd.DataFrame(rows, columns=[*WHICH, *NUMBERS])
    floats = [name for name in NUMBERS if name not in _WHOLE]
    return frame.astype({**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(floats, "float64")})


def _parts(trace: Trace, ablation: Ablation) -> Iterator[tuple[_Row, Prediction]]:
    counts, total = ablation.neurons.counts(), len(ablation.neurons)

    def inside(layers: Sequence[int]) -> int:
        return sum(count for layer, count in counts.items() if layer in layers)

    yield {"part": "clean", "n": 0}, trace.clean
    yield {"part": "ablated", "n": total}, trace.ablated
    if trace.direct is not None:
        yield {"part": "direct_frozen", "n": total}, trace.direct.frozen
        yield {"part": "direct_recomputed", "n": total}, trace.direct.recomputed
    last = max(counts, default=0)
    for layer, found in trace.by_layer.items():
        yield {"part": "layer", "layer": layer, "n": counts[layer]}, found
    for layer, found in trace.up_to.items():
        yield {"part": "up_to", "layer": layer, "n": inside(range(layer + 1))}, found
    for layer, found in trace.since.items():
        yield {"part": "since", "layer": layer, "n": inside(range(layer, last + 1))}, found
    for group, found in trace.groups.items():
        yield {"part": "group", "layers": ",".join(map(str, group)), "n": inside(group)}, found
    for position, found in trace.by_position.items():
        yield {"part": "position", "position": position, "n": total}, found
    for (layer, neuron), found in trace.by_neuron.items():
        yield {"part": "neuron", "layer": layer, "neuron": neuron, "n": 1}, found
    for n, found in trace.strongest.items():
        yield {"part": "strongest", "n": n}, found
    for (layer, neuron), found in trace.all_but.items():
        yield {"part": "all_but", "layer": layer, "neuron": neuron, "n": total - 1}, found


def _numbers(found: Prediction, clean: Prediction) -> _Row:
    loss, before = (math.nan if one.loss is None else one.loss for one in (found, clean))
    return {
        "entropy": found.entropy,
        "delta_entropy": clean.entropy - found.entropy,
        "argmax": found.argmax,
        "target_logit": found.target_logit,
        "delta_target_logit": clean.target_logit - found.target_logit,
        "target_probability": found.target_probability,
        "target_rank": found.target_rank,
        "loss": loss,
        "delta_loss": before - loss,
    }


def with_names(
    table: pd.DataFrame,
    tokens: Sequence[int],
    vocabulary: Sequence[str],
    classes: dict[tuple[int, int], str],
) -> pd.DataFrame:
    """A trace's table with names, in the order of `COLUMNS`.

    Args:
        table: Of `trace_table`.
        tokens: The prompt.
        vocabulary: Text of each token (`rwcore.models.vocabulary.vocabulary`).
        classes: Read-write class of the neurons.

    Returns:
        Also ``class``, that of the neuron; ``token``, the text at the position; ``argmax_token``. Empty where
        there is no neuron or position.
    """
    pairs = zip(table["layer"], table["neuron"], strict=True)
    named = table.assign(
        **{
            "class": ["" if pd.isna(neuron) else classes[int(layer), int(neuron)] for layer, neuron in pairs],
            "token": ["" if pd.isna(at) else vocabulary[tokens[int(at)]] for at in table["position"]],
            "argmax_token": [vocabulary[int(token)] for token in table["argmax"]],
        }
    )
    return named[[*COLUMNS]]


def part(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one part, without the columns that mean nothing there."""
    rows = table[table["part"] == name].reset_index(drop=True)
    empty = [column for column in rows if rows[column].isna().all() or (rows[column] == "").all()]
    return rows.drop(columns=[column for column in empty if column in {*WHICH, "class", "token"} - {"n"}])
