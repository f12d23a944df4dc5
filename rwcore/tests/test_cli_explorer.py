"""`rwcore explorer` from the command line to the files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from rwcore.pages.explorer import explorer_page
from rwcore.tests.command_line import assert_explained, environment, names, rwcore

_environment = pytest.fixture(autouse=True)(environment)
FILES = [
    "class_map.pdf",
    "class_map.png",
    "class_map.svg",
    "definition.pdf",
    "definition.png",
    "definition.svg",
    "explorer.html",
    "manifest.json",
]


def test_explorer_writes_the_page_and_the_figures(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("explorer", "--out", out)
    assert done.code == 0
    assert done.err == ""
    assert done.rows[0] == f"{out / 'explorer.html'}: open it in a browser"
    assert names(out) == FILES
    assert (out / "explorer.html").read_text(encoding="utf-8") == explorer_page()
    for stem in ("definition", "class_map"):
        assert (out / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert (out / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        svg = (out / f"{stem}.svg").read_text(encoding="utf-8")
        assert svg.rstrip().endswith("</svg>")
        assert set(re.findall(r"\bhttps?://[^/\"]+", svg)) <= {
            "http://www.w3.org",
            "https://matplotlib.org",
        } | {
            "http://purl.org",
            "http://creativecommons.org",
        }
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["schema"] == "rwcore-explorer/1"
    assert manifest["complete"] is True
    assert manifest["command"] == shlex.join(["rwcore", "explorer", "--out", str(out)])
    assert [one["name"] for one in manifest["files"]] == FILES[:-1]


def test_again_into_the_same_folder_and_in_the_papers_colours(tmp_path: Path) -> None:
    first = rwcore("explorer", "--out", tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES[:-1]}
    again = rwcore("explorer", "--out", tmp_path / "out")
    assert first.code == again.code == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES[:-1]} == before
    assert rwcore("explorer", "--out", tmp_path / "out", "--palette", "paper").code == 0
    changed = [name for name in before if (tmp_path / "out" / name).read_bytes() != before[name]]
    assert changed == ["class_map.pdf", "class_map.png", "class_map.svg", "explorer.html"]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert_explained(rwcore("explorer", "--out", tmp_path), "not empty", "--force")
    assert names(tmp_path) == ["notes.txt"]
    assert rwcore("explorer", "--out", tmp_path, "--force").code == 0
    assert names(tmp_path) == sorted([*FILES, "notes.txt"])


def test_a_palette_that_does_not_exist(tmp_path: Path) -> None:
    done = rwcore("explorer", "--out", tmp_path / "out", "--palette", "rainbow")
    assert done.code == 2
    assert "accessible" in done.err
    assert names(tmp_path / "out") == []
