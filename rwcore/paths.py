"""Where things are: the cache, the checkout with ``claims/`` and ``golden/``, names as file names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

from rwcore.errors import OptionError, StoreError


def slug(text: str) -> str:
    """A file name for a model or claim name: ``/`` becomes ``--``, other unsafe characters ``_``.

    Case, dots, dashes and underscores stay, so that ``Qwen2.5-0.5B`` and ``Qwen2_5-0_5B`` do not collide.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", text.replace("/", "--"))


def cache_dir() -> Path:
    """The folder for converted weights and artefacts: ``RWCORE_CACHE``, else the user's cache folder.

    Raises:
        StoreError: The folder cannot be created or written to.
    """
    folder = Path(os.environ.get("RWCORE_CACHE") or platformdirs.user_cache_dir("rwcore")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, str(error)) from error
    if not os.access(folder, os.W_OK):
        raise _unwritable(folder, "permission denied")
    return folder


def _unwritable(folder: Path, reason: str) -> StoreError:
    return StoreError(
        f"the cache folder cannot be written: {reason}",
        where=str(folder),
        remedy="set RWCORE_CACHE to a folder you may write to",
    )


def project_root() -> Path:
    """The checkout that holds ``claims/`` and ``golden/``.

    ``RWCORE_ROOT`` decides; otherwise the nearest folder upwards from the working directory, then
    from this package, that holds both.

    Raises:
        OptionError: There is none, as in a plain installation of the library.
    """
    named = os.environ.get("RWCORE_ROOT")
    starts = [Path(named)] if named else [Path.cwd(), Path(__file__).resolve().parent]
    for start in starts:
        for folder in [start] if named else [start, *start.parents]:
            if (folder / "claims").is_dir() and (folder / "golden").is_dir():
                return folder
    raise OptionError(
        "no folder with claims/ and golden/ was found",
        where="RWCORE_ROOT" if named else str(Path.cwd()),
        remedy="run inside a checkout of rwcore, or set RWCORE_ROOT to one",
    )


def claims_dir() -> Path:
    """The folder with one sub-folder per paper."""
    return project_root() / "claims"


def golden_dir() -> Path:
    """The folder with the published and the recorded values."""
    return project_root() / "golden"
