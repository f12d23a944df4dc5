"""What one neuron does on one text, and what the predictions are like without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rwcore.ablation.compare import token_differences
from rwcore.ablation.hooks import ablating, require_fit
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import MetricsRecorder
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.activations.capture import run_layers
from rwcore.corpora.batches import Batch, BatchPlan
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.neurons import NeuronSet
from rwcore.weights.fold import gate_sign

ZERO = Intervention("zero")


@dataclass(frozen=True, eq=False)
class Measurement:
    """A neuron on a text, its gate sign folded. Values are float32, on the CPU.

    Attributes:
        corpus: The text, as one row.
        layer: Layer of the neuron.
        neuron: Place of the neuron in its layer.
        intervention: What was done to the neuron at every token.
        gated: Whether the MLP has a gate; without one, ``gate`` is the pre-activation and ``in`` is 1.
        sign: σ, what in and post were multiplied with.
        gate: Gate at each token.
        in_: Input at each token, times σ.
        act: ``act(gate)``.
        clean: Metrics of the model as it is, at the token that each prediction is made at.
        ablated: The same while the neuron is ablated.
    """

    corpus: TokenCorpus
    layer: int
    neuron: int
    intervention: Intervention
    gated: bool
    sign: int
    gate: Float[Tensor, " pos"]
    in_: Float[Tensor, " pos"]
    act: Float[Tensor, " pos"]
    clean: RunMetrics
    ablated: RunMetrics

    @property
    def post(self) -> Float[Tensor, " pos"]:
        """``act(gate) · in``: what the neuron's output vector is multiplied with."""
        return self.act * self.in_

    def differences(self, metric: str) -> Float64[Tensor, " pos"]:
        """Clean minus ablated of a metric, at the token that each prediction is made at.

        NaN where there is none.

        Args:
            metric: ``loss`` or ``entropy``, in nats.
        """
        clean, ablated = (getattr(run, metric).double() for run in (self.clean, self.ablated))
        difference: Tensor = clean - ablated
        return difference

    @property
    def mean(self) -> Mean | None:
        """Mean losses over the predictions that count; None if the text is too short for any.

        The prediction at the token that every row begins with is left out, as `rwcore ablate` does.
        """
        include_first = self.corpus.policy.bos is None
        every = token_differences(self.clean, self.ablated, self.corpus, "loss", include_first=include_first)
        differences = torch.from_numpy(every)
        counted = ~differences.isnan()
        if not counted.any():
            return None
        return Mean(
            int(counted.sum()),
            float(self.clean.loss[counted].double().mean()),
            float(self.ablated.loss[counted].double().mean()),
            float(differences[counted].mean()),
        )


@dataclass(frozen=True)
class Mean:
    """Means over predictions.

    Attributes:
        predictions: How many there are.
        clean: Mean loss of the model as it is, nats.
        ablated: Mean loss without the neuron.
        difference: Mean of clean minus ablated: below 0 where the intact neuron lowers the loss.
    """

    predictions: int
    clean: float
    ablated: float
    difference: float


def clean_metrics(model: Any, corpus: TokenCorpus) -> RunMetrics:
    """The metrics of a text of one row under the model as it is.

    Raises:
        ModelError: The model cannot be run up to the unembedding, or a prediction is not finite.
    """
    recorder = MetricsRecorder(corpus)
    recorder.add(model, _batch(corpus))
    return recorder.metrics


def measure(
    model: Any,
    corpus: TokenCorpus,
    neuron: tuple[int, int],
    intervention: Intervention = ZERO,
    *,
    clean: RunMetrics | None = None,
) -> Measurement:
    """What a neuron does on a text, and the predictions with and without it.

    The model runs up to the neuron's layer for the activations, once more with the neuron ablated, and once
    as it is if the clean metrics are not known from an earlier question about the same text.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, of a decoder.
        corpus: The text, as one row.
        neuron: (layer, neuron).
        intervention: What happens to the neuron at every token, in any mode that needs no means.
        clean: What `clean_metrics` found for this text.

    Raises:
        OptionError: There is no such neuron, or the intervention needs means.
        NotGatedError: A condition is given and the MLPs have no gate.
        ModelError: The model cannot be run with hooks, or a prediction is not finite.
    """
    layer, place = neuron
    chosen = NeuronSet.of(f"{layer}.{place}", [neuron])
    if intervention.mode == "mean":
        raise OptionError(
            "mean ablation needs means that were measured on a corpus",
            where="mode mean",
            remedy="use another mode here, or `rwcore ablate --mode mean`",
        )
    mlps = require_fit(model)
    chosen.require_within(len(mlps), mlps[0].W_out.shape[0])
    sign = _sign(mlps[layer], place)
    gate, in_, act = _activations(model, _batch(corpus), layer, place)
    known = clean or clean_metrics(model, corpus)
    with ablating(model, Ablation(chosen, intervention, torch.tensor([sign], dtype=torch.int8))):
        ablated = clean_metrics(model, corpus)
    return Measurement(
        corpus=corpus,
        layer=layer,
        neuron=place,
        intervention=intervention,
        gated=bool(getattr(model.cfg, "gated_mlp", False)),
        sign=sign,
        gate=gate,
        in_=in_ * sign,
        act=act,
        clean=known,
        ablated=ablated,
    )


def _batch(corpus: TokenCorpus) -> Batch:
    return BatchPlan(0, (0,)).load(corpus)


def _activations(model: Any, batch: Batch, layer: int, neuron: int) -> list[Tensor]:
    """Gate, in and act of a neuron at each token; the pass ends within its layer."""
    found: list[Tensor] = []

    def visit(_: int, *values: Tensor) -> None:
        # Some models run rows and positions as one.
        found.extend(one.reshape(-1, one.shape[-1])[:, neuron].float().cpu() for one in values)

    run_layers(model, batch, visit, layers=[layer], plain=True)
    return found


def _sign(mlp: Any, neuron: int) -> int:
    """σ of a neuron of the weights that the model runs; +1 without a gate."""
    if getattr(mlp, "W_gate", None) is None:
        return 1
    # [d_model neuron], as bridges store them
    gate, in_ = (matrix.detach()[:, neuron].float()[None] for matrix in (mlp.W_gate, mlp.W_in))
    return int(gate_sign(gate, in_))
