"""What tests of commands about heads share: a small model of letters, texts, and what a folder must hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.tests.command_line import assert_all_listed, documented, section, write_notes

TEXTS = [f"{letters} {letters[::-1]} and {letters * 2}" for letters in ("abcde", "fghij", "kab", "xyzfa")]


def model_of(family: str) -> Callable[[pytest.TempPathFactory], Path]:
    """A tiny model whose tokens are letters; made a fixture."""

    def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return save_letters(build(family, tmp_path_factory.mktemp("model") / family), SIZES["vocab"])

    return made


def notes_of_letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four texts in a file; made a fixture."""
    return write_notes(tmp_path_factory.mktemp("notes"), TEXTS)


def checked_manifest(out: Path, command: str, schema: str) -> dict[str, Any]:
    """The manifest of a folder, which has the keys, the schema and the files that OUTPUTS.md promises.

    Args:
        out: The folder.
        command: Such as ``cspa``.
        schema: Of the folder.
    """
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented(f"`manifest.json` of `rwcore heads {command}`"))
    assert manifest["schema"] == schema
    assert f"Schema `{schema}`" in section(f"`rwcore heads {command} MODEL CORPUS --out DIR`")
    assert_all_listed(manifest, out)
    return manifest
