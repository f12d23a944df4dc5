"""How benchmarks measure: interleaved pairs for ratios, fresh processes for peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from rwcore.errors import RwcoreError
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.models.spec import LocalModel

PAIRS = 7
PACKAGED = "smollm2-135m-instruct-q4_1"


def packaged_model() -> LocalModel:
    """The packaged model; where it was not fetched, the benchmark is skipped with the command that does."""
    try:
        return locate(find(PACKAGED))
    except RwcoreError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Ratio:
    """Time of a reference divided by ours, from interleaved pairs.

    Attributes:
        quartiles: Lower quartile, median and upper quartile of the pairwise ratios.
        ours: Median seconds of ours.
        reference: Median seconds of the reference.
    """

    quartiles: tuple[float, float, float]
    ours: float
    reference: float

    @property
    def median(self) -> float:
        """The ratio to quote."""
        return self.quartiles[1]

    def facts(self) -> dict[str, float]:
        """For ``benchmark.extra_info``."""
        low, middle, high = self.quartiles
        return {
            "ratio_median": middle,
            "ratio_q1": low,
            "ratio_q3": high,
            "ours_seconds": self.ours,
            "reference_seconds": self.reference,
        }


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleaved(ours: Callable[[], object], reference: Callable[[], object], pairs: int = PAIRS) -> Ratio:
    """Ratio of two functions called in turn after one warm-up each, so that a drifting machine cancels."""
    ours()
    reference()
    timed = np.array([(seconds(ours), seconds(reference)) for _ in range(pairs)])
    low, middle, high = np.quantile(timed[:, 1] / timed[:, 0], [0.25, 0.5, 0.75])
    return Ratio((float(low), float(middle), float(high)), *np.median(timed, axis=0).tolist())


def fresh_process(code: str, *arguments: str) -> dict[str, float]:
    """Run Python code in a new process; its wall time with start-up and its peak resident memory in bytes.

    Args:
        code: A program; it may read ``sys.argv[1:]``.
        arguments: Passed to it.
    """
    program = (
        code
        + "\nimport json as _json\nfrom rwcore.runtime import peak_memory_bytes as _peak\n"
        + "print(_json.dumps(_peak()))\n"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=1800
    )
    return {
        "wall_seconds": time.perf_counter() - start,
        "peak_bytes": float(json.loads(done.stdout.splitlines()[-1])),
    }
