"""The tables at the top of the pages (H1-H7, M1), what older pages say (X1-X3), and our own summaries."""

import math

import pandas as pd
import pytest

from rwcore.activations.published_tables import (
    averages_out_of_place,
    empty_cells,
    error_of_largest_act,
    excess_of_act,
    excess_of_post,
)
from rwcore.activations.quadrants import QUADRANTS

SILU_MINIMUM = -0.278464543
POSITIVE, NEGATIVE = ("gate+_in+", "gate-_in-"), ("gate+_in-", "gate-_in+")


@pytest.mark.claim("H1", "H2", "H3", "H4", "H5", "H6", "H7", "M1")
def test_tables(subject, claim):
    """Frequencies, averages and extremes of every quadrant; the peaks of the examples beside them."""
    cells = subject.page_cells()
    found = {
        **averages_out_of_place(cells),
        **empty_cells(cells),
        "excess_of_act": excess_of_act(cells),
        "excess_of_post": excess_of_post(cells, SILU_MINIMUM),
    }
    if subject.kind == "tables":
        found |= printed(subject, cells)
    else:
        study = subject.activation_study()
        found["tokens_that_are_not_counted"] = study.corpus.n_tokens - study.activations.tokens
    claim.check(**found)


def printed(subject, cells):
    """Numbers that only printed tables have."""
    sums = frequency_sums(cells)
    peaks = subject.peaks()
    hooks = {"hook_post": "post", "hook_pre_linear": "in", "hook_pre": "gate", "swish": "act"}
    first = peaks[peaks["rank"] == 0].assign(quantity=peaks["hook"].map(hooks))
    both = cells.merge(first, on=["layer", "neuron", "case", "quantity"])
    empty = cells[cells["avg"].isna()]
    below, above = (sums < 100).sum(), (sums > 100).sum()
    error = sums.std() / math.sqrt(len(sums))
    return {
        "largest_error_of_sum": (sums - 100).abs().max(),
        "cells_with_average": int(cells["avg"].notna().sum()),
        "error_of_largest_act": error_of_largest_act(cells, "silu"),
        "extremes_with_examples": len(both),
        "largest_error_of_extreme": (both["extreme"] - both["peak_value"]).abs().max(),
        "examples_of_empty_quadrants": len(empty.merge(peaks, on=["layer", "neuron", "case"])),
        "sums": pd.DataFrame(
            [("below 100", below), ("above 100", above), ("all", len(sums))], columns=["name", "value"]
        ),
        "mean_sum": sums.mean(),
        "standard_errors_below_100": (100 - sums.mean()) / error if error else 0.0,
        "p_of_the_signs": p_of_signs(below, above),
    }


def frequency_sums(cells):
    """The sum of the four printed frequencies of each neuron, in percent; they have two digits."""
    one = cells[cells["quantity"] == "post"]
    return one.groupby(["layer", "neuron"])["frequency"].sum().round(2)


def p_of_signs(below, above):
    """Two-sided sign test: how likely so uneven numbers are if both signs are as likely."""
    n, fewer = int(below + above), int(min(below, above))
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


@pytest.mark.claim("X1", "X2", "X3")
def test_older_pages(subject, claim):
    """Six pages of a version without quadrants and without folding, against the later ones."""
    table = subject.page_table()
    old = table[table["v1_max"].notna()].set_index(["layer", "neuron"])
    sign = old["refactor_sign_inferred"]
    post = {
        (case, end): old[f"{case}_hook_post_{end}"].fillna(0)
        for case in QUADRANTS
        for end in ("max", "min", "avg")
    }
    most = pd.concat([post[case, "max"] for case in POSITIVE], axis=1).max(axis=1)
    least = pd.concat([post[case, "min"] for case in NEGATIVE], axis=1).min(axis=1)
    mean = sum(old[f"{case}_freq_pct"] / 100 * post[case, "avg"] for case in QUADRANTS)
    claim.check(
        pages=len(old),
        gate_frequency_error=(old["v1_gate_pos_pct"] - gate_frequency(old)).abs().max().round(9),
        max_error=(old["v1_max"] - most.where(sign > 0, -least)).abs().max(),
        min_error=(old["v1_min"] - least.where(sign > 0, -most)).abs().max(),
        max_error_without_signs=(old["v1_max"] - most).abs().max(),
        mean_error=(old["v1_mean"] - sign * mean).abs().max(),
        mean_error_without_signs=(old["v1_mean"] - mean).abs().max(),
    )


def gate_frequency(old):
    """P(gate > 0) in percent: the two quadrants with gate+."""
    return old["gate+_in+_freq_pct"] + old["gate+_in-_freq_pct"]
