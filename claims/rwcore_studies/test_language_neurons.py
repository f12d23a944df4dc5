"""RW classes of neurons that tell the language of a text alone (P1-P3)."""

import pytest

from rwcore.claim.values import Interval


@pytest.mark.claim("P1", "P2", "P3")
def test_classes_of_language_neurons(subject, claim):
    """Each family of classes against as many neurons of the same layers."""
    table = subject.language_probes.classes
    claim.check(
        **{f"{name.replace(' ', '_')}_ratio": ratio(row) for name, row in table.iterrows()},
    )


def ratio(row):
    """With its interval over features; of a single feature there is none."""
    if row.isna()["ratio_low"]:
        return row["ratio"]
    return Interval(row["ratio_low"], row["ratio_high"], row["ratio"])
