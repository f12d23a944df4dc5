"""A grid of ablations killed at random moments, and dealt to two workers, ends with the same bits."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Intervention
from rwcore.models.spec import LocalModel
from rwcore.neurons import NeuronSet
from rwcore.parallel import open_engine
from rwcore.tests.prefix_grid import GRID, bits, late_model, study_in, without_prefixes

pytestmark = pytest.mark.slow

KILLS = 6
EARLY = NeuronSet.of("early", [(0, 3), (2, 5), (7, 1)])
WHOLE = [
    *(
        Experiment(EARLY, intervention, RunLabel("early", intervention.label))
        for intervention in (Intervention("zero"), Intervention("zero", "-", "+"), Intervention("relu"))
    ),
    *GRID,
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return late_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def undisturbed(llama: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    found = without_prefixes(llama, tmp_path_factory.mktemp("undisturbed"), WHOLE)
    assert len(found) == len(WHOLE)
    return found


def run_grid(local: LocalModel, root: Path) -> None:
    """The whole grid; in a process of its own, which may be killed."""
    study_in(local, root, checkpoint_every=1).runs(WHOLE)


def state(root: Path) -> set[str]:
    """Finished runs and checkpoints; folders may vanish while this looks, which `os.walk` passes over."""
    found = {
        str(Path(folder) / name) for folder, names, _ in os.walk(root / "ablation-run") for name in names
    }
    return {path for path in found if "/." not in path}


def test_killed_at_random_moments(llama: LocalModel, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformer_lens", "rwcore.tests.prefix_grid"])
    moments = random.Random(1)
    killed = 0
    for _ in range(KILLS):
        before = state(tmp_path)
        process = context.Process(target=run_grid, args=(llama, tmp_path))
        process.start()
        # Every attempt gets at least one checkpoint further, and is killed at any moment after that.
        while process.is_alive() and not state(tmp_path) - before:
            time.sleep(0.005)
        time.sleep(moments.random() * 0.2)
        process.kill()
        process.join()
        killed += process.exitcode == -9
    assert killed >= 2, "the grid was over too soon to be a drill"
    assert bits(study_in(llama, tmp_path).runs(WHOLE)) == undisturbed
    leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith(".") or ".work" in str(path)]
    assert leftovers == []


def test_two_workers(llama: LocalModel, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with open_engine("local:2") as engine:
        assert bits(study_in(llama, tmp_path, engine=engine, threads=1).runs(WHOLE)) == undisturbed
