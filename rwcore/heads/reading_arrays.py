"""Readings of heads as named arrays, and back: what the store keeps of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from rwcore.heads.reading import Attention, CspaReading, HeadReading
from rwcore.heads.reading_lists import Lens, Predicted, TokenList

Part = TypeVar("Part")
_PARTS: Mapping[str, type[Any]] = {
    "clean": Predicted,
    "lowered": TokenList,
    "raised": TokenList,
    "attention": Attention,
    "lens": Lens,
    "cspa": CspaReading,
}


def to_arrays(readings: Sequence[HeadReading]) -> dict[str, Tensor]:
    """The arrays of some readings of a row; each has its head and part in its name."""
    return {  # copies: heads of a layer share what is predicted before it, and no file may
        f"{one.layer}.{one.head}/{name}/{field}": values.clone()
        for one in readings
        for name, part in _parts(one)
        for field, values in vars(part).items()
    }


def of_arrays(
    arrays: Mapping[str, Tensor], heads: Sequence[tuple[int, int]], effects: Sequence[str]
) -> list[HeadReading]:
    """The readings that `to_arrays` made arrays of.

    Args:
        arrays: The arrays.
        heads: Layer and number of each head.
        effects: Which effects there are.

    Raises:
        KeyError: There are no arrays of some head or effect.
    """

    def part(layer: int, head: int, name: str, made: type[Part]) -> Part:
        prefix = f"{layer}.{head}/{name}/"
        return made(**{field: arrays[prefix + field] for field in made.__dataclass_fields__})  # type: ignore[attr-defined]

    return [
        HeadReading(
            layer,
            head,
            effects={effect: part(layer, head, f"effects.{effect}", Predicted) for effect in effects},
            **{name: part(layer, head, name, made) for name, made in _PARTS.items()},
        )
        for layer, head in heads
    ]


def _parts(one: HeadReading) -> Iterator[tuple[str, object]]:
    for name in _PARTS:
        yield name, getattr(one, name)
    for effect, found in one.effects.items():
        yield f"effects.{effect}", found
