"""How far a neuron is from the border of its class."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.stats.classes import class_codes
from rwcore.stats.cosines import RWCosines
from rwcore.stats.margins import class_margins

NAMES = ("gatelin", "gateout", "linout")
# Away from the last digits of float32, in which the rule compares.
UNIT = st.integers(0, 1000).map(lambda number: number / 1000)


def one(gatelin: float | None, gateout: float | None, linout: float) -> RWCosines:
    def cosine(value: float | None) -> torch.Tensor | None:
        return None if value is None else torch.tensor([[value]])

    return RWCosines(gatelin=cosine(gatelin), gateout=cosine(gateout), linout=torch.tensor([[linout]]))


def margin(*values: float | None) -> float:
    return float(class_margins(one(*values)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gatelin", "gateout", "linout", "expected"),
    [
        (0.9, -0.8, -0.9, 0.3),  # weakening: gateout is nearest to the border
        (0.9, -0.8, -0.55, 0.05),
        (0.45, -0.8, -0.9, 0.05),  # atypical weakening: gatelin decides
        (0.45, 0.1, -0.2, 0.3),  # orthogonal output: gatelin does not matter
        (0.1, 0.9, 0.0, 0.4),  # proportional change
        (0.5, -1.0, 1.0, 0.5),  # atypical strengthening, whatever gatelin is while it is not negative
        (None, None, -0.7, 0.2),
    ],
)
def test_planted(gatelin: float | None, gateout: float | None, linout: float, expected: float) -> None:
    assert margin(gatelin, gateout, linout) == pytest.approx(expected, abs=1e-6)


@given(UNIT, UNIT.map(lambda x: 2 * x - 1), UNIT.map(lambda x: 2 * x - 1), st.sampled_from(NAMES))
def test_nothing_nearer_changes_the_class_and_the_margin_does(
    gatelin: float, gateout: float, linout: float, changed: str
) -> None:
    values = {"gatelin": gatelin, "gateout": gateout, "linout": linout}
    code, found = class_codes(one(**values)), margin(*values.values())
    for sign in (-1, 1):
        nearer = {**values, changed: values[changed] + sign * (found - 1e-4)}
        if found > 1e-4:
            assert class_codes(one(**nearer)) == code
    moved = [{**values, name: values[name] + sign * (found + 1e-4)} for name in NAMES for sign in (-1, 1)]
    assert any(class_codes(one(**one_moved)) != code for one_moved in moved)


def test_a_neuron_without_a_class_has_no_margin() -> None:
    assert math.isnan(margin(0.1, math.nan, 0.2))
