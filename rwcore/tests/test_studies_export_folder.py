"""Where exported files go: nothing half-written, nothing of anybody else's touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from fixtures.planted import plant
from rwcore.errors import StoreError
from rwcore.models.registry import find
from rwcore.store import Store
from rwcore.studies import figures
from rwcore.studies import folder as folders
from rwcore.studies.export import export_weights
from rwcore.studies.folder import check_target
from rwcore.studies.weights import WeightStudy, weight_study

FAST: dict[str, Any] = {"null": False}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WeightStudy]:
    """A gated and a plain planted model."""
    root = tmp_path_factory.mktemp("planted")
    store = Store(root / "store")
    return {
        name: weight_study(find(str(plant(name, root / name).folder)), store=store)
        for name in ("llama", "gpt2")
    }


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of an export and is not what is tested here."""
    monkeypatch.setattr(figures, "draw", lambda *_, **__: iter([("medians", Figure((1, 1)))]))


def entries(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_folder_with_other_files_is_refused_and_untouched(
    studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")
    (out / "manifest.json").write_text('{"name": "a browser extension"}')
    before = entries(out)
    with pytest.raises(StoreError, match="not empty") as caught:
        export_weights(studies["llama"], out, **FAST)
    assert "--force" in str(caught.value)
    assert entries(out) == before


def test_force_writes_beside_other_files(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    (out / "figures").mkdir(parents=True)
    (out / "chapter.tex").write_text("years of work")
    (out / "figures" / "one.pdf").write_text("a figure")
    export_weights(studies["llama"], out, force=True, **FAST)
    assert (out / "chapter.tex").read_text() == "years of work"
    assert (out / "figures" / "one.pdf").read_text() == "a figure"
    assert json.loads((out / "manifest.json").read_text())["complete"] is True


def test_an_earlier_export_is_replaced_and_notes_in_it_stay(
    studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_weights(studies["gpt2"], out, **FAST)
    (out / "notes.txt").write_text("mine")
    assert (out / "half_coarse_counts.csv").exists()
    export_weights(studies["llama"], out, **FAST)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "half_coarse_counts.csv").exists()
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == set()
    fresh = export_weights(studies["llama"], tmp_path / "fresh", **FAST)
    replaced = json.loads((out / "manifest.json").read_text())
    assert replaced["files"] == fresh.manifest["files"]


def test_a_manifest_cannot_make_an_export_delete_files_elsewhere(
    studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    export_weights(studies["llama"], out, **FAST)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"] += [{"name": "../precious.txt"}, {"name": str(precious)}]
    (out / "manifest.json").write_text(json.dumps(manifest))
    export_weights(studies["llama"], out, **FAST)
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_nothing_half_written(
    studies: dict[str, WeightStudy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    earlier: bool,
) -> None:
    out = tmp_path / "out"
    if earlier:
        export_weights(studies["gpt2"], out, **FAST)
    before = entries(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(StoreError, match="disk is full"):
        export_weights(studies["llama"], out, **FAST)
    assert entries(tmp_path) == before
    assert out.exists() is earlier


def test_an_interrupted_replacement_says_so_and_can_be_repeated(
    studies: dict[str, WeightStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_weights(studies["gpt2"], out, **FAST)
    replace = folders.os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == out / "medians.csv":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export_weights(studies["llama"], out, **FAST)
    assert json.loads((out / "manifest.json").read_text())["complete"] is False
    export_weights(studies["llama"], out, **FAST)
    fresh = export_weights(studies["llama"], tmp_path / "fresh", **FAST)
    assert {path.name for path in out.iterdir()} == {path.name for path in fresh.folder.iterdir()}


def test_the_present_working_folder_can_be_written_to(
    studies: dict[str, WeightStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    export = export_weights(studies["llama"], Path(), **FAST)
    assert export.folder == tmp_path.resolve()
    assert tmp_path.stat().st_ino == before
    assert (tmp_path / "class_counts.csv").exists()


def test_what_a_killed_export_left_is_no_obstacle(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    (tmp_path / "..rwcore-new.x1y2").mkdir()
    (tmp_path / ".rwcore-new").mkdir()
    export_weights(studies["llama"], tmp_path, **FAST)
    assert (tmp_path / "manifest.json").exists()


def test_a_file_is_refused_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        check_target(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot write"):
        check_target(tmp_path / "file" / "below")


def test_looking_at_a_new_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    assert check_target(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert [*tmp_path.iterdir()] == []
