"""An open model: its weight files, its shape and its family's names together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel
from rwcore.weights.families import Family, Tower
from rwcore.weights.shape import ModelShape, shape_of
from rwcore.weights.sources import TensorSource, open_source
from rwcore.weights.sources.base import no_tensor, restore

_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Norm:
    """Parameters of a norm, as they are applied.

    Attributes:
        gain: Gain γ, with Gemma's 1 added; None where the norm has none.
        shift: Bias β, or None.
    """

    gain: Float[Tensor, " d_model"] | None = None
    shift: Float[Tensor, " d_model"] | None = None


@dataclass(frozen=True)
class ModelReader:
    """Reads the tensors of a model by their stems, and checks their shapes.

    Attributes:
        source: The weight files.
        shape: The model's shape.
        base: Prefix under which this checkpoint stores the blocks.
        remedy: What to do about missing or damaged files.
    """

    source: TensorSource
    shape: ModelShape
    base: str
    remedy: str

    @property
    def family(self) -> Family:
        """The family's table of names."""
        return self.shape.tables

    def block(self, layer: int) -> tuple[Tower, str]:
        """The tower a layer belongs to, and the prefix of the layer's tensors."""
        tower, position = self.family.towers[0], layer
        if self.shape.n_encoder_layers and layer >= self.shape.n_encoder_layers:
            tower, position = self.family.towers[1], layer - self.shape.n_encoder_layers
        return tower, f"{self.base}{tower.block.format(layer=position)}."

    def matrix(self, stem: str, n_out: int, n_in: int) -> Tensor:
        """A weight matrix as stored, as a view ``[n_out, n_in]`` whatever its layout.

        Raises:
            WeightsError: It is missing, damaged, quantised, or of another shape.
        """
        if self.family.conv1d:
            return self._read(f"{stem}.weight", (n_in, n_out)).T
        return self._read(f"{stem}.weight", (n_out, n_in))

    def table(self, name: str, n_rows: int | None = None) -> Tensor:
        """An embedding table ``[row, d_model]`` as stored; tables are never transposed.

        Args:
            name: Full name of the tensor.
            n_rows: Rows it must have, or None for any number.
        """
        tensor = self._read(name, None)
        # minGPT keeps its positions with a leading axis of one.
        tensor = tensor.reshape(tensor.shape[-2:]) if tensor.ndim == 3 else tensor
        self._check(name, tuple(tensor.shape), (n_rows or tensor.shape[0], self.shape.d_model))
        return tensor

    def bias(self, stem: str, size: int) -> Tensor | None:
        """A bias in float32, or None where the checkpoint has none."""
        name = f"{stem}.bias"
        return self._read(name, (size,)).float() if name in self.source.names else None

    def norm(self, stem: str | None) -> Norm:
        """Gain and bias of a norm in float32; both None for None."""
        if stem is None:
            return Norm()
        gain = self._read(f"{stem}.weight", (self.shape.d_model,)).float()
        return Norm(gain + self.family.norm_offset, self.bias(stem, self.shape.d_model))

    def _read(self, name: str, expected: tuple[int, ...] | None) -> Tensor:
        tensor = self.source.read(name)
        if tensor.dtype not in _FLOATS:
            raise WeightsError(
                f"the tensor is quantised or no matrix of numbers: {tensor.dtype}",
                where=self.source.label(name),
                remedy="use the unquantised checkpoint, or a GGUF file",
            )
        if expected is not None:
            self._check(name, tuple(tensor.shape), expected)
        return tensor

    def _check(self, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            raise WeightsError(
                f"the tensor has shape {list(found)}, the config says {list(expected)}",
                where=self.source.label(name),
                remedy=f"config.json and weights belong to different models; {self.remedy}",
            )


def open_model(local: LocalModel) -> ModelReader:
    """Open a model for reading; nothing but headers is loaded.

    Raises:
        WeightsError: Files are missing or damaged, the architecture is unknown, or the files hold no
            blocks under any name the family uses.
    """
    source = open_source(local)
    shape = shape_of(local, source)
    family = shape.tables
    remedy = restore(local)
    first = f"{family.towers[0].block.format(layer=0)}.{family.towers[0].out}.weight"
    for base in family.bases:
        if base + first in source.names:
            return ModelReader(source, shape, base, remedy)
    raise no_tensor(family.bases[0] + first, local.path, remedy)
