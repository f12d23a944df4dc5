"""An ablation as files, so that a worker can read it and a result says what was done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.errors import RwcoreError, StoreError
from rwcore.neurons import NeuronSet
from rwcore.store import read_arrays, read_json, write_arrays, write_json

FACTS = "ablation.json"
ARRAYS = "ablation.safetensors"


def facts_of(ablation: Ablation) -> dict[str, Any]:
    """What decides the effect of an ablation, as JSON types: neurons, intervention, signs and values."""
    return {
        "neurons": ablation.neurons.to_json(),
        "intervention": asdict(ablation.intervention),
        "signs": ablation.signs.tolist(),
        "values": None if ablation.values is None else ablation.values.double().tolist(),
    }


def save_ablation(folder: Path, ablation: Ablation) -> None:
    """Write an ablation into a folder.

    Raises:
        StoreError: The folder cannot be written.
    """
    arrays = {"signs": ablation.signs}
    if ablation.values is not None:
        arrays["values"] = ablation.values
    write_arrays(folder / ARRAYS, arrays)
    facts = facts_of(ablation)
    write_json(folder / FACTS, {name: facts[name] for name in ("neurons", "intervention")})


def load_ablation(folder: Path) -> Ablation:
    """Read what `save_ablation` wrote.

    Raises:
        StoreError: Files are missing or damaged, or do not belong together.
    """
    facts, arrays = read_json(folder / FACTS), read_arrays(folder / ARRAYS)
    try:
        given = dict(facts["intervention"])
        if given["positions"] is not None:
            given["positions"] = tuple(given["positions"])
        neurons = NeuronSet.from_json(facts["neurons"])
        return Ablation(neurons, Intervention(**given), arrays["signs"], arrays.get("values"))
    except (KeyError, TypeError, RwcoreError) as error:
        raise StoreError(
            f"this is no saved ablation: {error}", where=str(folder), remedy="delete the folder; run it again"
        ) from error
