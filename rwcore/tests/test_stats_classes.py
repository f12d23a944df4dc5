"""Classes: the specification's test vectors, the plain reference on a grid, counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.stats.classes import (
    RW_CLASSES,
    UNDEFINED_CODE,
    VANILLA_CLASSES,
    class_codes,
    class_counts,
    class_totals,
    discretise,
)
from rwcore.stats.cosines import RWCosines

NAN = float("nan")
ABOVE = float(np.nextafter(np.float32(0.5), np.float32(1)))
GRID = [-1.0, -0.9, -ABOVE, -0.5, -0.3, -0.0, 0.0, 0.2, 0.5, ABOVE, 0.8, 1.0]


def cosines_of(triples):
    table = torch.tensor(triples, dtype=torch.float32)
    return RWCosines(*(table[None, :, k] for k in range(3)))


def names_of(codes, classes=RW_CLASSES):
    return [
        classes[code].name if code != UNDEFINED_CODE else "undefined" for code in codes.flatten().tolist()
    ]


def random_cosines(seed, n_layers=3, n_neurons=40, gated=True):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(3, n_layers, n_neurons, generator=generator) * 2 - 1
    return RWCosines(*values) if gated else RWCosines(None, None, values[2])


@pytest.mark.parametrize(
    ("triple", "name"),
    [
        ((0.9, 0.9, 0.9), "strengthening"),
        ((-0.9, -0.9, 0.9), "strengthening"),
        ((0.9, -0.9, 0.9), "atypical strengthening"),
        ((0.1, 0.9, 0.9), "atypical strengthening"),
        ((0.1, 0.2, 0.9), "conditional strengthening"),
        ((0.6, 0.2, 0.9), "atypical conditional strengthening"),
        ((0.1, 0.9, 0.2), "proportional change"),
        ((0.1, -0.9, 0.2), "proportional change"),
        ((0.6, 0.9, 0.2), "atypical proportional change"),
        ((0.9, 0.1, 0.1), "orthogonal output"),
        ((0.9, -0.9, -0.9), "weakening"),
        ((-0.9, 0.9, -0.9), "weakening"),
        ((0.9, 0.9, -0.9), "atypical weakening"),
        ((0.0, 0.0, -0.9), "conditional weakening"),
        ((0.6, 0.0, -0.9), "atypical conditional weakening"),
        ((0.5, 0.5, 0.5), "orthogonal output"),
        ((0.5000001, 0.5000001, 0.5000001), "strengthening"),
        ((NAN, NAN, NAN), "undefined"),
    ],
)
def test_vectors_of_the_specification(triple, name):
    assert names_of(class_codes(cosines_of([triple]))) == [name]


def test_nan_as_orthogonal_is_the_published_quirk():
    triples = [(NAN, NAN, NAN), (NAN, NAN, 0.9), (NAN, 0.9, NAN)]
    assert names_of(class_codes(cosines_of(triples))) == ["undefined"] * 3
    # A vector that is zero makes two cosines NaN; each counts as 0, so the third still decides.
    expected = ["orthogonal output", "conditional strengthening", "proportional change"]
    assert names_of(class_codes(cosines_of(triples), nan_as_orthogonal=True)) == expected


def test_rule_on_a_grid_equals_the_reference():
    triples = list(itertools.product(GRID, repeat=3))
    codes = class_codes(cosines_of(triples))
    assert codes.dtype == torch.int8
    assert names_of(codes) == [reference.class_name(*triple) for triple in triples]


def test_copysign_rule_equals_the_reference_and_agrees_for_positive_gatelin():
    """C34."""
    triples = list(itertools.product(GRID, repeat=3))
    product = names_of(class_codes(cosines_of(triples)))
    copysign = names_of(class_codes(cosines_of(triples), rule="copysign_2025_05"))
    assert copysign == [reference.class_name_2025_05(*triple) for triple in triples]
    different = [t for t, a, b in zip(triples, product, copysign, strict=True) if a != b]
    assert different
    assert all(gatelin < 0 for gatelin, _, _ in different)


def test_discretise_is_strict_and_takes_floats():
    assert [discretise(x) for x in (0.5, -0.5, ABOVE, -ABOVE, 0.0, NAN, 1.0, -1.0)] == [
        0,
        0,
        1,
        -1,
        0,
        0,
        1,
        -1,
    ]
    assert type(discretise(0.7)) is int
    # In float32 this is 0.5, in float64 it is not.
    assert discretise(0.5 + 1e-12) == 0
    codes = discretise(torch.tensor(GRID))
    assert codes.dtype == torch.int8
    assert codes.tolist() == [reference.large(x) for x in GRID] == [discretise(x) for x in GRID]


def test_threshold_is_compared_in_float32():
    assert discretise(float(np.float32(0.3)), threshold=0.3) == 0
    assert discretise(0.31, threshold=0.3) == 1
    codes = class_codes(cosines_of([(0.4, 0.4, 0.4)]), threshold=0.3)
    assert names_of(codes) == ["strengthening"]


def test_vanilla_classes():
    linout = torch.tensor([[0.9, 0.5, -0.5, -0.9, NAN, 0.0]])
    codes = class_codes(RWCosines(None, None, linout))
    assert names_of(codes, VANILLA_CLASSES) == [
        "strengthening",
        "orthogonal output",
        "orthogonal output",
        "weakening",
        "undefined",
        "orthogonal output",
    ]


def test_classes_are_the_table():
    """C71: order, keys, and colours by the formula, orthogonal output excepted."""
    assert {c.key: c.name for c in RW_CLASSES} == reference.NAMES
    assert [c.name for c in RW_CLASSES] == list(reference.NAMES.values())
    for c in RW_CLASSES:
        k0, k1, k2 = c.key
        formula = (
            max(0, k0) * (k1 + 1) / 2,
            0.5 if k1 == 0 else max(0, k0),
            max(0, -k0) * (k1 + 1) / 2,
            (k2 + 1) / 2,
        )
        assert c.rgba == ((0.9, 0.9, 0.9, 1.0) if c.name == "orthogonal output" else formula)
    assert [(c.name, c.key) for c in VANILLA_CLASSES] == [
        (name, (key,)) for key, name in reference.VANILLA_NAMES.items()
    ]
    by_name = {c.name: c.rgba for c in RW_CLASSES}
    assert all(c.rgba == by_name[c.name] for c in VANILLA_CLASSES)


@given(seed=st.integers(0, 2**20))
def test_counts_equal_eleven_comparisons(seed):
    cosines = random_cosines(seed)
    counts = class_counts(cosines)
    expected = reference.class_counts(cosines.gatelin, cosines.gateout, cosines.linout)
    assert list(counts.columns) == ["layer", "class", "count", "near_1e-6", "near_1e-3"]
    assert list(counts["class"]) == list(reference.NAMES.values()) * 3
    assert list(counts["layer"]) == [layer for layer in range(3) for _ in range(11)]
    for name, per_layer in expected.items():
        assert counts.loc[counts["class"] == name, "count"].tolist() == per_layer
    assert (counts.groupby("layer")["count"].sum() == 40).all()


@given(seed=st.integers(0, 2**20), gated=st.booleans(), bad=st.integers(0, 5))
def test_counts_always_add_up(seed, gated, bad):
    cosines = random_cosines(seed, gated=gated)
    cosines.linout[1, :bad] = NAN
    counts = class_counts(cosines)
    assert (counts.groupby("layer")["count"].sum() == 40).all()
    assert [str(dtype) for dtype in counts.dtypes[["layer", "count", "near_1e-6", "near_1e-3"]]] == [
        "int64"
    ] * 4
    undefined = counts[counts["class"] == "undefined"]
    assert undefined["count"].tolist() == ([0, bad, 0] if bad else [])
    names = [c.name for c in (RW_CLASSES if gated else VANILLA_CLASSES)] + (["undefined"] if bad else [])
    assert list(counts["class"]) == names * 3
    quirk = class_counts(cosines, nan_as_orthogonal=True)
    assert "undefined" not in set(quirk["class"])
    assert (quirk.groupby("layer")["count"].sum() == 40).all()


def test_totals():
    counts = class_counts(random_cosines(4))
    totals = class_totals(counts)
    assert list(totals.columns) == ["class", "count", "near_1e-6", "near_1e-3"]
    assert list(totals["class"]) == list(reference.NAMES.values())
    assert totals["count"].sum() == 120
    weakening = counts.loc[counts["class"] == "weakening", "count"].sum()
    assert totals.set_index("class").loc["weakening", "count"] == weakening
    near = counts.drop_duplicates("layer")["near_1e-3"].sum()
    assert (totals["near_1e-3"] == near).all()


def test_near_counts_neurons_close_to_the_threshold_in_any_used_cosine():
    triples = [
        (0.5 + 5e-7, 0.0, 0.0),  # within 1e-6
        (0.0, -0.5 + 5e-4, 0.0),  # within 1e-3
        (0.0, 0.0, -0.5 - 5e-4),  # within 1e-3
        (0.5, 0.5, 0.5),  # within both, one neuron
        (0.502, 0.498, 0.0),  # near neither
        (0.5, NAN, NAN),  # undefined
    ]
    counts = class_counts(cosines_of(triples))
    assert set(counts["near_1e-6"]) == {2}
    assert set(counts["near_1e-3"]) == {4}
    vanilla = class_counts(RWCosines(None, None, cosines_of(triples).linout))
    assert set(vanilla["near_1e-6"]) == {1}
    assert set(vanilla["near_1e-3"]) == {2}
    lower = class_counts(cosines_of([(0.3, 0.0, 0.0)]), threshold=0.3)
    assert set(lower["near_1e-6"]) == {1}


def test_random_directions_are_orthogonal_output():
    """C19, synthetic: in 896 dimensions 0.5 is 15 standard deviations away."""
    from rwcore.stats.cosines import rw_cosines
    from rwcore.weights.layer import MlpLayer

    generator = torch.Generator().manual_seed(0)
    layer = MlpLayer(0, *(torch.randn(500, 896, generator=generator) for _ in range(3)))
    totals = class_totals(class_counts(rw_cosines([layer]))).set_index("class")["count"]
    assert totals["orthogonal output"] == totals.sum() == 500


PROTOTYPES = {
    "strengthening": ((0.98, 0.04), (0.98, -0.04)),
    "conditional strengthening": ((0.98, 0.04), (-0.02, 0.96)),
    "weakening": ((-0.98, 0.0), (-0.98, -0.04)),
    "conditional weakening": ((-0.98, 0.0), (-0.02, 0.96)),
    "proportional change": ((0.02, 1.04), (0.98, -0.04)),
    "orthogonal output": ((0.02, 1.04), (-0.02, 0.96)),
}


@pytest.mark.parametrize("folded", [True, False])
def test_prototypes_of_the_interactive_figure(folded):
    """C73."""
    from rwcore.stats.cosines import rw_cosines
    from rwcore.weights.layer import MlpLayer

    in_ = torch.tensor([pair[0] for pair in PROTOTYPES.values()])
    gate = torch.tensor([pair[1] for pair in PROTOTYPES.values()])
    out = torch.tensor([(1.0, 0.0)] * 6)
    matrices = reference.refactor_glu(gate, in_, out) if folded else (gate, in_, out)
    assert names_of(class_codes(rw_cosines([MlpLayer(0, *matrices)]))) == list(PROTOTYPES)
