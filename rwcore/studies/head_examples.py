"""What a few heads do in a few rows, token by token: rows are chosen, read once, then in the store.

Rows are chosen, and heads if none are named, by copy-suppression-preserving ablations of the whole corpus
(`rwcore.studies.head_cspa`): their mean ablation is the direct effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.corpora.documents import document
from rwcore.corpora.spec import FILE, HUB
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, OptionError, require_choice, require_least
from rwcore.heads.cspa import NEGATIVE
from rwcore.heads.cspa_run import Z_MEANS
from rwcore.heads.function_words import FunctionWords, own_words
from rwcore.heads.reading import EFFECTS, MOST_TOKENS, HeadReading, read_heads
from rwcore.heads.reading_arrays import of_arrays, to_arrays
from rwcore.heads.reading_means import means_of_layers
from rwcore.heads.readout import Readout
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.pages.head_record import TextRow, head_record
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, read_arrays, write_arrays
from rwcore.studies.asked_heads import LATE, Head
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.head_cspa import CspaOptions, CspaStudy
from rwcore.studies.head_cspa_files import FUNCTION
from rwcore.studies.sweeps import INPUTS, sweep
from rwcore.studies.weights import WeightStudy

DEFINITION = "head_readings/1"
HEADS, EXAMPLES = 3, 8
"""Heads and rows that are read if none are named."""
ATTENTION_BYTES, LISTS_BYTES, MOST_BYTES = 6, 1200, 256 << 20
"""Of a reading, about: of each pair of tokens, and of each token; and the most that a browser is given."""
ABLATIONS = {
    "overall": "Without a head: the mean of what it adds over all tokens of the corpus takes its place.",
    "position": "Without a head: the mean of what it adds at the same position of all rows takes its place.",
}
"""What people read of the means."""


@dataclass(frozen=True)
class ExampleOptions:
    """What is read.

    Attributes:
        heads: Layer and number of each head; None for the `HEADS` late ones of whose effect negative-only
            CSPA explains most.
        rows: Numbers of rows; None for those in which a head matters most at one token.
        examples: How many rows are chosen.
        effects: Of `rwcore.heads.reading.EFFECTS`.
        means: What takes the place of what heads add: ``overall`` or ``position`` (rows of equal length).

    Raises:
        OptionError: There is no such effect or mean, or nothing to read.
    """

    heads: tuple[Head, ...] | None = None
    rows: tuple[int, ...] | None = None
    examples: int = EXAMPLES
    effects: tuple[str, ...] = EFFECTS
    means: str = "overall"

    def __post_init__(self) -> None:
        require_choice("--means", self.means, Z_MEANS)
        require_least("--examples", self.examples, 1)
        wrong = [one for one in self.effects if one not in EFFECTS]
        if wrong or not self.effects or len({*self.effects}) < len(self.effects):
            raise OptionError(
                f"no such effects: {','.join(self.effects) or 'none'}",
                where="--effects",
                remedy=f"give some of {', '.join(EFFECTS)}, each once",
            )


@dataclass(frozen=True)
class Choice:
    """Why a row is read.

    Attributes:
        row: Its number.
        head: The head that matters most at one token of it.
        position: Where this prediction is made.
        loss_increase: Direct effect there: ablated - clean, nats.
    """

    row: int
    head: Head
    position: int
    loss_increase: float


@dataclass(frozen=True)
class HeadExamples:
    """Readings of a few heads of one model in rows of one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is read.
        forward: How the model is run.
        words: Which words are function words.
        parts: Tasks of the engine; they decide no number.

    Raises:
        OptionError: The model has no such head, the corpus no such row, a row that may be read is too long,
            weights are not processed as published, or means by position are asked for and the rows have
            different lengths.
        ModelError: The model is an encoder.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: ExampleOptions = field(default_factory=ExampleOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    words: FunctionWords = field(default_factory=own_words)
    parts: int = 1

    def __post_init__(self) -> None:
        _ = self.cspa
        count, asked = len(self.corpus), self.options.rows
        wrong = [row for row in asked or () if not 0 <= row < count]
        if wrong or asked == ():
            raise OptionError(
                f"{self.corpus.spec.id} has no row {', '.join(map(str, wrong)) or 'of no number'}",
                where="--rows",
                remedy=f"give rows from 0 to {count - 1}",
            )
        lengths = self.corpus.lengths[list(range(count) if asked is None else asked)]
        if int(lengths.max()) > MOST_TOKENS:
            raise OptionError(
                f"a row of {int(lengths.max()):,} tokens; {MOST_TOKENS:,} are the most that can be read",
                where=self.corpus.spec.id,
                remedy=f"cut the text into shorter rows (--max-length {MOST_TOKENS})",
            )
        count = len(lengths) if asked is not None else min(count, self.options.examples)
        lengths = lengths.sort(descending=True).values[:count].double()
        named = HEADS if self.options.heads is None else len(self.options.heads)
        size = named * float((ATTENTION_BYTES * lengths**2 + LISTS_BYTES * lengths).sum())
        if size > MOST_BYTES:
            raise OptionError(
                f"{len(lengths)} rows and {named} heads make a page of {size / 2**20:,.0f} MiB",
                where="--rows, --examples, --heads, --max-length",
                remedy=f"ask for fewer or shorter rows, or fewer heads ({MOST_BYTES >> 20} MiB at most)",
            )

    @cached_property
    def cspa(self) -> CspaStudy:
        """Ablations of the whole corpus: means of heads, and what chooses heads and rows."""
        options = CspaOptions(
            heads=LATE if self.options.heads is None else self.options.heads,
            variants=(NEGATIVE,),
            means=self.options.means,
        )
        return CspaStudy(self.weights, self.corpus, options, self.forward, self.words, self.parts)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The heads that are read: in the order of the model if they were named, else the best one first."""
        return tuple(self.cspa.best(HEADS)) if self.options.heads is None else self.cspa.heads

    @cached_property
    def choices(self) -> list[Choice]:
        """The rows that are read if none are named, the one in which a head matters most first.

        Predictions at the first token of a row do not count: there is nothing else that heads could look at.

        Raises:
            CorpusError: No row is long enough.
        """
        lengths = self.corpus.lengths.tolist()
        found = [
            Choice(row, head, place + 1, float(loss[place + 1]))
            for head in self.heads
            for row, loss in enumerate(self.cspa.tokens(head)["loss"][0, 0].split_with_sizes(lengths))
            if len(loss) > 2  # the last prediction has nothing to be compared with
            for place in [int(loss[1:-1].argmax())]
        ]
        if not found:
            raise CorpusError(
                "no row has more than two tokens",
                where=self.corpus.spec.id,
                remedy="use longer rows (--max-length)",
            )
        found.sort(key=lambda one: (-one.loss_increase, one.row, one.head))
        best: dict[int, Choice] = {}
        for one in found:
            best.setdefault(one.row, one)
        return [*best.values()][: self.options.examples]

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Numbers of the rows that are read."""
        asked = self.options.rows
        return tuple(one.row for one in self.choices) if asked is None else tuple(dict.fromkeys(asked))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""
        return vocabulary(self.weights.local, self.cspa.shape.vocab)

    @cached_property
    def folder(self) -> Path:
        """The artefact: a file for each row; read first if the store has none.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        function = self.cspa.function
        fields = forward_fields(self.weights, self.corpus, self.forward)
        software = identity_of(ArtefactKey.of("head-readings", DEFINITION))
        key = ArtefactKey.of(
            "head-readings",
            DEFINITION,
            **fields,
            heads=self.heads,
            rows=sorted(self.rows),
            effects=self.options.effects,
            means=self.options.means,
            layers=sorted({layer for layer, _ in self.cspa.heads}),
            function=hashlib.sha256(function.numpy().tobytes()).hexdigest(),
            software=software,
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            files = ReadingFiles(
                self.weights.store.work(key),
                keep_rows(self.corpus, self.weights.store),
                1,
                local=self.weights.local,
                heads=self.heads,
                numbers=tuple(sorted(self.rows)),
                effects=self.options.effects,
            )
            layers = {f"layer_{layer}" for layer, _ in self.heads}
            means = {name: mean for name, mean in self.cspa.means.items() if name in layers}
            run = sweep(self.weights, files, self.forward, {**means, FUNCTION: function}, self.parts)
            for plan in files.plans:
                write_arrays(folder / _file(plan.rows[0]), read_arrays(files.file(plan)))
            return collect(stopwatch, rows=len(files.plans), rows_before=len(files.plans) - run)

        return self.weights.store.get_or_compute(key, compute)

    @cached_property
    def readings(self) -> list[list[HeadReading]]:
        """Of each row one reading for each head.

        Raises:
            StoreError: A file is damaged.
        """
        return [
            of_arrays(read_arrays(self.folder / _file(row)), self.heads, self.options.effects)
            for row in self.rows
        ]

    @cached_property
    def texts(self) -> list[TextRow]:
        """The rows that are read."""
        spec, bos = self.corpus.spec, self.corpus.policy.bos is not None
        named = spec.source not in (FILE, HUB)
        return [
            TextRow(
                row,
                document(spec, int(self.corpus.document[row])).id if named else None,
                self.corpus.row(row).long(),
                bos,
            )
            for row in self.rows
        ]

    @cached_property
    def record(self) -> dict[str, Any]:
        """The readings for a page; see `rwcore.pages.head_record.head_record`."""
        return head_record(
            self.texts,
            self.readings,
            self.vocabulary,
            model=self.weights.local.spec.id,
            corpus=self.corpus.spec.id,
            ablation=ABLATIONS[self.options.means],
        )

    @property
    def measure(self) -> dict[str, object]:
        """What was asked for, and which heads and rows that has come to."""
        return {
            **asdict(self.options),
            "heads": [f"{layer}.{head}" for layer, head in self.heads],
            "rows": [*self.rows],
        }


@dataclass(frozen=True)
class ReadingFiles(BatchFiles):
    """Readings of a few heads, row by row; `INPUTS` are there first.

    Attributes:
        local: The model.
        heads: Which heads.
        numbers: Which rows, ascending.
        effects: Which effects.
    """

    local: LocalModel
    heads: Sequence[Head]
    numbers: tuple[int, ...]
    effects: tuple[str, ...]

    WHAT: ClassVar[str] = "examples of heads"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """The rows that are read."""
        return torch.tensor(self.numbers, dtype=torch.int64)

    @cached_property
    def _inputs(self) -> dict[str, Tensor]:
        return read_arrays(self.folder / INPUTS)

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.heads.reading_arrays.to_arrays`."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        z = {layer: self._inputs[f"layer_{layer}"] for layer, _ in self.heads}
        found = read_heads(
            model,
            batch,
            self.heads,
            means_of_layers(model, z),
            self._readouts[device],
            self._inputs[FUNCTION],
            effects=self.effects,
        )
        return to_arrays(found)


def _file(row: int) -> str:
    return f"row_{row:08d}.safetensors"
