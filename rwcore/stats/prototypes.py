"""Model examples of the classes: small vectors and triples of cosines whose class is beyond doubt.

`PUBLISHED` and `DEFINITION` are the papers' own; the others show the classes and the dimension that those
leave out.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from rwcore.stats.classes import RW_CLASSES, UNDEFINED, class_codes
from rwcore.stats.cosines import RWCosines, weight_statistics
from rwcore.weights.fold import fold_gate_sign
from rwcore.weights.layer import MlpLayer

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Prototype:
    """A neuron in two or three dimensions.

    Attributes:
        name: Class it stands for.
        w_gate: Gate vector.
        w_in: Input vector.
        w_out: Output vector.
    """

    name: str
    w_gate: Vector
    w_in: Vector
    w_out: Vector


@dataclass(frozen=True)
class DefinitionPoint:
    """A triple of cosines in the figure that defines the classes.

    Attributes:
        name: Class it stands for.
        gatelin: cos(gate, in), shown as colour.
        gateout: cos(gate, out), to the right.
        linout: cos(in, out), upwards.
    """

    name: str
    gatelin: float
    gateout: float
    linout: float


OUT_2D = (1.0, 0.0)
OUT_3D = (1.0, 0.0, 0.0)

# Name, gate, in; out is always the first axis.
PUBLISHED = tuple(
    Prototype(name, gate, in_, OUT_2D)
    for name, gate, in_ in (
        ("strengthening", (0.98, -0.04), (0.98, 0.04)),
        ("conditional strengthening", (-0.02, 0.96), (0.98, 0.04)),
        ("weakening", (-0.98, -0.04), (-0.98, 0.0)),
        ("conditional weakening", (-0.02, 0.96), (-0.98, 0.0)),
        ("proportional change", (0.98, -0.04), (0.02, 1.04)),
        ("orthogonal output", (-0.02, 0.96), (0.02, 1.04)),
    )
)
"""The six prototypes of the papers' interactive notebook."""

_ATYPICAL = tuple(
    Prototype(f"atypical {name}", gate, in_, OUT_2D)
    for name, gate, in_ in (
        ("strengthening", (0.71, -0.71), (0.71, 0.71)),
        ("conditional strengthening", (0.17, 0.98), (0.77, 0.64)),
        ("proportional change", (0.77, 0.64), (0.17, 0.98)),
        ("weakening", (0.71, 0.71), (-0.71, 0.71)),
        ("conditional weakening", (-0.17, 0.98), (-0.77, 0.64)),
    )
)
_SPACE = tuple(
    Prototype(name, gate, in_, OUT_3D)
    for name, gate, in_ in (
        ("strengthening", (0.87, -0.2, 0.45), (0.87, 0.45, 0.2)),
        ("atypical strengthening", (0.66, -0.66, 0.35), (0.66, 0.66, 0.35)),
        ("conditional strengthening", (0.1, -0.3, 0.95), (0.95, 0.25, 0.2)),
        ("atypical conditional strengthening", (0.1, 0.3, 0.95), (0.72, 0.45, 0.53)),
        ("proportional change", (0.95, 0.25, 0.2), (0.1, -0.3, 0.95)),
        ("atypical proportional change", (0.72, 0.45, 0.53), (0.1, 0.3, 0.95)),
        ("orthogonal output", (-0.05, 0.05, 1.0), (0.05, 1.0, 0.05)),
        ("weakening", (-0.87, -0.2, 0.45), (-0.87, 0.45, 0.2)),
        ("atypical weakening", (0.66, 0.35, 0.66), (-0.66, 0.66, 0.35)),
        ("conditional weakening", (0.1, -0.3, 0.95), (-0.95, 0.25, 0.2)),
        ("atypical conditional weakening", (-0.1, 0.3, 0.95), (-0.72, 0.45, 0.53)),
    )
)


def _canonical(prototypes: tuple[Prototype, ...]) -> dict[str, Prototype]:
    named = {prototype.name: prototype for prototype in prototypes}
    return {rw_class.name: named[rw_class.name] for rw_class in RW_CLASSES}


PRESETS = {2: _canonical(PUBLISHED + _ATYPICAL), 3: _canonical(_SPACE)}
"""A prototype of every class by number of dimensions, in canonical order.

A plane can show every class, but there three vectors are never independent: two that are orthogonal to *out*
are parallel. In three dimensions all three of an *orthogonal output* neuron can be orthogonal, as the vectors
of a wide model mostly are.
"""

DEFINITION = tuple(
    DefinitionPoint(name, gatelin, gateout, linout)
    for name, gatelin, gateout, linout in (
        ("strengthening", -1.0, -0.9, 0.9),
        ("strengthening", 1.0, 0.9, 0.9),
        ("conditional strengthening", 0.0, 0.0, 0.9),
        ("weakening", 1.0, -0.9, -0.9),
        ("weakening", -1.0, 0.9, -0.9),
        ("conditional weakening", 0.0, 0.0, -0.9),
        ("proportional change", 0.0, -0.9, 0.0),
        ("proportional change", 0.0, 0.9, 0.0),
        ("orthogonal output", 0.0, 0.0, 0.0),
    )
)
"""The points of the papers' figure that defines the classes."""


def class_of(w_gate: Vector, w_in: Vector, w_out: Vector) -> str:
    """Name of the class of one neuron; ``undefined`` if a vector is zero or not finite.

    Args:
        w_gate: Gate vector, any number of dimensions.
        w_in: Input vector, as many.
        w_out: Output vector, as many.
    """
    return class_of_cosines(_cosines(_layer(w_gate, w_in, w_out)))


def class_of_cosines(cosines: RWCosines) -> str:
    """Name of the class of the first neuron of the first layer."""
    code = int(class_codes(cosines)[0, 0])
    return UNDEFINED if code < 0 else RW_CLASSES[code].name


def prototype_classes(*, fold_sign: bool = True) -> pd.DataFrame:
    """The class that every published prototype falls into.

    Args:
        fold_sign: Turn *in* and *out* round first where cos(gate, in) < 0, as for the papers' results. It
            changes the sign of gatelin and gateout, and never the class.

    Returns:
        One row per prototype: ``source`` (``vectors``: the notebook's neurons; ``cosines``: the points of
        the definition figure), ``prototype`` (the class it stands for), ``gatelin``, ``gateout``,
        ``linout``, ``class`` (the class it has).

    Source: RW functionalities, definition of the classes; sections 8.1 and 8.2 of the specification.
    """
    rows = []
    for prototype in PUBLISHED:
        layer = _layer(prototype.w_gate, prototype.w_in, prototype.w_out)
        rows.append(("vectors", prototype.name, _cosines(fold_gate_sign(layer) if fold_sign else layer)))
    for point in DEFINITION:
        sign = -1.0 if fold_sign and point.gatelin < 0 else 1.0
        values = (sign * point.gatelin, sign * point.gateout, point.linout)
        rows.append(("cosines", point.name, RWCosines(*(torch.tensor([[value]]) for value in values))))
    return pd.DataFrame(
        [
            {"source": source, "prototype": name}
            | {key: float(values[0, 0]) for key, values in cosines.present().items()}
            | {"class": class_of_cosines(cosines)}
            for source, name, cosines in rows
        ]
    )


def _layer(w_gate: Vector, w_in: Vector, w_out: Vector) -> MlpLayer:
    gate, in_, out = (torch.tensor([vector], dtype=torch.float32) for vector in (w_gate, w_in, w_out))
    return MlpLayer(0, gate, in_, out)


def _cosines(layer: MlpLayer) -> RWCosines:
    return weight_statistics([layer]).cosines
