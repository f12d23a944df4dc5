"""Where the weights of a model lie, without network and without reading them."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import ModelError, WeightsError, WeightsMissing
from rwcore.models.locate import choose_weights, locate
from rwcore.models.registry import find
from rwcore.models.spec import ModelSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("locate touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def snapshot(
    cache: Path, repository: str, files: dict[str, str], commit: str = COMMIT, ref: str = "main"
) -> Path:
    """A repository in the hub cache, laid out as the hub's client does: links from snapshots to blobs."""
    root = cache / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / commit
    for directory in (folder, root / "blobs", root / "refs"):
        directory.mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    for number, (name, content) in enumerate(files.items()):
        blob = root / "blobs" / f"{commit[:4]}{number}"
        blob.write_text(content)
        (folder / name).symlink_to(blob)
    return folder


def folder_spec(folder: Path) -> ModelSpec:
    return ModelSpec(id=folder.name, source="folder", location=str(folder))


def write_folder(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    return folder


SAFETENSORS = (2).to_bytes(8, "little") + b"{}" + b"weights"
INDEX_NAME = "model.safetensors.index.json"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}})

# --- which files


@pytest.mark.parametrize(
    ("names", "expected", "index"),
    [
        (["model.safetensors", "pytorch_model.bin", "config.json"], ["model.safetensors"], None),
        ([*SHARDS, INDEX_NAME, "pytorch_model.bin"], SHARDS, INDEX_NAME),
        (["pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"], None),
        (
            ["pytorch_model-1.bin", "pytorch_model-2.bin", "pytorch_model.bin.index.json", "other.bin"],
            ["pytorch_model-1.bin", "pytorch_model-2.bin"],
            "pytorch_model.bin.index.json",
        ),
        (["consolidated.safetensors", "consolidated.00.pth"], ["consolidated.safetensors"], None),
        (["weights.pth"], ["weights.pth"], None),
        (["adapter_model.safetensors", "tokenizer.bin"], [], None),
        ([], [], None),
    ],
)
def test_choice_of_weight_files(names: list[str], expected: list[str], index: str | None):
    assert choose_weights(names) == (expected, index)


def test_patterns_of_the_model_come_first():
    names = ["checkpoint_1.pth", "model_final.pth", "model.safetensors"]
    assert choose_weights(names, ("*final.pth", "*.pth"))[0] == ["model_final.pth"]
    assert choose_weights(names[:1], ("*final.pth", "*.pth"))[0] == ["checkpoint_1.pth"]
    assert choose_weights(["model.safetensors"], ("*.pth",))[0] == []


names = st.sampled_from(
    [*SHARDS, "model.safetensors", INDEX_NAME, "pytorch_model.bin", "x.pth", "config.json"]
)


@given(st.lists(names, unique=True))
def test_choice_is_one_format_and_ignores_the_order_of_names(files: list[str]):
    chosen, index = choose_weights(files)
    assert set(chosen) <= set(files)
    assert len({Path(name).suffix for name in chosen}) <= 1
    assert (chosen, index) == choose_weights(files[::-1])
    assert bool(chosen) == any(name.endswith((".safetensors", ".bin", ".pth")) for name in files)
    assert not any(name.endswith(".json") for name in chosen)


# --- folders


def test_folder(tmp_path: Path):
    folder = write_folder(tmp_path / "m", {"config.json": "{}", "model.safetensors": SAFETENSORS})
    local = locate(folder_spec(folder))
    assert (local.path, local.revision) == (folder, None)
    assert local.files == (folder / "model.safetensors",)
    assert local.bytes == len(SAFETENSORS)


def test_folder_with_shards_takes_those_of_the_index(tmp_path: Path):
    files = {"config.json": "{}", "model.safetensors.index.json": INDEX, SHARDS[0]: "a", SHARDS[1]: "b"}
    folder = write_folder(tmp_path / "m", {**files, "model-old.safetensors": "c"})
    assert [file.name for file in locate(folder_spec(folder)).files] == SHARDS


