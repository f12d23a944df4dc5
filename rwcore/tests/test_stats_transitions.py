"""Class transitions: against a plain count of pairs, with and without undefined neurons."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.errors import WeightsError
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES, RWClass
from rwcore.stats.transitions import changed_neurons, class_transitions


def random_codes(seed: int, shape: tuple[int, int], n_classes: int, low: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, n_classes, shape, generator=generator, dtype=torch.int8)


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 60),
    st.sampled_from([RW_CLASSES, VANILLA_CLASSES]),
    st.booleans(),
)
def test_transitions_are_what_counting_pairs_gives(
    seed: int, layers: int, neurons: int, classes: tuple[RWClass, ...], damaged: bool
) -> None:
    low = -1 if damaged else 0
    first, last = (random_codes(seed + k, (layers, neurons), len(classes), low) for k in (0, 10_001))
    names = [one.name for one in classes] + ["undefined"]
    pairs = Counter(
        (names[a], names[b]) for a, b in zip(first.flatten().tolist(), last.flatten().tolist(), strict=True)
    )
    if not any("undefined" in pair for pair in pairs):
        names.pop()
    frame = class_transitions(first, last, classes)
    assert list(zip(frame["from"], frame["to"], strict=True)) == [(a, b) for a in names for b in names]
    assert {
        (a, b): n for a, b, n in zip(frame["from"], frame["to"], frame["count"], strict=True) if n
    } == pairs
    for name, rows in frame.groupby("from"):
        total = sum(number for (a, _), number in pairs.items() if a == name)
        if total:
            np.testing.assert_allclose(rows["share"], rows["count"] / total)
            assert rows["share"].sum() == pytest.approx(1)
        else:
            assert rows["share"].isna().all()
    listed = changed_neurons(first, last, classes)
    moved = Counter(zip(listed["from"], listed["to"], strict=True))
    assert moved == {pair: number for pair, number in pairs.items() if pair[0] != pair[1]}


def test_changed_neurons_are_named_in_order() -> None:
    first = torch.tensor([[6, 6, 2], [-1, 0, 7]], dtype=torch.int8)
    last = torch.tensor([[6, 2, 2], [9, 0, -1]], dtype=torch.int8)
    assert changed_neurons(first, last).to_dict("split")["data"] == [
        [0, 1, "orthogonal output", "conditional strengthening"],
        [1, 0, "undefined", "conditional weakening"],
        [1, 2, "weakening", "undefined"],
    ]


def test_nothing_moves_between_a_model_and_itself() -> None:
    codes = random_codes(0, (2, 50), 11, -1)
    frame = class_transitions(codes, codes)
    assert (frame.loc[frame["from"] != frame["to"], "count"] == 0).all()
    assert frame["count"].sum() == 100
    empty = changed_neurons(codes, codes)
    assert len(empty) == 0
    assert list(empty) == ["layer", "neuron", "from", "to"]


def test_other_shapes_are_refused_also_where_they_would_broadcast() -> None:
    first, last = random_codes(0, (3, 5), 11, 0), random_codes(1, (1, 5), 11, 0)
    for count in (class_transitions, changed_neurons):
        with pytest.raises(WeightsError, match=r"\[3, 5\] and \[1, 5\]"):
            count(first, last)
