r"""Norms and biases of neurons: how far a neuron is from firing at all.

    q_j = ‖w_j‖ · b_j

with w_j the input vector and b_j the input bias of neuron j, both processed: the gain of the norm before the
MLP is folded into w_j, its bias into b_j, and w_j is centred. Many features that share few neurons need large
norms and strongly negative biases (`rwcore.probing.toy_circle`), which a negative q shows.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section on superposition and weight norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.models.spec import LocalModel
from rwcore.probing.errors import ProbeError
from rwcore.stats.cosines import weight_statistics
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import MlpWeights
from rwcore.weights.reader import open_model

# The whiskers of the published boxes.
WHISKERS = (0.005, 0.995)


@dataclass(frozen=True, eq=False)
class NeuronWeights:
    """What the weights say about every neuron of some layers, float32, on the CPU.

    Attributes:
        layers: Numbers of the layers, ascending.
        n_layers: Layers of the model.
        in_norm: ‖w‖ of the input vectors.
        bias: Input biases b.
        out_norm: Norms of the output vectors.
        cosine: cos(input, output); NaN where one of them is zero.
    """

    layers: tuple[int, ...]
    n_layers: int
    in_norm: Float32[Tensor, "layer neuron"]
    bias: Float32[Tensor, "layer neuron"]
    out_norm: Float32[Tensor, "layer neuron"]
    cosine: Float32[Tensor, "layer neuron"]

    def products(self, layer: int) -> Float64[Tensor, " neuron"]:
        """The products q of a layer.

        Raises:
            OptionError: The layer was not read.
        """
        if layer not in self.layers:
            raise OptionError(
                f"layer {layer} was not read",
                where="layer",
                remedy=f"ask one of {', '.join(map(str, self.layers))}",
            )
        place = self.layers.index(layer)
        return self.in_norm[place].double() * self.bias[place].double()

    def by_layer(self) -> pd.DataFrame:
        """The distribution of q in each layer.

        Returns:
            ``layer``; ``depth`` = layer / (layers − 1); ``low``, ``q1``, ``median``, ``q3``, ``high``, the
            ends at `WHISKERS`; ``negative``, the share of neurons with q < 0; and ``relative``, the median
            divided by the largest |median| of all layers that were read.
        """
        rows = []
        quantiles = torch.tensor([WHISKERS[0], 0.25, 0.5, 0.75, WHISKERS[1]], dtype=torch.float64)
        for layer in self.layers:
            products = self.products(layer)
            depth = layer / max(1, self.n_layers - 1)
            boxes = torch.quantile(products, quantiles).tolist()
            rows.append((layer, depth, *boxes, (products < 0).double().mean().item()))
        names = ["layer", "depth", "low", "q1", "median", "q3", "high", "negative"]
        frame = pd.DataFrame(rows, columns=names)
        return frame.assign(relative=frame["median"] / frame["median"].abs().max())


def neuron_weights(weights: MlpWeights, layers: Sequence[int] | None = None) -> NeuronWeights:
    """Norms, biases and cosines, from one pass over the layers; one layer is held at a time.

    Args:
        weights: The processed weights of a model, without the sign of a gate folded in.
        layers: Which layers; all if None.

    Raises:
        ProbeError: The MLP has no input biases.
        OptionError: There are no such layers.
        WeightsError: The weights are damaged.
    """
    numbers = sorted(set(range(len(weights)) if layers is None else layers))
    if not numbers or not 0 <= numbers[0] <= numbers[-1] < len(weights):
        raise OptionError(
            f"layers {', '.join(map(str, numbers)) or 'none'} of a model with {len(weights)}",
            where="layers",
            remedy=f"give numbers from 0 to {len(weights) - 1}",
        )
    biases: list[Tensor] = []
    statistics = weight_statistics(_noting(weights, numbers, biases), len(numbers))
    return NeuronWeights(
        tuple(numbers),
        len(weights),
        statistics.norm_in,
        torch.stack(biases),
        statistics.norm_out,
        statistics.cosines.linout,
    )


def _noting(weights: MlpWeights, numbers: Sequence[int], biases: list[Tensor]) -> Iterator[MlpLayer]:
    """The layers, their biases put into a list on the way."""

    def read(number: int) -> MlpLayer:
        layer = weights[number]
        if layer.b_in is None:
            raise ProbeError(
                f"the MLP has no input biases ({weights.shape.architecture}), so a norm has nothing to be "
                "multiplied with",
                where=f"layer {number}",
                remedy="ask a model with biases, such as GPT-2, Pythia, OPT or Bloom",
            )
        biases.append(layer.b_in.detach().float().cpu())
        return layer

    # Not a generator: its frame would hold one layer while the next is read.
    return map(read, numbers)


def has_input_biases(local: LocalModel) -> bool:
    """Whether the files of a model hold input biases of MLPs; nothing but headers is read.

    Raises:
        WeightsError: Files are missing or damaged, or the architecture is unknown.
    """
    reader = open_model(local)
    tower, block = reader.block(0)
    return f"{block}{tower.in_}.bias" in reader.source.names


def percentiles(products: Float64[Tensor, " neuron"], neurons: Sequence[int]) -> Float64[Tensor, " chosen"]:
    """Where neurons stand in their layer: 100 · (number with a smaller q) / (neurons − 1).

    Args:
        products: q of all neurons of a layer.
        neurons: Numbers of neurons.
    """
    chosen: Int64[Tensor, " chosen"] = torch.tensor(neurons, dtype=torch.int64)
    smaller = torch.searchsorted(products.sort().values, products[chosen])
    return 100 * smaller.double() / max(1, len(products) - 1)
