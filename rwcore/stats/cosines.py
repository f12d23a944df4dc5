"""Cosines and norms of the vectors of every neuron, in one pass over the layers of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.layer import MlpLayer

COSINES = {"gatelin": ("gate", "in"), "gateout": ("gate", "out"), "linout": ("in", "out")}
VECTORS = ("gate", "in", "out")

# Elements of one matrix handled at a time: three such blocks and their product in float64 (8 MiB) stay
# in the cache of one or two cores. From a quarter of this to twice this the speed is the same; whole
# matrices take ten times as long.
BLOCK_ELEMENTS = 2**18


@dataclass(frozen=True)
class RWCosines:
    """The cosines between the reading and writing vectors of every neuron, float32, on the CPU.

    A cosine is NaN where one of its two vectors is zero or holds a NaN or an infinity.

    Attributes:
        gatelin: cos(gate, in), or None for an MLP without a gate.
        gateout: cos(gate, out), or None for an MLP without a gate.
        linout: cos(in, out).
    """

    gatelin: Float[Tensor, "layer neuron"] | None
    gateout: Float[Tensor, "layer neuron"] | None
    linout: Float[Tensor, "layer neuron"]

    @property
    def gated(self) -> bool:
        """Whether the neurons have a gate."""
        return self.gatelin is not None

    def present(self) -> dict[str, Tensor]:
        """The cosines there are, by name, in the order gatelin, gateout, linout."""
        named = {"gatelin": self.gatelin, "gateout": self.gateout, "linout": self.linout}
        return {name: values for name, values in named.items() if values is not None}

    def undefined(self) -> Bool[Tensor, "layer neuron"]:
        """Which neurons have a cosine that is NaN."""
        return torch.stack([values.isnan() for values in self.present().values()]).any(dim=0)


@dataclass(frozen=True)
class WeightStatistics:
    """Cosines and L2 norms of every neuron of a model, float32, on the CPU.

    Attributes:
        cosines: The cosines.
        norm_gate: Norms of the gate vectors, or None for an MLP without a gate.
        norm_in: Norms of the input vectors.
        norm_out: Norms of the output vectors.
    """

    cosines: RWCosines
    norm_gate: Float[Tensor, "layer neuron"] | None
    norm_in: Float[Tensor, "layer neuron"]
    norm_out: Float[Tensor, "layer neuron"]

    def norms(self) -> dict[str, Tensor]:
        """The norms there are, by vector, in the order gate, in, out."""
        named = {"gate": self.norm_gate, "in": self.norm_in, "out": self.norm_out}
        return {name: values for name, values in named.items() if values is not None}

    def undefined(self) -> Int[Tensor, " layer"]:
        """Per layer, the number of neurons with a vector that is zero or not finite."""
        return self.cosines.undefined().sum(dim=1)

    def undefined_neurons(self) -> pd.DataFrame:
        """The vectors that have no direction.

        Returns:
            One row per such vector, sorted: ``layer``, ``neuron``, ``vector`` (gate, in, out) and ``why``:
            ``zero``, ``nan`` (it holds a NaN) or ``inf`` (it holds an infinity, or is too long for float32).
        """
        found = []
        for order, (vector, norm) in enumerate(self.norms().items()):
            for why, where in (("zero", norm == 0), ("nan", norm.isnan()), ("inf", norm.isinf())):
                found += [(layer, neuron, order, vector, why) for layer, neuron in where.nonzero().tolist()]
        rows = [(layer, neuron, vector, why) for layer, neuron, _, vector, why in sorted(found)]
        frame = pd.DataFrame(rows, columns=["layer", "neuron", "vector", "why"])
        return frame.astype({"layer": "int64", "neuron": "int64", "vector": "str", "why": "str"})

    def to_arrays(self) -> dict[str, Tensor]:
        """The tensors by name (gatelin, …, norm_gate, …), as `from_arrays` takes them."""
        return self.cosines.present() | {f"norm_{vector}": values for vector, values in self.norms().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> WeightStatistics:
        """The inverse of `to_arrays`."""
        cosines = RWCosines(arrays.get("gatelin"), arrays.get("gateout"), arrays["linout"])
        return cls(cosines, arrays.get("norm_gate"), arrays["norm_in"], arrays["norm_out"])


def weight_statistics(layers: Iterable[MlpLayer], n_layers: int | None = None) -> WeightStatistics:
    """Cosines and norms of all neurons, from one pass over the layers.

    ``cos(a, b) = Σ a·b / (‖a‖ ‖b‖)``, ``‖a‖ = sqrt(Σ a²)``, summed over d_model. Sums and products are
    float64, the results are rounded to float32 once: they do not depend on the order of summation or the
    CPU kernel except in a last bit now and then, and a neuron sits on a class threshold only if its
    weights put it there. Only blocks of neurons are ever copied (about 8 MiB of temporaries); one layer
    is held at a time if the iterable makes them one at a time.

    Args:
        layers: The layers of a model in order; row k of the results is the k-th layer.
        n_layers: How many there must be; not checked if None.

    Raises:
        WeightsError: No layers, another number than ``n_layers``, a wrong order, differing shapes, or gated
            and ungated layers in one model.

    Source: RW functionalities, cosines and norms of sections 2.1 and 3.3 of the specification.
    """
    rows: list[dict[str, Tensor]] = []
    last = -1
    for layer in layers:
        if layer.index <= last:
            raise WeightsError("the layers do not come in order", where=f"layer {layer.index} after {last}")
        row = _layer_statistics(layer)
        if rows and (row.keys() != rows[0].keys() or row["linout"].shape != rows[0]["linout"].shape):
            raise WeightsError(
                "the layers of the model differ: gated and ungated ones, or different numbers of neurons",
                where=f"layer {layer.index}: {_describe(row)}; first layer: {_describe(rows[0])}",
                remedy="give the layers of one stack only",
            )
        rows.append(row)
        last = layer.index
        # Otherwise this layer would stay in memory while the next one is read.
        del layer
    if not rows or n_layers not in (None, len(rows)):
        raise WeightsError(f"{len(rows)} layers came, expected {'some' if n_layers is None else n_layers}")
    return WeightStatistics.from_arrays({name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def rw_cosines(layers: Iterable[MlpLayer]) -> RWCosines:
    """The cosines of all neurons; see `weight_statistics`."""
    return weight_statistics(layers).cosines


def _describe(row: Mapping[str, Tensor]) -> str:
    return f"{'gated' if 'gatelin' in row else 'ungated'}, {row['linout'].numel()} neurons"


def layer_vectors(layer: MlpLayer) -> dict[str, Float[Tensor, "neuron d_model"]]:
    """The matrices of a layer by vector (gate, in, out), checked to have one shape.

    Raises:
        WeightsError: The shapes differ.
    """
    named = {"gate": layer.gate, "in": layer.in_, "out": layer.out}
    vectors = {name: matrix.detach() for name, matrix in named.items() if matrix is not None}
    shapes = {name: tuple(matrix.shape) for name, matrix in vectors.items()}
    if len(set(shapes.values())) > 1:
        raise WeightsError(
            f"the matrices of one layer differ in shape: {shapes}", where=f"layer {layer.index}"
        )
    return vectors


def _layer_statistics(layer: MlpLayer) -> dict[str, Float[Tensor, " neuron"]]:
    vectors = layer_vectors(layer)
    n_neurons, d_model = layer.in_.shape
    pairs = [pair for pair in COSINES.values() if set(pair) <= vectors.keys()]
    sums = {
        pair: torch.empty(n_neurons, dtype=torch.float64, device=layer.in_.device)
        for pair in pairs + [(name, name) for name in vectors]
    }
    step = max(1, BLOCK_ELEMENTS // d_model)
    for start in range(0, n_neurons, step):
        rows = slice(start, start + step)
        block = {name: matrix[rows].to(torch.float64) for name, matrix in vectors.items()}
        for (a, b), total in sums.items():
            torch.linalg.vecdot(block[a], block[b], out=total[rows])
    norms = {name: sums[name, name].sqrt() for name in vectors}
    result = {
        name: sums[a, b] / (norms[a] * norms[b]) for name, (a, b) in COSINES.items() if (a, b) in sums
    } | {f"norm_{name}": norm for name, norm in norms.items()}
    return {name: values.to("cpu", torch.float32) for name, values in result.items()}
