"""What printed precision, recall and MCC imply: the numbers of positives and examples are found again."""

from __future__ import annotations

import math

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.plugin.probing_tables import examples, positives, short_name


def probe(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    """Precision, recall and MCC of a confusion matrix."""
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "test_precision": tp / (tp + fp),
        "test_recall": tp / (tp + fn),
        "test_mcc": (tp * tn - fp * fn) / root,
    }


@settings(deadline=None)
@given(n=st.integers(20, 1000), others=st.integers(50, 5000), data=st.data())
def test_examples_of_several_probes_are_found(n: int, others: int, data: st.DataObject) -> None:
    found = []
    # The first misses one: its recall is a fraction of n and of no smaller number.
    for fn in (1, data.draw(st.integers(0, n // 3)), data.draw(st.integers(0, n // 3))):
        fp = data.draw(st.integers(1, others // 10))
        found.append(probe(n - fn, fp, fn, others - fp))
    table = pd.DataFrame(found)
    assert positives(table["test_recall"]) == n
    assert examples(table) == n + others


def test_perfect_probes_imply_nothing() -> None:
    table = pd.DataFrame([probe(30, 0, 0, 70), probe(30, 0, 0, 70)])
    assert positives(table["test_recall"]) == 1
    assert examples(table) == 0


def test_probes_of_different_test_splits_are_told() -> None:
    table = pd.DataFrame([probe(29, 5, 1, 70), probe(29, 5, 1, 71)])
    assert positives(table["test_recall"]) == 30
    assert examples(table) == 0
    assert examples(table[:1]) == 105


def test_recalls_of_no_common_number_are_told() -> None:
    assert positives([0.1414213562, 0.5772156649]) == 0


def test_missing_recalls_are_left_out() -> None:
    assert positives([0.5, math.nan]) == 2


def test_names_of_both_releases_are_those_of_the_files() -> None:
    assert short_name("EleutherAI/pythia-70m-v0") == short_name("EleutherAI/pythia-70m") == "pythia-70m"
