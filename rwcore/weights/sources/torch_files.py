"""Checkpoints of ``torch.save``: ``.bin``, ``.pt`` and ``.pth``, one or shards with an index."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Set
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.sources.base import damaged, no_tensor


class TorchSource:
    """Tensors of ``torch.save`` files, read with ``weights_only=True``.

    Files in zip format (PyTorch 1.6 and later) are mapped, and for every tensor anew, so that their
    pages do not add up. Older files can only be read whole; the last one is kept.

    Args:
        files: Tensor → file.
        where: The index or the single file, for error messages.
        remedy: What to do about damaged files.
    """

    def __init__(self, files: Mapping[str, Path], *, where: Path, remedy: str) -> None:
        self._files = files
        self._where = where
        self._remedy = remedy
        self._whole = lru_cache(maxsize=1)(load_state)

    @property
    def names(self) -> Set[str]:
        """Names of all tensors."""
        return self._files.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self.read(name).shape)

    def read(self, name: str) -> Tensor:
        """A tensor, mapped from its file where the format allows it."""
        if name not in self._files:
            raise no_tensor(name, self._where, self._remedy)
        path = self._files[name]
        load = load_state if zipfile.is_zipfile(path) else self._whole
        state = load(path, self._remedy)
        if name not in state:
            raise no_tensor(name, path, self._remedy)
        return state[name]

    def label(self, name: str) -> str:
        """``file: tensor``."""
        return f"{self._files.get(name, self._where)}: {name}"


def load_state(path: Path, remedy: str) -> dict[str, Tensor]:
    """The state dict in a file; mapped, where the file has zip format.

    Raises:
        WeightsError: The file is damaged, holds other objects than tensors, or is not a flat state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise WeightsError(
            f"the file is damaged, or holds objects other than tensors, which are never loaded: "
            f"{str(error).splitlines()[0]}",
            where=str(path),
            remedy=f"{remedy}; or save its state dict as safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise damaged(str(path), str(error).splitlines()[0] if str(error) else error, remedy) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(
            "the file does not hold a flat state dict (name → tensor)",
            where=str(path),
            remedy="save the state dict alone, best as safetensors",
        )
    return state
