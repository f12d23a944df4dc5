"""The activations of all neurons at the examples of data sets: one pass over the rows of their corpus.

What is kept lies in files, one for each batch, until it has been probed; layers are read one at a time, and
nothing of the size tokens × neurons × layers is ever in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from filelock import FileLock
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.batches import Batch, batches
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError, require_choice
from rwcore.probing.capture import ExampleSelection, run_examples, select
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED, NONE, FeatureDataset
from rwcore.probing.errors import ProbeError
from rwcore.store import ArtefactKey, read_arrays, read_json, write_arrays, write_json, writing
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.kept_examples import FACTS, SELECTION
from rwcore.studies.kept_examples import Examples as Examples
from rwcore.studies.sweeps import run_batches
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

KIND, DEFINITION = "example-pass", "example_pass/1"


@dataclass(frozen=True)
class ExampleSweep(BatchFiles):
    """The files of a pass; the selection and the facts about it are there first."""

    WHAT: ClassVar[str] = "activations at examples"

    @cached_property
    def selection(self) -> ExampleSelection:
        """What is kept.

        Raises:
            StoreError: A file is missing or damaged.
        """
        facts, arrays = read_json(self.folder / FACTS), read_arrays(self.folder / SELECTION)
        kinds: dict[str, str] = facts["datasets"]
        return select(
            self.rows,
            [arrays[name] for name, kind in kinds.items() if kind == NONE],
            {name: (kind, arrays[name]) for name, kind in kinds.items() if kind != NONE},
            facts["layers"],
            facts["convention"],
        )

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows that have an example."""
        return self.selection.needed

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.probing.capture.run_examples`."""
        return run_examples(model, batch, self.selection)


def example_pass(
    weights: WeightStudy,
    datasets: Sequence[FeatureDataset],
    options: ForwardOptions,
    *,
    layers: Sequence[int] | None = None,
    convention: str = FIXED,
    parts: int = 1,
) -> Examples:
    """Run a model over the rows of some data sets, or go on with a pass that was killed, or find it finished.

    Args:
        weights: The weight study of the model; its store and engine serve here too.
        datasets: Data sets over one corpus, with different names.
        options: How the model is run.
        layers: Which layers are kept; all if None.
        convention: See `rwcore.probing.capture.ExampleSelection`.
        parts: Parts that the engine may run at the same time; they decide no number.

    Raises:
        OptionError: There is no data set, they are over different corpora, or the model has no such layer.
        ProbeError: The rows were made by another tokenizer than the model's, or an activation cannot be kept
            as float16.
        CorpusError: The rows do not fit the model.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written, or the disk is full.
    """
    corpus = _common_corpus(datasets)
    numbers = _layers(weights, layers)
    require_choice("convention", convention, (FIXED, AS_PUBLISHED))
    key = ArtefactKey.of(
        KIND,
        DEFINITION,
        **forward_fields(weights, corpus, options),
        datasets=sorted((data.name, data.content_hash) for data in datasets),
        layers=numbers,
        convention=convention,
        # What was begun with other software does not go on.
        software=identity_of(ArtefactKey.of(KIND, DEFINITION)),
    )
    # A work folder: these files are on the way to an artefact, and nobody's result.
    folder = weights.store.work(key)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not Examples(folder).finished:
            if options.restart:
                shutil.rmtree(folder, ignore_errors=True)
            _require_tokenizer(weights, corpus)
            sweep = ExampleSweep(folder, keep_rows(corpus, weights.store), options.positions)
            _prepare(sweep, datasets, numbers, convention)
            _run(weights, sweep, options, parts)
    return Examples(folder)


def _prepare(
    sweep: ExampleSweep, datasets: Sequence[FeatureDataset], layers: Sequence[int], convention: str
) -> None:
    """Write what is selected; a process that was killed has written the same."""
    corpus = datasets[0].corpus
    tokens = {data.name: data.token for data in datasets if data.token is not None}
    valid = {data.name: data.valid for data in datasets if data.valid is not None}
    kinds = {data.name: data.aggregation for data in datasets}
    pooled = {name: (kinds[name], each) for name, each in valid.items()}
    needed = select(corpus, list(tokens.values()), pooled, layers).needed
    facts = {
        "datasets": kinds,
        "layers": list(layers),
        "convention": convention,
        "rows": len(corpus),
        "batches": len(batches(corpus, token_budget=sweep.token_budget, only=needed)),
    }
    with writing(sweep.folder):
        sweep.folder.mkdir(parents=True, exist_ok=True)
    write_arrays(sweep.folder / SELECTION, {**tokens, **valid})
    write_json(sweep.folder / FACTS, facts)


def _run(weights: WeightStudy, sweep: ExampleSweep, options: ForwardOptions, parts: int) -> None:
    try:
        run_batches(weights, sweep, options, parts)
    except (ModelError, ProbeError):
        shutil.rmtree(sweep.folder, ignore_errors=True)  # no use to anybody
        raise


def _common_corpus(datasets: Sequence[FeatureDataset]) -> TokenCorpus:
    """The corpus that all data sets are over."""
    names = [data.name for data in datasets]
    wrong = None
    if not names or len({*names}) < len(names):
        wrong = "no data set, or for two of one name"
    elif len({data.corpus.content_hash for data in datasets}) > 1:
        wrong = "data sets over different rows"
    elif not all(len(data) for data in datasets):
        wrong = "a data set without examples"
    if wrong is not None:
        raise OptionError(
            f"a pass is asked for {wrong}",
            where=", ".join(names) or "--features",
            remedy="run a pass for each corpus, over data sets that have examples and different names",
        )
    return datasets[0].corpus


def _layers(weights: WeightStudy, layers: Sequence[int] | None) -> list[int]:
    there = range(read_shape(weights.local).n_layers)
    wanted = sorted({*(there if layers is None else layers)})
    if not wanted or wanted[0] < 0 or wanted[-1] >= len(there):
        raise OptionError(
            f"{weights.local.spec.id} has no such layers: {', '.join(map(str, wanted)) or 'none'}",
            where="layers",
            remedy=f"give some of 0 to {len(there) - 1}",
        )
    return wanted


def _require_tokenizer(weights: WeightStudy, corpus: TokenCorpus) -> None:
    encoder = read_encoder(weights.local)
    if encoder.hash != corpus.tokenizer_hash:
        raise ProbeError(
            f"the tokens of {corpus.spec.id} were made by the tokenizer of {corpus.model} "
            f"({corpus.tokenizer_hash}), and that of {encoder.model} is another one ({encoder.hash})",
            where=f"{corpus.spec.id} and {encoder.model}",
            remedy=f"make the data sets with the tokenizer of {encoder.model}",
        )
    corpus.require_fit(encoder)
