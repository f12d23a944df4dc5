"""What produced a value: software, machine, commit, time."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

from rwcore.runtime import peak_memory_bytes

PACKAGES = (
    "rwcore",
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "pandas",
    "scipy",
    "safetensors",
    "gguf",
)


def software() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def commit() -> dict[str, object]:
    """Commit of the checkout this package runs from and whether files differ from it.

    Empty outside a checkout.
    """
    file = Path(__file__).resolve()

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=file.parent, capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's checkout, e.g. in its virtual environment.
        git("ls-files", "--error-unmatch", file.name)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def machine() -> dict[str, object]:
    """Processor, threads and numerical switches that can move the last digits."""
    import torch

    facts: dict[str, object] = {
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["cuda"] = torch.version.cuda
    return facts


@functools.cache
def _code() -> dict[str, object]:
    """Software and commit, asked for once: code does not change while it runs, and git takes its time."""
    return {"software": software(), **commit()}


class Stopwatch:
    """Wall time since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the stopwatch was made, to the millisecond."""
        return round(time.perf_counter() - self._start, 3)


def collect(stopwatch: Stopwatch | None = None, **facts: object) -> dict[str, object]:
    """A provenance record: the given facts, and software, machine, commit, time and peak memory."""
    record: dict[str, object] = {
        **facts,
        **_code(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    if stopwatch is not None:
        record["wall_seconds"] = stopwatch.seconds
    return record
