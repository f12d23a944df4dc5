"""Runs the command in this process, and reads what it printed and what OUTPUTS.md says it prints."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from fixtures.planted import plant
from rwcore import cli
from rwcore.store import hash_file

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = (ROOT / "OUTPUTS.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[str]:
        """The lines of stdout without the rules of tables and with single spaces."""
        return [re.sub(r"[│\s]+", " ", line).strip() for line in self.out.splitlines()]


def rwcore(*words: object) -> Done:
    """Run ``rwcore`` with these words; an exception that `main` lets through is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Done(code, out.getvalue(), err.getvalue())


def assert_explained(done: Done, *parts: str) -> None:
    """The error says what was wrong and what to do, without a traceback."""
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "to do: " in done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err
    assert done.out == ""


def section(title: str) -> str:
    """The text of OUTPUTS.md below a heading, to the next one."""
    match = re.search(rf"^#+ {re.escape(title)}$\n(.*?)(?=^#|\Z)", OUTPUTS, re.MULTILINE | re.DOTALL)
    assert match, f"OUTPUTS.md has no section {title}"
    return match[1]


def documented(title: str) -> list[str]:
    """First column of the table in a section of OUTPUTS.md."""
    names = re.findall(r"^\| `([^`]+)` \|", section(title), re.MULTILINE)
    assert names, f"the section {title} of OUTPUTS.md has no table"
    return names


def promises(title: str) -> list[tuple[str, str]]:
    """Names and cases from the table of files in a section of OUTPUTS.md."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section(title), re.MULTILINE)
    assert rows, f"the section {title} of OUTPUTS.md has no table of files"
    return rows


def assert_all_listed(manifest: Mapping[str, Any], folder: Path) -> None:
    """A manifest has every other file of its folder, with its checksum, and no more."""
    assert {entry["name"]: entry["sha256"] for entry in manifest["files"]} == {
        path.name: hash_file(path) for path in folder.iterdir() if path.name != "manifest.json"
    }


def write_notes(folder: Path, texts: Iterable[str]) -> Path:
    """A corpus file with a document for each text."""
    file = folder / "notes.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def names(folder: Path) -> list[str]:
    """Names in a folder; none if it does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of the test's own, and a terminal that is wide and without colours; made a fixture."""
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def planted_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Planted models: gated, not gated, and gated with three damaged neurons; made a fixture."""
    root = tmp_path_factory.mktemp("planted")
    found = {name: plant(name, root / name).folder for name in ("llama", "gpt2")}
    return {**found, "damaged": plant_damaged(root / "damaged")}


def plant_damaged(folder: Path) -> Path:
    """A planted Llama of 3 × 11 neurons of which three, in layer 1, have a zero, a NaN or an infinity."""
    file = plant("llama", folder, per_class=1).folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.down_proj.weight"][:, 2] = 0
    tensors["model.layers.1.mlp.up_proj.weight"][4, 0] = float("nan")
    tensors["model.layers.1.mlp.gate_proj.weight"][5, 1] = float("inf")
    save_file(tensors, file, metadata={"format": "pt"})
    return folder
