"""How many of the likeliest tokens belong to a subject, with and without classes of neurons (R01-R11)."""

import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Intervention
from rwcore.neurons import SEED, NeuronSet
from rwcore.plugin.subjects import Kind

STRENGTHENING, WEAKENING = 24, 243
"""Sizes of two classes by an older rule; the published subsets are as large."""
OTHERS = ("conditional strengthening", "proportional change", "conditional weakening")
FROM_LAYER = 4
MIDDLE = slice(12, 26)
MOST = 64


def run(name, *, random=False):
    """Neurons of a set are set to zero; ``random`` stands for as many random neurons of the same layers."""
    return RunLabel(name, "zero", baseline=random)


def cut(subject, name, size):
    """The published subset of a class; of any model but the paper's own the whole class."""
    return f"{name}@{size}" if subject.kind in (Kind.PAPER, Kind.TABLES) else name


def paired(name):
    """A set and its baseline."""
    return [run(name), run(name, random=True)]


def quarters(curve):
    """Mean rates of the first and the last quarter of the layers."""
    layers = max(curve.shape[-1] // 4, 1)
    return curve[..., :layers].mean(-1), curve[..., -layers:].mean(-1)


def drop(curve, one):
    """By how much the rate of each layer falls."""
    return curve() - curve(one)


def change(curve, one):
    """By how much the rate changes, up or down, on average over layers."""
    return np.abs(drop(curve, one)).mean(-1)


def recorded(found):
    """What is kept of some runs."""
    rows = []
    for one, curve in found.curves.items():
        first, last = quarters(curve)
        name = "clean" if one is None else one.set + (" (random)" if one.baseline else "")
        rows.append((name, found.sizes.get(one, 0), curve.mean(), first, last))
    columns = ["set", "neurons", "rate", "first_quarter_rate", "last_quarter_rate"]
    return pd.DataFrame(rows, columns=columns).fillna(0)


@pytest.mark.claim("R01")
def test_known_facts(subject, claim):
    """Prompts that the model completes with the attribute."""
    study = subject.attribute_study
    known = [one.fact for one in study.judgements if one.known]
    claim.check(
        prompts=len(study.facts),
        known=len(known),
        subjects=len({fact.subject for fact in known}),
        relations=len({fact.relation for fact in known}),
    )


@pytest.mark.claim("R02", "R03")
def test_rates(subject, claim, golden):
    """Nothing is ablated."""
    # Published curves of the clean run stand beside those of a set.
    weakening = run(cut(subject, "weakening", WEAKENING))
    found = subject.attribute_rates([weakening] if subject.kind is Kind.TABLES else [])
    curve = found.curve()
    clean = pd.DataFrame({"subset": weakening.set.replace("@", ""), "ablation": "zero", "series": "clean",
                          "layer": range(len(curve)), "rate": curve})  # fmt: skip

    def derive(curve):
        first, last = quarters(curve())
        return {"last_over_first_quarter": last / first}

    claim.check(
        rates=clean,
        lowest_layer=int(curve.argmin()),
        highest_layer=int(curve.argmax()),
        mean_rate=curve.mean(),
        **found.numbers(derive),
    )
    golden.check(recorded(found))


@pytest.mark.claim("R04", "R05")
def test_rates_without_conditional_strengthening(subject, claim, golden):
    """The whole class, and random neurons of the same layers."""
    chosen, baseline = paired("conditional strengthening")
    found = subject.attribute_rates([chosen, baseline])
    drops = drop(found.curve, chosen)

    def derive(curve):
        lead = curve(baseline) - curve(chosen)
        middle = lead[..., MIDDLE].sum(-1)
        return {
            "drop": drop(curve, chosen).mean(-1),
            "drop_of_random": drop(curve, baseline).mean(-1),
            "lead_over_random": lead.mean(-1),
            "lead_in_the_middle_over_the_rest": 2 * middle - lead.sum(-1),
            "lead_in_the_last_layer": lead[..., -1],
        }

    claim.check(
        rates=found.table,
        smallest_drop_from_layer_4=drops[FROM_LAYER:].min(initial=np.inf),
        layer_of_largest_drop=int(drops.argmax()),
        largest_drop=drops.max(),
        mean_rate=found.curve(chosen).mean(),
        mean_rate_of_random=found.curve(baseline).mean(),
        **found.numbers(derive),
    )
    golden.check(recorded(found))


@pytest.mark.claim("R06")
def test_rates_without_weakening(subject, claim, golden):
    """243 of them, and as many random neurons of the same layers."""
    chosen, baseline = paired(cut(subject, "weakening", WEAKENING))
    found = subject.attribute_rates([chosen, baseline])
    drops = drop(found.curve, chosen)

    def derive(curve):
        mean = drop(curve, chosen).mean(-1)
        return {"drop": mean, "drop_beyond_twice_random": mean - 2 * np.abs(drop(curve, baseline).mean(-1))}

    claim.check(
        rates=found.table,
        mean_rate=found.curve(chosen).mean(),
        mean_change=change(found.curve, chosen),
        mean_change_of_random=change(found.curve, baseline),
        layer_of_largest_drop=int(drops.argmax()),
        largest_drop=drops.max(),
        **found.numbers(derive),
    )
    golden.check(recorded(found))


@pytest.mark.claim("R07")
def test_rates_without_few_weakening(subject, claim, golden):
    """24 of them, and as many random neurons of the same layers."""
    chosen, baseline = paired(cut(subject, "weakening", STRENGTHENING))
    found = subject.attribute_rates([chosen, baseline])
    drops = drop(found.curve, chosen)
    claim.check(
        rates=found.table,
        mean_change=change(found.curve, chosen),
        mean_change_beyond_twice_random=change(found.curve, chosen) - 2 * change(found.curve, baseline),
        largest_change_of_random=np.abs(drop(found.curve, baseline)).max(),
        layer_of_largest_drop=int(drops.argmax()),
        largest_drop=drops.max(),
    )
    golden.check(recorded(found))


@pytest.mark.claim("R08")
def test_rates_without_strengthening(subject, claim, golden):
    """24 of them."""
    chosen = run(cut(subject, "strengthening", STRENGTHENING))
    found = subject.attribute_rates([chosen])

    def derive(curve):
        return {"share_of_the_rate": change(curve, chosen) / curve().mean(-1)}

    claim.check(rates=found.table, mean_change=change(found.curve, chosen), **found.numbers(derive))
    golden.check(recorded(found))


@pytest.mark.claim("R09")
def test_rates_without_other_classes(subject, claim, golden):
    """243 neurons of each, and random ones of the layers of the most frequent class."""
    sets = {name: run(cut(subject, name, WEAKENING)) for name in OTHERS}
    baseline = run(sets["conditional strengthening"].set, random=True)
    found = subject.attribute_rates([*sets.values(), baseline])
    changes = [(name, change(found.curve, one)) for name, one in sets.items()]
    claim.check(
        changes=pd.DataFrame(changes, columns=["set", "value"]),
        mean_change_of_random=change(found.curve, baseline),
    )
    golden.check(recorded(found))


@pytest.mark.claim("R10", "R11")
def test_rates_without_whole_classes(subject, claim, golden):
    """Conditional weakening and proportional change."""
    weakening, proportional = run("conditional weakening"), run("proportional change")
    found = subject.attribute_rates([weakening, proportional])
    drops = drop(found.curve, proportional)
    layer = int(drops.argmax())
    claim.check(
        rates=found.table,
        mean_change_of_conditional_weakening=change(found.curve, weakening),
        largest_drop_of_conditional_weakening=drop(found.curve, weakening).max(),
        layer_of_largest_drop_of_proportional_change=layer,
        largest_drop_of_proportional_change=drops[layer],
        largest_change_of_proportional_change_elsewhere=np.delete(np.abs(drops), layer).max(),
    )
    golden.check(recorded(found))


@pytest.mark.claim("I13")
def test_rates_are_percentages(subject, claim):
    """With and without some neurons, and of a subject that nothing is written about."""
    study = subject.attribute_study
    unwritten = study.subjects[0]
    passages = {name: found for name, found in study.passages.items() if name != unwritten}
    study = dataclasses.replace(study, passages=passages)
    signs = study.signs
    every = [(layer, neuron) for layer in range(signs.shape[0]) for neuron in range(signs.shape[1])]
    some = NeuronSet.of("some", random.Random(SEED).sample(every, min(MOST, len(every) // 4)))
    (ablated,) = study.runs([Experiment(some, Intervention("zero"), RunLabel("some", "zero"))])
    rates = torch.stack([study.clean(), ablated])
    known = (rates >= 0) & (rates <= 100)
    of_unwritten = rates[:, study.subject_numbers == 0]
    claim.check(
        neither_percentages_nor_minus_1=int((~known & (rates != -1)).sum()),
        percentages=int(known.sum()),
        rates_of_a_subject_without_text=int((of_unwritten != -1).sum()),
    )
