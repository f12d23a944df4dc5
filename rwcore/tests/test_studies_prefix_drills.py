"""Drills on runs that share their first layers: processes killed on the way, two workers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rwcore.models.spec import LocalModel
from rwcore.parallel import open_engine
from rwcore.studies.prefixes import KIND
from rwcore.tests.prefix_grid import GRID, bits, kept, late_model, layers_read, study_in, without_prefixes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return late_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def plain(llama: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Bits of the grid of the llama, all layers computed."""
    return without_prefixes(llama, tmp_path_factory.mktemp("plain"), GRID)


def run_grid(local: LocalModel, root: Path) -> None:
    """The whole grid; in a process of its own, which may be killed."""
    study_in(local, root).runs(GRID)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_a_grid_killed_in_its_prefix_and_in_a_run(
    llama: LocalModel, tmp_path: Path, plain: dict[str, Any]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformer_lens", "rwcore.tests.pass_makers"])
    for pattern in (f"{KIND}/*.work/batch_*1.safetensors", "ablation-run/*.work/batches_*"):
        process = context.Process(target=run_grid, args=(llama, tmp_path))
        process.start()
        wait_for(lambda pattern=pattern: any(tmp_path.glob(pattern)))
        process.kill()
        process.join()
        assert process.exitcode == -9
        assert len(kept(tmp_path)) == 1
    assert bits(study_in(llama, tmp_path).runs(GRID)) == plain
    leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith(".") or ".work" in str(path)]
    assert [*leftovers, *kept(tmp_path)] == []


def test_workers_share_a_prefix(llama: LocalModel, tmp_path: Path, plain: dict[str, Any]) -> None:
    with open_engine("local:2") as engine:
        found = study_in(llama, tmp_path, engine=engine, threads=torch.get_num_threads()).runs(GRID)
    assert bits(found) == plain
    assert layers_read(found) == [5] * len(GRID)
    assert kept(tmp_path) == []
