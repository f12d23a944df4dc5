"""Threads, TF32, progress and memory of the running process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def configure(*, threads: int | None = None, tf32: bool = False) -> None:
    """Set what decides speed and rounding: CPU threads, and TensorFloat-32 on GPUs (off unless asked)."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory of this process for its next large arrays.

    By default glibc takes every array of more than 32 MiB from the system and gives it back at once, and the
    system clears it each time: of the forward pass of a small model on a CPU that is a third of the time.

    Returns:
        Whether it was possible; other C libraries have no such switch.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return False
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))


def quiet() -> bool:
    """Whether progress bars stay off: in CI, in a test worker, or when nobody watches the terminal."""
    return bool(os.environ.get("CI") or os.environ.get("PYTEST_XDIST_WORKER")) or not sys.stderr.isatty()


def progress(
    items: Iterable[Item], *, desc: str, total: int | None = None, unit: str = "it"
) -> Iterator[Item]:
    """Wrap an iterable in a progress bar, unless nobody would see it."""
    # An iterator: a bar itself looks like a sequence without being one.
    return iter(tqdm(items, desc=desc, total=total, unit=unit, leave=False, disable=quiet()))


@contextlib.contextmanager
def counting(*, desc: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], object]]:
    """A progress bar over steps of different sizes; yields what to call with the size of each.

    Args:
        desc: What is done.
        total: Everything there is to do, in units.
        unit: Name of the unit; the bar shows units a second and the time that is left.
        done: What was done before, so that the speed is that of this run.
    """
    with tqdm(
        desc=desc, total=total, initial=done, unit=unit, unit_scale=True, leave=False, disable=quiet()
    ) as bar:
        yield bar.update


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process so far (VmHWM), or None where the system does not tell.

    Pages of memory-mapped files count.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
