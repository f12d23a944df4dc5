"""What produced a recorded file, beside it in ``<model>.meta.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rwcore.errors import GoldenError, StoreError
from rwcore.golden.files import family, load
from rwcore.golden.paths import meta_path
from rwcore.store import hash_file, read_json, write_json

SCHEMA = "rwcore-recorded/1"


def write_sidecar(recorded: Path, provenance: Mapping[str, Any]) -> None:
    """Write the side-car of a recorded file: its hash, its columns and what produced it.

    Raises:
        GoldenError: The recorded file cannot be read.
    """
    frame = load(recorded)
    columns = {str(name): family(frame[name]) for name in frame.columns}
    facts = {"schema": SCHEMA, "columns": columns, "rows": len(frame), "content": hash_file(recorded)}
    write_json(meta_path(recorded), {**facts, "provenance": dict(provenance)})


def read_sidecar(recorded: Path) -> dict[str, Any]:
    """The side-car of a recorded file.

    Raises:
        GoldenError: It is missing, unreadable, of another schema, or about other contents.
    """
    file = meta_path(recorded)
    remedy = "record the value again with --force-regen, which writes both files"
    try:
        facts = read_json(file)
    except StoreError as error:
        raise GoldenError(f"no provenance: {error.what}", where=str(file), remedy=remedy) from error
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise GoldenError(f"the provenance is not of schema {SCHEMA}", where=str(file), remedy=remedy)
    if not recorded.is_file() or facts.get("content") != hash_file(recorded):
        raise GoldenError(
            f"{recorded.name} was changed after its provenance was written", where=str(file), remedy=remedy
        )
    return facts
