"""Safetensors files: one, or shards with an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from rwcore.weights.sources.base import damaged, no_tensor


class SafetensorsSource:
    """Tensors of safetensors files.

    A file is opened for every tensor and closed at once: pages of a mapped file count as memory of
    the process for as long as the map lives (2.9 instead of 1.0 GiB for a checkpoint of 8.7 GB).

    Args:
        files: Tensor → file.
        where: The index or the single file, for error messages.
        remedy: What to do about damaged files.
    """

    def __init__(self, files: Mapping[str, Path], *, where: Path, remedy: str) -> None:
        self._files = files
        self._where = where
        self._remedy = remedy

    @property
    def names(self) -> Set[str]:
        """Names of all tensors."""
        return self._files.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        with self._opened(name) as file:
            return tuple(file.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """A tensor, mapped from its file."""
        with self._opened(name) as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def label(self, name: str) -> str:
        """``file: tensor``."""
        return f"{self._files.get(name, self._where)}: {name}"

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        if name not in self._files:
            raise no_tensor(name, self._where, self._remedy)
        with _opened(self._files[name], self._remedy, name) as file:
            if name not in file.keys():  # noqa: SIM118 - the handle is no mapping
                raise no_tensor(name, self._files[name], self._remedy)
            yield file


def names_in(path: Path, remedy: str) -> list[str]:
    """Names of the tensors in one file.

    Raises:
        WeightsError: The file is damaged.
    """
    with _opened(path, remedy) as file:
        return list(file.keys())


@contextmanager
def _opened(path: Path, remedy: str, name: str | None = None) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise damaged(f"{path}: {name}" if name else str(path), error, remedy) from error
