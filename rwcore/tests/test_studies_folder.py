"""Helpers that every exported folder is made with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from safetensors.numpy import save_file

from rwcore.errors import StoreError
from rwcore.store import MANIFEST, hash_file, write_json, write_text
from rwcore.studies import folder as module
from rwcore.studies.folder import UNFINISHED, check_target, files_of, filling, save_figure, write_csv


def fill(folder: Path, **files: str) -> None:
    """A small export: text files and a manifest."""
    with filling(check_target(folder)) as new:
        for name, text in files.items():
            write_text(new / f"{name}.txt", text)
        write_json(new / MANIFEST, {"schema": "rwcore-test/1", "complete": True, "files": files_of(new)})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_whole_and_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, a="1", b="2")
    assert names(out) == ["a.txt", "b.txt", MANIFEST]
    (out / "mine.txt").write_text("stays")
    fill(out, b="3")
    assert names(out) == ["b.txt", MANIFEST, "mine.txt"]
    assert (out / "b.txt").read_text() == "3"


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, a="1")

    def fail() -> None:
        with filling(out) as new:
            write_text(new / "a.txt", "2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (out / "a.txt").read_text() == "1"
    assert names(out) == ["a.txt", MANIFEST]


def test_a_folder_being_filled_for_the_first_time_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    replace = module.os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == out / "a.txt":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(out, a="1")
    assert json.loads((out / MANIFEST).read_text()) == {"schema": UNFINISHED, "complete": False}
    fill(out, a="2")
    assert json.loads((out / MANIFEST).read_text())["complete"] is True
    assert (out / "a.txt").read_text() == "2"


def test_somebody_else_s_manifest_is_not_ours(tmp_path: Path) -> None:
    for text in ('{"schema": "other/1"}', "[1]", "not json"):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(StoreError, match="not empty"):
            check_target(tmp_path)
    assert check_target(tmp_path, force=True) == tmp_path.resolve()


def test_files_are_described_by_size_hash_columns_and_arrays(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", pd.DataFrame({"b": [1 / 3], "a": [2], "c": ["x"]}), ("a", "b"))
    save_file({"x": np.zeros((2, 3), np.float32)}, tmp_path / "x.safetensors", metadata={"made": "here"})
    (tmp_path / MANIFEST).write_text("{}")
    arrays, table = sorted(files_of(tmp_path, {"t.csv": ("a", "b")}), key=lambda one: one["name"] == "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n2,0.333333333\n"
    assert table == {
        "name": "t.csv",
        "bytes": 18,
        "sha256": hash_file(tmp_path / "t.csv"),
        "columns": ["a", "b"],
    }
    assert arrays["arrays"] == {"x": {"dtype": "F32", "shape": [2, 3]}}
    assert "columns" not in arrays


def test_figures_are_saved_twice_and_dots_in_names_are_kept(tmp_path: Path) -> None:
    figure = Figure((1, 1))
    save_figure(figure, tmp_path / "qwen2.5-7b")
    assert names(tmp_path) == ["qwen2.5-7b.pdf", "qwen2.5-7b.png"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert b"CreationDate" not in before[tmp_path / "qwen2.5-7b.pdf"]
    save_figure(Figure((1, 1)), tmp_path / "qwen2.5-7b")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
