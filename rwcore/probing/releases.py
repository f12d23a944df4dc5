"""The two releases of Pythia, told apart by three neurons.

In April 2023 the hub names ``EleutherAI/pythia-SIZE`` were given to models that had been trained again; the
first release is kept as ``EleutherAI/pythia-SIZE-v0``. The neurons of the paper are those of the first
release. Its list of ‖w_in‖ · b_in of three neurons of layer 1 of each model shows which one some weights are.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), ``biasxnorm_p20_50_80.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rwcore.errors import ModelError
from rwcore.probing.weight_statistics import NeuronWeights

LAYER = 1
PRODUCTS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "EleutherAI/pythia-70m-v0": {828: -0.633641, 221: -0.357005, 87: -0.166622},
        "EleutherAI/pythia-160m-v0": {1981: -0.537526, 297: -0.413759, 1657: -0.280954},
        "EleutherAI/pythia-410m-v0": {3231: -0.276160, 149: -0.209318, 4003: -0.139936},
        "EleutherAI/pythia-1b-v0": {1686: -0.861152, 127: -0.688153, 7533: -0.416860},
        "EleutherAI/pythia-1.4b-v0": {1520: -0.527246, 1937: -0.440396, 542: -0.306010},
        "EleutherAI/pythia-2.8b-v0": {4304: -0.744491, 1354: -0.596127, 3106: -0.316489},
        "EleutherAI/pythia-6.9b-v0": {132: -1.659031, 14104: -1.397429, 13190: -1.101109},
    }
)
"""Published ‖w_in‖ · b_in by model and neuron of layer 1."""

# Folding in another order changes 0.1 %; another release is another training run.
RECOGNISED = 0.01


def refuse_retrained(model_id: str, statistics: NeuronWeights) -> None:
    """Refuse weights that go by the name of a first release and are none.

    Models that are not of the first release pass.

    Args:
        model_id: What the weights are called.
        statistics: Of at least layer 1.

    Raises:
        ModelError: One of the three neurons differs from the published number by more than 1 %.
    """
    if model_id not in PRODUCTS:
        return
    products = statistics.products(LAYER)
    for neuron, published in PRODUCTS[model_id].items():
        found = float(products[neuron]) if neuron < len(products) else None
        if found is None or not abs(found / published - 1) <= RECOGNISED:
            said = "there is no such neuron" if found is None else f"it is {found:.6f}"
            raise ModelError(
                f"these are not the weights of {model_id}: the norm times bias of neuron {LAYER}.{neuron} is "
                f"published as {published}, {said}",
                where=model_id,
                remedy=f"the retrained models have other neurons: rwcore fetch {model_id}",
            )
