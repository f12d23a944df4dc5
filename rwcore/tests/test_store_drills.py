"""Drills on the store: killed and rival processes, full and unwritable disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.errors import StoreError
from rwcore.store import (
    MANIFEST,
    ArtefactKey,
    Store,
    atomic_file,
    write_arrays,
    write_json,
    write_table,
    write_text,
)
from rwcore.tests.test_store import KEY, Counted, leftovers

WORKER = """
import pathlib, sys, time
from rwcore.store import ArtefactKey, Store, write_text
root, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
def compute(folder):
    (folder / "half.bin").write_bytes(b"half")
    with (root / "runs").open("a") as runs:
        runs.write("x")
    time.sleep(seconds)
    write_text(folder / "value.txt", "done")
    return {}
print(Store(root / "store").get_or_compute(ArtefactKey.of("study", "study/1"), compute))
"""


def start_worker(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_killed_computation_is_done_again_and_cleaned_up(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, 60)
    wait_for(lambda: (tmp_path / "runs").exists())
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=30)
    store = Store(tmp_path / "store")
    assert [Path(path).name for path in leftovers(store.root)] == ["half.bin"]
    assert store.entries() == []

    compute = Counted()
    folder = store.get_or_compute(ArtefactKey.of("study", "study/1"), compute)
    assert compute.runs == 1
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "value.txt"]
    assert leftovers(store.root) == [f"study/{folder.name}/{MANIFEST}", f"study/{folder.name}/value.txt"]


def test_a_computation_killed_before_its_rename_is_no_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_json(tmp_path / "study" / f".{KEY.digest}.abc" / MANIFEST, {})
    assert store.entries() == []
    store.get_or_compute(KEY, Counted())
    assert store.entries() == [store.path(KEY)]
    assert not (tmp_path / "study" / f".{KEY.digest}.abc").exists()


def test_two_processes_that_ask_at_once_compute_once(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path, 1) for _ in range(2)]
    outputs = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert (tmp_path / "runs").read_text() == "x"
    assert outputs[0][0] == outputs[1][0]
    assert (Path(outputs[0][0].strip()) / "value.txt").read_text() == "done"


def test_two_threads_that_ask_at_once_compute_once(tmp_path: Path) -> None:
    compute = Counted()

    def slowly(folder: Path) -> Mapping[str, object]:
        time.sleep(0.2)
        return compute(folder)

    threads = [threading.Thread(target=Store(tmp_path).get_or_compute, args=(KEY, slowly)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compute.runs == 1


# --- places that cannot be written --------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("needs the right to mount; the test with a simulated error covers the message")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def tensor_file(folder: Path) -> None:
    write_arrays(folder / "x.safetensors", {"x": torch.zeros(1024, 1024)})


def table_file(folder: Path) -> None:
    write_table(folder / "x.parquet", pd.DataFrame({"x": np.random.default_rng(0).normal(size=200_000)}))


def text_file(folder: Path) -> None:
    write_text(folder / "x.txt", "x" * 2_000_000)


def plain_file(folder: Path) -> None:
    (folder / "x.bin").write_bytes(b"x" * 2_000_000)


@pytest.mark.parametrize("fill", [tensor_file, table_file, text_file, plain_file])
def test_a_full_disk(fill: Callable[[Path], None], tiny_disk: Path) -> None:
    def compute(folder: Path) -> Mapping[str, object]:
        fill(folder)
        return {}

    store = Store(tiny_disk)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.get_or_compute(KEY, compute)
    assert "rwcore cache clear" in str(caught.value.remedy)
    assert str(tiny_disk) in str(caught.value.where)
    assert leftovers(tiny_disk) == []
    store.get_or_compute(KEY, Counted())


def test_a_full_disk_simulated(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_file(tmp_path / "x") as file:
            file.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match="the disk is full") as caught:
        write()
    assert "RWCORE_CACHE" in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


def test_a_store_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write: Not a directory") as caught:
        Store(tmp_path / "file").get_or_compute(KEY, Counted())
    assert "RWCORE_CACHE" in str(caught.value.remedy)


def test_a_lock_that_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("rwcore.store.FileLock.__enter__", refuse)  # root may write anywhere
    with pytest.raises(StoreError, match="cannot write: Permission denied"):
        Store(tmp_path).get_or_compute(KEY, Counted())
