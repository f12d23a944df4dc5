"""Drills on a whole pass: processes killed at random moments, a Dask worker killed on the way."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fixtures.tiny import build, local_model
from rwcore.models.spec import LocalModel
from rwcore.parallel import open_engine
from rwcore.studies.activations import ActivationStudy
from rwcore.tests.pass_makers import random_corpus, same_pass, tiny_study

pytestmark = pytest.mark.slow

CORPUS = random_corpus(rows=250, seed=3)
KILLS = 6


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def whole(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    """A pass that nothing has interrupted."""
    study = tiny_study(local, tmp_path_factory.mktemp("whole"), CORPUS)
    assert len(study.provenance["runs"]) == 1
    return study


def run_pass(local: LocalModel, root: Path) -> None:
    """The whole pass; in a process of its own, which may be killed."""
    _ = tiny_study(local, root, CORPUS, checkpoint_every=3).folder


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_killed_at_random_moments_the_pass_ends_with_the_same_bits(
    whole: ActivationStudy, local: LocalModel, tmp_path: Path
) -> None:
    # A server that has imported everything and has no threads: a new process starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformer_lens", "rwcore.tests.pass_makers"])
    moments = random.Random(0)

    def checkpoints() -> set[str]:
        return {path.name for path in tmp_path.glob("*/*.work/shard_*/batches_*")}

    killed = 0
    for attempt in range(KILLS + 1):
        before = checkpoints()
        process = context.Process(target=run_pass, args=(local, tmp_path))
        process.start()
        if attempt == KILLS:
            process.join(timeout=120)
            assert process.exitcode == 0
            break
        # Every attempt gets one checkpoint further, and is killed at any moment after that.
        wait_for(lambda process=process, before=before: checkpoints() - before or not process.is_alive())
        time.sleep(moments.random() * 0.3)
        process.kill()
        process.join()
        killed += process.exitcode == -9
    assert killed >= 2, "the pass was over too soon to be a drill"
    study = tiny_study(local, tmp_path, CORPUS)
    assert same_pass(study, whole)
    runs = study.provenance["runs"]
    assert len(runs) > 2
    assert runs[-1]["first_batch"] > 0, "the last run went on from a checkpoint"
    leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith(".") or ".work" in str(path)]
    assert leftovers == []


def test_a_dask_worker_killed_on_the_way_changes_nothing(
    whole: ActivationStudy, local: LocalModel, tmp_path: Path
) -> None:
    import threading

    killed: list[int] = []

    def kill_one() -> None:
        """Kill the worker that has the first shard, as soon as it has written a checkpoint."""
        pattern = "*/*.work/shard_000_of_003/batches_*"
        wait_for(lambda: any(tmp_path.glob(pattern)))
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(file.path.endswith("shard_000_of_003.lock") for file in process.open_files()):
                    process.kill()
                    killed.append(process.pid)

    with open_engine("local:2") as engine:
        study = tiny_study(local, tmp_path, CORPUS, engine=engine, shards=3, checkpoint_every=1)
        killer = threading.Thread(target=kill_one)
        killer.start()
        _ = study.folder
        killer.join()
    assert killed
    assert same_pass(study, whole)
    runs = [run for run in study.provenance["runs"] if run["shard"] == 0]
    assert len(runs) == 2, "another worker went on with the shard of the killed one"
    assert runs[1]["first_batch"] > 0
