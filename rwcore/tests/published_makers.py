"""Random neurons with their examples, and pages of them in the published layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import silu

from rwcore.activations.examples import Entry, NeuronExamples, SampleValues, Stretch
from rwcore.activations.published_facts import NO_ZERO
from rwcore.activations.published_pages import (
    PublishedExample,
    PublishedPage,
    inside,
    own_page,
    write_page,
)
from rwcore.activations.quadrants import LISTS

BEGINNING = "<|endoftext|>"


def random_examples(
    layer: int = 0, neuron: int = 0, rows: int = 24, positions: int = 14, k: int = 16
) -> tuple[NeuronExamples, list[list[str]]]:
    """A neuron with random numbers on rows of random lengths, the whole rows; and their texts."""
    generator = torch.Generator().manual_seed(1000 * layer + neuron)
    stretches, texts = [], []
    for row in range(rows):
        length = int(torch.randint(6, positions + 1, (1,), generator=generator))
        gate, in_ = torch.randn(2, length, generator=generator) * 2
        for values in (gate, in_):  # no peak in front: published texts have four tokens at least
            values[0], values[1] = 0.125, 1e-3 * values[1]
        stretches.append(Stretch(row, 0, gate, in_, silu(gate)))
        texts.append([BEGINNING, *(f" {row}.{position}" for position in range(1, length))])
    lists = {which: _list(stretches, which, k) for which in LISTS}
    nothing = torch.zeros(0)
    sample = SampleValues(nothing, nothing, nothing)
    return NeuronExamples(layer, neuron, True, lists, {}, tuple(stretches), sample), texts


def _list(stretches: Iterable[Stretch], which: tuple[str, str], k: int) -> tuple[Entry, ...]:
    """The best place of each row, the best rows first, but for the two first positions."""
    case, quantity = which
    entries = []
    for stretch in stretches:
        values = stretch.of(quantity).where(inside(case, stretch.gate, stretch.in_), 0)
        place = int(values.abs().argmax())
        if place > 1:
            entries.append(Entry(stretch.row, place, float(values[place])))
    return tuple(sorted(entries, key=lambda entry: -abs(entry.value))[:k])


def random_pages(number: int = 1) -> list[PublishedPage]:
    """Pages as they were published, with zeros rewritten where nothing in a column is positive."""
    return [as_published(own_page(*random_examples(layer, 7 * layer))) for layer in range(number)]


def as_published(page: PublishedPage) -> PublishedPage:
    """The page with the published repair of zeros."""
    return replace(page, examples=tuple(map(_repaired, page.examples)))


def _repaired(example: PublishedExample) -> PublishedExample:
    values = example.values.clone()
    for column in values.T:
        if not bool((column > 0).any()):
            column[column == 0] = NO_ZERO
    return replace(example, values=values)


def write_pages(folder: Path, pages: Iterable[PublishedPage]) -> Path:
    """The files of pages; returns the folder."""
    for page in pages:
        write_page(folder, page)
    return folder
