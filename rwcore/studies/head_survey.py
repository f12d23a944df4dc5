"""What every head and MLP of a model does to predictions on a corpus: swept once, then in the store.

A plain pass takes the means of what is written; a sweep measures direct effects at every token; and of a few
heads another one follows the paths by which they act, and how well calibrated predictions are without them.
Effects of every token are kept: about 6 kB a token of a model with 300 heads and MLPs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError, require_choice, require_least
from rwcore.heads.paths import DIRECT, HELD, INDIRECT, ONE_HOP, TOTAL
from rwcore.heads.survey_scores import writer_rows, writer_table
from rwcore.heads.writers import BASELINES, POSITION, ZERO, Writer, every_writer
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey
from rwcore.studies.activation_pass import bridge
from rwcore.studies.asked_heads import require_heads, require_readable_heads
from rwcore.studies.forward import ForwardOptions, as_processed, forward_fields, identity_of, keep_rows
from rwcore.studies.head_survey_files import (
    EffectFiles,
    Head,
    MeansTask,
    PathFiles,
    WriterFiles,
    keep_means,
    writer_chunks,
)
from rwcore.studies.sweeps import sweep
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

DEFINITION, PATHS_DEFINITION, MEANS_DEFINITION = "head_effects/1", "head_paths/1", "writer_means/1"
NEGATIVE = 5
"""Heads whose paths are followed if none are named: those that write most against what is predicted."""
TABLE_BYTES = 256 << 20

Files = TypeVar("Files", bound=WriterFiles)


@dataclass(frozen=True)
class SurveyOptions:
    """What is measured.

    Attributes:
        means: What takes the place of what is written: ``overall``, ``position`` (rows of equal length) or
            ``zero``.
        paths: Heads whose paths are followed: layer and number of each, or how many of the most negative
            ones; 0 for none.
        held: Heads that do not react in ``indirect_held``; without any, that path is left out.

    Raises:
        OptionError: There is no such baseline, or heads are held and none has its paths followed.
    """

    means: str = "overall"
    paths: int | tuple[Head, ...] = NEGATIVE
    held: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        require_choice("--means", self.means, BASELINES)
        if isinstance(self.paths, int):
            require_least("--paths", self.paths, 0)
        if self.held and not self.paths:
            raise OptionError(
                "heads are held at their clean values, and no paths are followed",
                where="--holding",
                remedy="name heads with --paths",
            )


@dataclass(frozen=True)
class HeadSurvey:
    """Effects of the heads and MLPs of one model on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is measured.
        forward: How the model is run.
        parts: Tasks of the engine; they decide no number.

    Raises:
        OptionError: The model has no such head, weights are not processed as published, or means by position
            are asked for and the rows have different lengths.
        ModelError: The model is an encoder.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: SurveyOptions = field(default_factory=SurveyOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    parts: int = 1

    def __post_init__(self) -> None:
        require_readable_heads(self.weights)
        if self.options.means == POSITION and len({*self.corpus.lengths.tolist()}) > 1:
            raise OptionError(
                f"the rows of {self.corpus.spec.id} have different lengths, so that late positions would "
                "have the mean of few rows",
                where="--means position",
                remedy="use --means overall, or a corpus in full rows",
            )
        named = () if isinstance(self.options.paths, int) else self.options.paths
        require_heads(self.weights, (*named, *self.options.held), "--paths, --holding")

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def writers(self) -> list[Writer]:
        """All heads, then all MLPs."""
        return every_writer(self.shape.n_layers, self.shape.n_heads)

    @cached_property
    def document(self) -> Int64[Tensor, " token"]:
        """The document of every token of the corpus."""
        return self.corpus.document.repeat_interleave(self.corpus.lengths)

    @cached_property
    def means(self) -> Path | None:
        """Folder of the means; None for zero ablation.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        if self.options.means == ZERO:
            return None
        task = MeansTask(
            store=self.weights.store,
            key=self.key("writer-means", MEANS_DEFINITION),
            local=as_processed(self.weights),
            corpus=keep_rows(self.corpus, self.weights.store),
            token_budget=self.forward.positions,
            baseline=self.options.means,
            dtype=self.forward.dtype,
            device=self.forward.device,
            threads=self.forward.threads,
        )
        try:
            return self.weights.engine.map(keep_means, [task], desc="means of heads")[0]
        finally:
            bridge.cache_clear()

    @cached_property
    def effects(self) -> EffectFiles:
        """Direct effects of all writers at every token; swept first if the store has none.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        key = self.key("head-effects", DEFINITION)
        return self.swept(key, lambda folder: EffectFiles(folder, *self.common))

    @cached_property
    def table(self) -> pd.DataFrame:
        """What each of `writers` does, in their order; see `rwcore.heads.survey_scores.COLUMNS`."""
        rows: list[dict[str, object]] = []
        for some in writer_chunks(len(self.writers), self.corpus.n_tokens, TABLE_BYTES):
            rows += writer_rows(self.writers[some], self.effects.effects(some), self.document)
        return writer_table(rows)

    def negative(self, count: int) -> list[Head]:
        """The heads that write most against what is predicted, the worst first."""
        ranked = self.table.dropna(subset=["negative_rank"]).sort_values("negative_rank").head(count)
        return [(int(layer), int(head)) for layer, head in ranked[["layer", "head"]].to_numpy()]

    @cached_property
    def chosen(self) -> list[Head]:
        """The heads whose paths are followed."""
        given = self.options.paths
        return self.negative(given) if isinstance(given, int) else list(dict.fromkeys(given))

    @cached_property
    def paths(self) -> PathFiles | None:
        """Effects of the chosen heads by path; swept first if the store has none. None if no head is chosen.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        if not self.chosen:
            return None
        heads, held = tuple(self.chosen), tuple(self.options.held)
        asked = (DIRECT, TOTAL, INDIRECT, *([HELD] if held else []), ONE_HOP)
        key = self.key("head-paths", PATHS_DEFINITION, heads=heads, paths=asked, held=held)
        return self.swept(key, lambda folder: PathFiles(folder, *self.common, heads, asked, held))

    @property
    def common(self) -> tuple[Path, int, LocalModel, Path | None]:
        """What every sweep of this survey begins with: rows, positions of a batch, model, means."""
        rows = keep_rows(self.corpus, self.weights.store)
        return rows, self.forward.positions, as_processed(self.weights), self.means

    def swept(self, key: ArtefactKey, files: Callable[[Path], Files]) -> Files:
        """The files of a finished sweep: the artefact is the folder with the files of all batches.

        Args:
            key: Of the artefact.
            files: Gives the files in a folder.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            work = files(self.weights.store.work(key))
            try:
                run = sweep(self.weights, work, self.forward, parts=self.parts)
            except ModelError:
                shutil.rmtree(work.folder, ignore_errors=True)  # no use to anybody
                raise
            for plan in work.plans:
                # Not moved: should this process die before the artefact is whole, the next one finds them.
                _linked(work.file(plan), folder / work.file(plan).name)
            return collect(stopwatch, batches=len(work.plans), batches_before=len(work.plans) - run)

        return files(self.weights.store.get_or_compute(key, compute))

    def key(self, kind: str, definition: str, **fields: object) -> ArtefactKey:
        """The key of something that is measured on this text with these means."""
        # The software too: what was begun with other versions does not go on.
        software = identity_of(ArtefactKey.of(kind, definition))
        common = forward_fields(self.weights, self.corpus, self.forward)
        return ArtefactKey.of(
            kind, definition, **common, means=self.options.means, **fields, software=software
        )


def _linked(file: Path, there: Path) -> None:
    """The same file under another name; a copy where a disk knows no links."""
    try:
        os.link(file, there)
    except OSError:
        shutil.copyfile(file, there)
