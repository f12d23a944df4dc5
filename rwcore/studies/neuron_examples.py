"""The examples of chosen neurons: one sweep over the needed rows for all of them, then found in the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int64
from torch import Tensor

from rwcore.activations.assemble import (
    Kept,
    Lists,
    assemble,
    check_recomputed,
    lists_hash,
    lists_of,
    places_of,
)
from rwcore.activations.examples import NeuronExamples, SampleValues, from_arrays, to_arrays
from rwcore.activations.selected import Selection, spans_around
from rwcore.errors import ModelError, OptionError
from rwcore.neurons import NeuronSet
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, ArtefactKey, read_arrays, write_arrays, writing
from rwcore.studies.activations import PassStudy
from rwcore.studies.example_sweep import SELECTION, Sweep
from rwcore.studies.forward import forward_fields, identity_of, keep_rows
from rwcore.studies.sweeps import run_batches

KIND, SWEEP_KIND = "neuron-examples", "example-sweep"
DEFINITION = "neuron_examples/1"
ARRAYS = "examples.safetensors"

TOGETHER = 64
"""Neurons that are put together at a time: their samples are in memory."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class ExampleOptions:
    """What examples there are and how much of the text is around them.

    Attributes:
        before: Tokens before an entry; None for all from the beginning of the row.
        after: Tokens behind it; None for all to the end of the row.
        sample_tokens: Most tokens of the sample of rows that distributions and random tokens are taken from;
            one row at least.
        random: Random tokens of each quadrant.
        seed: Of the sample and the random tokens.

    Raises:
        OptionError: A number is too small.
    """

    before: int | None = 64
    after: int | None = 32
    sample_tokens: int = 50_000
    random: int = 4
    seed: int = 0

    LEAST: ClassVar[dict[str, int]] = {"before": 0, "after": 0, "sample_tokens": 1, "random": 0, "seed": 0}

    def __post_init__(self) -> None:
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"{value} is less than {least}", where=name, remedy=f"give {least} or more")


