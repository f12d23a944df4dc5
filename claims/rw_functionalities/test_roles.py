"""Functional roles of neurons, their classes, and single neurons (C65-C69)."""

import pandas as pd
import pytest

from rwcore.stats.case_studies import case_study_neurons
from rwcore.stats.roles.choose import PREDICTION, ROLES, SUPPRESSION

CLEAREST = {"prediction": PREDICTION, "suppression": SUPPRESSION}
RECORDED_NEURON = (31, 2578)  # the one whose analysis the authors recorded
TOKENS = 4


@pytest.mark.claim("C65", "C66")
def test_clearest_neurons(subject, claim):
    """The prediction and suppression neurons with the largest kurtosis, and their classes."""
    roles = subject.role_study()
    found = {name: roles.clearest(code) for name, code in CLEAREST.items()}
    places = {name: f"{one['layer']}.{one['neuron']}" if one else "none" for name, one in found.items()}
    classes = {name: one["class"] if one else "none" for name, one in found.items()}
    studied = case_study_neurons(
        roles.moments.kurtosis,
        roles.chosen.codes,
        roles.class_codes,
        classes=roles.classes,
        typical_only=True,
    )
    claim.check(
        clearest_neurons=by_role(places),
        classes_of_clearest_neurons=by_role(classes),
        class_of_clearest_prediction_neuron=classes["prediction"],
        class_of_clearest_suppression_neuron=classes["suppression"],
        role_class_association_p=roles.association_within_layers().p_permutation,
        case_study_neurons=[f"{row.layer}.{row.neuron}" for row in studied.itertuples()],
    )


@pytest.mark.claim("C67")
def test_entropy_and_attention_neurons(subject, claim):
    """Last-layer neurons that stand out by the null space they write to; neurons that steer attention."""
    roles = subject.role_study()
    attention = roles.attention()
    claim.check(
        entropy_neurons_that_stand_out=standing_out(roles.entropy()["ratio"]),
        attention_neurons=int((attention["role"] == ROLES[0]).sum()),
    )


@pytest.mark.claim("C68")
def test_tokens_of_a_neuron(subject, claim):
    """Cosines of one neuron, and the tokens that its vectors point to."""
    card = subject.neuron_card(*RECORDED_NEURON, k=TOKENS)
    quantities = {"cosines": table(card.cosines, "name")}
    for one in card.lists:
        quantities[f"{one.name}_tokens"] = [token.text for token in one.tokens]
        quantities[f"{one.name}_products"] = table(one.tokens, "text")
    claim.check(**quantities)


@pytest.mark.claim("C69")
def test_roles(subject, claim, golden):
    """Partition, prediction and suppression neurons have no neuron in common."""
    roles = subject.role_study()
    members = [chosen for name, chosen in roles.members(attention=False).items() if name in ROLES[1:]]
    partition = int(members[0].sum())
    claim.check(
        partition_neurons=partition,
        partition_neurons_missing=roles.partition - partition,
        neurons_with_two_roles=int((sum(chosen.int() for chosen in members) > 1).sum()),
    )
    golden.check(roles.contingency(attention=False))


def by_role(values):
    """One row per role."""
    return pd.DataFrame(list(values.items()), columns=["role", "value"])


def table(rows, key):
    """The values of cosines or tokens by name."""
    return pd.DataFrame([(getattr(row, key), row.value) for row in rows], columns=[key, "value"])


def standing_out(ratios):
    """How many values come before the largest drop, of the first twenty in falling order."""
    first = ratios.head(20).reset_index(drop=True)
    return int((first - first.shift(-1)).idxmax()) + 1
