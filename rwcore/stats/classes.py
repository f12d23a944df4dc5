"""The read-write classes of neurons: rule, names, order, colours, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from rwcore.stats.cosines import RWCosines

THRESHOLD = 0.5
UNDEFINED = "undefined"
UNDEFINED_CODE = -1
NEAR = {"near_1e-6": 1e-6, "near_1e-3": 1e-3}

Rule = Literal["product", "copysign_2025_05"]


@dataclass(frozen=True)
class RWClass:
    """A class of neurons.

    Attributes:
        name: Name in tables and legends.
        key: Discretised (linout, |gateout|, typical); only (linout,) without a gate.
        rgba: Colour in figures.
    """

    name: str
    key: tuple[int, ...]
    rgba: tuple[float, float, float, float]


# The order is the canonical one of columns, stacked bars and legends, and a class's place in it its code.
RW_CLASSES = (
    RWClass("strengthening", (1, 1, 1), (1.0, 1.0, 0.0, 1.0)),
    RWClass("atypical strengthening", (1, 1, 0), (1.0, 1.0, 0.0, 0.5)),
    RWClass("conditional strengthening", (1, 0, 1), (0.5, 0.5, 0.0, 1.0)),
    RWClass("atypical conditional strengthening", (1, 0, 0), (0.5, 0.5, 0.0, 0.5)),
    RWClass("proportional change", (0, 1, 1), (0.0, 0.0, 0.0, 1.0)),
    RWClass("atypical proportional change", (0, 1, 0), (0.0, 0.0, 0.0, 0.5)),
    RWClass("orthogonal output", (0, 0, 1), (0.9, 0.9, 0.9, 1.0)),
    RWClass("weakening", (-1, 1, 1), (0.0, 0.0, 1.0, 1.0)),
    RWClass("atypical weakening", (-1, 1, 0), (0.0, 0.0, 1.0, 0.5)),
    RWClass("conditional weakening", (-1, 0, 1), (0.0, 0.5, 0.5, 1.0)),
    RWClass("atypical conditional weakening", (-1, 0, 0), (0.0, 0.5, 0.5, 0.5)),
)
VANILLA_CLASSES = (
    RWClass("strengthening", (1,), (1.0, 1.0, 0.0, 1.0)),
    RWClass("orthogonal output", (0,), (0.9, 0.9, 0.9, 1.0)),
    RWClass("weakening", (-1,), (0.0, 0.0, 1.0, 1.0)),
)


def classes_of(cosines: RWCosines) -> tuple[RWClass, ...]:
    """The classes that neurons with these cosines can have, in canonical order."""
    return RW_CLASSES if cosines.gated else VANILLA_CLASSES


@overload
def discretise(x: float, threshold: float = THRESHOLD) -> int: ...
@overload
def discretise(x: Tensor, threshold: float = THRESHOLD) -> Tensor: ...
def discretise(x: float | Tensor, threshold: float = THRESHOLD) -> int | Tensor:
    """``A(x) = 1 if x > threshold, -1 if x < -threshold, else 0``; strict on both sides, in float32.

    A NaN gives 0. A tensor gives an int8 tensor, a float an int.
    """
    values = torch.as_tensor(x, dtype=torch.float32)
    bound = torch.tensor(threshold, dtype=torch.float32, device=values.device)
    codes = (values > bound).to(torch.int8) - (values < -bound).to(torch.int8)
    return codes if isinstance(x, Tensor) else int(codes)


def class_codes(
    cosines: RWCosines,
    threshold: float = THRESHOLD,
    *,
    rule: Rule = "product",
    nan_as_orthogonal: bool = False,
) -> Int8[Tensor, "layer neuron"]:
    """The class of every neuron, as its index in `RW_CLASSES` (gated) or `VANILLA_CLASSES`.

    With ``A`` of `discretise`, the key of a gated neuron is ``(A(linout), |A(gateout)|, typical)`` where
    ``typical`` says that ``A(gatelin) = A(linout)·A(gateout)``, or that the first two are zero. The key of
    a neuron without a gate is ``(A(linout),)``.

    Args:
        cosines: The cosines.
        threshold: Above it a cosine counts as large; compared in float32.
        rule: ``product`` as above; ``copysign_2025_05`` is the first public version of the rule, which
            ignored the sign of gatelin. They agree where gatelin ≥ 0.
        nan_as_orthogonal: Published quirk: take a cosine that is NaN for 0, instead of giving the neuron
            the code -1 (undefined). A neuron all of whose cosines are NaN is then *orthogonal output*.

    Source: RW functionalities, definition of the classes; sections 2.2-2.4 of the specification.
    """
    linout = discretise(cosines.linout, threshold)
    if cosines.gatelin is None or cosines.gateout is None:
        codes = 1 - linout
    else:
        gateout = discretise(cosines.gateout, threshold)
        # The first version compared A(copysign(gatelin, gateout)) with A(linout), which is the product
        # rule for the absolute value of gatelin.
        gatelin = cosines.gatelin.abs() if rule == "copysign_2025_05" else cosines.gatelin
        small = (linout == 0) & (gateout == 0)
        typical = small | (discretise(gatelin, threshold) == linout * gateout)
        codes = _lookup()[(((linout + 1) * 2 + gateout.abs()) * 2 + typical).long()]
    return codes if nan_as_orthogonal else codes.masked_fill(cosines.undefined(), UNDEFINED_CODE)


def _lookup() -> Int8[Tensor, " key"]:
    table = torch.full((12,), UNDEFINED_CODE, dtype=torch.int8)
    for code, rw_class in enumerate(RW_CLASSES):
        linout, gateout, typical = rw_class.key
        table[((linout + 1) * 2 + gateout) * 2 + typical] = code
    return table


def count_codes(codes: Int8[Tensor, "layer neuron"], n_codes: int) -> Int64[Tensor, "layer code"]:
    """How often each code occurs in each layer; the last column counts the undefined neurons (code -1)."""
    n_layers = len(codes)
    cells = codes.long().remainder(n_codes + 1) + torch.arange(n_layers)[:, None] * (n_codes + 1)
    return cells.flatten().bincount(minlength=n_layers * (n_codes + 1)).reshape(n_layers, n_codes + 1)


def near_counts(distance: Float[Tensor, "layer neuron"]) -> dict[str, np.ndarray]:
    """Per layer, how many neurons lie within 1e-6 and within 1e-3 of a threshold; a NaN is not near."""
    return {name: (distance <= delta).sum(dim=1).numpy() for name, delta in NEAR.items()}


def class_counts(
    cosines: RWCosines,
    threshold: float = THRESHOLD,
    *,
    rule: Rule = "product",
    nan_as_orthogonal: bool = False,
) -> pd.DataFrame:
    """The number of neurons of every class in every layer.

    Args:
        cosines: The cosines.
        threshold: See `class_codes`.
        rule: See `class_codes`.
        nan_as_orthogonal: See `class_codes`.

    Returns:
        ``layer``, ``class`` (all of them for each layer, canonical order; the class ``undefined`` comes
        last and only if the model has such neurons), ``count`` (adds up to the number of neurons),
        ``near_1e-6`` and ``near_1e-3``: how many neurons of the layer have a cosine the class depends on
        whose absolute value is that close to the threshold (the same on all rows of a layer).
    """
    codes = class_codes(cosines, threshold, rule=rule, nan_as_orthogonal=nan_as_orthogonal)
    names = [rw_class.name for rw_class in classes_of(cosines)] + [UNDEFINED]
    counts = count_codes(codes, len(names) - 1).numpy()
    if not counts[:, -1].any():
        names, counts = names[:-1], counts[:, :-1]
    bound = torch.tensor(threshold, dtype=torch.float32).double()
    distances = [(values.double().abs() - bound).abs() for values in cosines.present().values()]
    # amin hands a NaN on, so undefined neurons are never near.
    near = near_counts(torch.stack(distances).amin(dim=0))
    n_layers, n_classes = counts.shape
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(n_layers), n_classes),
            "class": np.tile(np.array(names, dtype=object), n_layers),
            "count": counts.reshape(-1),
        }
        | {name: np.repeat(values, n_classes) for name, values in near.items()}
    ).astype({"class": "str"})


def class_totals(counts: pd.DataFrame) -> pd.DataFrame:
    """Sums of a `class_counts` frame over the layers: ``class``, ``count``, ``near_1e-6``, ``near_1e-3``."""
    return counts.drop(columns="layer").groupby("class", sort=False, as_index=False).sum()
