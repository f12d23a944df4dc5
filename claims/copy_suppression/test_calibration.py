"""Entropy and calibration of predictions: tables and models (C53-C56)."""

import pandas as pd
import pytest

from rwcore.plugin.heads.tables import by_head, first_heads, head_rows, overconfidence
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

EFFECTS = "copy_suppression_entropy_overconfidence_per_head"


@pytest.mark.claim("C53", "C54")
def test_entropy(subject, claim):
    """Entropy of the predictions with a head minus without it."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.confidence.entropies())
        return
    table = head_rows(subject, EFFECTS)
    entropy = "entropy_marginal_owt_meanabl_120x400"
    claim.check(
        entropy=by_head(table, entropy),
        raise_most=first_heads(table, entropy, 3),
        lowering=int((table[entropy] < 0).sum()),
        heads=len(table),
    )


@pytest.mark.claim("C55", "C56")
def test_calibration(subject, claim):
    """Overconfidence of the model, and what a head does to it."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.confidence.calibration())
        return
    table = head_rows(subject, EFFECTS)
    relative = "overconfidence_marginal_rel"
    curves = head_rows(subject, "copy_suppression_calibration_curves")
    runs = {"clean": "clean_run1"} | {
        f"without {head}": f"{head}_direct_ablated" for head in ("L10H7", "L9H9")
    }
    found = pd.Series({name: overconfidence(curves, run) for name, run in runs.items()})
    by_curves = 1 - found[["without L10H7", "without L9H9"]].to_numpy() / found["clean"]
    by_map = table.set_index("head")[relative][["L10H7", "L9H9"]]
    claim.check(
        relative=by_head(table, relative),
        lower_most=first_heads(table, relative, 2, lowest=True),
        difference_of_runs=(by_map - by_curves).abs().max(),
        overconfidence=column(found, "run"),
        without_L10H7_over_clean=found["without L10H7"] / found["clean"],
    )
