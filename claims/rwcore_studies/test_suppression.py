"""Who suppresses what is already predicted, weakening neurons and negative heads (P5, P6)."""

import pytest


@pytest.mark.claim("P5", "P6")
def test_predicted_suppression(subject, claim):
    """Weakening neurons against random neurons of the same layers, and beside negative heads."""
    found = subject.heads.predicted_suppression
    claim.check(**found.weakening(), **found.overlap())
