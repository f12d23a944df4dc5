"""Where recorded files are, and which of them nobody compares."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import GoldenError
from rwcore.golden.paths import collisions, meta_path, missing, orphans, published_dir, recorded_path


def test_paths(tmp_path: Path) -> None:
    recorded = recorded_path("p", "class_counts", "Qwen/Qwen2.5-0.5B", tmp_path)
    assert recorded == tmp_path / "p" / "recorded" / "class_counts" / "Qwen--Qwen2.5-0.5B.csv"
    assert meta_path(recorded).name == "Qwen--Qwen2.5-0.5B.meta.json"
    assert published_dir("p", tmp_path) == tmp_path / "p" / "published"


def test_a_slug_is_its_own_slug(tmp_path: Path) -> None:
    once = recorded_path("p", "counts", "org/a", tmp_path)
    assert recorded_path("p", "counts", once.stem, tmp_path) == once


@pytest.mark.parametrize("name", ["", ".", "..", "../published", ".hidden"])
def test_names_that_leave_the_folder_are_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(GoldenError):
        recorded_path("p", name, "org/a", tmp_path)


@given(st.text(alphabet=string.printable, min_size=1))
def test_no_name_leaves_the_folder(name: str) -> None:
    try:
        path = recorded_path("p", "counts", name, Path("/golden"))
    except GoldenError:
        return
    assert path.parent == Path("/golden/p/recorded/counts")


def test_collisions() -> None:
    names = ["org/a", "org--a", "x y", "x_y", "Qwen/A", "qwen/a", "Qwen2.5", "Qwen2_5", "org/a"]
    assert collisions(names) == [("org--a", "org/a"), ("Qwen/A", "qwen/a"), ("x y", "x_y")]
    assert collisions(["a/b", "a/c", "a.b"]) == []


def test_missing_and_orphaned_files(tmp_path: Path) -> None:
    wanted = recorded_path("p", "counts", "org/a", tmp_path)
    other = recorded_path("p", "counts", "org/b", tmp_path)
    for file in (wanted, meta_path(wanted), other, tmp_path / "p" / "published" / "t.csv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert missing([wanted, other]) == [meta_path(other)]
    assert orphans([wanted], tmp_path) == [other]
    assert orphans([wanted, other], tmp_path) == []
    leftover = wanted.with_suffix(".obtained.csv")
    leftover.touch()
    assert orphans([wanted, other], tmp_path) == [leftover]
