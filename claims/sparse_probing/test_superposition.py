"""Neurons beside random bases, for pairs of words (C58-C60)."""

import pytest

from rwcore.plugin.compound_probes import own_pairs, papers_pairs
from rwcore.plugin.probing_tables import neurons, notebook
from rwcore.plugin.subjects import Kind

TOP = "top_mono_neurons.csv"


@pytest.mark.claim("C58")
def test_random_directions(subject, claim):
    """The best single directions of a random basis, beside the best neuron."""
    if subject.kind is Kind.TABLES:
        found = notebook(subject, "random_basis_top10_single_directions")
        top = neurons(subject, TOP, datasets=("compound_words",))
        neuron = top[top["feature"] == "prime-factors"]["test_mcc"].max()
        claim.check(
            best=found["test_mcc"].max(),
            directions=len(found),
            of_prime_factors=int((found["feature"] == "prime-factors").sum()),
            lead_of_neurons=neuron - found["test_mcc"].max(),
        )
        return
    published = papers_pairs(subject)
    if published is not None:
        claim.check(best=published.best_direction)
    claim.check(share_of_pairs=own_pairs(subject).share_of_pairs)


@pytest.mark.claim("C59")
def test_ranks_of_random_directions(subject, claim):
    """F1 of the best and the fifth best random direction of one pair, in layer 0."""
    claim.check(mean_f1=papers_pairs(subject).directions("blood-pressure", layer=0))


@pytest.mark.claim("C60")
def test_many_random_directions(subject, claim):
    """Log loss of k random directions against that of k neurons, in layers 1 to 4."""
    found = papers_pairs(subject)
    claim.check(excess_loss_at_8=found.excess_at(8), excess_loss_at_256=found.excess_at(256))
