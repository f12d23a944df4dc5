"""The prediction whose entropy weakening neurons reduce most, and where that comes from (O1-O8)."""

import dataclasses

import pandas as pd
import pytest

from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.trace import trace
from rwcore.neurons import NeuronSet, choose_neurons
from rwcore.stats.classes import class_codes, classes_of
from rwcore.studies.frequencies import gate_signs

SAMPLE = 243
"""Most numbers of the case are of a sample of the class, by an older count of its neurons."""
GROUPS = {"10 and 29": (10, 29), "29 to 31": (29, 30, 31), "0 to 29": range(30)}
NINE = (
    (19, 9428),
    (18, 6799),
    (28, 5325),
    (10, 10026),
    (25, 4595),
    (28, 6703),
    (26, 5558),
    (29, 4131),
    (29, 7261),
)
LAST_LAYERS = (29, 30, 31)


@pytest.mark.claim("O1", "O2", "O3", "O4", "O5", "O6", "O7", "O8")
def test_one_prediction(subject, claim):
    """Row 31118 of the text, up to " O"; the next token is "mic"."""
    prompt = subject.prompt(row=31118, position=25, ends=" O", following="mic")
    prompt = dataclasses.replace(prompt, target=prompt.following)
    study, bridge = subject.weight_study(), subject.bridge()
    signs = gate_signs(study)
    depth, width = signs.shape
    codes, classes = class_codes(study.cosines), classes_of(study.cosines)
    whole = choose_neurons(codes, "weakening", classes=classes).chosen
    sample = choose_neurons(codes, "weakening", subset=min(SAMPLE, len(whole)), classes=classes).chosen
    # A stand-in is smaller than the model it stands for: numbers start again from 0 at its end.
    groups = {name: tuple(sorted({layer % depth for layer in group})) for name, group in GROUPS.items()}
    nine = NeuronSet.of(
        "nine", list(dict.fromkeys((layer % depth, neuron % width) for layer, neuron in NINE))
    )

    def traced(neurons, intervention, **options):
        ablation = Ablation.of(neurons, intervention, signs=signs)
        return trace(bridge, prompt, ablation, **{"parts": (), **options})

    conditional = Intervention("zero", "-", "+")
    found = traced(sample, conditional, parts=("layers", "positions", "direct"), groups=list(groups.values()))
    everything = traced(whole, conditional)
    without_nine = traced(nine, Intervention("zero"))
    by_layer = {layer: one.entropy for layer, one in found.by_layer.items()}
    last, *others = (one.entropy for _, one in sorted(found.by_position.items(), reverse=True))
    claim.check(
        clean_entropy=found.clean.entropy,
        right_token_is_first=found.clean.target_rank == 0,
        clean_logit=found.clean.target_logit,
        entropy_without_sample=found.ablated.entropy,
        entropy_change_of_class=everything.clean.entropy - everything.ablated.entropy,
        entropy_without_one_layer=table(
            {str(layer): by_layer.get(layer % depth, found.clean.entropy) for layer in LAST_LAYERS}
        ),
        entropy_without_any_other_layer=max(
            (one for layer, one in by_layer.items() if layer not in LAST_LAYERS), default=found.clean.entropy
        ),
        entropy_without_layers=table({name: found.groups[group].entropy for name, group in groups.items()}),
        entropy_at_last_position=last,
        lowest_entropy_at_another_position=min(others),
        highest_entropy_at_another_position=max(others),
        entropy_without_direct_effect=found.direct.frozen.entropy,
        logit_without_nine_neurons=without_nine.ablated.target_logit,
    )


def table(numbers):
    """One row per name."""
    return pd.DataFrame(list(numbers.items()), columns=["name", "value"])
