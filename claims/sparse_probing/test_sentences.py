"""What neurons of the end of a sentence promote (C63)."""

import pytest

from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind
from rwcore.probing.logit_effects import capital_effects

# The published neurons of the ends of sentences, all of positive weight; C62 compares their list.
PUBLISHED = {
    "EleutherAI/pythia-70m-v0": (4, 1186),
    "EleutherAI/pythia-160m-v0": (9, 2730),
    "EleutherAI/pythia-410m-v0": (18, 174),
}


@pytest.mark.claim("C63")
def test_ends_of_sentences_promote_capitals(subject, claim):
    """Median effect on the logits of tokens with and without a capital; what the neuron does at ends."""
    found = {}
    if subject.kind is Kind.PAPER:
        neuron = PUBLISHED[subject.models[0]]
        effects = capital_effects(subject.weight_study().local, *neuron)
        if subject.paper_probes.texts.missing("treebank") is None:
            found["median_pre_activation"] = subject.neurons_in("ewt", "sentences").medians(
                neuron, "eos_True", names=("other", "end"), key="label"
            )
    else:
        effects = subject.own_text_probes.end_effects
    # Smaller effects are the rounding of float32.
    medians = effects.set_index("tokens")["median"].round(6)
    claim.check(
        median_effect=column(medians, "tokens"),
        median_effect_uppercase=medians["Uppercase"],
        median_effect_lowercase=medians["lowercase"],
        **found,
    )
