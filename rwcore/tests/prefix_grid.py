"""A grid of ablations that begin late, on a tiny model, for tests of the layers they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.tiny import build, local_model
from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Intervention
from rwcore.ablation.run_metrics import METRICS
from rwcore.corpora.batches import batches
from rwcore.models.spec import LocalModel
from rwcore.neurons import NeuronSet
from rwcore.parallel import Engine
from rwcore.store import Store, read_json
from rwcore.studies import ablations
from rwcore.studies.ablation_runs import read_run
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.failures import Failure
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.prefixes import KIND
from rwcore.studies.weights import weight_study
from rwcore.tests.pass_makers import random_corpus

LAYERS = 8
CORPUS = random_corpus(rows=20, seed=5)
BUDGET = 60
BATCHES = len(batches(CORPUS, token_budget=BUDGET))
FACTORS = (0.0, 2.0)


def late_model(family: str, folder: Path) -> LocalModel:
    """A model with more layers than usual."""
    return local_model(build(family, folder, layers=LAYERS), id="tiny")


def study_in(local: LocalModel, root: Path, engine: Engine | None = None, **options: object) -> AblationStudy:
    given = {"token_budget": BUDGET, "device": "cpu", "checkpoint_every": 3, **options}
    weights = weight_study(local, store=Store(root), engine=engine)
    return AblationStudy(weights, CORPUS, None, ForwardOptions(**given))  # type: ignore[arg-type]


def from_layer(start: int, factors: Sequence[float] = FACTORS) -> list[Experiment]:
    """Runs that multiply neurons of a layer and of the last one."""
    neurons = NeuronSet.of(f"from {start}", [(LAYERS - 1, 3), (start, 0), (start, 5)])
    return [
        Experiment(neurons, Intervention("multiply", parameter=factor), RunLabel(neurons.name, str(factor)))
        for factor in factors
    ]


GRID = [*from_layer(5), *from_layer(6)]


def bits(found: Sequence[Path | Failure]) -> dict[str, list[bytes]]:
    """The metrics of runs by the name of their artefact, which has the key in it."""
    runs = {path.name: read_run(path) for path in found if isinstance(path, Path)}
    return {
        name: [getattr(one, metric).numpy().tobytes() for metric in METRICS] for name, one in runs.items()
    }


def layers_read(found: Sequence[Path | Failure]) -> list[int]:
    """How many layers each run has read instead of computing them."""
    paths = [path for path in found if isinstance(path, Path)]
    return [read_json(path / "manifest.json")["runs"][0]["layers_read"] for path in paths]


def without_prefixes(local: LocalModel, root: Path, experiments: Sequence[Experiment]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "plan_prefixes", lambda *_, **__: ())
        return bits(study_in(local, root).runs(experiments))


def kept(root: Path) -> list[str]:
    """What there is of prefixes on disk; no locks, and nothing that the next process removes unseen."""
    folders = (path.name for path in root.glob(f"{KIND}/*") if path.is_dir())
    return sorted(name for name in folders if not name.startswith("."))
