"""How often neurons fire: by class, by the cosines of their weights, and in which quadrant (F01-F17)."""

import math

import pandas as pd
import pytest
import torch

from rwcore.activations.accumulate import LayerAccumulator
from rwcore.activations.fold import fold_statistics
from rwcore.activations.groups import group_of
from rwcore.activations.quadrants import SWAPPED
from rwcore.activations.reductions import (
    DIRECTIONS,
    as_strong,
    gaps,
    in_expected_direction,
    lead_of_linout,
    over_depth,
    pooled_r,
    rise_in_last_layer,
)
from rwcore.activations.statistics import LayerStatistics
from rwcore.claim.values import Interval
from rwcore.stats.classes import class_codes
from rwcore.stats.cosines import rw_cosines
from rwcore.weights.fold import gate_sign

WEAKENING = ("weakening", "atypical weakening", "conditional weakening", "atypical conditional weakening")
ROWS, POSITIONS = 4, 48


@pytest.mark.claim("F01", "F02", "F03", "F04")
def test_frequency_by_class(subject, claim, golden):
    """P(gate > 0) of every class, and of random neurons of the same layers."""
    frame, gap = subject.class_frequencies(gaps)
    means = dict(zip(frame["class"], values(frame, "true"), strict=True))
    claim.check(
        class_frequencies=frame,
        weakening_gaps=table({name: gap[name] for name in WEAKENING if name in gap}),
        conditional_strengthening_gap=gap.get("conditional strengthening", math.nan),
        conditional_strengthening=means["conditional strengthening"],
        conditional_weakening=means["conditional weakening"],
    )
    golden.check(frame.dropna())


@pytest.mark.claim("F05")
def test_frequency_of_strengthening_neurons(subject, claim):
    """The gap of strengthening neurons: of one model, or of several together."""
    if len(subject.models) == 1:
        _, gap = subject.class_frequencies(gaps)
        claim.check(strengthening_gap=gap.get("strengthening", math.nan))
        return
    frame, _ = subject.class_frequencies(lambda _: {})
    found = [gaps(rows)["strengthening"] for _, rows in frame.groupby("model")]
    claim.check(lowest_strengthening_gap=min(found), highest_strengthening_gap=max(found))


@pytest.mark.claim("F06", "F10", "F11", "F12", "F13", "F14")
def test_frequency_and_cosines(subject, claim, golden):
    """Correlations over all neurons; as strong ones after shuffling which neuron writes what."""
    frame, found = subject.frequency_correlations(of_the_whole_model, pooled=True)
    quantities = {
        "pooled_correlations": frame.drop(columns="layer"),
        "linout_r": found["linout_r"],
        "gatelin_r": found["gatelin_r"],
        "lead_of_linout": found["lead_of_linout"],
        "r_in_expected_direction": table({name: found[name] for name in found if name in DIRECTIONS}),
    }
    if subject.kind != "tables":
        shuffled = subject.shuffled_correlations(of_the_whole_model)
        observed = of_the_whole_model(frame)
        quantities |= {
            "shuffles_as_negative": as_strong(
                -observed["linout_r"], [-value for value in shuffled["linout_r"]]
            ),
            "shuffles_as_far_in_direction": as_strong(
                observed["weakest_direction"], shuffled["weakest_direction"]
            ),
            "shuffles_with_as_large_a_lead": as_strong(
                observed["lead_of_linout"], shuffled["lead_of_linout"]
            ),
        }
    claim.check(**quantities)
    golden.check(frame.drop(columns="layer"))


@pytest.mark.claim("F07", "F08", "F09", "F15")
def test_frequency_and_cosines_by_layer(subject, claim, golden):
    """Correlations within each layer, and how they change over depth."""
    frame, found = subject.frequency_correlations(of_the_layers)
    layers = frame[frame["layer"] != "all"].astype({"layer": "int64"})
    linout = layers[(layers["quadrant"] == "summary") & (layers["cosine"] == "linout")]
    claim.check(
        correlations_by_layer=layers,
        middle_layers=pd.DataFrame(
            [(name, found[f"{name}_of_middle_layers"]) for name in ("lowest", "highest")],
            columns=["which", "value"],
        ),
        ends_of_depth=pd.DataFrame(
            [("lowest", found["lowest"]), ("last", found["last"])], columns=["which", "value"]
        ),
        rise_in_last_layer=found["rise_in_last_layer"],
    )
    golden.check(linout.drop(columns=["quadrant", "cosine"]))


