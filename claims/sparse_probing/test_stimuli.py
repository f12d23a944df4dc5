"""What excites single neurons: words, n-grams, and other neurons beside them (C50, C77, C82-C84)."""

import pytest

from rwcore.probing.sport_words import is_sport_word

FRENCH = (3, 609)
NAMES = {name: f" {name}" for name in ("Pierre", "Jacques", "Jean", "Aub", "Bour")}
SEEN = 21

SPORTS = {"19.10761": "soccer", "20.10306": "american football", "20.2367": "ice hockey"}
TOP = 12

POLYSEMANTIC = (1, 111)
BOOST = {
    "Distributed under the": "Distributed under the Boost",
    "subject to the": " subject to the Boost",
    "any": " Boost",
}
GROUP = 3

LAYER_1 = {"EleutherAI/pythia-1.4b-v0": (1, 0)}

ITALIAN = (4, 627), (3, 533)


@pytest.mark.claim("C50")
def test_names_that_excite_the_french_neuron(subject, claim):
    """The French neuron at French names, and what the next token costs without it."""
    found = subject.neurons_on_text()
    # One after the other: where a name is too rare in the text, what was measured before stays.
    claim.check(cost_after_pierre=found.cost_after(FRENCH, NAMES["Pierre"], least=SEEN))
    claim.check(mean_pre_activation=found.mean_at(FRENCH, NAMES, key="token", least=SEEN))


@pytest.mark.claim("C77")
def test_words_that_excite_neurons_of_athletes(subject, claim):
    """Words of its sport among the words at which a neuron is highest."""
    found = subject.neurons_on_text()
    counts = {}
    for name, sport in SPORTS.items():
        layer, neuron = map(int, name.split("."))
        words = found.top_words((layer, neuron), TOP)
        counts[name] = sum(is_sport_word(word, sport) for word in words)
    claim.check(sport_words_of_twelve=min(counts.values()))


@pytest.mark.claim("C82")
def test_a_polysemantic_neuron(subject, claim):
    """How rarely it is active, and at one word after two n-grams."""
    found = subject.neurons_on_text()
    claim.check(percent_above_2=found.percent_above(POLYSEMANTIC, 2.0))
    claim.check(mean_of_boost=found.mean_at(POLYSEMANTIC, BOOST, key="prefix", least=GROUP))


@pytest.mark.claim("C83")
def test_mean_and_largest_value_of_tokens(subject, claim):
    """Their correlation over the vocabulary, of a neuron of layer 1."""
    neuron = LAYER_1.get(subject.models[0], POLYSEMANTIC)
    claim.check(correlation=subject.neurons_on_text().mean_max_correlation(neuron))


@pytest.mark.claim("C84")
def test_two_italian_neurons(subject, claim):
    """Their correlation over tokens, in Italian and elsewhere."""
    found = subject.neurons_in("natural_lang_id", "language_rows")
    claim.check(correlation=found.correlations(*ITALIAN, "it", name="Italian"))
