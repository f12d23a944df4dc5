"""The one seam for engines: run a function over specifications here, or on a Dask scheduler.

Tasks carry specifications and paths, never tensors; results are small or lie in the store. Any Dask
deployment works: start it (SLURM, SSH, Kubernetes, ``dask scheduler``) and pass its address or its
scheduler file.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from rwcore.errors import OptionError
from rwcore.runtime import progress

CONNECT_TIMEOUT = "20s"

Spec = TypeVar("Spec")
Result = TypeVar("Result")


class Engine(Protocol):
    """Something that can run one function over many specifications."""

    def map(self, function: Callable[[Spec], Result], specs: Sequence[Spec], *, desc: str) -> list[Result]:
        """Results in the order of ``specs``; the first exception of a task is raised."""
        ...


class InProcess:
    """Runs the tasks one after another in this process."""

    def map(self, function: Callable[[Spec], Result], specs: Sequence[Spec], *, desc: str) -> list[Result]:
        """Results in the order of ``specs``."""
        return [function(spec) for spec in progress(specs, desc=desc, total=len(specs))]


class Dask:
    """Runs the tasks on the workers of a Dask scheduler."""

    def __init__(self, client: object) -> None:
        self._client = client

    def map(self, function: Callable[[Spec], Result], specs: Sequence[Spec], *, desc: str) -> list[Result]:
        """Results in the order of ``specs``; a task whose worker died is run again by the scheduler."""
        # pure=False: equal specifications are still separate tasks; the store makes repeats cheap.
        futures = self._client.map(function, list(specs), pure=False, key=desc)  # type: ignore[attr-defined]
        from distributed import as_completed

        for _ in progress(as_completed(futures), desc=desc, total=len(futures)):
            pass
        return list(self._client.gather(futures))  # type: ignore[attr-defined]


@contextlib.contextmanager
def open_engine(scheduler: str | None = None) -> Iterator[Engine]:
    """The engine an option names.

    Args:
        scheduler: None for this process; ``local`` or ``local:N`` for N worker processes on this
            machine (bound to 127.0.0.1); an address such as ``tcp://host:8786``; or the path of a
            scheduler file.

    Raises:
        OptionError: The ``cluster`` extra is missing, the name or number is none, or no scheduler answers.
    """
    if scheduler is None:
        yield InProcess()
        return
    # Checked before anything is started: Dask takes a cluster without workers, and then waits for ever.
    workers = _local_workers(scheduler)
    address = _address(scheduler) if workers is None else ""
    try:
        import distributed
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise OptionError(
            "a scheduler needs the package `distributed`",
            where=f"--rw-scheduler {scheduler}",
            remedy="pip install 'rwcore[cluster]'",
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            if workers is not None:
                cluster = distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
                )
                address = stack.enter_context(cluster).scheduler_address
            # A client that cannot parse its address is never closed and hangs when it is collected.
            get_address_host_port(address)
            client = stack.enter_context(distributed.Client(address, timeout=CONNECT_TIMEOUT))
        except (OSError, ValueError, RuntimeError) as error:
            raise _unusable(f"no Dask scheduler could be reached: {error}", scheduler) from error
        yield Dask(client)


def _local_workers(scheduler: str) -> int | None:
    """How many workers ``local[:N]`` asks for (one a core without N); None if it is no such name."""
    name, colon, number = scheduler.partition(":")
    if name != "local":
        return None
    if not colon:
        return os.cpu_count() or 1
    if not number.isdecimal() or int(number) < 1:
        raise _unusable("the number of local workers must be a whole number from 1", scheduler)
    return int(number)


def _address(scheduler: str) -> str:
    """The address a text names, or the one in the scheduler file it names."""
    if not Path(scheduler).is_file():
        if "://" not in scheduler:
            raise _unusable("this is neither a scheduler's address nor a file", scheduler)
        return scheduler
    try:
        return str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable("this file was not written by a Dask scheduler", scheduler) from error


def _unusable(what: str, scheduler: str) -> OptionError:
    return OptionError(
        what,
        where=f"--rw-scheduler {scheduler}",
        remedy="use local, local:N, tcp://HOST:PORT or the path of a scheduler file",
    )
