"""Case studies: the clearest neuron of every class, and no class repeats the one before it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.stats.case_studies import COLUMNS, case_study_neurons
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES
from rwcore.stats.roles.choose import PARTITION, PREDICTION, SUPPRESSION

CLASS = {one.name: number for number, one in enumerate(RW_CLASSES)}
Neuron = tuple[int, int, int, str, float]


def tables(neurons: list[Neuron], shape: tuple[int, int] = (3, 6)) -> tuple[torch.Tensor, ...]:
    """Kurtosis, roles and classes of a model; (layer, neuron, role, class, kurtosis), the others nothing."""
    kurtosis = torch.full(shape, -1.0)
    roles = torch.zeros(shape, dtype=torch.int8)
    codes = torch.full(shape, CLASS["orthogonal output"], dtype=torch.int8)
    for layer, neuron, role, name, value in neurons:
        kurtosis[layer, neuron], roles[layer, neuron] = value, role
        codes[layer, neuron] = CLASS.get(name, -1)
    return kurtosis, roles, codes


def chosen(neurons: list[Neuron], **options: bool) -> list[tuple[str, str, int, int]]:
    found = case_study_neurons(*tables(neurons), **options)
    assert tuple(found.columns) == COLUMNS
    return list(zip(found["class"], found["role"], found["layer"], found["neuron"], strict=True))


def test_the_published_choice_in_small() -> None:
    """The clearest prediction neuron is weakening, the clearest suppression one orthogonal output."""
    found = chosen(
        [
            (2, 0, PREDICTION, "weakening", 90.0),
            (0, 5, PREDICTION, "weakening", 80.0),
            (1, 1, SUPPRESSION, "orthogonal output", 50.0),
            (1, 2, SUPPRESSION, "strengthening", 40.0),
            (1, 3, PREDICTION, "orthogonal output", 60.0),
            (0, 0, PREDICTION, "strengthening", 20.0),
            (2, 1, PREDICTION, "strengthening", 21.0),
            (2, 2, PREDICTION, "atypical conditional weakening", 22.0),
            (2, 3, PARTITION, "proportional change", 99.0),
        ]
    )
    assert found == [
        ("weakening", "prediction", 2, 0),
        ("orthogonal output", "suppression", 1, 1),
        ("strengthening", "prediction", 2, 1),
        ("atypical conditional weakening", "prediction", 2, 2),
    ]


def test_a_class_without_members_has_no_row() -> None:
    """The original repeated the neuron of the class before it."""
    found = chosen(
        [(0, 0, PREDICTION, "strengthening", 9.0), (0, 1, PREDICTION, "conditional weakening", 8.0)]
    )
    assert found == [("strengthening", "prediction", 0, 0), ("conditional weakening", "prediction", 0, 1)]


def test_atypical_classes_can_be_left_out() -> None:
    neurons: list[Neuron] = [
        (0, 0, PREDICTION, "weakening", 9.0),
        (0, 1, PREDICTION, "atypical strengthening", 8.0),
        (0, 2, PREDICTION, "conditional weakening", 7.0),
    ]
    assert [row[0] for row in chosen(neurons)] == [
        "weakening",
        "atypical strengthening",
        "conditional weakening",
    ]
    assert [row[0] for row in chosen(neurons, typical_only=True)] == ["weakening", "conditional weakening"]


def test_the_first_of_equals_counts() -> None:
    equal: list[Neuron] = [(2, 1, PREDICTION, "weakening", 5.0), (1, 4, PREDICTION, "weakening", 5.0)]
    assert chosen(equal) == [("weakening", "prediction", 1, 4)]


def test_neurons_without_class_or_kurtosis_are_left_out() -> None:
    nan = float("nan")
    found = chosen(
        [
            (0, 0, PREDICTION, "nothing", 99.0),
            (0, 1, PREDICTION, "weakening", nan),
            (0, 2, PREDICTION, "weakening", 3.0),
        ]
    )
    assert found == [("weakening", "prediction", 0, 2)]


def test_without_roles_there_are_no_case_studies() -> None:
    found = case_study_neurons(*tables([]))
    assert found.empty
    assert found.dtypes["layer"] == np.int64


def test_classes_of_neurons_without_a_gate() -> None:
    kurtosis, roles = torch.tensor([[4.0, 6.0, 5.0]]), torch.tensor([[2, 2, 2]], dtype=torch.int8)
    codes = torch.tensor([[0, 2, 2]], dtype=torch.int8)
    found = case_study_neurons(kurtosis, roles, codes, classes=VANILLA_CLASSES)
    assert found["class"].tolist() == ["weakening", "strengthening"]
    assert found["neuron"].tolist() == [1, 0]


@given(st.data())
def test_as_the_slow_definition(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 30))

    def draw(low: int, high: int) -> torch.Tensor:
        numbers = data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return torch.tensor([numbers], dtype=torch.int8)

    kurtosis, roles, codes = draw(-2, 5).float(), draw(0, 3), draw(-1, 10)
    found = case_study_neurons(kurtosis, roles, codes)
    expected = []
    rows = pd.DataFrame({"k": kurtosis[0], "role": roles[0], "code": codes[0]})
    rows = rows[rows["code"] >= 0]
    for role, name in ((PREDICTION, "prediction"), (SUPPRESSION, "suppression")):
        these = rows[rows["role"] == role].sort_values("k", ascending=False, kind="stable")
        expected += [(name, int(these.index[0]))] if len(these) else []
    for code in range(11):
        if code not in {int(rows.loc[neuron, "code"]) for _, neuron in expected}:
            these = rows[(rows["role"] == PREDICTION) & (rows["code"] == code)]
            these = these.sort_values("k", ascending=False, kind="stable")
            expected += [("prediction", int(these.index[0]))] if len(these) else []
    assert list(zip(found["role"], found["neuron"], strict=True)) == expected
    assert found["neuron"].is_unique


@pytest.mark.parametrize("role", [PREDICTION, SUPPRESSION])
def test_the_inputs_stay_as_they_are(role: int) -> None:
    inputs = tables([(0, 0, role, "weakening", 3.0)])
    before = [one.clone() for one in inputs]
    case_study_neurons(*inputs)
    assert all(a.equal(b) for a, b in zip(inputs, before, strict=True))
