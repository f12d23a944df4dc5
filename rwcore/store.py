"""Artefacts on disk: written whole or not at all, found again by what they were computed from.

An artefact is a folder named by the hash of its key (model, processing, corpus, parameters, definition
version). It is filled under another name, flushed to disk and renamed, under a lock, so that neither a
killed process nor a second one leaves or sees half of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from rwcore.errors import StoreError
from rwcore.paths import cache_dir, slug

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ArtefactKey:
    """What an artefact is a function of.

    Attributes:
        kind: The study that makes it, e.g. ``weights``.
        definition: Version of the statistic's definition, e.g. ``weights/1``.
        fields: Everything else that may change a value, as sorted (name, text) pairs.
    """

    kind: str
    definition: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, kind: str, definition: str, **fields: object) -> ArtefactKey:
        """A key from keyword arguments; values are turned into canonical JSON.

        Raises:
            TypeError: A value is not made of JSON types, paths and sets. The text of any other object may
                differ from run to run, and the artefact would never be found again.
        """
        pairs = ((name, json.dumps(value, sort_keys=True, default=_plain)) for name, value in fields.items())
        return cls(kind, definition, tuple(sorted(pairs)))

    @property
    def digest(self) -> str:
        """Hash of the key, the name of the artefact's folder."""
        text = json.dumps([self.kind, self.definition, self.fields])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of an artefact's key")


class Store:
    """The artefacts below one folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else cache_dir() / "artefacts"

    def path(self, key: ArtefactKey) -> Path:
        """The folder an artefact has or would have."""
        return self.root / slug(key.kind) / key.digest

    def work(self, key: ArtefactKey) -> Path:
        """A folder for what there is of an artefact that takes long: it outlives a killed process.

        Whoever computes the artefact makes it; it is removed as soon as the artefact is finished.
        """
        return self.path(key).with_suffix(".work")

    def get_or_compute(self, key: ArtefactKey, compute: Callable[[Path], Mapping[str, object]]) -> Path:
        """The artefact's folder; computed first if it is not there.

        Args:
            key: What the artefact is a function of.
            compute: Fills an empty folder and returns facts for the manifest (provenance).

        Raises:
            StoreError: The folder cannot be written, or the disk is full; nothing is left behind.
        """
        final, work = self.path(key), self.work(key)
        if (final / MANIFEST).exists() and not work.exists():
            return final
        with contextlib.ExitStack() as held:
            with writing(final):
                final.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(final.with_suffix(".lock")))
            if not (final / MANIFEST).exists():
                # What a killed process left: nobody else fills this artefact while the lock is held.
                for stale in final.parent.glob(f".{final.name}.*"):
                    shutil.rmtree(stale, ignore_errors=True)
                with atomic_folder(final) as folder:
                    facts = dict(compute(folder))
                    key_facts = {"kind": key.kind, "definition": key.definition, "key": dict(key.fields)}
                    write_json(folder / MANIFEST, {**facts, **key_facts})
            # Also of a process that was killed after it had finished the artefact.
            shutil.rmtree(work, ignore_errors=True)
        return final

    def entries(self) -> list[Path]:
        """Folders of all finished artefacts, in a fixed order."""
        folders = (manifest.parent for manifest in self.root.glob(f"*/*/{MANIFEST}"))
        return sorted(folder for folder in folders if not folder.name.startswith("."))

    def clear(self) -> int:
        """Delete every artefact; the number of bytes freed."""
        size = folder_size(self.root)
        shutil.rmtree(self.root, ignore_errors=True)
        return size


@contextlib.contextmanager
def writing(target: Path, only_below: Path | None = None) -> Iterator[None]:
    """Turn an OSError while ``target`` is written into a StoreError that says what to do.

    Args:
        target: What the message names.
        only_below: Pass on errors that are not about this folder or a full disk: the block does more
            than write.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and only_below is not None and not str(error.filename or "").startswith(str(only_below)):
            raise
        raise StoreError(
            "the disk is full" if full else f"cannot write: {error.strerror or error}",
            where=str(target),
            remedy=("free some space (`rwcore cache clear`), or " if full else "make it writable, or ")
            + "choose another folder with RWCORE_CACHE or --out",
        ) from error


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """An empty folder that becomes ``final`` if the block succeeds, and vanishes if it does not."""
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        with writing(final, only_below=folder):
            yield folder
        with writing(final):
            for file in folder.rglob("*"):
                # Temporary files are private; a cache may be shared by the users of a cluster.
                file.chmod(0o755 if file.is_dir() else 0o644)
                if file.is_file():
                    _flush(file)
            folder.chmod(0o755)
            if final.exists():
                shutil.rmtree(final)
            folder.rename(final)
            _flush(final.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(final: Path) -> Iterator[Path]:
    """A path to write that becomes ``final`` if the block succeeds, and vanishes if it does not."""
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{final.name}.", suffix=final.suffix, dir=final.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(final):
            yield temporary
            temporary.chmod(0o644)
            _flush(temporary)
            temporary.replace(final)
            _flush(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StoreError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read JSON: {error}", where=str(path), remedy="delete the artefact; it is computed again"
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_file(path) as temporary:
        try:
            save_file({name: array.contiguous() for name, array in arrays.items()}, temporary)
        except SafetensorError as error:
            # The library has the system's error number in its text only.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file.

    Raises:
        StoreError: The file is missing or corrupt.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        arrays: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"cannot read arrays: {error}",
            where=str(path),
            remedy="delete the artefact; it is computed again",
        ) from error
    return arrays


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as parquet, whole or not at all."""
    with atomic_file(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet table.

    Raises:
        StoreError: The file is missing or corrupt.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read table: {error}", where=str(path), remedy="delete the artefact; it is computed again"
        ) from error


def hash_file(path: Path) -> str:
    """``sha256:`` and the hash of a file's bytes."""
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
