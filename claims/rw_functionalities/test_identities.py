"""What does not depend on the weights: folding the gate's sign, class rules, model names (C33, C34, C48)."""

import pytest
import torch

from rwcore.models.registry import group
from rwcore.stats.classes import class_codes, class_counts, class_totals
from rwcore.stats.cosines import RWCosines, weight_statistics
from rwcore.stats.reductions import class_total, without_small_models

COPYSIGN = "copysign_2025_05"
RULES = (COPYSIGN, "product")


@pytest.mark.claim("C33", "C34")
def test_sign_of_the_gate(subject, claim):
    """Classes by both rules with and without folding the gate's sign; cosines and norms but for signs."""
    if subject.kind == "synthetic":
        flip = torch.tensor([[1.0, -1.0]]).repeat(1, 50)
        neurons = RWCosines(0.9 * flip, -0.9 * flip, torch.full((1, 100), -0.9))
        found, all_ = (class_total(class_counts(neurons, rule=rule), "weakening") for rule in RULES)
        claim.check(share_found_by_copysign=found / all_)
        return
    folded = subject.weight_study().statistics
    stored = weight_statistics(subject.mlp_weights(fold_sign=False))
    cosines = [(x, folded.cosines.present()[name]) for name, x in stored.cosines.present().items()]
    norms = [(x, folded.norms()[name]) for name, x in stored.norms().items()]
    claim.check(
        classes_changed_by_folding=differences(stored.cosines, folded.cosines),
        cosines_equal_up_to_sign=all(same(x.abs(), y.abs()) for x, y in cosines),
        linout_equal=same(stored.cosines.linout, folded.cosines.linout),
        norms_equal=all(same(x, y) for x, y in norms),
        classes_changed_by_copysign=differences(folded.cosines, folded.cosines, rule=COPYSIGN),
        copysign_totals=class_totals(class_counts(stored.cosines, rule=COPYSIGN)),
    )


def differences(first, second, **rule):
    """Neurons whose class differs; the rule is that of the first."""
    return int((class_codes(first, **rule) != class_codes(second)).sum())


def same(x, y):
    """Equal bit by bit, NaN where NaN."""
    return bool(((x == y) | (x.isnan() & y.isnan())).all())


@pytest.mark.claim("C48")
def test_selected_models(subject, claim):
    """The gated models whose name does not say 1b or 0.5b."""
    claim.check(selected_models=without_small_models(spec.id for spec in group("gated")))
