"""GGUF files: hashed, checked, and converted once to a folder in Hugging Face format (float32)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from rwcore.errors import ModelError, RwcoreError, WeightsError
from rwcore.paths import cache_dir
from rwcore.provenance import software
from rwcore.runtime import quiet
from rwcore.store import atomic_folder, hash_file, read_json, write_json

MANIFEST = "conversion.json"
FORMAT = "gguf-to-hf/1"  # raise when a conversion would give other numbers


def gguf_hash(path: Path) -> str:
    """``sha256:…`` of a GGUF file; read once per process unless size or modification time change."""
    facts = path.stat()
    return _hash(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, size: int, mtime_ns: int) -> str:
    return hash_file(path)


def gguf_architecture(path: Path) -> str:
    """The architecture a GGUF file names (``llama``, ``qwen2``, …), after a check that the file is whole.

    Raises:
        WeightsError: The file is not GGUF, or shorter than its own table of tensors says.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        # Reading the last tensor's last byte is what a truncated file cannot do.
        end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
        field = reader.fields.get("general.architecture")
        architecture = None if field is None else str(field.contents())
    # The reader checks nothing: damage shows as whatever the wrong bytes lead to.
    except (ValueError, IndexError, KeyError, OSError, OverflowError, MemoryError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not reader.tensors or end > path.stat().st_size:
        raise _damaged(path, "it ends before its last tensor" if reader.tensors else "it holds no tensors")
    if architecture is None:
        raise _damaged(path, "it does not name its architecture (general.architecture)")
    return architecture


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"this is not a whole GGUF file: {reason}",
        where=str(path),
        remedy="download or convert the file again",
    )


def convert_gguf(path: Path, into: Path) -> Path:
    """Write a GGUF file as a folder in Hugging Face format: dequantised weights, config and tokenizer.

    Weights become float32 safetensors, sharded only if large; the quantisation settings are dropped, so
    the folder is an ordinary unquantised model and reloads bit for bit.

    Args:
        path: The ``.gguf`` file.
        into: An existing folder to fill.

    Returns:
        ``into``.

    Raises:
        WeightsError: The file is damaged or lacks tensors.
        ModelError: transformers cannot read this architecture or its tokenizer.
    """
    architecture = gguf_architecture(path)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with quiet_transformers():
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent, dtype=torch.float32, output_loading_info=True, **source
            )
            check_complete(info, str(path))
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **source)
        except RwcoreError:
            raise
        # What comes for an unknown architecture or tokenizer depends on how it is unknown; the tokenizers
        # library even raises a bare Exception.
        except Exception as error:
            raise ModelError(
                f"transformers cannot convert this GGUF file of architecture {architecture!r}: {error}",
                where=str(path),
                remedy="use the model's original folder in Hugging Face format instead",
            ) from error
        # `save_pretrained` refuses a model that still calls itself quantised; its tensors are plain float32.
        model.hf_quantizer = None
        model.is_quantized = False
        del model.config.quantization_config
        for noise in ("is_local", "local_files_only", "gguf_file"):
            tokenizer.init_kwargs.pop(noise, None)
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)
    return into


def converted(path: Path) -> Path:
    """The folder a GGUF file was converted to, in the cache; converted first if it is not there."""
    digest = gguf_hash(path)
    final = cache_dir() / "models" / f"gguf-{digest.removeprefix('sha256:')[:24]}"
    with conversion_lock(final):
        if conversion(final) is None:
            build_folder(path, final, {})
    return final


def conversion_lock(final: Path) -> FileLock:
    """The lock under which a conversion folder is made, so that two processes do not collide."""
    final.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(final.parent / f"{final.name}.lock")


def build_folder(path: Path, final: Path, facts: Mapping[str, object]) -> None:
    """Convert a GGUF file into ``final``, whole or not at all, with a manifest of what it was made from.

    The caller holds the lock. A folder that is already there is replaced.
    """
    with atomic_folder(final) as folder:
        convert_gguf(path, folder)
        manifest = {
            **facts,
            "format": FORMAT,
            "gguf": path.name,
            "gguf_sha256": gguf_hash(path),
            "software": software(),
            "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
        }
        write_json(folder / MANIFEST, manifest)


def conversion(folder: Path) -> dict[str, Any] | None:
    """The manifest of a converted folder; None if it is missing, incomplete or of an older format."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST)
        whole = manifest["format"] == FORMAT and all(
            (folder / name).stat().st_size == size for name, size in manifest["files"].items()
        )
    except (RwcoreError, KeyError, TypeError, AttributeError, OSError):
        return None
    return manifest if whole else None


def check_complete(info: Mapping[str, Collection[Any]], where: str) -> None:
    """Refuse a model some of whose parameters were not in the file: transformers makes up random ones.

    Args:
        info: What ``from_pretrained(output_loading_info=True)`` reports.
        where: The folder or file, for the message.

    Raises:
        WeightsError: Parameters are missing or of another shape.
    """
    for kind, problem in (("missing_keys", "are missing"), ("mismatched_keys", "have another shape")):
        names = sorted(str(name) for name in info.get(kind) or ())
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise WeightsError(
                f"{len(names)} parameters {problem}: {shown}",
                where=where,
                remedy="download the files again; if it stays, config.json does not belong to these weights",
            )


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from logging advice and, where nobody watches, from drawing progress bars."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if quiet():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
