"""Which cosines vectors have that do not belong together (C50-C56); norms (C57)."""

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.stats.null import beta_region, mismatched_region
from rwcore.stats.reductions import region_ratios
from rwcore.weights.mlp import MlpLayer


@pytest.mark.claim("C50")
def test_beta_regions(subject, claim):
    """The analytic bound at every width of the papers' models."""
    widths = (512, 768, 896, 1024, 1600, 2048, 2304, 2560, 3072, 3584, 4096, 5120)
    claim.check(
        beta_regions=pd.DataFrame([(d, beta_region(d)[1]) for d in widths], columns=["d_model", "high"])
    )


@pytest.mark.claim("C51")
def test_published_beta_lines(subject, claim):
    """The analytic bound at the width of a model, as drawn in its figures."""
    claim.check(beta_high=beta_region(subject.d_model())[1])


@pytest.mark.claim("C52", "C53", "C54")
def test_null_regions(subject, claim, golden):
    """Regions of mismatched pairs, and how they compare with isotropic vectors."""
    regions = subject.null_regions()
    ratios = region_ratios(regions, beta_region(subject.d_model())[1])
    gatelin = regions[regions["cosine"] == "gatelin"].set_index("layer")["high"]
    signed = ratios[ratios["cosine"] != "gatelin"]["ratio"]
    claim.check(
        null_regions=regions,
        region_ratios=ratios,
        narrowest_ratio=float(signed.min(skipna=False)),
        widest_ratio=float(signed.max(skipna=False)),
        widest_linout_ratio=float(ratios[ratios["cosine"] == "linout"]["ratio"].max()),
        narrowest_gatelin_ratio=float(ratios[ratios["cosine"] == "gatelin"]["ratio"].min(skipna=False)),
        narrowest_gatelin_bound=float(gatelin.min()),
        widest_gatelin_bound=float(gatelin.max()),
        widest_gatelin_layer=int(gatelin.idxmax()),
    )
    golden.check(regions)


@pytest.mark.claim("C55")
def test_gaussian_vectors_are_isotropic(subject, claim):
    """Mismatched pairs of Gaussian vectors."""
    gate, in_, out = torch.randn(3, 1200, 256, generator=torch.Generator().manual_seed(0))
    ratios = region_ratios(mismatched_region(MlpLayer(0, gate, in_, out)), beta_region(256)[1])
    claim.check(largest_relative_difference=float((ratios["ratio"] - 1).abs().max()))


@pytest.mark.claim("C56")
def test_matched_pairs_are_left_out(subject, claim):
    """Where the output vector is the input vector, matched pairs alone would reach the upper bound."""
    vectors = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    regions = mismatched_region(MlpLayer(0, None, vectors, vectors))
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    others = (unit @ unit.T).numpy()[~np.eye(40, dtype=bool)]
    expected = np.quantile(others, [0.025, 0.975])
    claim.check(largest_difference=float(np.abs(regions[["low", "high"]].to_numpy() - expected).max()))


@pytest.mark.claim("C57")
def test_norm_ranges(subject, claim, golden):
    """Smallest and largest norms of all neurons."""
    ranges = subject.norm_ranges()
    claim.check(norm_ranges=ranges)
    golden.check(ranges)
