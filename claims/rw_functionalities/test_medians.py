"""Medians of the cosines, layer by layer (C36-C47, C49)."""

import pytest
import torch

from rwcore.stats import reductions
from rwcore.stats.cosines import RWCosines
from rwcore.stats.medians import layer_medians


@pytest.mark.claim("C36", "C37", "C38")
def test_medians(subject, claim):
    """Medians per layer and cosine."""
    medians = subject.medians()
    claim.check(medians=medians)
    claim.figure("linout_medians", medians[medians["cosine"] == "linout"])


@pytest.mark.claim("C39", "C40", "C41", "C42", "C43")
def test_medians_fall_with_depth(subject, claim):
    """Gated models: positive at first, negative at last."""
    medians = subject.medians()
    by_layer = reductions.median_by_layer(medians)
    peak = reductions.peak(by_layer)
    claim.check(
        smallest_median_in_first_half=float(by_layer.iloc[: len(by_layer) // 2].min()),
        last_median=float(by_layer.iloc[-1]),
        first_negative_layer=reductions.first_negative_layer(by_layer),
        first_negative_depth=reductions.first_negative_depth(by_layer),
        negative_layers=int((by_layer < 0).sum()),
        median_peak=peak.value,
        median_peak_layer=peak.layer,
        median_peak_depth=peak.depth,
        smallest_median=-reductions.peak(-by_layer).value,
        smallest_median_layer=reductions.peak(-by_layer).layer,
    )
    claim.figure("linout_medians", medians[medians["cosine"] == "linout"])


@pytest.mark.claim("C44", "C45", "C46", "C47")
def test_medians_without_gate(subject, claim):
    """Vanilla models lean negative."""
    by_layer = reductions.median_by_layer(subject.medians())
    claim.check(
        mean_median=float(by_layer.mean()),
        last_median=float(by_layer.iloc[-1]),
        median_of_layer_1=float(by_layer[1]),
        median_peak=reductions.peak(by_layer).value,
    )


@pytest.mark.claim("C49")
def test_medians_are_interpolated(subject, claim, golden):
    """The mean of the two middle values, not the lower one."""
    if subject.kind == "synthetic":
        medians = layer_medians(RWCosines(None, None, torch.tensor([[0.8, 0.2, 0.4, 0.1]])))
        claim.check(median_of_four=float(medians["median"].iloc[0]))
    else:
        medians = subject.medians()
        linout = subject.weight_study().cosines.linout.double()
        pairs = zip(reductions.median_by_layer(medians), linout, strict=True)
        claim.check(largest_median_error=max(abs(median - middle(values)) for median, values in pairs))
    golden.check(medians)


def middle(values):
    """Mean of the two middle values (twice the same one for an odd number) of those that are not NaN."""
    ordered = values[~values.isnan()].sort().values
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
