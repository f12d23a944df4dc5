"""Which neurons to look at one by one: the clearest prediction and suppression neurons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.stats.classes import RW_CLASSES, RWClass
from rwcore.stats.roles.choose import PREDICTION, ROLES, SUPPRESSION

COLUMNS = ("class", "role", "layer", "neuron", "kurtosis")


def case_study_neurons(
    kurtosis: Float[Tensor, "layer neuron"],
    roles: Int8[Tensor, "layer neuron"],
    codes: Int8[Tensor, "layer neuron"],
    *,
    classes: Sequence[RWClass] = RW_CLASSES,
    typical_only: bool = False,
) -> pd.DataFrame:
    """The clearest neurons: those whose effect on the tokens has the largest kurtosis.

    First the prediction neuron with the largest kurtosis of all, then the suppression neuron with the
    largest, then for each class in its order the prediction neuron with the largest, unless a neuron of that
    class is already there. Of equals the first one counts, by layer, then by neuron. Neurons without a class
    or with a kurtosis that is not finite are left out.

    A class without prediction neurons has no row. (The original then repeated the neuron of the class before,
    from a variable that still held it.)

    Args:
        kurtosis: Excess kurtosis of the cosines between each output vector and all tokens.
        roles: Index of each neuron's role in `rwcore.stats.roles.choose.ROLES`.
        codes: Index of each neuron's class in ``classes``, -1 for none.
        classes: What the codes stand for.
        typical_only: Leave out atypical classes, as the first public version did.

    Returns:
        ``class``, ``role``, ``layer``, ``neuron``, ``kurtosis`` in the order above; no neuron twice, and no
        row at all where no neuron has such a role.

    Source: RW functionalities, case studies; section 7.2 of the specification.
    """
    values = kurtosis.detach().cpu().double().numpy()
    role, code = roles.cpu().numpy(), codes.cpu().numpy()
    usable = np.isfinite(values) & (code >= 0)
    prediction = usable & (role == PREDICTION)
    rows: list[tuple[str, str, int, int, float]] = []

    def choose(chosen_role: int, among: np.ndarray) -> None:
        if not among.any():
            return
        # argmax takes the first of equal values.
        layer, neuron = np.unravel_index(np.where(among, values, -np.inf).argmax(), values.shape)
        found = classes[int(code[layer, neuron])].name
        kurt = float(values[layer, neuron])
        rows.append((found, ROLES[chosen_role], int(layer), int(neuron), kurt))

    choose(PREDICTION, prediction)
    choose(SUPPRESSION, usable & (role == SUPPRESSION))
    for number, one in enumerate(classes):
        wanted = not (typical_only and one.name.startswith("atypical "))
        if wanted and one.name not in {row[0] for row in rows}:
            choose(PREDICTION, prediction & (code == number))
    return pd.DataFrame(rows, columns=[*COLUMNS]).astype(
        {"class": "str", "role": "str", "layer": "int64", "neuron": "int64", "kurtosis": "float64"}
    )
