"""What some neurons do at every token of a corpus: one sweep over the rows for all, then in the store.

A process that was killed goes on where it stopped (see `rwcore.studies.batch_files`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.accumulate import NotFinite
from rwcore.activations.selected import Selection
from rwcore.corpora.tokens import TokenCorpus
from rwcore.neurons import NeuronSet
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, read_arrays, write_arrays, writing
from rwcore.studies.example_sweep import SELECTION, Sweep
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.sweeps import run_batches
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

KIND, DEFINITION = "token-values", "token_values/1"
QUANTITIES = ("pre", "post")
"""Before the activation function (of a gated neuron: the gate), and the coefficient of the output vector."""

TOGETHER = 8
"""Neurons whose values at all tokens are in memory at a time."""

Pair = tuple[int, int]
TokenValues = dict[str, Float[Tensor, " token"]]


@dataclass(frozen=True)
class ValuesOfNeurons(Mapping[Pair, TokenValues]):
    """`QUANTITIES` of neurons at every token, float32, read one neuron at a time when it is asked for.

    Attributes:
        folder: Their artefact; None if there are no neurons.
        neurons: Layer and number of each, each once.
    """

    folder: Path | None
    neurons: tuple[Pair, ...]

    def __getitem__(self, pair: Pair) -> TokenValues:
        if self.folder is None or pair not in self.neurons:
            raise KeyError(pair)
        return read_arrays(self.folder / _file(pair))

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.neurons)

    def __len__(self) -> int:
        return len(self.neurons)


@dataclass(frozen=True)
class _ValueFiles(Sweep):
    """A sweep that keeps every token of every row."""

    WHAT: ClassVar[str] = "chosen neurons"


def token_values(
    weights: WeightStudy, corpus: TokenCorpus, neurons: Sequence[Pair], options: ForwardOptions
) -> ValuesOfNeurons:
    """`QUANTITIES` of neurons at every token of a corpus, as the model computes them, float32.

    All of them are computed or found now; they come into memory one neuron at a time.

    Args:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        neurons: Layer and number of each.
        options: How the model is run.

    Raises:
        OptionError: The model has no such neuron.
        ModelError: An activation is not finite, or the model cannot be run as expected.
        StoreError: The store cannot be written, or what it has is damaged.
    """
    wanted, shape = sorted({*neurons}), read_shape(weights.local)
    NeuronSet.of("chosen neurons", wanted).require_within(shape.n_layers, shape.d_mlp)
    if not wanted:
        return ValuesOfNeurons(None, ())
    forward = forward_fields(weights, corpus, options)
    pairs = [list(pair) for pair in wanted]
    # The software too: what was begun with other versions does not go on.
    software = identity_of(ArtefactKey.of(KIND, DEFINITION))
    key = ArtefactKey.of(KIND, DEFINITION, **forward, neurons=pairs, software=software)

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        sweep, run = _swept(weights, corpus, wanted, options, weights.store.work(key))
        for first in range(0, len(wanted), TOGETHER):
            part = wanted[first : first + TOGETHER]
            found = sweep.read(first, first + len(part)).sample
            for number, pair in enumerate(part):
                gate, in_, act = found[..., number]
                values = {"pre": gate.clone(), "post": act * in_}
                _require_finite(pair, values, corpus)
                write_arrays(folder / _file(pair), values)
        return collect(stopwatch, batches=len(sweep.plans), batches_before=len(sweep.plans) - run)

    folder = weights.store.get_or_compute(key, compute)
    return ValuesOfNeurons(folder, tuple(dict.fromkeys(neurons)))


def _swept(
    weights: WeightStudy, corpus: TokenCorpus, wanted: Sequence[Pair], options: ForwardOptions, work: Path
) -> tuple[Sweep, int]:
    """The finished sweep over all rows, and how many batches were run for it now."""
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    if not (work / SELECTION).exists():
        every = Selection(
            torch.tensor(wanted, dtype=torch.int64),
            torch.arange(len(corpus)),
            torch.zeros(0, 4, dtype=torch.int64),
        )
        write_arrays(work / SELECTION, {each.name: getattr(every, each.name) for each in fields(every)})
    sweep = _ValueFiles(work, keep_rows(corpus, weights.store), options.positions)
    return sweep, run_batches(weights, sweep, options)


def _require_finite(pair: Pair, values: TokenValues, corpus: TokenCorpus) -> None:
    for quantity, found in values.items():
        bad = (~found.isfinite()).nonzero()[:, 0]
        if len(bad):
            row = int(torch.searchsorted(corpus.offsets, bad[0], right=True)) - 1
            raise NotFinite(
                f"{quantity} of neuron {pair[1]} is {float(found[bad[0]])} ({len(bad)} such numbers)",
                layer=pair[0],
                row=row,
                position=int(bad[0] - corpus.offsets[row]),
            )


def _file(pair: Pair) -> str:
    return f"neuron_{pair[0]}_{pair[1]}.safetensors"
