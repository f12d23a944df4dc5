"""Sweeps of a survey of heads: means of what is written, direct effects of all writers, paths of a few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch, batches
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, StoreError
from rwcore.heads.calibration import Calibration, calibration, summed, top_predictions
from rwcore.heads.effects import QUANTITIES, Predictions, WriterEffects, direct_effects
from rwcore.heads.paths import FROZEN, path_effects, path_moves
from rwcore.heads.readout import Readout
from rwcore.heads.run import run_heads
from rwcore.heads.writers import POSITION, Writer, WriterMeans, writer_sums
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import ArtefactKey, Store, read_arrays, write_arrays
from rwcore.studies.activation_pass import bridge
from rwcore.studies.batch_files import BatchFiles

MEANS = "means.safetensors"
CLEAN = "clean"
Head = tuple[int, int]


@dataclass(frozen=True)
class MeansTask:
    """What the mean of every writer is taken from: one plain pass, by one worker, not resumed.

    Attributes:
        store: Where the means are kept.
        key: What they are a function of.
        local: The model.
        corpus: Folder of the rows.
        token_budget: Positions of a batch.
        baseline: ``overall`` or ``position``.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    store: Store
    key: ArtefactKey
    local: LocalModel
    corpus: Path
    token_budget: int
    baseline: str
    dtype: str
    device: str
    threads: int | None


def keep_means(task: MeansTask) -> Path:
    """The artefact with the means; computed if it is not there.

    Raises:
        OptionError: Means by position are asked of rows of different lengths.
        ModelError: The model cannot be run as expected.
        StoreError: The store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        configure(threads=task.threads)
        rows = TokenCorpus.load(task.corpus)
        model = bridge(task.local, pick_device(task.device), task.dtype)
        z, mlp = torch.zeros(()), torch.zeros(())
        with counting(desc=f"means of {task.local.spec.id}", total=rows.n_tokens, unit="tok") as count:
            for plan in batches(rows, token_budget=task.token_budget):
                found = writer_sums(model, plan.load(rows), task.baseline)
                z, mlp = z.to(found.z.device) + found.z, mlp.to(found.mlp.device) + found.mlp
                count(int(rows.lengths[list(plan.rows)].sum()))
        size = len(rows) if task.baseline == POSITION else rows.n_tokens
        arrays = {"z": (z / size).float().cpu(), "mlp": (mlp / size).float().cpu()}
        write_arrays(folder / MEANS, arrays)
        return collect(stopwatch, tokens=rows.n_tokens)

    return task.store.get_or_compute(task.key, compute)


@dataclass(frozen=True)
class WriterFiles(BatchFiles):
    """A sweep over all rows that needs the read-out and the means.

    Attributes:
        local: The model.
        means: Folder of `keep_means`; None for zero ablation.
    """

    local: LocalModel
    means: Path | None

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def readout(self, model: Any) -> Readout:
        """The read-out on the model's device."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        return self._readouts[device]

    @cached_property
    def _means(self) -> WriterMeans | None:
        return None if self.means is None else WriterMeans(**read_arrays(self.means / MEANS))

    def replaced(self, model: Any) -> WriterMeans:
        """What takes the place of what writers add."""
        return self._means or WriterMeans.zero(model)

    def places(self, batch: Batch) -> Int64[Tensor, " token"]:
        """Where the tokens of a batch are in the corpus."""
        positions = torch.arange(batch.mask.shape[1])
        return (self.rows.offsets[batch.rows][:, None] + positions)[batch.mask]

    def check(self, kl: Float[Tensor, "writer token"], places: Int64[Tensor, " token"]) -> None:
        """Refuse numbers that are not finite.

        Raises:
            ModelError: One is; the document is named.
        """
        bad = (~kl.isfinite()).any(dim=0).nonzero()[:, 0]
        if len(bad):
            token = int(places[bad[0]])
            row = int(torch.searchsorted(self.rows.offsets, token, right=True)) - 1
            raise ModelError(
                f"a prediction is not finite ({len(bad)} of {len(places)} in this batch)",
                where=f"document {int(self.rows.document[row])} of {self.rows.spec.id} (row {row}), position "
                f"{token - int(self.rows.offsets[row])}",
                remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
            )

    def gathered(self, names: Sequence[str], writers: slice = slice(None)) -> dict[str, Tensor]:
        """Arrays of all batches, in the order of the tokens of the corpus.

        Args:
            names: Which, with tokens along the last axis.
            writers: Of arrays with writers along the first axis; the others are not read.

        Raises:
            StoreError: A file is missing or damaged.
        """
        found: dict[str, Tensor] = {}
        for plan in self.plans:
            parts = _read(self.file(plan), ["token", *names], writers)
            for name in names:
                part = parts[name]
                whole = found.setdefault(name, torch.empty(*part.shape[:-1], self.rows.n_tokens))
                whole[..., parts["token"]] = part
        return found


