"""What a model says at chosen places, as artefacts: the clean model once, each ablated run by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rwcore.ablation.continuations import Continuations, continuations, hidden_states
from rwcore.ablation.saved import load_ablation
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure
from rwcore.store import ArtefactKey, Store, read_arrays, write_arrays
from rwcore.studies.ablation_runs import ablation_hash
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import as_processed, forward_fields, keep_rows

DEFINITION = "ablation_examples/1"
LISTS_FILE = "continuations.safetensors"
HIDDEN_FILE = "hidden.safetensors"

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Runner:
    """The model, and where things are: what a worker needs to know for any places.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where artefacts are kept.
        corpus: Folder of the rows (`TokenCorpus.save`).
        fields: What the numbers depend on beside places and ablation, for keys.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    store: Store
    corpus: Path
    fields: tuple[tuple[str, object], ...]
    dtype: str
    device: str
    threads: int | None

    @classmethod
    def of(cls, study: AblationStudy) -> Runner:
        """The model of a study, run as the study runs it, but row by row."""
        options = study.options
        fields = forward_fields(study.weights, study.corpus, options)
        del fields["token_budget"]
        return cls(
            local=as_processed(study.weights),
            store=study.weights.store,
            corpus=keep_rows(study.corpus, study.weights.store),
            fields=tuple(sorted(fields.items())),
            dtype=options.dtype,
            device=options.device,
            threads=options.threads,
        )

    def key(self, kind: str, **more: object) -> ArtefactKey:
        """The key of an artefact."""
        return ArtefactKey.of(kind, DEFINITION, **dict(self.fields), **more)

    def begin(self) -> tuple[object, TokenCorpus]:
        """The model and the rows, in this process."""
        configure(threads=self.threads)
        return bridge(self.local, pick_device(self.device), self.dtype), TokenCorpus.load(self.corpus)


@dataclass(frozen=True)
class CleanTask:
    """The hidden states of the clean model at some places.

    Attributes:
        runner: The model, and where things are.
        places: Row and position of each, ascending.
    """

    runner: Runner
    places: Places

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return "examples: clean run"

    @property
    def key(self) -> ArtefactKey:
        """What it is a function of."""
        return self.runner.key("clean-states", places=self.places)


@dataclass(frozen=True)
class ContinuationsTask:
    """What the model says at some places, clean and in one run.

    Attributes:
        runner: The model, and where things are.
        places: Row and position of each, ascending.
        run: Folder of the run, which has its ablation.
        run_name: What it is called.
        top: Length of each list.
        clean: The clean hidden states at these places and perhaps others; None while it is not known.
    """

    runner: Runner
    places: Places
    run: Path
    run_name: str
    top: int
    clean: CleanTask | None = None

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return f"examples of {self.run_name}"

    @property
    def key(self) -> ArtefactKey:
        """What it is a function of."""
        ablation = ablation_hash(load_ablation(self.run))
        return self.runner.key("ablation-examples", ablation=ablation, places=self.places, top=self.top)


def find_clean(task: CleanTask) -> Path:
    """The artefact with hidden states of the clean model; computed if it is not there.

    Rows are run to their ends, so that a state does not depend on which others are asked for.

    Raises:
        RwcoreError: A file cannot be read or written, or the model cannot be run.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        model, corpus = task.runner.begin()
        found = hidden_states(model, corpus, task.places, whole=True)
        write_arrays(folder / HIDDEN_FILE, {"hidden": found.cpu()})
        return collect(stopwatch, name=task.name)

    return task.runner.store.get_or_compute(task.key, compute)


def find_continuations(task: ContinuationsTask) -> Path:
    """The artefact with what the model says at some places; computed if it is not there.

    Raises:
        RwcoreError: A file cannot be read or written, or the ablation does not fit the model.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        clean = task.clean or CleanTask(task.runner, task.places)
        states = read_arrays(find_clean(clean) / HIDDEN_FILE)["hidden"]
        where = {place: number for number, place in enumerate(clean.places)}
        chosen = states[torch.tensor([where[place] for place in task.places], dtype=torch.int64)]
        model, corpus = task.runner.begin()
        ablation = load_ablation(task.run)
        found = continuations(model, corpus, task.places, ablation, chosen, top=task.top)
        write_arrays(folder / LISTS_FILE, found.to_arrays())
        return collect(stopwatch, name=task.name)

    return task.runner.store.get_or_compute(task.key, compute)


def read_continuations(folder: Path) -> Continuations:
    """What `find_continuations` wrote.

    Raises:
        StoreError: The folder is damaged.
    """
    return Continuations.from_arrays(read_arrays(folder / LISTS_FILE))
