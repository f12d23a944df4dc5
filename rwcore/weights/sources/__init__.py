"""Weight files of a model: found, opened and read tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel
from rwcore.weights.sources.base import TensorSource, restore
from rwcore.weights.sources.gguf import GgufSource, read_header
from rwcore.weights.sources.safetensors import SafetensorsSource, names_in
from rwcore.weights.sources.torch_files import TorchSource, load_state

__all__ = ["TensorSource", "open_source"]

# By preference: endings of the files, the usual name of a single file, and of the index of shards.
_FORMATS = (
    ((".safetensors",), "model.safetensors", "model.safetensors.index.json"),
    ((".bin", ".pt", ".pth"), "pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def open_source(local: LocalModel) -> TensorSource:
    """Open the weight files of a model; nothing is loaded.

    Safetensors are preferred to ``torch.save`` files, a single file of the usual name to shards with an
    index, and those to a single file of any other name.

    Args:
        local: The model; ``path`` is its folder or its ``.gguf`` file. Only ``files`` are looked at, or
            all files of the folder where ``files`` is empty.

    Raises:
        WeightsError: There is no weight file, there are several and no index, or a file is missing
            or damaged.
    """
    remedy = restore(local)
    if local.path.suffix == ".gguf":
        return GgufSource(read_header(local.path, remedy), remedy=remedy)
    if not local.path.is_dir():
        raise WeightsError("there is no such model folder", where=str(local.path), remedy=remedy)
    candidates = local.files or tuple(sorted(local.path.iterdir()))
    for endings, single, index in _FORMATS:
        files = {file.name: file for file in candidates if file.suffix in endings}
        if single in files:
            return _open_file(files[single], remedy)
        if (local.path / index).is_file():
            return _open_shards(local.path / index, remedy)
        if len(files) == 1:
            return _open_file(next(iter(files.values())), remedy)
        if files:
            raise WeightsError(
                f"several weight files and no index: {', '.join(files)}",
                where=str(local.path),
                remedy=f"keep one of them, or add {index}",
            )
    raise WeightsError(
        "the folder holds no weights (*.safetensors, *.bin, *.pt, *.pth)",
        where=str(local.path),
        remedy=remedy,
    )


def _open_file(path: Path, remedy: str) -> TensorSource:
    if path.suffix == ".safetensors":
        return SafetensorsSource(dict.fromkeys(names_in(path, remedy), path), where=path, remedy=remedy)
    return TorchSource(dict.fromkeys(load_state(path, remedy), path), where=path, remedy=remedy)


def _open_shards(index: Path, remedy: str) -> TensorSource:
    files = _read_index(index, remedy)
    if all(file.suffix == ".safetensors" for file in files.values()):
        return SafetensorsSource(files, where=index, remedy=remedy)
    return TorchSource(files, where=index, remedy=remedy)


def _read_index(path: Path, remedy: str) -> Mapping[str, Path]:
    """Tensor → shard, from ``*.index.json``; all shards must be there."""
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): path.parent / str(shard) for name, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the index of the shards cannot be read: {error!r}", where=f"{path}: weight_map", remedy=remedy
        ) from error
    missing = sorted({shard.name for shard in files.values() if not shard.is_file()})
    if missing:
        first = next(name for name, shard in files.items() if shard.name == missing[0])
        raise WeightsError(
            f"{len(missing)} shard(s) of the index are not in the folder: {', '.join(missing)}",
            where=f"{path}: {first}",
            remedy=remedy,
        )
    return files
