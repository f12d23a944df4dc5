"""Who suppresses what is already predicted: swept once over a corpus, then in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, OptionError
from rwcore.heads.suppression import EARLIER, NEW, STANDING, Suppression, random_groups
from rwcore.heads.suppression_overlap import overlap_table
from rwcore.heads.suppression_scores import SuppressionScores
from rwcore.heads.suppression_tables import Groups, group_table, head_table, layer_table, neuron_table
from rwcore.provenance import Stopwatch, collect
from rwcore.stats.classes import UNDEFINED, class_codes, classes_of
from rwcore.store import MANIFEST, ArtefactKey, read_arrays, read_json, write_arrays
from rwcore.studies.asked_heads import require_readable_heads
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.head_suppression_files import CODES, PLACE, RANDOM, SuppressionFiles
from rwcore.studies.sweeps import sweep
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

DEFINITION = "predicted_suppression/1"
ARRAYS = "suppression.safetensors"
RANDOM_GROUPS = 50
WEAKENING = "weakening"
FAMILIES = ("strengthening", "proportional change", WEAKENING)
"""Families of several classes; the names of their members end so."""
ANY = "any "
"""Begins the names of families: ``any weakening`` are weakening, conditional, atypical, and both."""
PREDICTED = "predicted"
CHOICES: Mapping[str, tuple[str, ...]] = {
    PREDICTED: (EARLIER, NEW),
    EARLIER: (EARLIER,),
    NEW: (NEW,),
    STANDING: (STANDING,),
}
"""Which kinds of predicted tokens are looked at together."""


@dataclass(frozen=True)
class SuppressionOptions:
    """What is measured.

    Attributes:
        in_context: Whether only tokens count that have occurred before; otherwise all but the one that stands
            at the position.
        least_probability: Predictions of the lens below it do not count.

    Raises:
        OptionError: The probability is not in [0, 1).
    """

    in_context: bool = False
    least_probability: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least_probability < 1:
            raise OptionError(
                f"{self.least_probability} is no least probability",
                where="--least-probability",
                remedy="give a number from 0 to below 1, such as 0.1",
            )

    @property
    def choice(self) -> str:
        """What negative heads are chosen by: a key of `CHOICES`."""
        return EARLIER if self.in_context else PREDICTED


@dataclass(frozen=True)
class SuppressionStudy:
    """What the heads and neurons of one model write against predicted tokens on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is measured.
        forward: How the model is run.
        parts: Tasks of the engine; they decide no number.

    Raises:
        ModelError: The model is an encoder.
        OptionError: Weights are not processed as published.
        CorpusError: No row has more than one token.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: SuppressionOptions = field(default_factory=SuppressionOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    parts: int = 1

    def __post_init__(self) -> None:
        require_readable_heads(self.weights)
        if int(self.corpus.lengths.max()) < 2:
            raise CorpusError(
                "no row has a token behind its first one",
                where=self.corpus.spec.id,
                remedy="use longer rows (--max-length)",
            )

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the undefined neurons last."""
        return (*(one.name for one in classes_of(self.weights.cosines)), UNDEFINED)

    @cached_property
    def codes(self) -> Int8[Tensor, "layer neuron"]:
        """Class of every neuron."""
        return class_codes(self.weights.cosines)

    @cached_property
    def families(self) -> dict[str, tuple[int, ...]]:
        """Codes of all neurons, of families, and of single classes that some neuron has."""
        found = {"all": tuple(range(len(self.classes)))}
        for family in FAMILIES:
            codes = tuple(code for code, name in enumerate(self.classes) if name.endswith(family))
            if len(codes) > 1:
                found[ANY + family] = codes
        present = self.width.sum(dim=0)
        return found | {name: (code,) for code, name in enumerate(self.classes) if present[code]}

    @property
    def weakening(self) -> tuple[int, ...]:
        """Codes of weakening neurons in the wide sense."""
        return tuple(code for code, name in enumerate(self.classes) if name.endswith(WEAKENING))

    @cached_property
    def width(self) -> Int64[Tensor, "layer class"]:
        """Neurons of each class in each layer, the undefined ones last."""
        number = self.codes.long().remainder(len(self.classes))
        return torch.nn.functional.one_hot(number, len(self.classes)).sum(dim=1)

    @cached_property
    def folder(self) -> Path:
        """The artefact; swept first if the store has none.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        least = self.options.least_probability
        fields = forward_fields(self.weights, self.corpus, self.forward)
        # The software too: what was begun with other versions does not go on.
        software = identity_of(ArtefactKey.of("head-suppression", DEFINITION))
        key = ArtefactKey.of(
            "head-suppression", DEFINITION, **fields, least_probability=least, software=software
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            inside = torch.isin(self.codes, torch.tensor(self.weakening, dtype=torch.int8))
            random = random_groups(inside, RANDOM_GROUPS)
            files = SuppressionFiles(
                self.weights.store.work(key),
                keep_rows(self.corpus, self.weights.store),
                self.forward.positions,
                local=self.weights.local,
                classes=len(self.classes) - 1,
                least_probability=least,
            )
            inputs = {CODES: self.codes, RANDOM: random.to(torch.uint8)}
            run = sweep(self.weights, files, self.forward, inputs, self.parts)
            write_arrays(folder / ARRAYS, files.read())
            count = len(files.plans)
            return collect(stopwatch, random_groups=RANDOM_GROUPS, batches=count, batches_before=count - run)

        return self.weights.store.get_or_compute(key, compute)

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the numbers."""
        return {**dict(read_json(self.folder / MANIFEST)), "options": asdict(self.options)}

    @cached_property
    def _found(self) -> tuple[Suppression, Int64[Tensor, " token"]]:
        arrays = read_arrays(self.folder / ARRAYS)
        row = torch.searchsorted(self.corpus.offsets, arrays.pop(PLACE), right=True) - 1
        return Suppression(**arrays), self.corpus.document[row]

    def scores(self, choice: str) -> SuppressionScores:
        """What was measured where the predicted token is of a kind.

        Args:
            choice: A key of `CHOICES`.
        """
        found, document = self._found
        return SuppressionScores(found, document, CHOICES[choice], self.width)

    @cached_property
    def main(self) -> SuppressionScores:
        """The tokens that the options ask for."""
        return self.scores(self.options.choice)

    @cached_property
    def negative(self) -> Bool[Tensor, "half layer head"]:
        """The negative heads that are measured on each half of the documents; chosen on the other."""
        return self.main.negative

    @cached_property
    def groups(self) -> pd.DataFrame:
        """All groups, for each kind of token; see `rwcore.heads.suppression_tables.group_table`."""
        return pd.concat([self.table(choice, self.families) for choice in CHOICES], ignore_index=True)

    def table(self, choice: str, families: Mapping[str, tuple[int, ...]]) -> pd.DataFrame:
        """Groups of heads, and some of neurons; see `rwcore.heads.suppression_tables.group_table`.

        Args:
            choice: A key of `CHOICES`.
            families: Codes of the classes of each group of neurons.
        """
        return group_table(self.scores(choice), Groups(self.negative, families), choice)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """All groups, layer by layer; see `rwcore.heads.suppression_tables.layer_table`."""
        return layer_table(self.main, Groups(self.negative, self.families))

    @cached_property
    def heads(self) -> pd.DataFrame:
        """Each head; see `rwcore.heads.suppression_tables.head_table`."""
        return head_table(self.main)

    def neurons(self, top: int) -> pd.DataFrame:
        """The neurons that suppress most; see `rwcore.heads.suppression_tables.neuron_table`."""
        return neuron_table(self.main, self.classes, self.codes.numpy(), top)

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Negative heads beside weakening neurons; see `rwcore.heads.suppression_overlap.overlap_table`."""
        return overlap_table(self.main, self.negative, self.weakening)
