"""The examples of pages: recomputed values (S5), and lists that one text would fill (S8)."""

from itertools import pairwise

import pytest
import torch

from rwcore.activations.examples import Entry, NeuronExamples, SampleValues, Stretch
from rwcore.pages.page_examples import StretchText, alike

EXAMPLES = 16
WHICH = ("gate+_in+", "post")


@pytest.mark.claim("S5")
def test_recomputed_values(subject, claim):
    """Each listed value against the one that is recomputed there; whole pages from their texts alone."""
    examples = subject.neuron_examples(subject.neurons_of_all_classes())
    listed = [one for neuron in examples for one in listed_values(neuron)]
    off = max(abs(found - entry.value) / abs(entry.value) for entry, found in listed)
    other = max(abs(found - entry.value) / abs(entry.value) for entry, found in shifted(listed))
    pages = subject.recomputed_pages()
    errors = {name: page_by_page(pages, name) for name in pages if name.endswith("_relative")}
    claim.check(
        largest_relative_error=off,
        largest_relative_error_of_other_places=other,
        share_compared=pages["compared"].sum() / pages["tokens"].sum(),
        **errors,
    )


def listed_values(neuron):
    """Every entry of a neuron's lists, and what the neuron does at its place."""
    for (_, quantity), entries in neuron.lists.items():
        for entry in entries:
            number, place = neuron.stretch_of(entry)
            yield entry, float(neuron.stretches[number].of(quantity)[place])


def shifted(listed):
    """The entries with each other's values."""
    return [(entry, found) for (entry, _), (_, found) in pairwise(listed)]


def page_by_page(pages, name):
    """One number of every page."""
    return pages[["layer", "neuron", name]].rename(columns={name: "value"})


@pytest.mark.claim("S8")
def test_near_duplicates(subject, claim):
    """A neuron that is strongest at the beginning of every row shows it once, and another one all texts."""
    claim.check(
        shown_of_beginnings=shown(peak=0),
        shown_of_different_texts=shown(peak=8),
        shown_of_texts_alike_but_behind_the_peak=shown(peak=8, same_until=8),
    )


def shown(peak, same_until=0):
    """Examples that a page shows of a list whose rows agree up to a position, and after it do not."""
    length = 12
    zero = torch.zeros(length)
    stretches = tuple(Stretch(row, 0, zero, zero, zero) for row in range(EXAMPLES))
    entries = tuple(Entry(row, peak, 1.0) for row in range(EXAMPLES))
    words = [
        ("<bos>", *(f"w{at}" if at <= same_until else f"w{at}.{row}" for at in range(1, length)))
        for row in range(EXAMPLES)
    ]
    texts = [StretchText(tokens, frozenset({0}), row, length) for row, tokens in enumerate(words)]
    neuron = NeuronExamples(0, 0, True, {WHICH: entries}, {}, stretches, SampleValues(zero, zero, zero))
    return len(alike(neuron, texts, entries))
