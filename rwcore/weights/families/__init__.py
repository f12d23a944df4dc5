"""Families of models as tables: what their tensors are called, how they lie, where the norms stand.

A family is data. Reading, folding and centring are the same code for all of them, so a new family
is a new entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rwcore.weights.families.gated import GATED
from rwcore.weights.families.plain import PLAIN
from rwcore.weights.families.schema import Attention, Family, Keys, Tower

__all__ = ["FAMILIES", "GGUF_ARCHITECTURES", "MODEL_TYPES", "Attention", "Family", "Keys", "Tower"]

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (*GATED, *PLAIN)})
"""All families by name."""

MODEL_TYPES: Mapping[str, str] = MappingProxyType(
    {kind: family.name for family in FAMILIES.values() for kind in family.model_types}
)
"""``model_type`` of a config → family."""

GGUF_ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {kind: family.name for family in FAMILIES.values() for kind in family.gguf}
)
"""``general.architecture`` of a GGUF file → family."""