@pytest.mark.claim("F16", "F17", "I12")
def test_quadrants(subject, claim):
    """Sign quadrants, means and folding of gate signs, against counts made token by token."""
    weights = subject.mlp_weights(fold_sign=False)
    signs = [gate_sign(layer.gate, layer.in_) for layer in weights]
    found = []

    def visit_batch(batch):
        def visit(number, gate, in_, act):
            zeros = with_exact_zeros(gate.cpu(), in_.cpu(), act.cpu())
            found.append(compare_layer(batch, *zeros, signs[number]))

        return visit

    subject.visit_layers(visit_batch, rows=ROWS, positions=POSITIONS)
    claim.check(
        **pd.DataFrame(found).max().to_dict(),
        classes_changed_by_folding=int(
            (class_codes(rw_cosines(weights)) != class_codes(subject.weight_study().cosines)).sum()
        ),
        neurons_with_negative_sign=sum(int((sign < 0).sum()) for sign in signs),
    )


def of_the_whole_model(frame):
    """Numbers of the pooled correlations."""
    directions = in_expected_direction(frame)
    return {
        "linout_r": pooled_r(frame),
        "gatelin_r": pooled_r(frame, cosine="gatelin"),
        "lead_of_linout": lead_of_linout(frame),
        "weakest_direction": min(directions.values()),
        **directions,
    }


def of_the_layers(frame):
    """Numbers of the correlations over depth. The middle is layers 3 to 27 of 32."""
    series = over_depth(frame)
    middle = series[(series.index >= 3) & (series.index < 28)]
    return {
        "lowest": float(series.min()),
        "last": float(series.iloc[-1]),
        "rise_in_last_layer": rise_in_last_layer(series),
        "lowest_of_middle_layers": float(middle.min()),
        "highest_of_middle_layers": float(middle.max()),
    }


def with_exact_zeros(gate, in_, act):
    """At every seventh token in is zero, at another gate: numbers of a model hardly ever are."""
    gate, in_, act = gate.clone(), in_.clone(), act.clone()
    in_[:, 1::7] = 0
    gate[:, 2::7] = 0
    act[:, 2::7] = 0
    return gate, in_, act


def compare_layer(batch, gate, in_, act, sign):
    """What one layer's statistics say, and what counting token by token says."""
    real = batch.mask.flatten()
    statistics = count(batch, gate, in_, act)
    folded = count(batch, gate, in_ * sign, act)
    a, b, s = (x.flatten(0, 1)[real].double() for x in (gate, in_, act * in_))
    frequencies, means = statistics.frequencies(), statistics.means()[:, -1].nan_to_num(nan=0.0)
    in_a_quadrant = 1 - ((a == 0) | (b == 0)).double().mean(0)
    gate_only = ((a > 0) & (b == 0)).double().mean(0)
    swapped = torch.where(sign < 0, statistics.counts[list(SWAPPED)], statistics.counts)
    mean = (frequencies * means).sum(0)
    return {
        "largest_share_with_gate_only": float(gate_only.max()),
        "largest_sum_of_quadrants": int(statistics.counts.sum(0).max()) / statistics.tokens,
        "largest_error_of_sum": largest(frequencies.sum(0), in_a_quadrant),
        "largest_error_of_gate_frequency": max(
            largest(statistics.gate_frequency(), (a > 0).double().mean(0)),
            largest(statistics.gate_frequency() - frequencies[:2].sum(0), gate_only),
        ),
        "largest_error_of_mean": float(((mean - s.mean(0)).abs() / s.abs().mean(0)).max()),
        "neurons_whose_gate_frequency_changes": int((folded.gate_positive != statistics.gate_positive).sum()),
        "neurons_whose_quadrants_do_not_swap": int((folded.counts != swapped).any(0).sum()),
        "neurons_folded_otherwise_afterwards": int(
            (fold_statistics(statistics, sign).sums != folded.sums).any(0).any(0).sum()
        ),
    }


def count(batch, gate, in_, act):
    """The statistics of a layer over one batch."""
    accumulator = LayerAccumulator(LayerStatistics.empty(gate.shape[-1], k=0))
    accumulator.update(gate, in_, act, batch.mask, batch.rows, group_of(batch.rows))
    return accumulator.statistics


def largest(x, y):
    """The largest difference."""
    return float((x - y).abs().max())


def table(numbers):
    """One row per name; a row without number if there is no name."""
    return pd.DataFrame(list((numbers or {"none": math.nan}).items()), columns=["name", "value"])


def values(frame, column):
    """A column with its interval, where it has one."""
    if f"{column}_low" not in frame:
        return frame[column].tolist()
    ends = zip(frame[f"{column}_low"], frame[f"{column}_high"], frame[column], strict=True)
    return [Interval(*one) for one in ends]
