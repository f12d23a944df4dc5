"""What the class counts say about a model, and about models together (C20-C32, C35)."""

import pytest

from rwcore.stats import reductions
from rwcore.stats.reductions import class_by_layer, class_share, class_total, family_total, peak


@pytest.mark.claim("C20", "C23")
def test_largest_classes(subject, claim):
    """Orthogonal output, then conditional strengthening, then all others; few atypical neurons."""
    counts = subject.class_counts()
    orthogonal, conditional = "orthogonal output", "conditional strengthening"
    rest = counts[counts["class"] != orthogonal]
    claim.check(
        orthogonal_output=class_total(counts, orthogonal),
        conditional_strengthening=class_total(counts, conditional),
        largest_other_class=reductions.largest_class(counts, without=[orthogonal, conditional])[1],
        orthogonal_output_share=class_share(counts, orthogonal),
        conditional_strengthening_share_of_rest=class_share(rest, conditional),
        atypical_share=reductions.atypical_share(counts),
    )


@pytest.mark.claim("C21", "C22", "C24")
def test_strengthening_and_weakening(subject, claim):
    """Classes and families of both signs, over the whole model."""
    counts = subject.class_counts()
    claim.check(
        class_totals=subject.class_totals(),
        strengthening=class_total(counts, "strengthening"),
        weakening=class_total(counts, "weakening"),
        atypical_strengthening=class_total(counts, "atypical strengthening"),
        atypical_weakening=class_total(counts, "atypical weakening"),
        strengthening_family=family_total(counts, "strengthening"),
        weakening_family=family_total(counts, "weakening"),
    )


@pytest.mark.claim("C25", "C26")
def test_peaks_of_classes(subject, claim):
    """The layers with the most conditional strengthening and weakening neurons."""
    counts = subject.class_counts()
    conditional = class_by_layer(counts, "conditional strengthening")
    weakening = peak(class_by_layer(counts, "weakening"))
    claim.check(
        conditional_strengthening_peak_layer=peak(conditional).layer,
        conditional_strengthening_peak_count=int(peak(conditional).value),
        conditional_strengthening_peak_depth=peak(conditional).depth,
        conditional_strengthening_share_in_first_half=reductions.share_in_first_half(conditional),
        weakening_peak_layer=weakening.layer,
        weakening_peaks_in_last_layer=weakening.depth == 1,
    )


@pytest.mark.claim("C27", "C28")
def test_families_in_late_layers(subject, claim):
    """Families of both signs in the last layer and in the last quarter of the layers."""
    counts = subject.class_counts()
    n_layers = counts["layer"].nunique()
    last, quarter = range(n_layers - 1, n_layers), reductions.last_quarter(n_layers)
    claim.check(
        last_layer_weakening_family=family_total(counts, "weakening", layers=last),
        last_layer_strengthening_family=family_total(counts, "strengthening", layers=last),
        last_quarter_weakening_family=family_total(counts, "weakening", layers=quarter),
        last_quarter_strengthening_family=family_total(counts, "strengthening", layers=quarter),
    )


@pytest.mark.claim("C29", "C30")
def test_vanilla_models_weaken(subject, claim):
    """Weakening against strengthening neurons without a gate, in total and layer by layer."""
    counts = subject.class_counts()
    strengthening, weakening = (class_total(counts, name) for name in ("strengthening", "weakening"))
    ahead = class_by_layer(counts, "weakening") > class_by_layer(counts, "strengthening")
    claim.check(
        grand_totals=counts.groupby("class", as_index=False)["count"].sum(),
        strengthening=strengthening,
        weakening=weakening,
        weakening_over_strengthening=weakening / strengthening if strengthening else float("inf"),
        layers_without_more_weakening=int((~ahead).sum()),
    )


@pytest.mark.claim("C31")
def test_bloom_weakens_most(subject, claim):
    """Share of weakening neurons: of one model, and of BLOOM against all others."""
    counts = subject.class_counts()
    if "model" not in counts:
        claim.check(weakening_share=class_share(counts, "weakening"))
        return
    shares = reductions.per_model(counts, lambda rows: class_share(rows, "weakening"))
    claim.check(
        smallest_bloom_share=min(share for model, share in shares.items() if "bloom" in model),
        largest_other_share=max(share for model, share in shares.items() if "bloom" not in model),
    )


@pytest.mark.claim("C32")
def test_instruction_tuning(subject, claim):
    """How far a tuned model's classes are from those of its base model."""
    counts = dict(list(subject.class_counts().groupby("model")))
    pairs = zip(subject.models[::2], subject.models[1::2], strict=True)
    claim.check(total_variation=reductions.pair_variations((counts[a], counts[b]) for a, b in pairs))


@pytest.mark.claim("C35")
def test_grand_totals(subject, claim):
    """Neurons per class over all gated base models."""
    claim.check(grand_totals=subject.class_counts().groupby("class", as_index=False)["count"].sum())
