"""Who suppresses what is already predicted, weakening neurons and negative heads (P5-P7)."""

import pytest


@pytest.mark.claim("P5", "P6")
def test_predicted_suppression(subject, claim):
    """Weakening neurons against random neurons of the same layers, and beside negative heads."""
    found = subject.heads.predicted_suppression
    claim.check(**found.weakening(), **found.overlap())


@pytest.mark.claim("P7")
def test_negative_heads(subject, claim):
    """How much of what the most negative heads do is copy suppression."""
    found = subject.heads.negative
    claim.check(
        attribution=found.attribution(),
        explained=found.explained(),
        explained_together=found.explained_together(),
    )
