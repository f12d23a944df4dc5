"""Which neurons get a page: named ones, the clearest of a class, those that claims are about."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from rwcore import paths
from rwcore.errors import OptionError
from rwcore.neurons import NeuronSet, class_members, parse_neurons
from rwcore.stats.classes import class_codes, classes_of
from rwcore.stats.margins import class_margins
from rwcore.studies.neuron_cards import Neuron, case_studies
from rwcore.studies.roles import RoleStudy
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape

ALL = "all"
"""In place of the name of a class: every class that has neurons."""


def named_neurons(texts: Sequence[str], shape: ModelShape) -> list[Neuron]:
    """The neurons of several lists as `rwcore.neurons.parse_neurons` takes them, each once, in their order.

    Raises:
        OptionError: An entry is no neuron, a file cannot be read, or the model has no such neuron.
    """
    sets = [parse_neurons(text, shape.n_layers, shape.d_mlp) for text in texts]
    return NeuronSet.union("named", sets).pairs()


def clearest_of_class(study: WeightStudy, name: str, top: int) -> list[Neuron]:
    """The neurons of a class that lie farthest inside it, best first; all if there are no more.

    Args:
        study: The weights.
        name: Name of the class, or `ALL` for those of every class that has any, in canonical order.
        top: How many of a class. Of equals those of earlier layers, then of earlier places, come first.

    Raises:
        OptionError: There is no such class, it has no neurons, or ``top`` is less than 1.
    """
    if top < 1:
        raise OptionError(f"{top} neurons cannot be shown", where="--top", remedy="give at least 1")
    cosines = study.cosines
    codes, classes = class_codes(cosines), classes_of(cosines)
    present = [one.name for number, one in enumerate(classes) if (codes == number).any()]
    margins = class_margins(cosines)
    found = []
    for each in present if name == ALL else [name]:
        members = class_members(codes, each, classes)
        if not len(members):
            raise OptionError(
                f"no neuron of {study.local.spec.id} is in the class {each!r}",
                where="--class",
                remedy=f"classes with neurons here: {', '.join(present) or 'none'}",
            )
        inside = margins[torch.from_numpy(members.layer), torch.from_numpy(members.neuron)]
        order = inside.argsort(descending=True, stable=True)[:top].numpy()
        found += list(zip(members.layer[order].tolist(), members.neuron[order].tolist(), strict=True))
    return found


def neurons_of_claims(study: WeightStudy, roles: RoleStudy, golden: Path | None = None) -> list[Neuron]:
    """The neurons that claims are about: those the papers publish of this model, and its case studies.

    A paper publishes a neuron if a table in ``golden/<paper>/published`` has a row with the id of the model,
    its layer and its place. Case studies are the clearest neurons of the model (claims C60 to C69).

    Args:
        study: The weights.
        roles: The roles of the same model.
        golden: The folder ``golden/``; that of the checkout if None.

    Raises:
        OptionError: There are none: no paper publishes a neuron of this model, and none has a role. Or there
            is no checkout with the papers' tables.
    """
    found = published_neurons(study.local.spec.id, golden)
    shape = study.mlp_weights().shape
    NeuronSet.of("neurons of the papers", found).require_within(shape.n_layers, shape.d_mlp)
    try:
        clearest = case_studies(study, roles.roles())
        found += list(zip(clearest["layer"].tolist(), clearest["neuron"].tolist(), strict=True))
    except OptionError:
        if not found:
            raise
    return list(dict.fromkeys(found))


def published_neurons(model: str, golden: Path | None = None) -> list[Neuron]:
    """The neurons of a model in the tables that papers have published, in their order, each once."""
    tables = sorted((golden if golden is not None else paths.golden_dir()).glob("*/published/*.csv"))
    found: dict[Neuron, None] = {}
    for file in tables:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = csv.DictReader(handle)
            if {"model", "layer", "neuron"} <= {*(rows.fieldnames or ())}:
                mine = (row for row in rows if row["model"] == model)
                found |= {(int(row["layer"]), int(row["neuron"])): None for row in mine}
    return list(found)
