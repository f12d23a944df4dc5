"""The seam for engines: this process, a Dask cluster here, a scheduler elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from rwcore import parallel
from rwcore.errors import OptionError, WeightsError
from rwcore.parallel import Dask, InProcess, open_engine


def square(number: int) -> int:
    return number * number


def square_late(number: int) -> tuple[int, int]:
    """The square and the worker's process; the first tasks finish last."""
    time.sleep(0.2 / (1 + number))
    return number * number, os.getpid()


def draw(_: int) -> str:
    """Something else every time."""
    return uuid.uuid4().hex


def fail_on_two(number: int) -> int:
    if number == 2:
        raise WeightsError("no such layer", where="layer 2", remedy="fetch it")
    return number


def test_without_a_scheduler_tasks_run_here_in_order() -> None:
    with open_engine(None) as engine:
        assert isinstance(engine, InProcess)
        assert engine.map(square, [3, 1, 2], desc="squares") == [9, 1, 4]
        assert engine.map(square, [], desc="nothing") == []
        assert engine.map(lambda _: os.getpid(), [0], desc="where") == [os.getpid()]


def test_the_error_of_a_task_is_raised() -> None:
    with open_engine(None) as engine, pytest.raises(WeightsError, match="no such layer"):
        engine.map(fail_on_two, [1, 2, 3], desc="failing")


@pytest.mark.parametrize("name", ["local:0", "local:-1", "local:x", "local:1.5", "local:"])
def test_a_bad_number_of_local_workers(name: str) -> None:
    with pytest.raises(OptionError, match="whole number from 1") as caught, open_engine(name):
        pass
    assert caught.value.where == f"--rw-scheduler {name}"
    assert "local:N" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["", "here", "localhost:8786", "/no/such/scheduler.json"])
def test_a_name_that_is_neither_an_address_nor_a_file(name: str) -> None:
    with pytest.raises(OptionError, match="neither a scheduler's address nor a file"), open_engine(name):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"id": 1}', "tcp://127.0.0.1:1", "\xff"])
def test_a_file_that_no_scheduler_wrote(text: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(OptionError, match="not written by a Dask scheduler"), open_engine(str(file)):
        pass


@pytest.mark.parametrize("address", ["bogus://host:1", "tcp://127.0.0.1"])
def test_an_address_dask_does_not_understand(address: str) -> None:
    with pytest.raises(OptionError, match="no Dask scheduler could be reached"), open_engine(address):
        pass


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "CONNECT_TIMEOUT", "1s")
    with (
        pytest.raises(OptionError, match="no Dask scheduler could be reached") as caught,
        open_engine("tcp://127.0.0.1:1"),
    ):
        pass
    assert caught.value.where == "--rw-scheduler tcp://127.0.0.1:1"


def test_without_the_cluster_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionError, match="needs the package") as caught, open_engine("local:1"):
        pass
    assert "rwcore[cluster]" in str(caught.value.remedy)


def listening_addresses() -> set[str]:
    """Addresses on which this process and its children accept connections."""
    here = psutil.Process()
    processes = [here, *here.children(recursive=True)]
    sockets = [socket for process in processes for socket in process.net_connections("inet")]
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}


@pytest.mark.slow
def test_dask_gives_the_results_of_this_process_in_order_and_stays_on_the_loopback() -> None:
    before = listening_addresses()
    with open_engine("local:2") as engine:
        assert isinstance(engine, Dask)
        assert listening_addresses() - before <= {"127.0.0.1"}
        assert "127.0.0.1" in listening_addresses()
        results = engine.map(square_late, range(8), desc="squares of org/model")
        assert [result for result, _ in results] == InProcess().map(square, range(8), desc="squares")
        workers = {worker for _, worker in results}
        assert len(workers) == 2
        assert os.getpid() not in workers
        # Equal specifications are separate tasks, and a second map under the same name runs again.
        tickets = [ticket for _ in range(2) for ticket in engine.map(draw, [2, 2], desc="tickets")]
        assert len(set(tickets)) == 4
        with pytest.raises(WeightsError) as caught:
            engine.map(fail_on_two, [1, 2, 3], desc="failing")
        assert (caught.value.where, caught.value.remedy) == ("layer 2", "fetch it")
    assert not [worker for worker in workers if psutil.pid_exists(worker)]


@pytest.mark.slow
@pytest.mark.parametrize("by_file", [False, True])
def test_a_running_scheduler_is_found_by_address_and_by_file(by_file: bool, tmp_path: Path) -> None:
    import distributed

    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        name = cluster.scheduler_address
        if by_file:
            file = tmp_path / "scheduler.json"
            file.write_text(json.dumps({"address": cluster.scheduler_address}))
            name = str(file)
        with open_engine(name) as engine:
            assert engine.map(square, [5, 4], desc="squares") == [25, 16]