@dataclass(frozen=True)
class ExampleStudy:
    """The examples of neurons of one model, from a pass over a corpus.

    Values are computed again, by the model on the rows, in the type and batches of the pass; where the sample
    and the lists need all rows they are the same bits, otherwise the last digits may differ.

    Attributes:
        pass_: The pass that has found the extremes; its device, threads and shards serve here too.
        options: What examples there are.
    """

    pass_: PassStudy
    options: ExampleOptions = ExampleOptions()

    def examples(self, neurons: Sequence[Pair]) -> list[NeuronExamples]:
        """The examples of some neurons, in the order asked for.

        Args:
            neurons: Layer and number of each.

        Raises:
            OptionError: The model has no such neuron.
            ModelError: The model computes other values than the pass has found.
            StoreError: The store cannot be written, or the disk is full.
        """
        self.sweep(neurons)
        return [self.example(*pair) for pair in neurons]

    def example(self, layer: int, neuron: int) -> NeuronExamples:
        """The examples of one neuron; of many, `sweep` first.

        Raises:
            OptionError: The model has no such neuron.
            ModelError: The model computes other values than the pass has found.
            StoreError: The store cannot be written, or the disk is full.
        """
        self.sweep([(layer, neuron)])
        folder = self.pass_.weights.store.path(self._key((layer, neuron)))
        return from_arrays(layer, neuron, self.pass_.gated, read_arrays(folder / ARRAYS))

    def sweep(self, neurons: Sequence[Pair]) -> None:
        """Compute the examples that the store does not have, all in one sweep over the rows they need.

        A sweep that was killed goes on where it stopped when the same neurons are asked for again.

        Raises:
            OptionError: The model has no such neuron.
            ModelError: The model computes other values than the pass has found.
            StoreError: The store cannot be written, or the disk is full.
        """
        layers = self.pass_.unfolded.layers
        NeuronSet.of("neurons", neurons).require_within(len(layers), layers[0].neurons)
        wanted = sorted({*neurons})
        work = self.pass_.weights.store.work(self._sweep_key(wanted))
        if not self._missing(wanted) and not work.exists():
            return
        with writing(work):
            work.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(work.with_suffix(".lock")):
            if self.pass_.options.restart:
                shutil.rmtree(work, ignore_errors=True)
            try:
                if self._missing(wanted):  # another process may have made them by now
                    self._sweep(work, wanted)
            except ModelError:
                shutil.rmtree(work, ignore_errors=True)  # no use to anybody
                raise
            # Also of a process that was killed after it had finished all examples.
            shutil.rmtree(work, ignore_errors=True)

    @cached_property
    def sample_rows(self) -> Int64[Tensor, " row"]:
        """The rows of the sample, ascending: all, or as many random ones as have no more than its tokens."""
        lengths = self.pass_.corpus.lengths
        order = torch.from_numpy(np.random.default_rng(self.options.seed).permutation(len(lengths)))
        fits = lengths[order].cumsum(dim=0) <= self.options.sample_tokens
        return order[: max(1, int(fits.sum()))].sort().values

    def _sweep(self, work: Path, wanted: Sequence[Pair]) -> None:
        stopwatch, pass_ = Stopwatch(), self.pass_
        with writing(work):
            work.mkdir(parents=True, exist_ok=True)
        if not (work / SELECTION).exists():  # else a killed process has decided what is missing
            chosen = self._selection(self._missing(wanted))
            arrays = {"neurons": chosen.neurons, "rows": chosen.rows, "spans": chosen.spans}
            write_arrays(work / SELECTION, arrays)
        sweep = Sweep(work, keep_rows(pass_.corpus, pass_.weights.store), pass_.options.positions)
        run = run_batches(pass_.weights, sweep, pass_.options, pass_.options.shards)
        facts = {
            "sweep_neurons": len(sweep.selection.neurons),
            "sweep_rows": len(sweep.selection.needed),
            "sweep_batches": len(sweep.plans),
            "sweep_batches_before": len(sweep.plans) - run,
            "sample_rows": len(sweep.selection.rows),
        }
        for first in range(0, len(sweep.selection.neurons), TOGETHER):
            self._keep(sweep, first, lambda: collect(stopwatch, **self._fields, **facts))

    def _keep(self, sweep: Sweep, first: int, facts: Callable[[], dict[str, object]]) -> None:
        """Put the examples of some neurons together and into the store."""
        selection = sweep.selection
        pairs: list[Pair] = [
            (layer, neuron) for layer, neuron in selection.neurons[first : first + TOGETHER].tolist()
        ]
        found = sweep.read(first, first + len(pairs))
        place, _, start, end = selection.spans.T
        counts = torch.zeros(len(selection.neurons), dtype=torch.int64).index_add_(0, place, end - start)
        values = torch.split(found.spans, counts[first : first + len(pairs)].tolist(), dim=1)
        for number, pair in enumerate(pairs):
            spans = selection.spans[place == first + number, 1:]
            examples = self._assembled(pair, selection.rows, found.sample[..., number], spans, values[number])

            def compute(folder: Path, examples: NeuronExamples = examples) -> dict[str, object]:
                write_arrays(folder / ARRAYS, to_arrays(examples))
                return facts()

            self.pass_.weights.store.get_or_compute(self._key(pair), compute)

    def _assembled(
        self, pair: Pair, rows: Tensor, sample: Tensor, spans: Tensor, values: Tensor
    ) -> NeuronExamples:
        """The examples of one neuron, checked against the pass."""
        pass_, options = self.pass_, self.options
        fold = torch.tensor([1.0, self._sign(pair), 1.0])[:, None]
        kept = Kept(
            pass_.corpus.lengths, rows, SampleValues(*(sample * fold)), spans, SampleValues(*(values * fold))
        )
        examples = assemble(
            *pair,
            self._lists(pair),
            kept,
            gated=pass_.gated,
            before=options.before,
            after=options.after,
            random=options.random,
            seed=options.seed,
        )
        check_recomputed(examples, 1e-3 if pass_.options.dtype == "float32" else 0.05)
        return examples

    def _selection(self, pairs: Sequence[Pair]) -> Selection:
        lengths = self.pass_.corpus.lengths
        entries = [places_of(self._lists(pair).values()) for pair in pairs]
        place = torch.arange(len(pairs)).repeat_interleave(torch.tensor([each.shape[1] for each in entries]))
        rows, positions = torch.cat(entries, dim=1)
        spans = spans_around(
            place, rows, positions, lengths, before=self.options.before, after=self.options.after
        )
        beside = spans[~torch.isin(spans[:, 1], self.sample_rows)]
        return Selection(torch.tensor(pairs, dtype=torch.int64), self.sample_rows, beside)

    def _missing(self, wanted: Sequence[Pair]) -> list[Pair]:
        store = self.pass_.weights.store
        return [pair for pair in wanted if not (store.path(self._key(pair)) / MANIFEST).exists()]

    def _sign(self, pair: Pair) -> int:
        return int(self.pass_.signs[pair])

    def _lists(self, pair: Pair) -> Lists:
        layer, neuron = pair
        top = self.pass_.unfolded.layers[layer].top
        return lists_of(top, neuron, self._sign(pair), gated=self.pass_.gated)

    @cached_property
    def _fields(self) -> dict[str, object]:
        """What decides the numbers of all neurons."""
        options = {name: getattr(self.options, name) for name in ExampleOptions.LEAST}
        return {**forward_fields(self.pass_.weights, self.pass_.corpus, self.pass_.options), **options}

    def _key(self, pair: Pair) -> ArtefactKey:
        layer, neuron = pair
        top = self.pass_.unfolded.layers[layer].top
        lists = lists_hash(top, neuron, self._sign(pair))
        return ArtefactKey.of(KIND, DEFINITION, **self._fields, layer=layer, neuron=neuron, lists=lists)

    def _sweep_key(self, wanted: Sequence[Pair]) -> ArtefactKey:
        """Names what is left of a killed sweep; other software does not go on with it."""
        examples = [self._key(pair).digest for pair in wanted]
        software = identity_of(ArtefactKey.of(SWEEP_KIND, DEFINITION))
        return ArtefactKey.of(SWEEP_KIND, DEFINITION, examples=examples, software=software)
