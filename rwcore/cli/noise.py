"""``rwcore promote --noise``: how far recorded values move between CPU kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rwcore.cli.console import say
from rwcore.errors import GoldenError

# What oneDNN and MKL are told beside torch's own switch: the oldest kernels against the machine's choice.
KERNELS = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AUTO"},
}
# The lower bound of a gatelin region does not exist: it is a region of |cos|.
MISSING_BY_DEFINITION = ("low",)
# Attributes rates: one of ten tokens that count, of one of 72 prompts, in one of the 7 layers of a quarter.
ONE_TOKEN = 100 / 10 / 72 / 7
NEAR_TIES = dict.fromkeys(("rate", "first_quarter_rate", "last_quarter_rate"), ONE_TOKEN)


def measure_noise(root: Path, options: list[str]) -> None:
    """Run the claims once per CPU kernel and write ``golden/<paper>/noise.toml`` from what moved.

    Args:
        root: The checkout.
        options: Further arguments of pytest.

    Raises:
        GoldenError: No value was obtained.
    """
    from rwcore.golden.noise import measure, write_noise
    from rwcore.paths import cache_dir

    with tempfile.TemporaryDirectory(prefix="rwcore-noise-") as name:
        folders = {}
        for kernel, switches in KERNELS.items():
            folder = Path(name) / kernel
            _run(root, folder, cache_dir() / "models", switches, options)
            folders[kernel] = folder / "obtained"
        papers = sorted({path.name for folder in folders.values() for path in folder.glob("*")})
        if not papers:
            raise GoldenError("no recorded value was obtained", remedy="see the output of pytest above")
        for paper in papers:
            table = measure(
                {kernel: folder / paper for kernel, folder in folders.items()},
                allow_nan=MISSING_BY_DEFINITION,
                steps=NEAR_TIES,
            )
            write_noise(root / "golden" / paper, table)
            say(f"wrote golden/{paper}/noise.toml ({len(table.columns)} columns)")


def _run(root: Path, folder: Path, models: Path, switches: dict[str, str], options: list[str]) -> None:
    """One run with a cache of its own, so that every number is computed; converted models are shared."""
    cache = folder / "cache"
    cache.mkdir(parents=True)
    if models.is_dir():
        (cache / "models").symlink_to(models, target_is_directory=True)
    command = [
        *(sys.executable, "-m", "pytest", "claims", "-q", "-p", "no:cacheprovider"),
        *("--rw-obtained", str(folder / "obtained"), *options),
    ]
    # A value that differs from the recorded one is what is measured here, not a failure.
    subprocess.run(
        command, cwd=root, stdout=sys.stderr, env=os.environ | switches | {"RWCORE_CACHE": str(cache)}
    )
