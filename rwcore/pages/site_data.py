"""The numbers of every neuron of a site: those of a layer as one file that a page can load from a disk."""

from __future__ import annotations

import json
import sys
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int8, Int64
from torch import Tensor

SHARE, COSINE, NUMBER = "share", "cosine", "number"
LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Column:
    """A number that every neuron has.

    Attributes:
        key: Its name in links.
        kind: ``share`` (of tokens), ``cosine`` or ``number``.
    """

    key: str
    kind: str


@dataclass(frozen=True, eq=False)
class IndexLayer:
    """What the index says about the neurons of a layer; gate signs folded.

    Attributes:
        layer: Layer, from 0.
        classes: Places of their read-write classes in the canonical order, -1 for an undefined neuron.
        roles: Places of their roles in the names of the site; None if roles were not asked for.
        frequencies: Shares of the tokens in each quadrant.
        cosines: Cosines by name.
        norm_out: Norms of the output vectors.
        low: The most negative post, NaN if there is none.
        high: The most positive post, NaN if there is none.
    """

    layer: int
    classes: Int8[Tensor, " neuron"]
    roles: Int8[Tensor, " neuron"] | None
    frequencies: Float[Tensor, "quadrant neuron"]
    cosines: Mapping[str, Float[Tensor, " neuron"]]
    norm_out: Float[Tensor, " neuron"]
    low: Float[Tensor, " neuron"]
    high: Float[Tensor, " neuron"]

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def codes(self) -> Int8[np.ndarray, "kind neuron"]:
        """The classes and, where there are any, the roles."""
        kinds = [self.classes, *([] if self.roles is None else [self.roles])]
        return np.stack([_array(one, "int8") for one in kinds])

    @cached_property
    def values(self) -> Float[np.ndarray, "column neuron"]:
        """The columns of `columns`, float32."""
        rows = [*self.frequencies, *self.cosines.values(), self.norm_out, self.low, self.high]
        return np.stack([_array(one, "<f4") for one in rows])

    @cached_property
    def digest(self) -> str:
        """A checksum: tells a page whether the file of the layer is the one that it was made with."""
        return f"{zlib.crc32(self.values.tobytes(), zlib.crc32(self.codes.tobytes())):08x}"

    def counts(self, n_classes: int) -> Int64[np.ndarray, " class"]:
        """How many neurons are in each class; the last number is that of the undefined ones."""
        return np.bincount(self.codes[0].astype(int) % (n_classes + 1), minlength=n_classes + 1)

    def bounds(self) -> list[list[float]]:
        """Smallest and largest value of each column, and a third number if some are NaN; none if all are."""
        found = []
        for row in self.values:
            known = row[~np.isnan(row)].astype(float)
            ends = (
                [max(-LARGEST, min(LARGEST, one())) for one in (known.min, known.max)] if len(known) else []
            )
            found.append(ends + [1.0] * (bool(ends) and len(known) < len(row)))
        return found


def columns(quadrants: Sequence[str], layer: IndexLayer) -> list[Column]:
    """The columns of a layer: its frequencies, cosines, the norm of out, and the two ends of post."""
    return [
        *(Column(name, SHARE) for name in quadrants),
        *(Column(name, COSINE) for name in layer.cosines),
        *(Column(name, NUMBER) for name in ("norm_out", "low", "high")),
    ]


def layer_file(layer: int) -> str:
    """Where the file of a layer is, seen from the index."""
    return f"data/layer-{layer:03d}.js"


def layer_script(layer: IndexLayer) -> str:
    """The file of a layer: one call that hands its numbers to the page.

    A page that was opened from a disk may load scripts and nothing else. Codes are int8 and values float32,
    little endian, row after row, in base64: see `packed`.
    """
    given = {"digest": layer.digest, **packed(layer.codes, layer.values)}
    return f"rwLayer({layer.layer}, {json.dumps(given)});\n"


def packed(
    codes: Int8[np.ndarray, "kind neuron"], values: Float[np.ndarray, "column neuron"]
) -> dict[str, str]:
    """Numbers of neurons as text: ``codes`` and ``values``."""
    parts = {"codes": codes.astype("int8"), "values": values.astype("<f4")}
    return {name: b64encode(one.tobytes()).decode("ascii") for name, one in parts.items()}


def _array(values: Tensor, dtype: str) -> np.ndarray:
    return values.detach().cpu().float().numpy().astype(dtype)
