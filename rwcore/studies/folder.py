"""The folder a command writes: accepted before anything is computed, then filled whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.errors import StoreError
from rwcore.store import MANIFEST, atomic_folder, hash_file, read_json, write_json, write_text, writing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STAGING = ".rwcore-new"
UNFINISHED = "rwcore-unfinished/1"
"""Schema of the manifest of a folder that no export has completed yet."""
PNG_DPI = 200


def check_target(out: Path, *, force: bool = False) -> Path:
    """Refuse an output folder that cannot or must not be written, before anything is computed.

    Args:
        out: The folder; it need not exist.
        force: Accept a folder that holds other files.

    Returns:
        The folder as an absolute path, symbolic links resolved.

    Raises:
        StoreError: It is a file, cannot be written, or holds files that are not an export of rwcore.
    """
    folder = out.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            "the output folder is a file", where=str(folder), remedy="name another folder with --out"
        )
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with writing(folder):
        # Trying is the only test that permissions, read-only disks and odd file systems all pass.
        tempfile.TemporaryDirectory(prefix=STAGING, dir=standing).cleanup()
    if folder.is_dir() and not force and _previous(folder) is None and any(map(_foreign, folder.iterdir())):
        raise StoreError(
            "the output folder is not empty and holds no earlier export of rwcore",
            where=str(folder),
            remedy="name another folder with --out, or add --force to write beside what is there "
            "(files of the same names are replaced, others stay)",
        )
    return folder


def _foreign(path: Path) -> bool:
    """Whether a file is anything else than what a killed export left behind."""
    return STAGING not in path.name


def _previous(folder: Path) -> dict[str, Any] | None:
    """Manifest of the export in a folder, None if there is none."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST)
    except StoreError:
        return None
    ours = isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith("rwcore-")
    return manifest if ours else None


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; its files are in ``folder`` when the block succeeds, none of them if it fails.

    A folder that does not exist appears whole, by a rename. One that exists may be somebody's working
    directory or hold other files, so it stays and the files are moved into it one by one; meanwhile its
    manifest says that it is not complete. Files that the manifest of an earlier export lists and that are
    not written again are removed.

    The block must write ``manifest.json`` with ``schema`` (``rwcore-…``), ``complete`` (true) and ``files``
    (see `files_of`), and no folders.

    Args:
        folder: What `check_target` returned.

    Raises:
        StoreError: The disk is full or the folder cannot be written.
    """
    if not folder.exists():
        with atomic_folder(folder) as new:
            new.chmod(0o755)
            yield new
        return
    staging = folder / STAGING
    with atomic_folder(staging) as new:
        yield new
    with writing(folder):
        previous = _previous(folder) or {}
        write_json(folder / MANIFEST, {"schema": UNFINISHED, **previous, "complete": False})
        fresh = {path.name for path in staging.iterdir()}
        for entry in previous.get("files", []):
            stale = folder / Path(str(entry["name"])).name  # only names: a manifest must not reach elsewhere
            if stale.name not in fresh:
                stale.unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == MANIFEST):
            os.replace(path, folder / path.name)
        staging.rmdir()


def files_of(folder: Path, columns: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
    """What a manifest says about the files of a folder, the manifest left out.

    Args:
        folder: A folder of files.
        columns: Columns of the tables by file name.

    Returns:
        ``name``, ``bytes`` and ``sha256`` of every file, in the order of the names; ``columns`` of the tables
        named in ``columns``; ``arrays`` (dtype and shape by name) of safetensors files.
    """
    found = []
    for path in sorted(path for path in folder.iterdir() if path.name != MANIFEST):
        facts: dict[str, Any] = {"name": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}
        if columns and path.name in columns:
            facts["columns"] = list(columns[path.name])
        if path.suffix == ".safetensors":
            facts["arrays"] = _header(path)
        found.append(facts)
    return found


def _header(path: Path) -> dict[str, Any]:
    """Name, dtype and shape of the arrays in a safetensors file."""
    with path.open("rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    header.pop("__metadata__", None)
    return {name: {"dtype": facts["dtype"], "shape": facts["shape"]} for name, facts in header.items()}


def write_csv(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write a table as ``OUTPUTS.md`` promises: these columns, nine digits (a float32 holds no more)."""
    write_text(path, frame[[*columns]].to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def save_figure(figure: Figure, stem: Path) -> None:
    """Save a figure of the paper look as ``<stem>.pdf`` and ``<stem>.png``; equal figures are equal files."""
    from rwcore.plots.style import style

    with style("paper"):
        # Names may hold dots, so the suffix is added, not replaced; no date in the file.
        figure.savefig(stem.parent / f"{stem.name}.pdf", metadata={"CreationDate": None})
        figure.savefig(stem.parent / f"{stem.name}.png", dpi=PNG_DPI)
