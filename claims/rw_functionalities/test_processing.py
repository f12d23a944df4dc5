"""Processing of the weights does not change what the model computes (C70)."""

import pytest
import torch
from torch.nn import functional

from rwcore.weights.fold import (
    centre_reading,
    centre_writing,
    fold_gate_sign,
    fold_norm,
    fold_shift,
)
from rwcore.weights.layer import MlpLayer

D_MODEL, NEURONS, VOCAB = 48, 96, 64


@pytest.mark.claim("C70")
def test_function_is_preserved(subject, claim):
    """MLP and logits of random weights, as stored and as processed, with RMSNorm and LayerNorm."""
    claim.check(
        largest_relative_difference=max(gated_with_rms_norm(), plain_with_layer_norm(), unembedding()),
    )


def gated_with_rms_norm():
    """Norm gain and gate sign folded into a gated MLP."""
    draw = Draw(0)
    gate, in_, out, gain, x = draw.matrix(), draw.matrix(), draw.matrix(), draw.gain(), draw.stream()
    normed = functional.rms_norm(x, (D_MODEL,))
    stored = gated(normed * gain, MlpLayer(0, gate, in_, out))
    folded = fold_gate_sign(MlpLayer(0, fold_norm(gate, gain), fold_norm(in_, gain), out))
    return relative_difference(stored, gated(normed, folded))


def plain_with_layer_norm():
    """Gain and bias of the norm folded, both matrices centred; the stream's mean is of no consequence."""
    draw = Draw(1)
    in_, out, gain, shift, x = draw.matrix(), draw.matrix(), draw.gain(), draw.gain() - 1, draw.stream()
    normed = functional.layer_norm(x, (D_MODEL,))
    stored = functional.gelu((normed * gain + shift) @ in_.T) @ out
    read = centre_reading(fold_norm(in_, gain))
    processed = functional.gelu(normed @ read.T + fold_shift(in_, shift)) @ centre_writing(out)
    return relative_difference(stored - stored.mean(-1, keepdim=True), processed)


def unembedding():
    """Final norm folded, unembedding centred over the model and the vocabulary: equal log-probabilities."""
    draw = Draw(2)
    rows = torch.randn(VOCAB, D_MODEL, generator=draw.generator)
    gain, shift, x = draw.gain(), draw.gain() - 1, draw.stream()
    normed = functional.layer_norm(x, (D_MODEL,))
    stored = functional.log_softmax((normed * gain + shift) @ rows.T, -1)
    folded = centre_reading(fold_norm(rows, gain))
    logits = normed @ (folded - folded.mean(0)).T + fold_shift(rows, shift)
    return relative_difference(stored, functional.log_softmax(logits, -1))


def gated(normed, layer):
    """Output of a gated MLP without biases."""
    return (functional.silu(normed @ layer.gate.T) * (normed @ layer.in_.T)) @ layer.out


def relative_difference(a, b):
    """Largest difference, in units of the largest value."""
    return float((a - b).abs().max() / a.abs().max())


class Draw:
    """Random weights of one small model."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def matrix(self):
        """One matrix of the MLP, a row per neuron."""
        return torch.randn(NEURONS, D_MODEL, generator=self.generator)

    def gain(self):
        """A gain that scatters around one."""
        return 1 + 0.3 * torch.randn(D_MODEL, generator=self.generator)

    def stream(self):
        """Ten positions of a residual stream whose mean is not zero."""
        return 2 + 3 * torch.randn(10, D_MODEL, generator=self.generator)