def test_folder_with_a_missing_shard(tmp_path: Path):
    files = {"config.json": "{}", "model.safetensors.index.json": INDEX, SHARDS[0]: "a"}
    folder = write_folder(tmp_path / "m", files)
    with pytest.raises(WeightsMissing, match="1 of 2 weight files are missing: model-00002") as caught:
        locate(folder_spec(folder))
    assert "copy" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../x.safetensors"}}',
        '{"weight_map": {"a": 1}}',
    ],
)
def test_damaged_index(tmp_path: Path, index: str):
    files = {"config.json": "{}", "model.safetensors.index.json": index, SHARDS[0]: "a"}
    with pytest.raises(WeightsError, match="index of weight files is damaged") as caught:
        locate(folder_spec(write_folder(tmp_path / "m", files)))
    assert "model.safetensors.index.json" in (caught.value.where or "")


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"config.json": "{}"}, "no weights"),
        ({"model.safetensors": "a"}, "no config.json"),
        ({}, "no config.json"),
    ],
)
def test_incomplete_folders(tmp_path: Path, files: dict[str, str | bytes], what: str):
    with pytest.raises(ModelError, match=what):
        locate(folder_spec(write_folder(tmp_path / "m", files)))


def test_folder_that_is_gone(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        locate(folder_spec(tmp_path / "gone"))


# --- GGUF


def test_gguf_file_is_identified_by_its_content(tmp_path: Path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF1")
    (tmp_path / "b.gguf").write_bytes(b"GGUF2")
    local, other = locate(find(str(tmp_path / "a.gguf"))), locate(find(str(tmp_path / "b.gguf")))
    assert local.files == (local.path,) == (tmp_path / "a.gguf",)
    assert (local.revision or "").startswith("sha256:")
    assert local.revision != other.revision
    (tmp_path / "a.gguf").write_bytes(b"GGUF2")
    os.utime(tmp_path / "a.gguf", ns=(1, 1))
    assert locate(local.spec).revision == other.revision


def test_gguf_file_that_is_gone(tmp_path: Path):
    spec = ModelSpec(id="x", source="gguf", location=str(tmp_path / "x.gguf"))
    with pytest.raises(ModelError, match="not there"):
        locate(spec)


# --- the hub's cache

FILES = {"config.json": "{}", "model.safetensors": "weights"}


def test_hub_model(hub_cache: Path):
    folder = snapshot(hub_cache, "facebook/opt-125m", FILES)
    local = locate(find("opt-125m"))
    assert (local.path, local.revision) == (folder, COMMIT)
    assert local.files == (folder / "model.safetensors",)
    assert local.identity() == {"model": "facebook/opt-125m", "revision": COMMIT, "content": COMMIT}


def test_hub_model_at_a_branch_and_at_a_commit(hub_cache: Path):
    snapshot(hub_cache, "facebook/opt-125m", FILES)
    snapshot(hub_cache, "facebook/opt-125m", FILES, commit=OTHER, ref="step0")
    spec = find("opt-125m")
    assert locate(spec).revision == COMMIT
    assert locate(spec.with_revision("step0")).revision == OTHER
    assert locate(spec.with_revision(OTHER)).revision == OTHER
    with pytest.raises(WeightsMissing):
        locate(spec.with_revision("step1"))


def test_hub_model_that_is_not_here(hub_cache: Path):
    with pytest.raises(WeightsMissing) as caught:
        locate(find("opt-125m@step0"))
    assert caught.value.remedy == "rwcore fetch facebook/opt-125m@step0"
    with pytest.raises(WeightsMissing) as caught:
        locate(find("gemma-2-2b"))
    assert "https://huggingface.co/google/gemma-2-2b" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"config.json": "{}"}, "no weights"),
        ({"model.safetensors": "a"}, "config.json is not"),
        ({"config.json": "{}", "model.safetensors.index.json": INDEX, SHARDS[1]: "b"}, "1 of 2"),
    ],
)
def test_hub_model_that_is_here_in_part(hub_cache: Path, files: dict[str, str], what: str):
    snapshot(hub_cache, "facebook/opt-125m", files)
    with pytest.raises(WeightsMissing, match=what) as caught:
        locate(find("opt-125m"))
    assert caught.value.remedy == "rwcore fetch facebook/opt-125m"


