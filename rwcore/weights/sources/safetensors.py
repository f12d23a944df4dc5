"""Safetensors files: one, or shards with an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from rwcore.weights.sources.base import damaged, no_tensor

KEPT_BYTES = 64 * 2**20


class SafetensorsSource:
    """Tensors of safetensors files.

    A file is closed again once 64 MiB were read from it: pages of a mapped file count as memory of the
    process for as long as the map lives (2.9 instead of 1.0 GiB for a checkpoint of 8.7 GB), while opening
    it for every tensor would cost a small model a fifth of the time.

    Args:
        files: Tensor → file.
        where: The index or the single file, for error messages.
        remedy: What to do about damaged files.
    """

    def __init__(self, files: Mapping[str, Path], *, where: Path, remedy: str) -> None:
        self._files = files
        self._where = where
        self._remedy = remedy
        self._open: tuple[Path, Any] | None = None
        self._bytes_read = 0

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
        self._bytes_read += tensor.nbytes
        if self._bytes_read > KEPT_BYTES:
            self._open, self._bytes_read = None, 0
        return tensor

    def label(self, name: str) -> str:
        """``file: tensor``."""
        return f"{self._files.get(name, self._where)}: {name}"

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        if name not in self._files:
            raise no_tensor(name, self._where, self._remedy)
        path = self._files[name]
        with _explained(path, self._remedy, name):
            if self._open is None or self._open[0] != path:
                self._open, self._bytes_read = (path, _handle(path)), 0
            _, file = self._open
            if name not in file.keys():  # noqa: SIM118 - the handle is no mapping
                raise no_tensor(name, path, self._remedy)
            yield file


def names_in(path: Path, remedy: str) -> list[str]:
    """Names of the tensors in one file.

    Raises:
        WeightsError: The file is damaged.
    """
    with _explained(path, remedy):
        return list(_handle(path).keys())


def _handle(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")


@contextmanager
def _explained(path: Path, remedy: str, name: str | None = None) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError) as error:
        raise damaged(f"{path}: {name}" if name else str(path), error, remedy) from error
