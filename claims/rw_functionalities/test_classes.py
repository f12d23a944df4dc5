"""How many neurons each class has (C01-C19)."""

import pytest
import torch

from rwcore.stats import reductions
from rwcore.stats.classes import class_counts
from rwcore.stats.cosines import rw_cosines
from rwcore.weights.mlp import MlpLayer


@pytest.mark.claim("C01", "C02", "C03", "C04", "C05", "C06", "C07", "C08", "C09", "C10", "C11", "C12")
def test_class_totals(subject, claim, golden):
    """Neurons per class, gated base models."""
    totals = subject.class_totals()
    claim.check(class_totals=totals)
    golden.check(totals)


@pytest.mark.claim("C13", "C14", "C15")
def test_class_counts(subject, claim):
    """Neurons per class and layer; totals of the tuned and the vanilla models."""
    counts = subject.class_counts()
    claim.check(class_counts=counts, class_totals=subject.class_totals())
    claim.figure("class_counts", counts)


@pytest.mark.claim("C16", "C18")
def test_half_coarse_counts(subject, claim, golden):
    """Neurons per bin of cos(in, out), and whether bins and classes can be of the same neurons."""
    bins = subject.half_coarse_counts()
    totals = bins.drop(columns="layer").groupby(["bin_low", "bin_high"], as_index=False).sum()
    bounded = reductions.bins_bound_classes(subject.class_counts(), bins)
    claim.check(half_coarse_counts=bins, half_coarse_totals=totals, bins_bound_classes=bounded)
    golden.check(totals)


@pytest.mark.claim("C17")
def test_layers_add_up(subject, claim, golden):
    """The classes, and the bins where there are any, of each layer add up to its neurons."""
    counts = subject.class_counts()
    tables = [counts]
    if subject.kind != "tables" or not reductions.has_gate_classes(counts):
        tables.append(subject.half_coarse_counts())
    sizes = sorted({int(size) for table in tables for size in reductions.neurons_per_layer(table)})
    claim.check(layer_sizes=sizes, n_layer_sizes=len(sizes))
    claim.figure("class_counts", counts)
    golden.check(counts)


@pytest.mark.claim("C19")
def test_initial_classes(subject, claim):
    """Classes of weights that were not trained: a checkpoint of step 0, or Gaussian vectors."""
    if subject.kind == "synthetic":
        generator = torch.Generator().manual_seed(0)
        gate, in_, out = torch.randn(3, 2000, 896, generator=generator)
        totals = class_counts(rw_cosines([MlpLayer(0, gate, in_, out)]))
    else:
        totals = subject.class_totals()
    share = reductions.class_share(totals, "orthogonal output")
    claim.check(class_totals=totals, orthogonal_output_share=share)