@dataclass(frozen=True)
class EffectFiles(WriterFiles):
    """Direct effects of all heads and MLPs at every token."""

    WHAT: ClassVar[str] = "direct effects"

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """`QUANTITIES` [writer token], ``clean_loss`` and ``clean_entropy`` [token], and which tokens."""
        found = direct_effects(model, batch, self.replaced(model), self.readout(model))
        places = self.places(batch)
        self.check(found.effects.kl, places)
        clean = {"clean_loss": found.clean_loss, "clean_entropy": found.clean_entropy}
        return {**vars(found.effects), **clean, "token": places}

    def effects(self, writers: slice) -> WriterEffects:
        """Effects of some writers at every token of the corpus.

        Raises:
            StoreError: A file is missing or damaged.
        """
        return WriterEffects(**self.gathered(QUANTITIES, writers))


@dataclass(frozen=True)
class CalibrationFiles(WriterFiles):
    """How well calibrated predictions are, clean and without the direct effect of each of a few heads.

    Attributes:
        heads: Which.
    """

    heads: tuple[Head, ...]

    WHAT: ClassVar[str] = "calibration without heads"

    @property
    def writers(self) -> list[Writer]:
        """The heads."""
        return [Writer(*head) for head in self.heads]

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """``calibration`` [head bins]."""
        return {"calibration": self.counted(model, batch)}

    def counted(self, model: Any, batch: Batch) -> Int64[Tensor, "head+1 count"]:
        """Counts of bins: of clean predictions, then without the direct effect of each head."""
        means, readout = self.replaced(model), self.readout(model)
        clean = Predictions.of(batch, run_heads(model, batch))
        counted = [calibration(top_predictions(clean.hidden, readout), clean.target)]
        without: dict[Writer, Calibration] = {}
        for moves in path_moves(model, batch, self.writers, means, ["direct"]):
            for writer, moved in zip(moves.writers, moves.by_path["direct"], strict=True):
                found = top_predictions(clean.hidden, readout, getattr(clean, FROZEN)(moved))
                without[writer] = calibration(found, clean.target)
        counted += [without[writer] for writer in self.writers]
        return torch.stack([torch.cat([one.total, one.correct, one.certain]) for one in counted])

    def calibrations(self) -> dict[str, Calibration]:
        """Of clean predictions (``clean``) and without the direct effect of each head (``10.7``).

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [_read(self.file(plan), ["calibration"], slice(None))["calibration"] for plan in self.plans]
        bins = (parts[0].shape[1] - 2) // 2
        names = [CLEAN, *map(str, self.writers)]
        return {
            name: summed([Calibration(*torch.split(part[number], [bins, bins, 2])) for part in parts])
            for number, name in enumerate(names)
        }


@dataclass(frozen=True)
class PathFiles(CalibrationFiles):
    """Effects of a few heads by path, and the calibration of predictions without each of them.

    Attributes:
        paths: Of `rwcore.heads.paths.PATHS`.
        held: Heads that do not react in ``indirect_held``.
    """

    paths: tuple[str, ...]
    held: tuple[Head, ...]

    WHAT: ClassVar[str] = "paths of heads"

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """``PATH/READING/QUANTITY`` [head token], ``calibration`` [head bins], and which tokens."""
        means, readout = self.replaced(model), self.readout(model)
        held = [Writer(*head) for head in self.held]
        found = path_effects(model, batch, self.writers, means, readout, paths=self.paths, held=held)
        places = self.places(batch)
        arrays = {
            f"{path}/{reading}/{name}": values
            for (path, reading), effects in found.effects.items()
            for name, values in vars(effects).items()
        }
        for name, values in arrays.items():
            if name.endswith("/kl"):
                self.check(values, places)
        return {**arrays, "calibration": self.counted(model, batch), "token": places}


def _read(path: Path, names: Sequence[str], writers: slice) -> dict[str, Tensor]:
    """Some arrays of a file, and of those of writers some rows; the others are not read."""
    from safetensors import SafetensorError, safe_open

    def part(file: Any, name: str) -> Tensor:
        view = file.get_slice(name)
        found: Tensor = view[:] if len(view.get_shape()) == 1 else view[writers]
        return found

    try:
        with safe_open(path, "pt") as file:
            return {name: part(file, name) for name in names}
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"cannot read effects: {error}",
            where=str(path),
            remedy="delete its folder; it is computed again",
        ) from error


def writer_chunks(count: int, tokens: int, most_bytes: int) -> Iterator[slice]:
    """Which writers are in memory together."""
    step = max(1, most_bytes // (4 * len(QUANTITIES) * max(tokens, 1)))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))
