"""Accumulation against the definition number by number, and its independence of order and splits."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.activations.accumulate import ActivationAccumulator, LayerAccumulator, NotFinite
from rwcore.activations.fixed import Units, add_fixed, to_fixed
from rwcore.activations.groups import GROUPS, MOST, add_counts, group_of
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.statistics import LayerStatistics, merge_layers
from rwcore.benchmarks.reference.activations import NAMES, statistics_of
from rwcore.errors import ModelError, OptionError
from rwcore.tests.activation_parts import Part, quadrants, random_batch, same

# Ties, zeros of both signs, underflow, and large numbers.
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0, -1.0, 0.5, -2.0, 3.25, -1e-30, 1e-45, -200.0, 1e3, 0.1])


@st.composite
def batches(draw: st.DrawFn) -> Part:
    """One batch, with padding of NaN; some rows may be wholly padding."""
    n_batch, n_pos, n_neurons = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    size = n_batch * n_pos * n_neurons

    def array(kind: st.SearchStrategy, length: int) -> list:
        return draw(st.lists(kind, min_size=length, max_size=length))

    gate, in_ = (torch.tensor(array(NUMBERS, size)).reshape(n_batch, n_pos, n_neurons) for _ in range(2))
    function = draw(st.sampled_from([torch.nn.functional.silu, torch.relu, torch.sigmoid, torch.tanh]))
    mask = torch.tensor(array(st.booleans(), n_batch * n_pos)).reshape(n_batch, n_pos)
    rows = torch.tensor(draw(st.permutations(range(3, 3 + 2 * n_batch)))[:n_batch])
    act = function(gate)
    for values in (gate, in_, act):
        values[~mask] = torch.nan
    return gate, in_, act, mask, rows, group_of(rows)


def accumulated(*parts: tuple, k: int = 2, elements: int | None = None) -> LayerStatistics:
    accumulator = LayerAccumulator(LayerStatistics.empty(parts[0][0].shape[2], k), elements=elements)
    for part in parts:
        accumulator.update(*part)
    return accumulator.statistics


def entries(statistics: LayerStatistics, which: tuple[str, str], neuron: int) -> list[tuple]:
    place = LISTS.index(which)
    top = statistics.top
    triples = zip(
        top.values[place, neuron], top.rows[place, neuron], top.positions[place, neuron], strict=True
    )
    found = [(float(value), int(row), int(position)) for value, row, position in triples]
    return [entry for entry in found if entry[1] != -1]


# --- against the definition ----------------------------------------------------------------------------


@given(batch=batches(), k=st.integers(1, 4), elements=st.sampled_from([None, 1, 64]))
def test_equals_the_definition(batch: tuple, k: int, elements: int | None) -> None:
    gate, in_, act, mask, rows, groups = batch
    found = accumulated(batch, k=k, elements=elements)
    arrays = (values.numpy() for values in (gate, in_, act, mask))
    units = found.units
    assert found.tokens == int(mask.sum())
    for neuron, expected in enumerate(statistics_of(*arrays, rows.tolist(), k, groups.tolist())):
        assert found.counts[:, neuron].tolist() == list(expected["count"].values())
        assert found.group_counts[:, :, neuron].tolist() == expected["group_count"]
        assert int(found.gate_positive[neuron]) == expected["gate_positive"]
        for number, quantity in enumerate(QUANTITIES):
            exact = {(None, quantity): (expected["rest"][quantity], found.rest[number, neuron])}
            for place, case in enumerate(QUADRANTS):
                exact[case, quantity] = (expected["sum"][case, quantity], found.sums[place, number, neuron])
            for wanted, got in exact.values():
                assert abs(wanted - Fraction(int(got), 2**units.sum_bits)) <= Fraction(1, 2**units.sum_bits)
            off = expected["square"][quantity] - Fraction(
                int(found.squares[number, neuron]), 2**units.square_bits
            )
            assert abs(off) <= Fraction(1, 2**units.square_bits) + expected["square"][quantity] / 2**50
        for which in LISTS:
            assert entries(found, which, neuron) == expected["top"].get(which, []), which


def test_names_are_those_of_the_specification() -> None:
    assert QUADRANTS == NAMES
    assert len(LISTS) == 14
    assert ("gate+_in+", "act") not in LISTS


@given(batch=batches())
def test_quadrants_are_strict(batch: tuple) -> None:
    gate, in_, _, mask, *_ = batch
    inside = quadrants(gate, in_, mask)
    assert inside.sum(0).max() <= 1
    none = ~inside.any(0)
    assert torch.equal(none, (gate == 0) | (in_ == 0) | ~mask[..., None])
    assert bool((gate[inside[0]] > 0).all())
    assert bool((in_[inside[2]] > 0).all() and (gate[inside[2]] < 0).all())


@pytest.mark.parametrize("split", [[3], [1, 1, 1], [2, 1]])
def test_golden_mini_example(split: list[int]) -> None:
    """Neuroscope specification, section 7 (its test S7): every number, however it is cut into batches."""
    gate = torch.tensor([[0.5, -1.0, 2.0, 0.0], [-1.25, 1.0, -3.0, 9.0], [2.0, 2.0, -1.0, -0.5]])[..., None]
    in_ = torch.tensor([[1.0, 2.0, -1.0, 3.0], [-2.0, 1.0, 0.5, 9.0], [-1.0, 0.5, 2.0, -0.25]])[..., None]
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 3] = False
    whole = (gate, in_, torch.nn.functional.silu(gate), mask, torch.arange(3), torch.tensor([0, 1, 0]))
    found = accumulated(*zip(*(values.split(split) for values in whole), strict=True))
    assert found.tokens == 11
    assert found.counts[:, 0].tolist() == [3, 2, 3, 2]
    assert found.group_counts[:2, :, 0].tolist() == [[2, 2, 2, 1], [1, 0, 1, 1]]
    assert found.frequencies()[:, 0].numpy() == pytest.approx(
        [0.272727, 0.181818, 0.272727, 0.181818], abs=5e-7
    )
    assert float(found.frequencies().sum()) == pytest.approx(10 / 11, abs=1e-15)
    assert float(found.gate_frequency()[0]) == 5 / 11
    post_in_gate_act = [
        [0.641028, 0.833333, 1.166667, 0.934627],
        [-1.761594, -1.0, 2.0, 1.761594],
        [-0.382301, 1.5, -1.666667, -0.226720],
        [0.301971, -1.125, -0.875, -0.233573],
    ]
    order = [QUANTITIES.index(name) for name in ("post", "in", "gate", "act")]
    assert found.means()[:, order, 0].numpy() == pytest.approx(np.array(post_in_gate_act), abs=6e-7)
    lists = {
        ("gate+_in+", "post"): [(2, 1, 0.880797), (1, 1, 0.731059)],
        ("gate+_in+", "in"): [(0, 0, 1), (1, 1, 1)],
        ("gate+_in+", "gate"): [(2, 1, 2), (1, 1, 1)],
        ("gate+_in-", "post"): [(0, 2, -1.761594), (2, 0, -1.761594)],
        ("gate+_in-", "in"): [(0, 2, -1), (2, 0, -1)],
        ("gate+_in-", "gate"): [(0, 2, 2), (2, 0, 2)],
        ("gate-_in+", "post"): [(0, 1, -0.537883), (2, 2, -0.537883)],
        ("gate-_in+", "in"): [(0, 1, 2), (2, 2, 2)],
        ("gate-_in+", "gate"): [(1, 2, -3), (0, 1, -1)],
        ("gate-_in+", "act"): [(0, 1, -0.268941), (2, 2, -0.268941)],
        ("gate-_in-", "post"): [(1, 0, 0.556750), (2, 3, 0.047193)],
        ("gate-_in-", "in"): [(1, 0, -2), (2, 3, -0.25)],
        ("gate-_in-", "gate"): [(1, 0, -1.25), (2, 3, -0.5)],
        ("gate-_in-", "act"): [(1, 0, -0.278375), (2, 3, -0.188770)],
    }
    assert set(lists) == set(LISTS)
    for which, expected in lists.items():
        got = entries(found, which, 0)
        assert [(row, position) for _, row, position in got] == [
            (row, position) for row, position, _ in expected
        ]
        assert [value for value, _, _ in got] == pytest.approx([value for *_, value in expected], abs=6e-7)


# --- order, splits, shards ------------------------------------------------------------------------------


@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)), turned=st.booleans())
@settings(max_examples=25)
def test_any_split_into_shards_merged_in_any_order_is_the_same_bits(
    order: list[int], cuts: set[int], turned: bool
) -> None:
    parts = [random_batch(seed) for seed in range(6)]
    whole = accumulated(*parts, k=5)
    borders = [0, *sorted(cuts), 6]
    shards = [
        accumulated(*(parts[number] for number in order[start:stop]), k=5)
        for start, stop in pairwise(borders)
    ]
    merged = shards[0]
    for shard in shards[1:]:
        merged = merge_layers(shard, merged) if turned else merge_layers(merged, shard)
    assert same(merged, whole)


def test_rows_of_a_batch_in_another_order_are_the_same_lists_and_counts() -> None:
    gate, in_, act, mask, rows, groups = random_batch(1, n_batch=6)
    turn = torch.randperm(6)
    whole = accumulated((gate, in_, act, mask, rows, groups))
    turned = accumulated((gate[turn], in_[turn], act[turn], mask[turn], rows[turn], groups[turn]))
    for name in ("counts", "group_counts", "gate_positive", "top_keys", "top_positions"):
        assert torch.equal(whole.to_arrays()[name], turned.to_arrays()[name])
    assert (whole.sums - turned.sums).abs().max() <= 1


def test_padding_and_its_contents_do_not_matter() -> None:
    gate, in_, act, mask, rows, groups = random_batch(2)
    whole = accumulated((gate, in_, act, mask, rows, groups))
    for values in (gate, in_, act):
        values[~mask] = torch.inf
    assert same(accumulated((gate, in_, act, mask, rows, groups)), whole)
    single = accumulated(
        *(
            (gate[r, m][None], in_[r, m][None], act[r, m][None], None, rows[r : r + 1], groups[r : r + 1])
            for r, m in enumerate(mask)
        )
    )
    assert torch.equal(single.group_counts, whole.group_counts)
    assert same(single, whole) or (single.sums - whole.sums).abs().max() <= 4
    assert torch.equal(single.top.keys, whole.top.keys)


def test_halves_and_float64_are_computed_with_as_float32() -> None:
    gate, in_, act, mask, rows, groups = random_batch(3)
    half = tuple(values.to(torch.bfloat16) for values in (gate, in_, act))
    whole = tuple(values.float() for values in half)
    assert same(accumulated((*half, mask, rows, groups)), accumulated((*whole, mask, rows, groups)))


def test_it_can_go_on_from_a_checkpoint() -> None:
    parts = [random_batch(seed) for seed in range(4)]
    first = accumulated(*parts[:2])
    resumed = ActivationAccumulator.resumed([first])
    for part in parts[2:]:
        resumed.layers[0].update(*part)
    assert same(resumed.statistics()[0], accumulated(*parts))
    assert same(first, accumulated(*parts[:2])), "a checkpoint is not changed by going on"


def test_no_lists() -> None:
    part = random_batch(0)
    found = accumulated(part, k=0)
    assert found.top.keys.shape == (14, 70, 0)
    assert torch.equal(found.counts, accumulated(part, k=3).counts)


# --- what follows from the statistics ---------------------------------------------------------------------


def test_overall_means_and_variances() -> None:
    parts = [random_batch(seed) for seed in range(3)]
    found = accumulated(*parts)
    for number in range(4):
        tokens = torch.cat(
            [(gate, in_, act, act * in_)[number][mask].double() for gate, in_, act, mask, *_ in parts]
        )
        torch.testing.assert_close(found.overall_means()[number], tokens.mean(0), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            found.variances()[number], tokens.var(0, correction=0), rtol=1e-5, atol=1e-5
        )
    assert bool((found.gate_positive > found.counts[:2].sum(0)).any()), "in is never zero where gate > 0"


def test_overall_mean_of_post_is_that_of_its_quadrants() -> None:
    """Identity I12: E[s] = Σ_q f_q μ_q."""
    found = accumulated(*(random_batch(seed) for seed in range(3)))
    parts = (found.frequencies() * found.means()[:, 3]).nan_to_num().sum(0)
    torch.testing.assert_close(found.overall_means()[3], parts)


def test_nothing_seen_is_not_zero() -> None:
    empty = LayerStatistics.empty(3, 2)
    assert bool(empty.frequencies().isnan().all() and empty.means().isnan().all())
    assert bool(empty.overall_means().isnan().all() and empty.variances().isnan().all())
    assert bool(empty.top.values.isnan().all() and (empty.top.rows == -1).all())


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_is_located_and_nothing_changes(which: int, value: float) -> None:
    accumulator = LayerAccumulator(LayerStatistics.empty(70, 2), layer=5)
    accumulator.update(*random_batch(0))
    before = accumulator.statistics
    part = random_batch(7)
    part[3][:] = True
    part[which][2, 4, 66] = value
    with pytest.raises(NotFinite) as caught:
        accumulator.update(*part)
    assert (caught.value.layer, caught.value.row, caught.value.position) == (5, int(part[4][2]), 4)
    assert caught.value.where == f"layer 5, row {int(part[4][2])}, position 4"
    assert ("gate", "in", "act")[which] + " of neuron 66" in caught.value.what
    assert accumulator.statistics is before
    assert same(before, accumulated(random_batch(0)))


def test_a_product_that_overflows_is_located() -> None:
    part = tuple(torch.full((1, 2, 1), 1e30) for _ in range(3))
    with pytest.raises(ModelError, match="post of neuron 0 is inf"):
        accumulated((*part, None, torch.tensor([4]), torch.tensor([4])))


def test_a_sum_that_outgrows_its_unit_is_refused() -> None:
    accumulator = LayerAccumulator(LayerStatistics.empty(1, 1, Units(sum_bits=52)), layer=2)
    part = [torch.full((1, 1, 1), 800.0), torch.ones(1, 1, 1), torch.zeros(1, 1, 1), None]
    group = torch.tensor([0])
    accumulator.update(*part, torch.tensor([0]), group)
    before = accumulator.statistics
    with pytest.raises(OptionError, match="coarser") as caught:
        accumulator.update(*part, torch.tensor([1]), group)
    assert caught.value.where == "layer 2"
    assert accumulator.statistics is before
    with pytest.raises(OptionError, match="coarser"):
        to_fixed(torch.tensor([2.0**11], dtype=torch.float64), 52, "here")
    with pytest.raises(OptionError, match="52"):
        Units(sum_bits=60)
    with pytest.raises(OptionError, match="coarser"):
        add_fixed(torch.tensor([-(2**62) + 1]), torch.tensor([-1]), 28, "here")


def test_counts_of_a_group_that_outgrow_their_type_are_refused() -> None:
    left, right = (torch.full((1, 4, 1), number, dtype=torch.int32) for number in (MOST - 1, 1))
    found = add_counts(left, right, MOST + 1, "here")
    assert found.dtype == torch.int32
    assert bool((found == MOST).all())
    with pytest.raises(OptionError, match="more groups"):
        add_counts(found, right, MOST + 2, "here")


def test_groups_are_those_of_the_documents_and_add_up() -> None:
    parts = [random_batch(seed) for seed in range(3)]
    whole = accumulated(*parts)
    assert torch.equal(whole.group_counts.sum(dim=0), whole.counts)
    for group in range(GROUPS):
        count = sum(
            quadrants(gate, in_, mask)[:, groups == group].sum(dim=(1, 2))
            for gate, in_, _, mask, _, groups in parts
        )
        assert torch.equal(whole.group_counts[group], count)
    assert group_of(torch.tensor([0, 19, 20, 45])).tolist() == [0, 19, 0, 5]


def test_shapes_and_rows_that_do_not_fit_are_refused() -> None:
    gate, in_, act, mask, rows, groups = random_batch(0)
    accumulator = LayerAccumulator(LayerStatistics.empty(70, 2))
    with pytest.raises(OptionError, match=r"'in': \[4, 9, 69\]"):
        accumulator.update(gate[..., :-1], in_[..., :-1], act[..., :-1], mask, rows, groups)
    # Where the annotations are checked, those are first to notice.
    for wrong in (
        (in_[:, :-1], mask, rows, groups),
        (in_, mask[:, :-1], rows, groups),
        (in_, mask, rows[:-1], groups),
        (in_, mask, rows, groups[:-1]),
    ):
        with pytest.raises((OptionError, TypeError)):
            accumulator.update(gate, wrong[0], act, *wrong[1:])
    for wrong in (torch.tensor([0, 1, 1, 2]), torch.tensor([-1, 1, 3, 2]), torch.tensor([2**31, 1, 3, 2])):
        with pytest.raises(OptionError, match="different numbers"):
            accumulator.update(gate, in_, act, mask, wrong, groups)
    for wrong in (torch.tensor([0, 1, -1, 2]), torch.tensor([0, 1, GROUPS, 2])):
        with pytest.raises(OptionError, match="from 0 to 19"):
            accumulator.update(gate, in_, act, mask, rows, wrong)
    with pytest.raises(OptionError, match="k"):
        ActivationAccumulator(1, 1, k=-1)
    with pytest.raises(OptionError, match="groups"):
        ActivationAccumulator(1, 1, groups=0)
    assert accumulator.statistics.tokens == 0


def test_every_tensor_is_saved() -> None:
    names = {field.name for field in fields(LayerStatistics)} - {"top", "tokens", "units"}
    statistics = accumulated(random_batch(0))
    assert set(statistics.to_arrays()) == names | {"top_keys", "top_positions"}
    again = LayerStatistics.from_arrays(statistics.to_arrays(), statistics.tokens, statistics.units)
    assert same(statistics, again)
