"""Single neurons for the languages of code (P4)."""

import pytest


@pytest.mark.claim("P4")
def test_a_neuron_for_every_language_of_code(subject, claim):
    """Test MCC of the neuron that is best on validation, of the language that is told worst."""
    claim.check(least_mcc=subject.own_text_probes.code["test_mcc"].min())
