"""What a site says about every neuron, from the pass and the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.statistics import LayerStatistics
from rwcore.pages.neuron_page import QuadrantFacts
from rwcore.pages.page_examples import quadrants_of
from rwcore.pages.site_data import IndexLayer
from rwcore.stats.classes import class_codes
from rwcore.studies.activations import PassStudy
from rwcore.studies.neuron_cards import Neuron

POST_LISTS = tuple(LISTS.index((quadrant, "post")) for quadrant in QUADRANTS)


def index_layers(pass_: PassStudy, roles: Int8[Tensor, "layer neuron"] | None = None) -> list[IndexLayer]:
    """The numbers of all neurons for the index, layer by layer; gate signs folded.

    Args:
        pass_: The pass.
        roles: Code of every neuron's role; None if roles were not asked for.
    """
    weights = pass_.weights
    codes, cosines = class_codes(weights.cosines), weights.cosines.present()
    places = [QUADRANTS.index(name) for name in quadrants_of(pass_.gated)]
    return [
        IndexLayer(
            layer=number,
            classes=codes[number],
            roles=None if roles is None else roles[number],
            frequencies=layer.frequencies()[places],
            cosines={name: values[number] for name, values in cosines.items()},
            norm_out=weights.statistics.norm_out[number],
            low=-_farthest(-_best_posts(layer)),
            high=_farthest(_best_posts(layer)),
        )
        for number, layer in enumerate(pass_.activations.layers)
    ]


def _best_posts(layer: LayerStatistics) -> Float[Tensor, "quadrant neuron"]:
    """The first value of each list of posts; NaN where there is none."""
    return layer.top.values[list(POST_LISTS), :, 0]


def _farthest(values: Float[Tensor, "quadrant neuron"]) -> Float[Tensor, " neuron"]:
    """The largest positive value; NaN if there is none."""
    largest = values.nan_to_num(nan=0.0).amax(dim=0)
    return torch.where(largest > 0, largest, torch.nan)


def quadrant_facts(pass_: PassStudy, neurons: Sequence[Neuron]) -> dict[Neuron, dict[str, QuadrantFacts]]:
    """How often neurons are in each quadrant, beside their class and their layer, and what they do there.

    Args:
        pass_: The pass.
        neurons: (layer, neuron) of each.
    """
    layers = pass_.activations.layers
    frequencies = torch.stack([layer.frequencies() for layer in layers], dim=1)
    codes = class_codes(pass_.weights.cosines)
    of_class = {code: frequencies[:, codes == code].mean(dim=1) for code in {*codes.flatten().tolist()}}
    found: dict[Neuron, dict[str, QuadrantFacts]] = {}
    for number, neuron in neurons:
        layer, code = layers[number], int(codes[number, neuron])
        means = layer.means()[:, :, neuron].tolist()
        found[number, neuron] = {
            name: QuadrantFacts(
                count=int(layer.counts[place, neuron]),
                frequency=float(frequencies[place, number, neuron]),
                class_frequency=float(of_class[code][place]) if code >= 0 else math.nan,
                layer_frequency=float(frequencies[place, number].mean()),
                means=dict(zip(QUANTITIES, means[place], strict=True)),
            )
            for name in quadrants_of(pass_.gated)
            for place in [QUADRANTS.index(name)]
        }
    return found
