"""Neuron sets: the published random stream, the plain reference, properties of baselines."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.errors import OptionError
from rwcore.neurons import SEED, NeuronSet, choose_neurons, class_members
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES

NAMES = [rw_class.name for rw_class in RW_CLASSES]


def codes_of(rows):
    return torch.tensor([[NAMES.index(name) for name in row] for row in rows], dtype=torch.int8)


def random_codes(seed, n_layers=4, n_neurons=30, n_codes=3):
    generator = torch.Generator().manual_seed(seed)
    # Few classes, so that they cover anything from little to most of a layer.
    shares = torch.rand(n_codes, generator=generator) ** 3
    return torch.multinomial(shares.expand(n_layers, -1), n_neurons, True, generator=generator).to(torch.int8)


def names_of(codes):
    return [[NAMES[code] for code in row] for row in codes.tolist()]


def test_stream_is_the_published_one():
    """C59."""
    stream = random.Random(SEED)
    assert [stream.random() for _ in range(3)] == [0.873149816924534, 0.855446307643318, 0.7998204825045568]
    assert random.Random(SEED).sample(range(10), 3) == [1, 2, 4]
    assert random.Random(SEED).sample(range(526), 5) == [99, 137, 520, 284, 401]
    assert sum(random.Random(SEED).sample(range(526), 47)) == 12110


def test_subset_is_drawn_from_the_published_stream():
    """C59: 526 weakening neurons in the first layer, so that indices are neurons."""
    codes = torch.zeros(2, 600, dtype=torch.int8)
    codes[0, :526] = NAMES.index("weakening")
    choice = choose_neurons(codes, "weakening", subset=5)
    assert choice.chosen.pairs() == [(0, 99), (0, 137), (0, 520), (0, 284), (0, 401)]
    assert choose_neurons(codes, "weakening", subset=47).chosen.neuron.sum() == 12110


def test_members_are_sorted_by_layer_then_neuron():
    codes = codes_of([["weakening", "strengthening", "weakening"], ["strengthening"] * 3, ["weakening"] * 3])
    members = class_members(codes, "weakening")
    assert members.pairs() == [(0, 0), (0, 2), (2, 0), (2, 1), (2, 2)]
    assert members.name == "weakening"
    assert members.counts() == {0: 2, 2: 3}
    assert members.layer.dtype == members.neuron.dtype == np.int64
    assert len(class_members(codes, "orthogonal output")) == 0


def test_undefined_neurons_belong_to_no_class():
    codes = torch.tensor([[-1, 10, -1, 0]], dtype=torch.int8)
    assert [len(class_members(codes, name)) for name in NAMES] == [1] + [0] * 9 + [1]


@given(
    seed=st.integers(0, 2**20),
    subset=st.one_of(
        st.none(),
        st.integers(0, 60),
        st.floats(0.01, 1),
        st.sampled_from(["strengthening", NAMES[1], NAMES[2]]),
    ),
    name=st.sampled_from(NAMES[:3]),
)
def test_choice_equals_the_reference(seed, subset, name):
    codes = random_codes(seed)
    chosen, baseline = reference.choose_neurons(names_of(codes), name, subset)
    choice = choose_neurons(codes, name, subset=subset, baseline=True)
    if chosen is None:
        assert choice is None
    else:
        assert choice.chosen.pairs() == chosen
        assert choice.baseline.pairs() == baseline


@given(seed=st.integers(0, 2**20), subset=st.one_of(st.none(), st.floats(0.05, 1)))
def test_properties_of_a_baseline(seed, subset):
    """C58: as many per layer, none of the class, no neuron twice, always the same."""
    codes = random_codes(seed)
    choice = choose_neurons(codes, "strengthening", subset=subset, baseline=True)
    again = choose_neurons(codes, "strengthening", subset=subset, baseline=True)
    pairs = choice.baseline.pairs()
    assert pairs == again.baseline.pairs()
    assert choice.chosen.pairs() == again.chosen.pairs()
    assert len(set(pairs)) == len(pairs)
    assert all(codes[pair] != 0 for pair in pairs)
    assert all(codes[pair] == 0 for pair in choice.chosen.pairs())
    assert (np.diff(choice.baseline.layer) >= 0).all()
    counts, wanted = choice.baseline.counts(), choice.chosen.counts()
    for layer, count in wanted.items():
        outside = int((codes[layer] != 0).sum())
        if layer in choice.short_layers:
            assert counts.get(layer, 0) == outside
            assert count >= 15 or outside < count
        else:
            assert counts[layer] == count < 15
    assert counts.keys() <= wanted.keys()


def test_global_random_state_is_neither_used_nor_changed():
    codes = random_codes(1)
    random.seed(7)
    first = choose_neurons(codes, NAMES[0], subset=0.5, baseline=True).baseline.pairs()
    after = random.random()
    random.seed(8)
    assert choose_neurons(codes, NAMES[0], subset=0.5, baseline=True).baseline.pairs() == first
    random.seed(7)
    assert random.random() == after


def test_baseline_depends_on_whether_a_subset_was_drawn():
    """Published quirk: one stream for both."""
    codes = torch.zeros(1, 100, dtype=torch.int8)
    codes[0, :10] = NAMES.index("weakening")
    codes[0, 10:20] = NAMES.index("conditional weakening")
    all_ten = choose_neurons(codes, "weakening", baseline=True)
    same_size = choose_neurons(codes, "weakening", subset=10, baseline=True)
    by_class = choose_neurons(codes, "weakening", subset="conditional weakening", baseline=True)
    drawn = choose_neurons(codes, "weakening", subset=9, baseline=True)
    assert all_ten.baseline.pairs() == same_size.baseline.pairs() == by_class.baseline.pairs()
    assert drawn.baseline.pairs() != all_ten.baseline.pairs()[:9]
    assert all_ten.baseline.name == "weakening baseline"


def test_class_that_covers_most_of_a_layer_is_clamped():
    """X20: the original raises here; there are 2 neurons outside the class and 4 are asked for."""
    codes = torch.zeros(1, 20, dtype=torch.int8)
    codes[0, [3, 8]] = 1
    choice = choose_neurons(codes, NAMES[0], subset=4, baseline=True)
    assert len(choice.chosen) == 4
    assert choice.baseline.pairs() == [(0, 3), (0, 8)]
    assert choice.short_layers == (0,)


def test_half_of_a_layer_takes_all_others():
    codes = torch.zeros(2, 20, dtype=torch.int8)
    codes[0, 10:] = 1
    codes[1, 9:] = 1
    choice = choose_neurons(codes, NAMES[0], baseline=True)
    assert choice.short_layers == (0,)
    assert choice.baseline.pairs()[:10] == [(0, neuron) for neuron in range(10, 20)]
    assert choice.baseline.counts() == {0: 10, 1: 9}


def test_sizes_of_subsets():
    codes = torch.zeros(1, 20, dtype=torch.int8)
    codes[0, :7] = NAMES.index("weakening")
    sizes = {
        subset: len(choose_neurons(codes, "weakening", subset=subset).chosen) for subset in (0.5, 1.0, 3, 0)
    }
    assert sizes == {0.5: 3, 1.0: 7, 3: 3, 0: 0}
    assert choose_neurons(codes, "weakening", subset=8) is None
    assert choose_neurons(codes, "weakening", subset="strengthening") is None
    assert choose_neurons(codes, "weakening", subset="orthogonal output").chosen.pairs() == []
    assert choose_neurons(codes, "weakening").baseline is None


@pytest.mark.parametrize("subset", [-1, 0.0, -0.5, 1.5, float("nan")])
def test_impossible_subsets(subset):
    codes = torch.zeros(1, 20, dtype=torch.int8)
    with pytest.raises(OptionError, match=r"give a share in \(0, 1\]"):
        choose_neurons(codes, "strengthening", subset=subset)


def test_unknown_class():
    codes = torch.zeros(1, 20, dtype=torch.int8)
    with pytest.raises(OptionError, match="enrichment") as error:
        choose_neurons(codes, "enrichment")
    assert "conditional weakening" in str(error.value)
    with pytest.raises(OptionError, match="no neuron class 'proportional change'"):
        choose_neurons(codes, "proportional change", classes=VANILLA_CLASSES)


def test_vanilla_codes():
    codes = torch.tensor([[0, 1, 2, 2]], dtype=torch.int8)
    assert class_members(codes, "weakening", VANILLA_CLASSES).pairs() == [(0, 2), (0, 3)]


def test_empty_set():
    empty = NeuronSet.of("none", [])
    assert len(empty) == 0
    assert empty.pairs() == []
    assert empty.counts() == {}


# --- the published vectors ------------------------------------------------------------------------------

# Weakening neurons in each layer of OLMo-7B-0424 (ablations specification, appendix C).
OLMO_WEAKENING = [5, 23, 8, 5, 11, 19, 7, 6, 2, 3, 2, 7, 6, 9, 8, 3, 4, 11, 11, 12, 11, 9, 7, 17, 15, 19, 29]
OLMO_WEAKENING += [14, 19, 36, 50, 138]


def olmo_codes():
    """As many weakening neurons per layer as OLMo has, elsewhere; all others are of another class."""
    codes = torch.full((32, 11008), NAMES.index("orthogonal output"), dtype=torch.int8)
    for layer, count in enumerate(OLMO_WEAKENING):
        codes[layer, torch.arange(count) * 79 + layer] = NAMES.index("weakening")
    return codes


def test_olmo_sample_lies_in_the_published_layers():
    """Ablations 1.2: 243 of 526; the first in layer 12, the 81st in layer 31, and 58 of them in layer 31."""
    drawn = random.Random(SEED).sample(range(526), 243)
    assert drawn[:10] == [99, 137, 520, 284, 401, 228, 355, 317, 185, 346]
    assert drawn[80] == 432
    codes = olmo_codes()
    members = class_members(codes, "weakening").pairs()
    assert len(members) == 526
    chosen = choose_neurons(codes, "weakening", subset=243).chosen
    assert chosen.pairs() == [members[place] for place in drawn]
    assert chosen.layer[0] == 12
    assert chosen.layer[80] == 31
    assert chosen.counts()[31] == 58


def test_olmo_baseline_begins_with_the_published_neurons():
    """Ablations 1.2: places among the 11003 neurons of layer 0 that are not weakening; sizes are matched."""
    codes = olmo_codes()
    choice = choose_neurons(codes, "weakening", baseline=True)
    others = torch.nonzero(codes[0] != NAMES.index("weakening"))[:, 0].tolist()
    assert len(others) == 11003
    first = [neuron for layer, neuron in choice.baseline.pairs() if layer == 0]
    assert first == [others[place] for place in (10342, 1593, 2201, 8330, 4555)]
    assert choice.baseline.counts() == choice.chosen.counts() == dict(enumerate(OLMO_WEAKENING))
    assert choice.short_layers == ()
    assert not set(choice.baseline.pairs()) & set(choice.chosen.pairs())


@pytest.mark.parametrize("subset", [526, 1.0, "as many"])
def test_size_of_the_class_draws_nothing_before_the_baseline(subset):
    """I14: the same baseline as without a subset."""
    codes = olmo_codes()
    if subset == "as many":
        subset = "strengthening"
        codes[1, 6000:6526] = NAMES.index("strengthening")
    whole = choose_neurons(codes, "weakening", baseline=True)
    same = choose_neurons(codes, "weakening", subset=subset, baseline=True)
    assert same.chosen.pairs() == whole.chosen.pairs()
    assert same.baseline.pairs() == whole.baseline.pairs()
    assert (
        choose_neurons(codes, "weakening", subset=525, baseline=True).baseline.pairs()
        != same.baseline.pairs()
    )
