"""Role × class tables and their tests: counted by hand, scipy, and nulls under which nothing is found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import roles as reference
from rwcore.errors import OptionError
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES
from rwcore.stats.roles.choose import ROLES
from rwcore.stats.roles.contingency import (
    association_test,
    association_within_layers,
    contingency,
    members,
)

NAMES = [one.name for one in RW_CLASSES]


def random_codes(seed, layers=3, n_neurons=40, undefined=False):
    rng = np.random.default_rng(seed)
    roles = torch.from_numpy(rng.integers(0, 4, (layers, n_neurons)).astype(np.int8))
    codes = torch.from_numpy(rng.integers(-1 if undefined else 0, 11, (layers, n_neurons)).astype(np.int8))
    return roles, codes


@given(seed=st.integers(0, 2**20), undefined=st.booleans())
def test_counts_equal_a_tally(seed, undefined):
    roles, codes = random_codes(seed, undefined=undefined)
    table = contingency(roles, codes, RW_CLASSES)
    classes = [(*NAMES, "undefined")[code] for code in codes.flatten().tolist()]
    tally = reference.contingency([ROLES[code] for code in roles.flatten().tolist()], classes)
    assert table["count"].sum() == 120
    for row in table.itertuples():
        assert row.count == tally.get((row.role, row[2]), 0)
        in_role = sum(count for (role, _), count in tally.items() if role == row.role)
        in_class = sum(count for (_, name), count in tally.items() if name == row[2])
        assert row.expected == pytest.approx(in_role * in_class / 120)


def test_rows_are_all_roles_and_classes_in_canonical_order():
    roles = torch.zeros(2, 3, dtype=torch.int8)
    table = contingency(roles, roles.clone(), RW_CLASSES)
    assert table["role"].tolist() == [role for role in ROLES for _ in NAMES]
    assert table["class"].tolist() == NAMES * 4
    assert (table["count"] > 0).sum() == 1
    assert list(table.columns) == ["role", "class", "count", "expected"]
    plain = contingency(roles, roles.clone(), VANILLA_CLASSES)
    assert plain["class"].tolist() == [one.name for one in VANILLA_CLASSES] * 4


def test_undefined_neurons_have_a_column_of_their_own():
    roles, codes = random_codes(0, undefined=True)
    table = contingency(roles, codes, RW_CLASSES)
    assert table["class"].tolist() == [*NAMES, "undefined"] * 4
    assert table["count"].sum() == codes.numel()


def test_overlapping_roles_are_counted_but_not_tested():
    roles, codes = random_codes(1)
    named = members(roles) | {"entropy": roles >= 0}
    table = contingency(named, codes, RW_CLASSES)
    entropy = table[table["role"] == "entropy"]
    assert entropy["count"].tolist() == torch.bincount(codes.flatten().long(), minlength=11).tolist()
    assert entropy["expected"].tolist() == entropy["count"].tolist()
    with pytest.raises(OptionError, match="entropy"):
        association_test(table)


def test_another_model_is_refused():
    roles, codes = random_codes(0)
    for call in (
        lambda: contingency(roles, codes[:2], RW_CLASSES),
        lambda: association_within_layers(roles, codes[:2]),
    ):
        with pytest.raises(OptionError, match="one model"):
            call()


def table_of(counts):
    """Codes whose table of roles × classes this is, in one layer."""
    pairs = [
        (role, code)
        for role, row in enumerate(counts)
        for code, count in enumerate(row)
        for _ in range(count)
    ]
    roles, codes = (torch.tensor([values], dtype=torch.int8) for values in zip(*pairs, strict=True))
    return roles, codes


@given(counts=st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=4, max_size=4))
def test_the_statistic_and_its_probability_are_scipys(counts):
    from scipy.stats import chi2_contingency

    array = np.array(counts)
    array = array[array.sum(1) > 0][:, array.sum(0) > 0]
    if min(array.shape) < 2:
        return
    found = association_test(contingency(*table_of(counts), RW_CLASSES), draws=3)
    expected = chi2_contingency(array, correction=False)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.statistic == pytest.approx(reference.chi_square(np.array(counts)))
    assert found.dof == expected.dof
    assert found.p == pytest.approx(expected.pvalue)
    assert found.smallest_expected == pytest.approx(expected.expected_freq.min())
    assert found.neurons == array.sum()


def test_a_perfect_association():
    found = association_test(contingency(*table_of([[30, 0, 0], [0, 20, 0], [0, 0, 10]]), RW_CLASSES))
    assert found.cramers_v == pytest.approx(1)
    assert found.p_permutation == pytest.approx(1 / 10_000)
    assert found.p < 1e-20


def test_no_association():
    found = association_test(contingency(*table_of([[20, 40], [10, 20]]), RW_CLASSES), draws=99)
    assert found.statistic == pytest.approx(0, abs=1e-9)
    assert found.cramers_v == pytest.approx(0, abs=1e-6)
    assert found.p_permutation == 1


@pytest.mark.parametrize("counts", [[[5, 5]], [[5], [7]], [[4]]])
def test_one_row_or_column_is_nothing_to_test(counts):
    found = association_test(contingency(*table_of(counts), RW_CLASSES))
    assert found.dof == 0
    assert math.isnan(found.p)
    assert math.isnan(found.p_permutation)
    assert math.isnan(found.cramers_v)


def test_no_defined_neuron_is_nothing_to_test():
    roles = torch.zeros(1, 3, dtype=torch.int8)
    found = association_test(contingency(roles, roles - 1, RW_CLASSES))
    assert (found.neurons, found.dof) == (0, 0)
    assert association_within_layers(roles, roles - 1).neurons == 0


def test_undefined_neurons_are_not_tested():
    roles, codes = random_codes(2, undefined=True)
    kept = codes >= 0
    found = association_test(contingency(roles, codes, RW_CLASSES), draws=9)
    alone = association_test(contingency(roles[kept][None], codes[kept][None], RW_CLASSES), draws=9)
    assert found == alone
    assert found.neurons == int(kept.sum()) < codes.numel()
    within = association_within_layers(roles, codes, draws=9)
    assert within.neurons == int(kept.sum())


def test_the_draws_have_the_right_distribution():
    """Of a 2 × 2 table the permutation probability is exactly hypergeometric."""
    from scipy.stats import hypergeom

    table = np.array([[8, 2], [3, 9]])
    values = np.arange(0, 11)
    weights = hypergeom(22, 11, 10).pmf(values)
    statistics = np.array([reference.chi_square(np.array([[k, 10 - k], [11 - k, 1 + k]])) for k in values])
    exact = weights[statistics >= reference.chi_square(table) * (1 - 1e-9)].sum()
    found = association_test(contingency(*table_of(table.tolist()), RW_CLASSES), draws=20_000)
    assert found.p_permutation == pytest.approx(exact, abs=0.003)


def test_the_seed_decides():
    table = contingency(*random_codes(3), RW_CLASSES)
    first, again = (association_test(table, draws=200) for _ in range(2))
    assert first == again
    assert association_test(table, draws=200, seed=1).p_permutation != first.p_permutation


def test_random_codes_are_not_associated():
    """A null model: over many random models the probability is small as rarely as it says."""
    small = 0
    for seed in range(60):
        roles, codes = random_codes(seed)
        small += association_test(contingency(roles, codes, RW_CLASSES), draws=199).p_permutation <= 0.1
    assert 1 <= small <= 14


def depth_only(seed=0):
    """Role and class both depend on the layer, and on nothing else."""
    rng = np.random.default_rng(seed)
    roles = np.stack([rng.choice(4, 300, p=[1 - 0.3 * k, 0.1 * k, 0.1 * k, 0.1 * k]) for k in range(3)])
    codes = np.stack([rng.choice(2, 300, p=[1 - 0.3 * k, 0.3 * k]) for k in range(3)])
    return torch.from_numpy(roles.astype(np.int8)), torch.from_numpy(codes.astype(np.int8))


def test_depth_alone_is_an_association_over_the_model_but_not_within_layers():
    roles, codes = depth_only()
    assert association_test(contingency(roles, codes, RW_CLASSES), draws=999).p_permutation == 1 / 1000
    assert association_within_layers(roles, codes, draws=999).p_permutation > 0.05


def test_an_association_within_layers_is_found():
    roles, codes = depth_only()
    linked = torch.where(roles == 2, torch.zeros_like(codes), codes)
    found = association_within_layers(roles, linked, draws=999)
    assert found.p_permutation == 1 / 1000
    assert found.dof is None
    assert found.p is None
    assert found.cramers_v is None


def test_one_layer_within_layers_is_the_plain_test():
    roles, codes = random_codes(5, layers=1, n_neurons=200)
    within = association_within_layers(roles, codes, draws=99)
    plain = association_test(contingency(roles, codes, RW_CLASSES), draws=99)
    assert within.statistic == pytest.approx(plain.statistic)
    assert within.p == pytest.approx(plain.p)


def test_layers_without_anything_to_test_do_not_disturb():
    roles, codes = depth_only()
    roles[0] = 0
    codes[2] = -1
    found = association_within_layers(roles, codes, draws=199)
    assert found.neurons == 600
    alone = association_within_layers(roles[1:2], codes[1:2], draws=199)
    assert found.statistic <= alone.statistic + 1e-9


@pytest.mark.parametrize("draws", [0, -1])
def test_impossible_numbers_of_draws(draws):
    with pytest.raises(OptionError, match="at least 1"):
        association_test(contingency(*random_codes(0), RW_CLASSES), draws=draws)
