"""How far weights moved during training, and which models tie their embeddings (C61-C64)."""

import pytest
import torch

from rwcore.stats.change import change_correlations, change_cosines
from rwcore.stats.cosines import rw_cosines
from rwcore.weights.layer import MlpLayer


@pytest.mark.claim("C61", "C62", "C63")
def test_change_during_training(subject, claim):
    """Each vector's cosine with its initial value, against the cosines at the end."""
    if subject.kind == "synthetic":
        kept, flipped = (in_with_linout(correlations) for correlations in planted_correlations())
        claim.check(planted_correlation=kept, planted_correlation_with_own_signs=abs(flipped))
        return
    correlations = subject.change_correlations()
    own_signs = subject.change_correlations(flip="own")
    gate = correlations[correlations["vector"] == "gate"].set_index("cosine")["r"]
    values = {
        "change_correlations": correlations,
        "change_correlations_with_own_signs": own_signs,
        "largest_gate_gatelin_correlation": float(gate["gatelin"].max()),
        "layers_with_positive_gate_gateout_correlation": int((gate["gateout"] > 0).sum()),
        "largest_gate_gateout_correlation": float(gate["gateout"].max()),
        "largest_other_correlation": float(own_signs[own_signs["vector"] != "gate"]["r"].abs().max()),
    }
    if subject.kind != "tables":
        values["smallest_median_gate_change"] = float(subject.gate_change().median(dim=1).values.min())
    claim.check(**values)


@pytest.mark.claim("C64")
def test_weight_tying(subject, claim):
    """Whether a model unembeds with the matrix it embeds with."""
    claim.check(tied=subject.weight_tying().tied)


def planted_correlations():
    """Input vectors that stayed the more, the closer they are to the output: without and with own signs."""
    generator = torch.Generator().manual_seed(0)
    gate, in_, noise, start = torch.randn(4, 2000, 256, generator=generator)
    kept = torch.linspace(0, 1, 2000)[:, None]
    rest = (1 - kept**2).sqrt()
    last = MlpLayer(0, gate, in_, kept * in_ + rest * noise)
    first = MlpLayer(0, start, kept * in_ + rest * start.roll(1, 0), noise)
    cosines = rw_cosines([last])
    return [
        change_correlations(change_cosines([first], [last], flip=flip), cosines) for flip in ("none", "own")
    ]


def in_with_linout(correlations):
    """Correlation of the change of the input vectors with cos(in, out)."""
    return float(correlations.set_index(["vector", "cosine"])["r"]["in", "linout"])
