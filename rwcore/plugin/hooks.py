"""The one hook rwcore adds to pytest: who supplies small models for the claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rwcore.models.spec import LocalModel


@dataclass(frozen=True)
class StandIn:
    """A small local model on which the code path of a claim is exercised.

    Attributes:
        id: Name in test ids and reports.
        family: Family of `rwcore.weights.families`; it stands in for published models of that family.
        gated_mlp: Whether its MLP has a gate.
        null: Whether it is also a null model: statements about any model are asked of it, to see them fail.
        build: Saves the model below a folder and returns where it is.
    """

    id: str
    family: str
    gated_mlp: bool
    null: bool
    build: Callable[[Path], LocalModel]


@pytest.hookspec
def pytest_rw_stand_ins(config: pytest.Config) -> list[StandIn]:  # type: ignore[empty-body]
    """Small models for the claims; implemented by the project that holds them."""
