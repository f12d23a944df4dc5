"""Artefacts: found again, whole or absent, whatever happens while they are made."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import StoreError, WeightsError
from rwcore.store import (
    MANIFEST,
    ArtefactKey,
    Store,
    atomic_file,
    folder_size,
    hash_file,
    read_arrays,
    read_json,
    read_table,
    write_arrays,
    write_json,
    write_table,
    write_text,
)

KEY = ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "abc"}, threshold=0.5)


class Counted:
    """A computation that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, folder: Path) -> Mapping[str, object]:
        self.runs += 1
        write_text(folder / "value.txt", f"run {self.runs}")
        return {"facts": "of the run"}


def leftovers(root: Path) -> list[str]:
    """Everything below a folder but the (empty, reusable) lock files and the folders on the way."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.suffix != ".lock" and not (path.is_dir() and any(path.iterdir()))
    )


# --- keys ---------------------------------------------------------------------------------------------


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON_VALUES), st.randoms())
def test_a_key_does_not_depend_on_the_order_of_its_fields(
    fields: dict[str, object], source: random.Random
) -> None:
    names = list(fields)
    source.shuffle(names)
    shuffled = ArtefactKey.of("k", "k/1", **{name: fields[name] for name in names})
    assert shuffled == ArtefactKey.of("k", "k/1", **fields)
    assert shuffled.digest == ArtefactKey.of("k", "k/1", **fields).digest


def test_a_key_does_not_depend_on_the_order_inside_a_field() -> None:
    first = ArtefactKey.of("k", "k/1", model={"id": "m", "revision": "r"})
    assert first == ArtefactKey.of("k", "k/1", model={"revision": "r", "id": "m"})


def test_every_part_of_a_key_counts() -> None:
    keys = [
        KEY,
        ArtefactKey.of("other", "study/1", model={"id": "org/m", "revision": "abc"}, threshold=0.5),
        ArtefactKey.of("study", "study/2", model={"id": "org/m", "revision": "abc"}, threshold=0.5),
        ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "def"}, threshold=0.5),
        ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "abc"}, threshold=0.51),
        ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "abc"}, limit=0.5),
        ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "abc"}, threshold="0.5"),
        ArtefactKey.of("study", "study/1", model={"id": "org/m", "revision": "abc"}, threshold=None),
    ]
    assert len({key.digest for key in keys}) == len(keys)


def test_paths_sets_and_tuples_have_one_canonical_text() -> None:
    first = ArtefactKey.of("k", "k/1", path=Path("a/b"), chosen={"x", "y", "z"}, pair=(1, 2))
    assert first.fields == (("chosen", '["x", "y", "z"]'), ("pair", "[1, 2]"), ("path", '"a/b"'))


def test_a_value_without_a_stable_text_is_refused() -> None:
    with pytest.raises(TypeError, match="Tensor cannot be part of"):
        ArtefactKey.of("k", "k/1", weights=torch.zeros(2))


# --- get or compute -----------------------------------------------------------------------------------


def test_the_first_asks_computes_and_the_second_finds(tmp_path: Path) -> None:
    store, compute = Store(tmp_path), Counted()
    folder = store.get_or_compute(KEY, compute)
    assert folder == store.path(KEY)
    assert store.get_or_compute(KEY, compute) == folder
    assert Store(tmp_path).get_or_compute(KEY, compute) == folder
    assert compute.runs == 1
    assert (folder / "value.txt").read_text() == "run 1"
    assert store.entries() == [folder]


def test_another_key_is_computed_apart(tmp_path: Path) -> None:
    store, compute = Store(tmp_path), Counted()
    other = ArtefactKey.of("study", "study/2")
    assert store.get_or_compute(KEY, compute) != store.get_or_compute(other, compute)
    assert compute.runs == 2
    assert len(store.entries()) == 2


def test_the_manifest_holds_the_key_and_the_facts(tmp_path: Path) -> None:
    manifest = read_json(Store(tmp_path).get_or_compute(KEY, Counted()) / MANIFEST)
    assert manifest == {
        "facts": "of the run",
        "kind": "study",
        "definition": "study/1",
        "key": {"model": '{"id": "org/m", "revision": "abc"}', "threshold": "0.5"},
    }


def test_the_default_place_is_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))
    assert Store().get_or_compute(KEY, Counted()).is_relative_to(tmp_path / "artefacts")


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), WeightsError("bad")])
def test_a_crash_leaves_nothing_and_the_next_run_computes(error: BaseException, tmp_path: Path) -> None:
    store = Store(tmp_path)

    def crash(folder: Path) -> Mapping[str, object]:
        (folder / "deep").mkdir()
        (folder / "deep" / "half.bin").write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        store.get_or_compute(KEY, crash)
    assert leftovers(tmp_path) == []
    assert store.entries() == []
    compute = Counted()
    store.get_or_compute(KEY, compute)
    assert compute.runs == 1


def test_an_error_of_reading_inside_a_computation_is_not_called_one_of_writing(tmp_path: Path) -> None:
    def read(folder: Path) -> Mapping[str, object]:
        return {"text": (tmp_path / "missing.txt").read_text()}

    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        Store(tmp_path / "store").get_or_compute(KEY, read)


def test_an_error_of_writing_inside_a_computation_is_one_of_the_store(tmp_path: Path) -> None:
    def write(folder: Path) -> Mapping[str, object]:
        (folder / "no" / "such").write_text("")
        return {}

    with pytest.raises(StoreError, match="cannot write: No such file"):
        Store(tmp_path).get_or_compute(KEY, write)
    assert leftovers(tmp_path) == []


def test_an_unfinished_folder_under_the_final_name_is_computed_again(tmp_path: Path) -> None:
    store, compute = Store(tmp_path), Counted()
    store.path(KEY).mkdir(parents=True)
    (store.path(KEY) / "half.bin").write_bytes(b"half")
    folder = store.get_or_compute(KEY, compute)
    assert compute.runs == 1
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "value.txt"]


def test_the_work_of_a_finished_artefact_is_removed(tmp_path: Path) -> None:
    """A process may be killed between the last two steps."""
    store, compute = Store(tmp_path), Counted()
    folder = store.get_or_compute(KEY, compute)
    (store.work(KEY) / "batches_00000001").mkdir(parents=True)
    assert store.get_or_compute(KEY, compute) == folder
    assert compute.runs == 1
    assert not store.work(KEY).exists()


def test_clear_frees_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.get_or_compute(KEY, Counted())
    size = folder_size(tmp_path / "store")
    assert size > 0
    assert store.clear() == size
    assert store.entries() == []
    assert store.clear() == 0


# --- files --------------------------------------------------------------------------------------------


def test_arrays_come_back_with_their_types_and_values(tmp_path: Path) -> None:
    arrays = {
        "half": torch.tensor([[1.5, float("nan")], [-0.0, 3.0]], dtype=torch.bfloat16),
        "counts": torch.arange(6, dtype=torch.int64).reshape(2, 3).T,  # not contiguous
        "empty": torch.zeros(0, 4),
    }
    write_arrays(tmp_path / "a.safetensors", arrays)
    back = read_arrays(tmp_path / "a.safetensors")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        torch.testing.assert_close(back[name], array, rtol=0, atol=0, equal_nan=True)


def test_tables_come_back_with_their_types_and_values(tmp_path: Path) -> None:
    frame = pd.DataFrame({"layer": [0, 1], "class": ["a", "b"], "median": [0.25, float("nan")]})
    write_table(tmp_path / "t.parquet", frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "j.json", {"b": 1, "a": Path("x"), "ü": [None, True]})
    assert (tmp_path / "j.json").read_text(encoding="utf-8").startswith('{\n  "a": "x",\n  "b": 1,')
    assert (tmp_path / "j.json").read_bytes().endswith(b"}\n")
    assert read_json(tmp_path / "j.json") == {"a": "x", "b": 1, "ü": [None, True]}


@pytest.mark.parametrize("reader", [read_arrays, read_table, read_json])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe garbage", b"{"])
def test_a_missing_or_corrupt_file_is_named(
    reader: Callable[[Path], object], content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "artefact"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StoreError, match="cannot read") as caught:
        reader(file)
    assert caught.value.where == str(file)
    assert "delete" in str(caught.value.remedy)


def test_a_truncated_array_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_arrays(file, {"x": torch.arange(100)})
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(StoreError, match="cannot read arrays"):
        read_arrays(file)


def test_a_file_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    write_text(file, "old")

    def write() -> None:
        with atomic_file(file) as temporary:
            temporary.write_text("half")
            assert file.read_text() == "old"
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    assert file.read_text() == "old"
    write_text(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o644


def test_hash_file_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "x") == expected


def test_folder_size_counts_every_file_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    assert folder_size(tmp_path) == 8
    assert folder_size(tmp_path / "none") == 0
