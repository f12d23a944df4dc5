"""The table at the top of a neuron page as one row per cell: printed ones, and those of a pass of our own.

Source: neuroscope specification, sections 6.2 and 8 (claims H1 to H7).
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from rwcore.activations.fixed import Units
from rwcore.activations.published_facts import function_of
from rwcore.activations.published_pages import HOOKS
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary

NEURON = ["layer", "neuron"]
PRINTED = 0.005
"""Half of the last printed digit."""
UNIT = 2.0 ** -Units().sum_bits
"""Of the sums behind averages: the average of one tiny number may be rounded beyond it."""


def sign_of(case: str, quantity: str) -> int:
    """Sign of a quantity within a quadrant; act has that of the gate (SiLU, GELU)."""
    gate = 1 if case.startswith("gate+") else -1
    in_ = 1 if case.endswith("in+") else -1
    return {"gate": gate, "act": gate, "in": in_, "post": gate * in_}[quantity]


def printed_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of printed tables, in the columns of ``neuroscope_pages.csv``.

    Returns:
        Per neuron, case and quantity: layer, neuron, case, quantity, ``sign``, ``frequency`` (percent),
        ``max``, ``min``, ``avg`` (NaN where ``nan`` is printed), ``extreme`` (max or min, by the sign), and
        ``half``, how far each may be off by rounding.
    """
    parts = []
    for case in QUADRANTS:
        for quantity, hook in HOOKS.items():
            numbers = {end: table[f"{case}_{hook}_{end}"].astype("float64") for end in ("max", "min", "avg")}
            parts.append(
                table[NEURON].assign(
                    case=case,
                    quantity=quantity,
                    sign=sign_of(case, quantity),
                    frequency=table[f"{case}_freq_pct"].astype("float64"),
                    **numbers,
                )
            )
    cells = pd.concat(parts, ignore_index=True)
    extreme = cells["max"].where(cells["sign"] > 0, cells["min"])
    return cells.assign(extreme=extreme, half=PRINTED)


def summary_cells(summary: Summary, function: str) -> pd.DataFrame:
    """The same of every neuron of a pass, not rounded; an extreme is 0 where a list is empty.

    Args:
        summary: Frequencies, means and extremes.
        function: Name of the activation function; the extreme of act where the gate is positive, whose
            list is not kept, is made from that of the gate.
    """
    layers, _, neurons = summary.frequencies.shape
    index = {
        "layer": torch.arange(layers).repeat_interleave(neurons),
        "neuron": torch.arange(neurons).repeat(layers),
    }
    parts = []
    for place, case in enumerate(QUADRANTS):
        for quantity in HOOKS:
            sign = sign_of(case, quantity)
            extreme = _extreme(summary, case, quantity, function).flatten()
            columns = {
                **index,
                "frequency": 100 * summary.frequencies[:, place].flatten(),
                "max": extreme if sign > 0 else torch.zeros_like(extreme),
                "min": extreme if sign < 0 else torch.zeros_like(extreme),
                "avg": summary.means[:, place, QUANTITIES.index(quantity)].flatten(),
                "extreme": extreme,
            }
            frame = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
            parts.append(frame.assign(case=case, quantity=quantity, sign=sign, half=0.0))
    return pd.concat(parts, ignore_index=True)


def _extreme(summary: Summary, case: str, quantity: str, function: str) -> Tensor:
    if (case, quantity) not in LISTS:
        return function_of(function)(_extreme(summary, case, "gate", function))
    return summary.top_values[:, LISTS.index((case, quantity)), :, 0].double().nan_to_num(nan=0.0)


# --- what must hold in every cell ---------------------------------------------------------------------------


def averages_out_of_place(cells: pd.DataFrame) -> dict[str, int]:
    """Cells whose average is not between 0 and the extreme, or whose other bound is not 0 (H2)."""
    there = cells[cells["avg"].notna()]
    size, most = there["avg"] * there["sign"], there["extreme"] * there["sign"]
    other = there["min"].where(there["sign"] > 0, there["max"])
    return {
        "averages_of_another_sign": int((size < 0).sum()),
        "averages_beyond_the_extreme": int((size > most * (1 + 1e-6) + UNIT).sum()),
        "other_bounds_that_are_not_zero": int((other != 0).sum()),
    }


def beside(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per neuron and quadrant, a column per quantity, of quadrants that occur."""
    there = cells[cells["avg"].notna()]
    return there.pivot(index=[*NEURON, "case"], columns="quantity", values=column).reset_index()


def excess_of_act(cells: pd.DataFrame) -> float:
    """The most a mean of act is beyond its bounds (H3): gate/2 ≤ act, and act ≤ gate where gate > 0."""
    means = beside(cells, "avg")
    positive = means["case"].str.startswith("gate+")
    above = (means["act"] - means["gate"])[positive]
    below = means["gate"] / 2 - means["act"]
    return float(pd.concat([above, below]).max())


def excess_of_post(cells: pd.DataFrame, lowest_act: float) -> float:
    """How far an extreme of post is beyond the product of those of act and in at most (H5).

    Both factors and the product may be off by ``half``; where the gate is negative |act| is at most
    ``-lowest_act``.
    """
    half = float(cells["half"].max())
    sizes = beside(cells.assign(size=cells["extreme"].abs()), "size")
    negative = sizes["case"].str.startswith("gate-")
    act = (sizes["act"] + half).where(~negative, (sizes["act"] + half).clip(upper=-lowest_act))
    bound = act * (sizes["in"] + half)
    # Relative, as a product of float32 numbers is.
    return float((sizes["post"] - half - bound * (1 + 1e-6)).max())


def error_of_largest_act(cells: pd.DataFrame, function: str) -> float:
    """Where gate > 0, the largest act against the function of the largest gate (H4)."""
    largest = beside(cells, "extreme")
    largest = largest[largest["case"].str.startswith("gate+")]
    gate, act = (torch.tensor(largest[name].tolist(), dtype=torch.float64) for name in ("gate", "act"))
    return float((act - function_of(function)(gate)).abs().max())


def empty_cells(cells: pd.DataFrame) -> dict[str, int]:
    """Cells without an average, and those of them with an extreme or a frequency (H7)."""
    empty = cells[cells["avg"].isna()]
    nothing = (empty["extreme"] == 0) & (empty["frequency"] == 0)
    return {"cells_without_average": len(empty), "of_them_with_something": int((~nothing).sum())}
