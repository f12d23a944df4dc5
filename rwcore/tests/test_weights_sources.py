"""What a damaged, incomplete or unknown model is told: the file, the tensor, and what to do."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build, local_model
from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel
from rwcore.weights.families import FAMILIES
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import read_shape
from rwcore.weights.sources import TensorSource, open_source

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build("llama", tmp_path / "model")


def read_all(path: Path, **spec: object) -> None:
    list(mlp_weights(local_model(path, **spec)))


def error(path: Path, **spec: object) -> WeightsError:
    """The error of reading all layers; its text names a place and a remedy."""
    with pytest.raises(WeightsError) as caught:
        read_all(path, **spec)
    assert caught.value.where
    assert caught.value.remedy
    return caught.value


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in {**config, **changes}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def truncate(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])


@pytest.mark.parametrize("keep", [0, 0.0001, 0.05, 0.9])
def test_truncated_file(folder: Path, keep: float) -> None:
    truncate(folder / "model.safetensors", keep)
    problem = error(folder)
    assert "damaged or truncated" in problem.what
    assert str(folder / "model.safetensors") in str(problem.where)
    assert str(folder) in str(problem.remedy)


def test_corrupt_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:8] + b"x" * 100 + file.read_bytes()[108:])
    assert "damaged" in error(folder).what


def test_truncated_shard(tmp_path: Path) -> None:
    folder = build("llama", tmp_path, max_shard_size=5_000)
    shards = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    last = "model.layers.2.mlp.up_proj.weight"
    truncate(folder / shards[last], 0.5)
    problem = error(folder)
    assert "damaged" in problem.what
    assert shards[last] in str(problem.where)
    # A layer that lies in other shards can still be read.
    assert shards[last] not in {file for name, file in shards.items() if name.startswith("model.layers.0")}
    mlp_weights(local_model(folder))[0]


def test_missing_shard(tmp_path: Path) -> None:
    folder = build("llama", tmp_path, max_shard_size=10_000)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    problem = error(folder)
    assert shard.name in problem.what
    assert "model.safetensors.index.json" in str(problem.where)
    with pytest.raises(WeightsError, match="rwcore fetch org/name"):
        open_source(local_model(folder, id="org/name", source="hub"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_broken_index(tmp_path: Path, content: str) -> None:
    folder = build("llama", tmp_path, max_shard_size=10_000)
    (folder / "model.safetensors.index.json").write_text(content)
    problem = error(folder)
    assert "index" in problem.what
    assert "weight_map" in str(problem.where)


def test_index_that_names_the_wrong_shard(tmp_path: Path) -> None:
    folder = build("llama", tmp_path, max_shard_size=10_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    other = next(shard for shard in index["weight_map"].values() if shard != index["weight_map"][UP])
    index["weight_map"][UP] = other
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    problem = error(folder)
    assert f"no tensor {UP}" in problem.what
    assert other in str(problem.where)


@pytest.mark.parametrize("name", [UP, "model.layers.1.post_attention_layernorm.weight"])
def test_missing_tensor(folder: Path, name: str) -> None:
    rewrite(folder, lambda state: state.pop(name))
    problem = error(folder)
    assert name in problem.what
    assert "model.safetensors" in str(problem.where)


def test_no_blocks_under_any_known_prefix(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({f"odd.{name}": t for name, t in state.items()}, folder / "model.safetensors")
    assert "model.layers.0.mlp.down_proj.weight" in error(folder).what


@pytest.mark.parametrize("name", [UP, "model.layers.1.mlp.down_proj.weight"])
def test_wrong_shape(folder: Path, name: str) -> None:
    rewrite(folder, lambda state: state.update({name: state[name].T.contiguous()}))
    problem = error(folder)
    assert "config says" in problem.what
    assert str([16, 24] if name == UP else [24, 16]) in problem.what
    assert f"model.safetensors: {name}" in str(problem.where)
    assert "config.json" in str(problem.remedy)


def test_a_config_of_another_model(folder: Path) -> None:
    change_config(folder, intermediate_size=25)
    assert "[25, 16]" in error(folder).what
    change_config(folder, intermediate_size=24, num_hidden_layers=4)
    assert "model.layers.3" in error(folder).what


def test_unknown_architecture(folder: Path) -> None:
    change_config(folder, model_type="mixtral")
    problem = error(folder)
    assert "'mixtral'" in problem.what
    assert all(family in problem.what for family in FAMILIES)
    assert "config.json: model_type" in str(problem.where)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"llama"'])
def test_invalid_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "config.json" in error(folder).what


def test_missing_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    problem = error(folder)
    assert "no config.json" in problem.what
    assert str(folder) in str(problem.remedy)


@pytest.mark.parametrize("value", [..., None, "24", 0, -3, 2.5, True])
def test_config_without_a_number(folder: Path, value: object) -> None:
    change_config(folder, intermediate_size=value)
    problem = error(folder)
    assert "intermediate_size" in problem.what
    assert "config.json: intermediate_size" in str(problem.where)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in error(folder).what
    assert "no such model folder" in error(folder / "nowhere").what


def test_several_weight_files_without_an_index(folder: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes((folder / "model.safetensors").read_bytes())
    read_all(folder)
    (folder / "model.safetensors").unlink()
    assert "a.safetensors, b.safetensors" in error(folder).what
    (folder / "b.safetensors").unlink()
    read_all(folder)


def test_only_the_located_files_are_read(folder: Path) -> None:
    good = folder / "chosen.safetensors"
    good.write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").write_bytes(b"")
    found = LocalModel(local_model(folder).spec, folder, None, (good,))
    assert len(list(mlp_weights(found))) == 3


def test_quantised_safetensors(folder: Path) -> None:
    rewrite(folder, lambda state: state.update({UP: (state[UP] * 9).to(torch.int8)}))
    problem = error(folder)
    assert "int8" in problem.what
    assert UP in str(problem.where)


@pytest.mark.parametrize("keep", [0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_torch_file(tmp_path: Path, keep: float, legacy: bool) -> None:
    folder = build("gpt2", tmp_path, safetensors=False)
    file = folder / "pytorch_model.bin"
    if legacy:
        state = torch.load(file, weights_only=True)
        torch.save(state, file, _use_new_zipfile_serialization=False)
        read_all(folder)
    truncate(file, keep)
    problem = error(folder)
    assert "damaged" in problem.what
    assert "pytorch_model.bin" in str(problem.where)


# A pickle that calls a function when it is read: os.getcwd().
CODE = b"cos\ngetcwd\n(tR."


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    folder = build("mingpt", tmp_path)
    (folder / "final.pth").write_bytes(CODE)
    problem = error(folder)
    assert "never loaded" in problem.what
    assert "safetensors" in str(problem.remedy)
    torch.save({"model": {"a": torch.ones(1)}}, folder / "final.pth")
    assert "flat state dict" in error(folder).what


def test_missing_tensor_in_a_torch_file(tmp_path: Path) -> None:
    folder = build("mingpt", tmp_path)
    state = torch.load(folder / "final.pth", weights_only=True)
    del state["blocks.2.mlp.0.weight"]
    torch.save(state, folder / "final.pth")
    problem = error(folder)
    assert "blocks.2.mlp.0.weight" in problem.what
    assert "final.pth" in str(problem.where)


def test_a_bare_state_dict_takes_its_shape_from_the_registry(tmp_path: Path) -> None:
    folder = build("mingpt", tmp_path)
    expected = read_shape(local_model(folder))
    (folder / "config.json").unlink()
    declared = {"family": "mingpt", "layers": 3, "d_model": 16, "d_mlp": 24, "n_heads": 4}
    assert read_shape(local_model(folder, **declared)) == expected
    read_all(folder, **declared)
    problem = error(folder, **{**declared, "d_mlp": None})
    assert "d_mlp" in problem.what
    assert "models.toml" in str(problem.where)
    assert "no config.json" in error(folder).what


@pytest.fixture
def gguf_file(folder: Path) -> Path:
    return write_gguf(folder, folder.parent / "model.gguf")


@pytest.mark.parametrize("keep", [0, 0.001, 0.1, 0.5, 0.98])
def test_truncated_gguf(gguf_file: Path, keep: float) -> None:
    truncate(gguf_file, keep)
    problem = error(gguf_file)
    assert "damaged or truncated" in problem.what
    assert "model.gguf" in str(problem.where)


def test_not_gguf(gguf_file: Path) -> None:
    gguf_file.write_bytes(b"PK" + gguf_file.read_bytes())
    assert "damaged" in error(gguf_file).what
    gguf_file.unlink()
    assert "model.gguf" in str(error(gguf_file).where)


def test_gguf_of_an_unsupported_architecture(gguf_file: Path) -> None:
    content = gguf_file.read_bytes()
    gguf_file.write_bytes(
        content.replace(struct.pack("<Q", 5) + b"llama", struct.pack("<Q", 5) + b"mamba", 1)
    )
    problem = error(gguf_file)
    assert "'mamba'" in problem.what
    assert "llama, qwen2, qwen3, gemma" in problem.what
    assert "general.architecture" in str(problem.where)
    assert "Hugging Face folder" in str(problem.remedy)


def test_gguf_without_a_size(gguf_file: Path) -> None:
    content = gguf_file.read_bytes()
    key = b"llama.feed_forward_length"
    gguf_file.write_bytes(content.replace(key, b"llama.feed_forward_lengtX", 1))
    assert "feed_forward_length" in error(gguf_file).what


def test_gguf_with_a_missing_tensor(gguf_file: Path) -> None:
    content = gguf_file.read_bytes()
    gguf_file.write_bytes(content.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight", 1))
    problem = error(gguf_file)
    assert UP in problem.what
    assert "model.gguf" in str(problem.where)


def test_gguf_shape_is_that_of_the_folder(folder: Path, gguf_file: Path) -> None:
    assert read_shape(local_model(gguf_file)).norm_eps == pytest.approx(
        read_shape(local_model(folder)).norm_eps
    )
    a, b = (vars(read_shape(local_model(path))) | {"norm_eps": 0} for path in (gguf_file, folder))
    assert a == b


def test_sources_name_shape_and_label_tensors(tmp_path: Path, folder: Path, gguf_file: Path) -> None:
    torch_folder = build("llama", tmp_path / "bin", safetensors=False)
    for path, label in (
        (folder, f"{folder / 'model.safetensors'}: {UP}"),
        (torch_folder, f"{torch_folder / 'pytorch_model.bin'}: {UP}"),
        (gguf_file, f"{gguf_file}: blk.1.ffn_up.weight"),
    ):
        source = open_source(local_model(path))
        assert isinstance(source, TensorSource)
        assert UP in source.names
        assert source.shape(UP) == (24, 16)
        assert source.label(UP) == label
        for call in (source.read, source.shape):
            with pytest.raises(WeightsError, match="no tensor absent"):
                call("absent")