def test_a_link_to_a_blob_that_was_not_finished_does_not_count(hub_cache: Path):
    folder = snapshot(hub_cache, "facebook/opt-125m", FILES)
    (folder / "model.safetensors").resolve().unlink()
    with pytest.raises(WeightsMissing, match="no weights"):
        locate(find("opt-125m"))


def test_othello_needs_no_config(hub_cache: Path):
    snapshot(hub_cache, "Baidicoot/Othello-GPT-Transformer-Lens", {"x_10.pth": "a", "x_final.pth": "b"})
    assert [file.name for file in locate(find("othello-gpt")).files] == ["x_final.pth"]


def test_a_name_the_hub_does_not_allow(hub_cache: Path):
    with pytest.raises(ModelError, match="not a name the hub allows"):
        locate(ModelSpec(id="a--b/c..d", source="hub", location="a--b/c..d"))


def test_packaged_model_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing) as caught:
        locate(find("packaged"))
    assert caught.value.remedy == "rwcore fetch smollm2-135m-instruct-q4_1"


# --- identity of a folder


def test_identity_of_a_folder_is_stable_and_small(tmp_path: Path):
    folder = write_folder(tmp_path / "m", {"config.json": "{}", "model.safetensors": SAFETENSORS})
    first, second = (locate(folder_spec(folder)).identity() for _ in range(2))
    assert first == second
    assert first["revision"] == ""
    assert first["content"].startswith("metadata:")


def _rewrite_in_place(folder: Path):
    file = folder / "model.safetensors"
    file.write_bytes(SAFETENSORS[:-7] + b"WEIGHTS")


def _another_header(folder: Path):
    file = folder / "model.safetensors"
    facts = file.stat()
    file.write_bytes((2).to_bytes(8, "little") + b"[]" + b"weights")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _another_config(folder: Path):
    (folder / "config.json").write_text('{"hidden_size": 4}')


def _another_name(folder: Path):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


@pytest.mark.parametrize("change", [_rewrite_in_place, _another_header, _another_config, _another_name])
def test_identity_notices_changes(tmp_path: Path, change):
    folder = write_folder(tmp_path / "m", {"config.json": "{}", "model.safetensors": SAFETENSORS})
    os.utime(folder / "model.safetensors", ns=(1, 1))
    before = locate(folder_spec(folder)).identity()["content"]
    change(folder)
    assert locate(folder_spec(folder)).identity()["content"] != before


def test_identity_of_a_zip_checkpoint_sees_its_directory(tmp_path: Path):
    import torch

    contents = []
    for value in (1.0, 2.0):
        folder = write_folder(tmp_path / "m", {"config.json": "{}"})
        torch.save({"w": torch.full((64, 1024), value)}, folder / "pytorch_model.bin")
        os.utime(folder / "pytorch_model.bin", ns=(1, 1))
        contents.append(locate(folder_spec(folder)).identity()["content"])
    assert contents[0] != contents[1], "the directory of a zip file holds a checksum of every member"


def test_identity_survives_a_corrupt_header_length(tmp_path: Path):
    folder = write_folder(tmp_path / "m", {"config.json": "{}", "model.safetensors": b"\xff" * 16})
    assert locate(folder_spec(folder)).identity()["content"]


def test_identity_names_the_model(tmp_path: Path):
    folder = write_folder(tmp_path / "m", {"config.json": "{}", "model.safetensors": SAFETENSORS})
    local = locate(folder_spec(folder))
    assert local.identity()["model"] == "m"
    assert replace(local, revision="abc").identity()["content"] == "abc"
