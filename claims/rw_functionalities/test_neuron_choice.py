"""Which neurons are chosen for an experiment, and which random ones they are compared with (C58-C60)."""

import random

import pytest

from rwcore.neurons import SEED, choose_neurons
from rwcore.stats.classes import class_codes, classes_of


@pytest.mark.claim("C58")
def test_random_baselines(subject, claim):
    """As many random neurons per layer, none of the class, the same ones on every run."""
    codes, classes = codes_and_classes(subject)
    same_counts, disjoint, repeated = [], [], []
    for rw_class in classes:
        choice, again = (
            choose_neurons(codes, rw_class.name, baseline=True, classes=classes) for _ in range(2)
        )
        chosen, baseline = choice.chosen, choice.baseline
        layers = [layer for layer in chosen.counts() if layer not in choice.short_layers]
        same_counts += [chosen.counts()[layer] == baseline.counts()[layer] for layer in layers]
        disjoint.append(not {*chosen.pairs()} & {*baseline.pairs()})
        repeated.append(baseline.pairs() == again.baseline.pairs())
    claim.check(
        layers_with_a_baseline=len(same_counts),
        same_counts_per_layer=all(same_counts),
        disjoint_from_class=all(disjoint),
        same_on_every_run=all(repeated),
    )


@pytest.mark.claim("C59")
def test_random_numbers(subject, claim):
    """The first numbers of the generator that draws neurons."""

    def stream():
        return random.Random(SEED)

    first = stream()
    claim.check(
        first_draws=[first.random() for _ in range(3)],
        sample_3_of_10=stream().sample(range(10), 3),
        sample_5_of_526=stream().sample(range(526), 5),
        sum_of_sample_47_of_526=sum(stream().sample(range(526), 47)),
    )


@pytest.mark.claim("C60")
def test_subsets_by_size(subject, claim):
    """Subsets of a class that are as large as another class."""
    totals = subject.class_totals()
    if subject.kind != "tables":
        codes, classes = codes_and_classes(subject)
        largest = totals.set_index("class")["count"].idxmax()
        sizes = totals["class"].map(
            lambda name: len(choose_neurons(codes, largest, subset=name, classes=classes).chosen)
        )
        totals = totals.assign(count=sizes)
    claim.check(subset_sizes=totals)


def codes_and_classes(subject):
    """The class of every neuron of a model, and the classes there can be."""
    cosines = subject.weight_study().cosines
    return class_codes(cosines), classes_of(cosines)
