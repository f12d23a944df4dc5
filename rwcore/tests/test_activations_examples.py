"""Lists, stretches and random tokens of one neuron, against planted ones."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from rwcore.activations.assemble import Kept, assemble, check_recomputed, lists_hash, lists_of
from rwcore.activations.examples import (
    NOWHERE,
    Entry,
    NeuronExamples,
    SampleValues,
    Stretch,
    from_arrays,
    quadrant_codes,
    to_arrays,
)
from rwcore.activations.fold import fold_statistics
from rwcore.activations.quadrants import LISTS, PLAIN_QUADRANTS, PLAIN_QUANTITIES, QUADRANTS
from rwcore.errors import ModelError, OptionError
from rwcore.tests.activation_parts import activations

LENGTHS = torch.tensor([6, 4, 9, 5, 7])
SAMPLED = torch.tensor([1, 3])


def values(tokens: int, seed: int = 0) -> SampleValues:
    gate, in_ = torch.randn(2, tokens, generator=torch.Generator().manual_seed(seed))
    return SampleValues(gate, in_, torch.nn.functional.silu(gate))


def kept(sample: SampleValues | None = None) -> Kept:
    """The sample, all of row 0 and the end of row 2."""
    spans = torch.tensor([[0, 0, 6], [2, 3, 9]])
    return Kept(LENGTHS, SAMPLED, sample or values(9), spans, values(12, seed=1))


def planted() -> dict[tuple[str, str], tuple[Entry, ...]]:
    """Entries in and beside the sample, with the values that are there."""
    inside, beside = values(9), values(12, seed=1)
    lists = dict.fromkeys(LISTS, ())
    lists[LISTS[0]] = (Entry(2, 5, float(beside.gate[8])), Entry(1, 0, float(inside.gate[0])))
    lists[LISTS[1]] = (Entry(2, 8, float(beside.in_[11])), Entry(0, 2, float(beside.in_[2])))
    lists[LISTS[2]] = (Entry(3, 4, float(inside.post[8])),)
    return lists


def made(random: int = 0, before: int | None = 1, after: int | None = 1, seed: int = 0) -> NeuronExamples:
    return assemble(3, 7, planted(), kept(), gated=True, before=before, after=after, random=random, seed=seed)


def test_quadrants_of_tokens_are_strict() -> None:
    gate = torch.tensor([1.0, 2.0, -1.0, -3.0, 0.0, 1.0, torch.nan])
    in_ = torch.tensor([1.0, -2.0, 1.0, -3.0, 1.0, -0.0, 1.0])
    assert quadrant_codes(gate, in_).tolist() == [0, 1, 2, 3, NOWHERE, NOWHERE, NOWHERE]


def test_stretches_are_cut_from_sample_and_spans() -> None:
    found = made()
    ends = [(stretch.row, stretch.start, stretch.end) for stretch in found.stretches]
    assert ends == [(0, 1, 4), (1, 0, 2), (2, 4, 9), (3, 3, 5)]
    inside, beside = values(9), values(12, seed=1)
    for stretch, source, first in zip(
        found.stretches, (beside, inside, beside, inside), (1, 0, 7, 7), strict=True
    ):
        for quantity in ("gate", "in", "act", "post"):
            expected = source.of(quantity)[first : first + len(stretch.gate)]
            assert torch.equal(stretch.of(quantity), expected)


def test_every_entry_is_found_in_its_stretch() -> None:
    found = made(random=3)
    for (_, quantity), entries in found.lists.items():
        for entry in entries:
            number, place = found.stretch_of(entry)
            stretch = found.stretches[number]
            assert (stretch.row, stretch.start + place) == (entry.row, entry.position)
            assert float(stretch.of(quantity)[place]) == entry.value
    for absent in (Entry(0, 0, 0.0), Entry(0, 5, 0.0), Entry(4, 0, 0.0), Entry(2, 3, 0.0)):
        with pytest.raises(OptionError, match=f"position {absent.position} of row {absent.row}"):
            made().stretch_of(absent)


def test_whole_rows() -> None:
    ends = [(stretch.row, stretch.start, stretch.end) for stretch in made(before=1, after=None).stretches]
    assert ends == [(0, 1, 6), (1, 0, 4), (2, 4, 9), (3, 3, 5)]


def test_a_value_that_is_not_recomputed_is_refused() -> None:
    check_recomputed(made(), 1e-6)
    wrong, lists = made(), planted()
    first, *rest = lists[LISTS[0]]
    lists[LISTS[0]] = (Entry(first.row, first.position, first.value * 1.01), *rest)
    wrong = assemble(3, 7, lists, kept(), gated=True, before=1, after=1, random=0, seed=0)
    check_recomputed(wrong, 0.05)
    with pytest.raises(ModelError, match="gate at position 5 of row 2") as caught:
        check_recomputed(wrong, 1e-3)
    assert caught.value.where == "neuron 3.7, list gate+_in+ gate"
    assert "other weights" in str(caught.value.remedy)
    for broken in (torch.nan, torch.inf):
        source = kept()
        source.values.gate[8] = broken
        with pytest.raises(ModelError):
            check_recomputed(
                assemble(3, 7, planted(), source, gated=True, before=1, after=1, random=0, seed=0), 0.05
            )


def test_random_tokens_lie_in_their_quadrant_none_twice() -> None:
    for seed in range(20):
        found = made(random=2, seed=seed)
        codes = quadrant_codes(found.sample.gate, found.sample.in_)
        for place, name in enumerate(QUADRANTS):
            entries = found.random[name]
            assert len(entries) == len({*entries}) == min(2, int((codes == place).sum()))
            for entry in entries:
                token = entry.position + (0 if entry.row == 1 else 4)
                assert entry.row in (1, 3)
                assert int(codes[token]) == place
                assert entry.value == float(found.sample.post[token])
                found.stretch_of(entry)


def test_every_token_of_a_quadrant_is_as_likely() -> None:
    ones = SampleValues(torch.ones(9), torch.ones(9), torch.ones(9))
    drawn = Counter(
        (entry.row, entry.position)
        for seed in range(1500)
        for entry in assemble(
            0, 0, {}, kept(ones), gated=True, before=0, after=0, random=3, seed=seed
        ).random["gate+_in+"]
    )
    # 4500 draws of 9 tokens: 500 each, standard deviation 18; five of them.
    assert len(drawn) == 9
    assert all(abs(count - 500) < 92 for count in drawn.values()), drawn


def test_what_is_drawn_depends_on_seed_and_neuron_alone() -> None:
    def drawn(layer: int, neuron: int, seed: int) -> tuple[Entry, ...]:
        sample = SampleValues(*torch.ones(3, 9))
        words = {"gated": True, "before": 0, "after": 0, "random": 4}
        return assemble(layer, neuron, {}, kept(sample), seed=seed, **words).random["gate+_in+"]

    assert drawn(0, 0, 0) == drawn(0, 0, 0)
    assert len({drawn(0, 0, 0), drawn(0, 0, 1), drawn(0, 1, 0), drawn(1, 0, 0)}) == 4


def test_lists_are_those_of_the_folded_statistics() -> None:
    layer = activations(range(3)).layers[1]
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    folded = fold_statistics(layer, signs).top
    for neuron, sign in enumerate(signs.int().tolist()):
        found = lists_of(layer.top, neuron, sign, gated=True)
        assert list(found) == list(LISTS)
        for place, name in enumerate(LISTS):
            rows = folded.rows[place, neuron].tolist()
            columns = (rows, folded.positions[place, neuron].tolist(), folded.values[place, neuron].tolist())
            expected = [Entry(*each) for each in zip(*columns, strict=True) if each[0] >= 0]
            assert list(found[name]) == expected
            assert len(found[name]) == 3


def test_places_of_a_list_that_are_empty_are_left_out() -> None:
    layer = activations(range(1), k=40).layers[0]
    found = lists_of(layer.top, 0, 1, gated=True)
    assert all(0 < len(entries) <= 4 for entries in found.values()), (
        "no list has more than the rows there are"
    )


def test_without_a_gate_two_quadrants_of_two_quantities_say_something() -> None:
    found = lists_of(activations(range(3)).layers[0].top, 2, 1, gated=False)
    assert list(found) == list(LISTS)
    said = {name for name, entries in found.items() if entries}
    assert said == {(quadrant, quantity) for quadrant in PLAIN_QUADRANTS for quantity in PLAIN_QUANTITIES}


def test_the_hash_of_lists_knows_values_places_and_sign() -> None:
    top = activations(range(3)).layers[0].top
    hashes = {lists_hash(top, 0, 1), lists_hash(top, 0, -1), lists_hash(top, 1, 1)}
    assert lists_hash(activations(range(3)).layers[0].top, 0, 1) in hashes
    top.positions[0, 0, 0] += 1
    hashes.add(lists_hash(top, 0, 1))
    assert len(hashes) == 4


def same_values(left: Stretch | SampleValues, right: Stretch | SampleValues) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = [(left.of(name), right.of(name)) for name in ("gate", "in", "act")]
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("random", [0, 3])
def test_examples_survive_their_arrays(random: int) -> None:
    first = made(random=random)
    again = from_arrays(3, 7, True, to_arrays(first))
    assert (again.layer, again.neuron, again.gated) == (3, 7, True)
    assert dict(again.lists) == dict(first.lists)
    assert dict(again.random) == dict(first.random)
    assert same_values(again.sample, first.sample)
    for one, other in zip(again.stretches, first.stretches, strict=True):
        assert (one.row, one.start) == (other.row, other.start)
        assert same_values(one, other)


def test_examples_of_a_neuron_that_never_fires_survive_too() -> None:
    never = SampleValues(torch.zeros(9), torch.ones(9), torch.zeros(9))
    none = dict.fromkeys(LISTS, ())
    first = assemble(0, 0, none, kept(never), gated=True, before=1, after=1, random=3, seed=0)
    assert first.stretches == ()
    again = from_arrays(0, 0, True, to_arrays(first))
    assert again.stretches == ()
    assert set(again.random.values()) == {()}
