"""A model and labelled texts for the commands about corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.tests.command_line import Done, rwcore


def lettered_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted model with a tokenizer whose words are letters and a few syllables."""
    folder = plant("llama", tmp_path_factory.mktemp("planted") / "llama").folder
    return save_tokenizer(folder, 64)


def labelled_lines(tmp_path: Path) -> Path:
    """Texts with a label."""
    file = tmp_path / "lines.jsonl"
    rows = [{"text": "w3 w1 w4 w1 " * (n % 4 + 1), "who": f"person {n}"} for n in range(20)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def make(lines: Path, model: Path, out: Path, *options: object) -> Done:
    """``rwcore corpus make`` with short rows."""
    return rwcore("corpus", "make", lines, model, "--max-length", 16, "--out", out, *options)
