"""Where a model's weights lie on this machine. Nothing here downloads anything."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection
from pathlib import Path

from rwcore.errors import ModelError, WeightsError, WeightsMissing
from rwcore.models.gguf import conversion, gguf_hash
from rwcore.models.packaged import packaged_folder
from rwcore.models.spec import FOLDER, GGUF, HUB, LocalModel, ModelSpec

# Usual names of weights, best first, as transformers looks for them: one file, or an index and its shards.
_USUAL = (
    ("model.safetensors", None),
    ("model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", None),
    ("pytorch_model-*.bin", "pytorch_model.bin.index.json"),
    ("*.safetensors", None),
    ("*.bin", None),
    ("*.pth", None),
)
# Files with a weight file's ending that are no model weights.
_NOT_WEIGHTS = ("adapter_*", "training_args.bin", "optimizer.*", "scheduler.*", "rng_state*", "tokenizer*")


def choose_weights(names: Collection[str], patterns: tuple[str, ...] = ()) -> tuple[list[str], str | None]:
    """Which of a folder's files hold the weights: safetensors if there are any, else ``.bin``, else ``.pth``.

    Args:
        names: File names, without those in sub-folders.
        patterns: The model's own patterns, best first, instead of the usual names.

    Returns:
        The names, sorted, and the name of their index file or None. Both empty if there are no weights.
    """
    candidates = sorted(name for name in names if not any(fnmatch.fnmatch(name, no) for no in _NOT_WEIGHTS))
    for pattern, index in [(pattern, None) for pattern in patterns] or _USUAL:
        chosen = fnmatch.filter(candidates, pattern)
        if chosen and (index is None or index in names):
            return chosen, index
    return [], None


def locate(spec: ModelSpec) -> LocalModel:
    """Find a model's weights on this machine.

    Hub models are looked for in huggingface_hub's cache, where transformers and `rwcore.models.fetch`
    put them; the network is not touched.

    Raises:
        WeightsMissing: The weights, or some of their files, are not here; the remedy is what fetches them.
        ModelError: A folder or file that was named is gone.
        WeightsError: An index of shards is damaged.
    """
    if spec.source == GGUF:
        file = Path(spec.location)
        if not file.is_file():
            raise ModelError("the GGUF file is not there", where=spec.location, remedy="check the path")
        return LocalModel(spec, file, gguf_hash(file), (file,))
    if spec.source == FOLDER:
        return LocalModel(spec, Path(spec.location), None, _weight_files(spec, Path(spec.location)))
    if spec.source == HUB:
        folder = _snapshot(spec)
        if folder is None:
            raise _missing(spec, "its weights are not on this machine", None)
        return LocalModel(spec, folder, folder.name, _weight_files(spec, folder))
    folder = packaged_folder(spec)
    manifest = conversion(folder)
    if manifest is None:
        raise _missing(spec, "its weights are not on this machine", folder)
    return LocalModel(spec, folder, str(manifest["gguf_sha256"]), _weight_files(spec, folder))


def _snapshot(spec: ModelSpec) -> Path | None:
    """The snapshot folder of a hub model in the hub's cache; its name is the commit."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        folder = huggingface_hub.snapshot_download(
            spec.location,
            revision=spec.revision,
            local_files_only=True,
            # Of a snapshot we fetch only some files; asking for all would make the hub call it incomplete.
            allow_patterns=["config.json"],
        )
    except FileNotFoundError:
        return None
    except HFValidationError as error:
        raise ModelError(f"{spec.location!r} is not a name the hub allows: {error}", where=spec.id) from error
    return Path(folder)


def _weight_files(spec: ModelSpec, folder: Path) -> tuple[Path, ...]:
    """The weight files of a folder, checked to be all there.

    A shard that an interrupted download left as a dangling link does not exist.
    """
    names = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    if spec.needs_config and "config.json" not in names:
        if spec.source == FOLDER:
            raise ModelError("there is no config.json", where=str(folder), remedy="check the path")
        raise _missing(spec, "config.json is not on this machine", folder)
    chosen, index = choose_weights(names, spec.weights)
    if index is not None:
        expected = _shards(folder / index)
        absent = [name for name in expected if name not in names]
        if absent:
            shown = ", ".join(absent[:3])
            what = f"{len(absent)} of {len(expected)} weight files are missing: {shown}"
            raise _missing(spec, what, folder)
        chosen = expected
    if not chosen:
        raise _missing(spec, "there are no weights (safetensors, .bin or .pth)", folder)
    return tuple(folder / name for name in chosen)


def _shards(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        # A name with a folder in it could point anywhere on this machine.
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("it does not list plain file names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the index of weight files is damaged: {error}",
            where=f"{index}: weight_map",
            remedy="fetch it again",
        ) from error
    return sorted(names)


def _missing(spec: ModelSpec, what: str, folder: Path | None) -> WeightsMissing:
    here = spec.source == FOLDER
    remedy = "copy the missing files into the folder" if here else f"rwcore fetch {spec.id}"
    if spec.licence_gated:
        remedy += f" (needs the licence of https://huggingface.co/{spec.location} and a token)"
    return WeightsMissing(f"{spec.id}: {what}", where=None if folder is None else str(folder), remedy=remedy)
